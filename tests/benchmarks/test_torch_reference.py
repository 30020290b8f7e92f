"""The reference in PyTorch is the same network: equal weights give equal outputs."""

import jax
import numpy as np
import pytest

from dabfusion_jax.models.unet3d import UNet3D

torch = pytest.importorskip("torch")


def test_the_reference_in_torch_gives_the_output_of_the_flax_network():
  from benchmarks.torch_reference import convert, unet3d

  sizes = dict(base_channels=8, channel_multipliers=(1, 2), z_channels=5)
  sizes |= dict(num_heads=2, head_dim=4)
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape, np.float32)
  x_t, z, condition = draw(2, 5, 4, 4, 3), draw(2, 4, 4, 5), draw(2, 6)
  t = np.array([3, 700], np.int32)
  ours = UNet3D(**sizes, beat_mode="global_concat")
  params = jax.jit(ours.init)(jax.random.key(0), x_t, t, z, condition)["params"]
  # Gains of 1 and biases of 0 would hide a confusion.
  params = jax.tree.map(lambda p: p + 0.1 * draw(*p.shape), params)
  expected = jax.jit(ours.apply)({"params": params}, x_t, t, z, condition)
  network = unet3d.UNet3D(6, 5, **sizes)
  convert.load_params(network, params)
  with torch.no_grad():
    found = network(*map(torch.from_numpy, (x_t, t, z, condition)))
  np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)

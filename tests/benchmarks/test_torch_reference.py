"""The references in PyTorch are the same networks: equal weights, equal outputs."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from dabfusion_jax.config import make_autoencoder, make_autoencoder_stage
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.grid import sample_transform
from dabfusion_jax.pretrained.converters import kernel_shapes
from dabfusion_jax.settings.config_files import load_config

torch = pytest.importorskip("torch")

_CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "autoencoder.py"


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


def _stage1():
  """Returns smoke settings, perturbed variables of the network, and three frames."""
  settings = load_config(_CONFIG, "smoke")
  model = make_autoencoder(settings.model)
  rng = np.random.default_rng(1)
  frames = [rng.random((2, 32, 32, 3), np.float32) for _ in range(3)]
  variables = jax.jit(model.init)(jax.random.key(0), *frames[:2])
  draw = lambda p: p + 0.1 * rng.random(p.shape, np.float32)  # variances stay positive
  return settings, model, jax.tree.map(draw, variables), frames


@pytest.mark.parametrize("motion_down", [0, 1])
def test_stage_1_in_torch_gives_the_output_of_the_flax_network(motion_down):
  from benchmarks.torch_reference import convert, flow_autoencoder

  settings, model, variables, frames = _stage1()
  sizes = dataclasses.replace(settings.model, motion_down=motion_down)
  model = make_autoencoder(sizes)
  expected = jax.jit(model.apply)(variables, *frames[:2])
  network = flow_autoencoder.FlowAutoencoder(sizes).eval()
  convert.load_variables(network, variables)
  with torch.no_grad():
    found = network([torch.from_numpy(frame) for frame in frames[:2]])
    z = torch.from_numpy(np.array(expected.z))
    motion = [torch.from_numpy(np.array(x)) for x in expected.motion]
    decoded = network.decode(z, *motion)
  for ours, theirs in (
    (found.driving.position, expected.driving.position),
    (found.driving.jacobian, expected.driving.jacobian),
    (found.flow, expected.motion.flow),
    (found.occlusion, expected.motion.occlusion),
    (found.z, expected.z),
    (found.image, expected.image),
    (decoded, expected.image),
  ):
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_a_stage_1_that_departs_from_the_paper_is_refused():
  from benchmarks.torch_reference import flow_autoencoder

  model = load_config(_CONFIG, "people").model
  with pytest.raises(ValueError, match="no oriented_heat, motion_correction, keep_p"):
    flow_autoencoder.FlowAutoencoder(model)


def test_the_loss_of_stage_1_in_torch_is_that_of_the_stage():
  """With batch statistics, a perceptual network and the same random transforms."""
  from benchmarks.torch_reference import autoencoder_loss, convert, flow_autoencoder

  settings, model, variables, (ref_image, driving, _) = _stage1()
  rng = np.random.default_rng(2)
  trunk = {}  # a VGG-19 of a sixteenth of the channels
  for name, (*size, inputs, outputs) in kernel_shapes("vgg19").items():
    kernel = rng.standard_normal((*size, max(3, inputs // 16), outputs // 16))
    bias = np.zeros(outputs // 16, np.float32)
    trunk[name] = {"kernel": 0.2 * kernel.astype(np.float32), "bias": bias}
  loss = dataclasses.replace(
    settings.loss,
    network="vgg19",
    scales=(0.5,),
    perceptual_weights=(0.1,) * 5,
  )
  settings = dataclasses.replace(settings, loss=loss)
  stage = make_autoencoder_stage(settings, trunk)
  batch = {"ref_image": ref_image, "driving_frame": driving}
  key = jax.random.key(5)
  expected, _ = jax.jit(stage.loss)(
    variables["params"], variables["batch_stats"], stage.frozen, batch, key
  )
  draw = lambda key: sample_transform(key, stage.sigma_affine, stage.sigma_tps)
  transforms = jax.vmap(draw)(jax.random.split(key, len(driving)))
  network = flow_autoencoder.FlowAutoencoder(settings.model)
  convert.load_variables(network, variables)
  found = autoencoder_loss.stage1_loss(
    network,
    convert.load_trunk(trunk),
    settings,
    {name: torch.from_numpy(frame) for name, frame in batch.items()},
    *(torch.from_numpy(np.array(x)) for x in transforms),
  )
  np.testing.assert_allclose(found.item(), expected, rtol=1e-4)
  found.backward()
  assert all(p.grad is not None for p in network.parameters())

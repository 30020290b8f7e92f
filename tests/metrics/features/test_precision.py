"""Networks that metrics read run in whole float32, on accelerators too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.metrics import appearance
from dabfusion_jax.metrics.features import clip_image, i3d, lpips, wav2clip


def _frames(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.uint8)


def _floats(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _alexnet():
  shapes = ((11, 3, 4), (5, 4, 6), (3, 6, 8), (3, 8, 6), (3, 6, 6))
  layers = enumerate(shapes, 1)
  trunk = {
    f"conv{i}": {
      "kernel": np.zeros((size, size, a, b), np.float32),
      "bias": np.zeros(b),
    }
    for i, (size, a, b) in layers
  }
  heads = {f"tap{i}": np.zeros(s[2], np.float32) for i, s in enumerate(shapes, 1)}
  return {"trunk": trunk, "heads": heads}


def _variables(network, *inputs):
  return jax.eval_shape(network.init, jax.random.key(0), *inputs)


def _i3d():
  video = _floats(1, 10, 224, 224, 3)
  return jax.make_jaxpr(i3d._logits)(_variables(i3d.I3D(), video), video)


def _lpips():
  pair = [_floats(1, 64, 64, 3)] * 2
  score = lambda a, b: lpips.lpips(_alexnet(), "alex", a, b)
  return jax.make_jaxpr(score)(*pair)


def _appearance():
  look = lambda frames: appearance._pooled(_alexnet()["trunk"], frames)
  return jax.make_jaxpr(look)(_frames(1, 64, 64, 3))


def _clip():
  small = functools.partial(clip_image.ClipImage, num_layers=1)
  variables = _variables(small(), _floats(1, 224, 224, 3))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(clip_image, "ClipImage", small)
    return jax.make_jaxpr(clip_image._embed)(variables, _frames(1, 64, 64, 3))


def _wav2clip():
  sound = _floats(1, 257, 40, 1)
  return jax.make_jaxpr(wav2clip._embed)(_variables(wav2clip.Wav2Clip(), sound), sound)


@pytest.mark.parametrize("trace", [_i3d, _lpips, _appearance, _clip, _wav2clip])
def test_no_product_has_less_than_its_whole_precision(trace):
  """By default a TPU multiplies in bfloat16 and recent GPUs in TF32."""
  text = str(trace())
  products = text.count("dot_general[") + text.count("conv_general_dilated[")
  assert products and text.count("precision=") >= products
  assert "precision=None" not in text and "Precision.DEFAULT" not in text

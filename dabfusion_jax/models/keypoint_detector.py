"""Keypoints of a frame, learnt without labels (First Order Motion Model, FOMM)."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Hourglass
from dabfusion_jax.ops.grid import identity_grid, inverse_2x2
from dabfusion_jax.ops.resize import antialias_down

HEATMAP = "heatmap_logits"  # [b h w k], sown: before the softmax over a map


class Keypoints(NamedTuple):
  """Keypoints of a frame, with their local affine motion."""

  position: Array  # [*b k 2], (x, y) in [-1, 1]
  jacobian: Array  # [*b k 2 2]
  heatmap: Array  # [*b h w k], each map sums to 1


def heatmap_to_position(heatmap: Float[Array, "b h w k"]) -> Float[Array, "b k 2"]:
  """Returns the expected grid coordinate (x, y) under each map."""
  grid = identity_grid(*heatmap.shape[1:3])
  # Accelerators default to fewer digits than coordinates need.
  return jnp.einsum("bhwk,hwd->bkd", heatmap, grid, precision="highest")


def _identity_jacobians(key, shape, dtype=jnp.float32):
  del key
  return jnp.tile(jnp.asarray([1.0, 0.0, 0.0, 1.0], dtype), shape[0] // 4)


class KeypointDetector(nn.Module):
  """An hourglass on the reduced frame, with a softmax map and a jacobian per keypoint.

  Source: FOMM, except that the heads are zero-padded and keep the size of their
  input, so that heatmaps lie on the same corner-aligned grid as everything else. The
  initial jacobians are exactly the identity.
  """

  num_keypoints: int = 10
  base_features: int = 32
  max_features: int = 1024
  num_blocks: int = 5
  scale: float = 0.25  # at which the frame is seen
  temperature: float = 0.1  # of the softmax over a map
  head_size: int = 7  # kernels of the heads
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Keypoints:
    x = antialias_down(image, self.scale).astype(self.dtype)
    x = Hourglass(
      self.base_features,
      self.max_features,
      self.num_blocks,
      dtype=self.dtype,
      name="hourglass",
    )(x, train)
    # Bfloat16 is too coarse for coordinates and for a softmax at temperature 0.1.
    x = x.astype(jnp.float32)
    logits = Conv(self.num_keypoints, self.head_size, name="heatmap")(x)
    logits /= self.temperature
    self.sow("intermediates", HEATMAP, logits)
    height, width = logits.shape[1:3]
    heatmap = nn.softmax(logits.reshape(-1, height * width, self.num_keypoints), axis=1)
    heatmap = heatmap.reshape(logits.shape)
    jacobian_maps = Conv(
      4 * self.num_keypoints,
      self.head_size,
      kernel_init=nn.initializers.zeros,
      bias_init=_identity_jacobians,
      name="jacobian",
    )(x)
    jacobian_maps = jacobian_maps.reshape(-1, height, width, self.num_keypoints, 2, 2)
    jacobian = jnp.einsum(
      "bhwk,bhwkij->bkij", heatmap, jacobian_maps, precision="highest"
    )
    return Keypoints(heatmap_to_position(heatmap), jacobian, heatmap)


def gaussian_heatmap(
  position: Float[Array, "b k 2"], height: int, width: int, variance: float = 0.01
) -> Float[Array, "b h w k"]:
  """Returns exp(-|u - p|^2 / (2 variance)) on the corner-aligned grid (FOMM)."""
  grid = identity_grid(height, width)[None, :, :, None]
  distance = ((grid - position[:, None, None]) ** 2).sum(-1)
  return jnp.exp(-distance / np.float32(2.0 * variance))


def oriented_heatmap(
  keypoints: Keypoints, height: int, width: int, variance: float
) -> Float[Array, "b h w k"]:
  """Returns exp(-|J^-1 (u - p)|^2 / (2 variance)): Gaussians as long as the parts are.

  A jacobian that is the axis of a body part (`losses.anatomy.part_keypoints`) stretches
  the Gaussian along it.
  """
  offset = identity_grid(height, width)[None, :, :, None]
  offset = offset - keypoints.position[:, None, None]
  local = jnp.einsum(
    "bkij,bhwkj->bhwki", inverse_2x2(keypoints.jacobian), offset, precision="highest"
  )
  return jnp.exp(-(local**2).sum(-1) / np.float32(2.0 * variance))

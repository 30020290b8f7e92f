"""Frame -> keypoints without labels (First Order Motion Model)."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Hourglass
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import antialias_down


class Keypoints(NamedTuple):
  """What the detector finds in a frame."""

  position: Array  # [*b, k, 2], (x, y) in [-1, 1]
  jacobian: Array  # [*b, k, 2, 2], local affine motion
  heatmap: Array  # [*b, h, w, k], each map sums to 1


def heatmap_to_position(heatmap: Float[Array, "b h w k"]) -> Float[Array, "b k 2"]:
  """The expected grid coordinate under each map."""
  grid = identity_grid(*heatmap.shape[1:3])
  return jnp.einsum("bhwk,hwd->bkd", heatmap, grid)


def _identity_jacobians(key, shape, dtype=jnp.float32):
  del key
  return jnp.tile(jnp.asarray([1.0, 0.0, 0.0, 1.0], dtype), shape[0] // 4)


class KeypointDetector(nn.Module):
  """Hourglass on the reduced frame; a softmax map and a jacobian per keypoint.

  Source: FOMM, with the heads padded to the size of their input (pad 3), so that the
  heatmap lies on the same corner-aligned grid as everything else. A fresh detector's
  jacobians are exactly the identity.
  """

  num_keypoints: int = 10
  base_features: int = 32
  max_features: int = 1024
  num_blocks: int = 5
  scale: float = 0.25  # of the frame's side
  temperature: float = 0.1
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
    # Coordinates and a softmax at temperature 0.1 are too delicate for bfloat16.
    x = x.astype(jnp.float32)
    logits = Conv(self.num_keypoints, 7, name="heatmap")(x) / self.temperature
    height, width = logits.shape[1:3]
    heatmap = nn.softmax(logits.reshape(-1, height * width, self.num_keypoints), axis=1)
    heatmap = heatmap.reshape(logits.shape)
    jacobian_maps = Conv(
      4 * self.num_keypoints,
      7,
      kernel_init=nn.initializers.zeros,
      bias_init=_identity_jacobians,
      name="jacobian",
    )(x)
    jacobian_maps = jacobian_maps.reshape(-1, height, width, self.num_keypoints, 2, 2)
    jacobian = jnp.einsum("bhwk,bhwkij->bkij", heatmap, jacobian_maps)
    return Keypoints(heatmap_to_position(heatmap), jacobian, heatmap)


def gaussian_heatmap(
  position: Float[Array, "b k 2"], height: int, width: int, variance: float = 0.01
) -> Float[Array, "b h w k"]:
  """exp(-|u - p|^2 / (2 variance)) on the corner-aligned grid (FOMM)."""
  grid = identity_grid(height, width)[None, :, :, None]
  distance = ((grid - position[:, None, None]) ** 2).sum(-1)
  return jnp.exp(-distance / np.float32(2.0 * variance))

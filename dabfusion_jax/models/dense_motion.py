"""Dense backward flow and occlusion from pairs of keypoints (FOMM)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Hourglass
from dabfusion_jax.models.keypoint_detector import (
  Keypoints,
  gaussian_heatmap,
  oriented_heatmap,
)
from dabfusion_jax.ops.grid import identity_grid, inverse_2x2
from dabfusion_jax.ops.resize import antialias_down
from dabfusion_jax.ops.warp import warp

REGIONS = "region_logits"  # [b h w r], sown: to which region a cell belongs
OCCLUSION = "occlusion_logits"  # [b h w 1], sown: before the sigmoid


class Motion(NamedTuple):
  """How to sample the reference image to obtain the driving frame."""

  flow: Array  # [b h w 2], backward sampling grid (x, y), roughly in [-1, 1]
  occlusion: Array  # [b h w 1], in [0, 1], 1 = visible in the reference


def sparse_motions(
  reference: Keypoints, driving: Keypoints, height: int, width: int
) -> Float[Array, "b r h w 2"]:
  """Returns the grids of r = k + 1 regions: the background and k local motions.

  The background is the identity; T_k(u) = p_S + J_S J_D^-1 (u - p_D) for keypoint k.
  """
  grid = identity_grid(height, width)
  # Accelerators default to fewer digits than coordinates need.
  affine = jnp.matmul(
    reference.jacobian, inverse_2x2(driving.jacobian), precision="highest"
  )
  offset = grid[None, None] - driving.position[:, :, None, None]
  local = jnp.einsum("bkij,bkhwj->bkhwi", affine, offset, precision="highest")
  local += reference.position[:, :, None, None]
  background = jnp.broadcast_to(grid, (local.shape[0], 1, *grid.shape))
  return jnp.concatenate([background, local], axis=1)


class DenseMotion(nn.Module):
  """Averages the motions of background and keypoints at every cell of the latent grid.

  Of the driving frame it sees only the keypoints: for any weights, equal keypoints give
  the identity flow. Source: FOMM, with a background at rest, since AIST++'s cameras do
  not move.
  """

  base_features: int = 64
  max_features: int = 1024
  num_blocks: int = 5
  scale: float = 0.25
  variance: float = 0.01
  # Show where each driving keypoint's part lies, as long as its jacobian says, instead
  # of how the keypoints differ: a departure, for keypoints that are parts of a body.
  oriented: bool = False
  # Add to the mean of the local motions what no part that turns in the picture can
  # show, such as a chest that turns away: a departure.
  correction: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    ref_image: Float[Array, "b h w c"],
    reference: Keypoints,
    driving: Keypoints,
    train: bool,
  ) -> Motion:
    small = antialias_down(ref_image, self.scale)
    batch, height, width, channels = small.shape
    motions = sparse_motions(reference, driving, height, width)
    regions = motions.shape[1]
    if self.oriented:
      heat = oriented_heatmap(driving, height, width, self.variance)
    else:
      heat = gaussian_heatmap(driving.position, height, width, self.variance)
      heat -= gaussian_heatmap(reference.position, height, width, self.variance)
    heat = jnp.pad(heat, ((0, 0), (0, 0), (0, 0), (1, 0)))  # background: 0
    deformed = jax.vmap(jax.vmap(warp, in_axes=(None, 0)))(small, motions)
    deformed = jnp.moveaxis(deformed, 1, 3)  # b h w r c
    # Channels: (heat, R, G, B) of the first region, then of the next.
    x = jnp.concatenate([heat[..., None], deformed], axis=-1)
    x = x.reshape(batch, height, width, regions * (1 + channels)).astype(self.dtype)
    x = Hourglass(
      self.base_features,
      self.max_features,
      self.num_blocks,
      dtype=self.dtype,
      name="hourglass",
    )(x, train)
    x = x.astype(jnp.float32)
    logits = Conv(regions, 7, name="mask")(x)
    self.sow("intermediates", REGIONS, logits)
    mask = nn.softmax(logits, axis=-1)
    # Summed as offsets from the identity, equal keypoints remain exact in float32.
    grid = identity_grid(height, width)
    offset = jnp.einsum(
      "bhwr,brhwd->bhwd", mask, motions - grid[None, None], precision="highest"
    )
    if self.correction:
      # In proportion to how far the keypoints moved, so that equal ones still give the
      # identity.
      distance = jnp.abs(driving.position - reference.position).mean((1, 2))
      change = Conv(
        2,
        7,
        kernel_init=nn.initializers.zeros,
        bias_init=nn.initializers.zeros,
        name="correction",
      )(x)
      offset += distance[:, None, None, None] * change
    flow = grid[None] + offset
    logits = Conv(1, 7, name="occlusion")(x)
    self.sow("intermediates", OCCLUSION, logits)
    return Motion(flow, nn.sigmoid(logits))

"""Dense flow from both frames: places of the reference are compared with the driving.

FOMM's predictor knows of the driving frame only its keypoints. For people that is not
enough: with the true keypoints it is still off by half of the motion. Here features of
every cell of the driving frame are compared with those of every place of the reference
(GMFlow, arXiv 2111.13680), and the two flows are joined.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Down, Residual, Same
from dabfusion_jax.models.dense_motion import OCCLUSION, Motion
from dabfusion_jax.ops.folding import fold
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import antialias_down
from dabfusion_jax.ops.warp import warp

MATCHES = "match_logits"  # [b m*m k*k], sown: where in the reference each cell is


class Matching(nn.Module):
  """Finds where each cell of the driving frame is in the reference.

  The place is the mean over all places of the reference under a softmax of how alike
  features are, which know of both frames by attention. What the reference's own
  features give for themselves is subtracted, so equal frames give no motion, whatever
  the weights, but for rounding, which a sharp softmax makes larger.
  """

  features: int = 64
  num_layers: int = 2
  num_heads: int = 4
  scale: float = 0.125  # cells per pixel, at least 4 pixels per cell
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    ref_image: Float[Array, "b h w 3"],
    driving_frame: Float[Array, "b h w 3"],
    train: bool,
  ) -> Float[Array, "b m m 2"]:
    """Returns the displacement into the reference, in half widths of the picture."""
    batch = len(ref_image)
    images = jnp.concatenate([driving_frame, ref_image]).astype(self.dtype)
    x = fold(images, 2)
    x = Same(self.features // 2, dtype=self.dtype, name="first")(x, train)
    for i in range(round(1 / self.scale).bit_length() - 2):
      fine = x
      x = Down(self.features, dtype=self.dtype, name=f"down_{i}")(x, train)
      x = Residual(dtype=self.dtype, name=f"residual_{i}")(x, train)
    driving, reference = jnp.split(x, 2)
    # The driving frame, and the reference in its place, each with the reference.
    seekers = jnp.concatenate([driving, reference])
    sought = jnp.concatenate([reference, reference])
    seekers, sought = self._exchange(seekers, sought)

    query = nn.Dense(self.features, dtype=self.dtype, name="query")(seekers)
    cells = query.shape[1:3]
    key = jnp.repeat(jnp.repeat(sought, 2, 1), 2, 2)
    fine = jnp.concatenate([fine[batch:]] * 2)
    key = jnp.concatenate([key, fine], -1)
    key = Conv(self.features, dtype=self.dtype, name="key")(key)
    places = key.shape[1:3]
    # Bfloat16 is too coarse for a softmax that gives coordinates.
    logits = jnp.einsum(
      "bhwc,bijc->bhwij", query, key, preferred_element_type=jnp.float32
    )
    logits *= self.features**-0.5
    logits = logits.reshape(2 * batch, cells[0] * cells[1], -1)
    self.sow("intermediates", MATCHES, logits[:batch])
    grid = identity_grid(*places).reshape(-1, 2)
    found = jnp.matmul(jax.nn.softmax(logits), grid, precision="highest")
    own, of_reference = jnp.split(found.reshape(2 * batch, *cells, 2), 2)
    return own - of_reference

  def _exchange(
    self, seekers: Float[Array, "b h w c"], sought: Float[Array, "b h w c"]
  ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """Returns both maps with what each has learnt from itself and the other."""
    *shape, channels = seekers.shape
    x = jnp.concatenate([seekers, sought]).reshape(2 * shape[0], -1, channels)
    init = nn.initializers.normal(0.1)
    x += self.param("position", init, (1, *x.shape[1:])).astype(x.dtype)
    options = dict(dtype=self.dtype)
    norm = lambda x, name: nn.LayerNorm(**options, name=name)(x)
    for i in range(self.num_layers):
      attend = lambda name, i=i: nn.MultiHeadDotProductAttention(
        self.num_heads, **options, force_fp32_for_softmax=True, name=f"{name}_{i}"
      )
      y = norm(x, f"norm_self_{i}")
      x += attend("self")(y, y)
      y = norm(x, f"norm_cross_{i}")
      x += attend("cross")(y, jnp.roll(y, len(y) // 2, 0))
      y = nn.Dense(2 * channels, **options, name=f"widen_{i}")(norm(x, f"norm_{i}"))
      x += nn.Dense(channels, **options, name=f"narrow_{i}")(nn.gelu(y))
    x = x.reshape(2 * shape[0], *shape[1:], channels)
    return tuple(jnp.split(x, 2))


class Fusion(nn.Module):
  """Joins the motion of keypoints and that of matches, cell by cell.

  The flow is a mean of the two and a change in proportion to them, so no motion of
  either remains none.
  """

  features: int = 64
  num_residual: int = 3
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    ref_image: Float[Array, "b h w 3"],
    driving_frame: Float[Array, "b h w 3"],
    motion: Motion,
    matched: Float[Array, "b m m 2"],
    train: bool,
  ) -> Motion:
    """Returns the joint motion.

    Args:
      ref_image, driving_frame: in [0, 1].
      motion: of the keypoints.
      matched: displacement of the matches, see `Matching`.
    """
    height, width = matched.shape[1:3]
    scale = height / ref_image.shape[1]
    grid = identity_grid(height, width)[None]
    small = [antialias_down(x, scale) for x in (ref_image, driving_frame)]
    moved = motion.flow - grid
    warped = [jax.vmap(warp)(small[0], grid + x) for x in (moved, matched)]
    x = [*small, *warped, moved, matched, motion.occlusion]
    x = jnp.concatenate(x, -1).astype(self.dtype)
    x = Same(self.features, dtype=self.dtype, name="first")(x, train)
    for i in range(self.num_residual):
      x = Residual(dtype=self.dtype, name=f"residual_{i}")(x, train)
    zeros = dict(kernel_init=nn.initializers.zeros, bias_init=nn.initializers.zeros)
    x = Conv(4, dtype=self.dtype, name="last", **zeros)(x).astype(jnp.float32)
    share, occlusion, change = jnp.split(x, [1, 2], -1)
    distance = jnp.abs(jnp.concatenate([moved, matched], -1)).sum(-1, keepdims=True)
    offset = moved + nn.sigmoid(share) * (matched - moved) + distance * change
    self.sow("intermediates", OCCLUSION, occlusion)
    return Motion(grid + offset, nn.sigmoid(occlusion))

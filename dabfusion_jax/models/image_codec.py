"""Encoder of images to latents z, decoder of warped z to images (FOMM's layers)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Down, Residual, Same, Up
from dabfusion_jax.models.dense_motion import Motion
from dabfusion_jax.ops.folding import fold, unfold
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.warp import warp

FINE_FLOW = "flow"  # [b h w 2], sown by a decoder that has one


class ImageEncoder(nn.Module):
  """Encodes an image in [0, 1]; the side of z is the image's over 2^num_down."""

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, image: Float[Array, "b h w 3"], train: bool
  ) -> Float[Array, "b oh ow c"]:
    x = Same(self.base_features, 7, dtype=self.dtype, name="first")(image, train)
    for i in range(self.num_down):
      features = min(self.max_features, self.base_features * 2 ** (i + 1))
      x = Down(features, dtype=self.dtype, name=f"down_{i}")(x, train)
    return x.astype(jnp.float32)


class ImageDecoder(nn.Module):
  """Decodes a warped z to an image in [0, 1], without skips (paper Eq. 1, Fig. 3)."""

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  num_residual: int = 6
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, z: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow 3"]:
    x = _residuals(self, z.astype(self.dtype), train)
    x = _upsampled(self, x, train)
    x = Conv(3, 7, dtype=self.dtype, name="last")(x)
    return nn.sigmoid(x.astype(jnp.float32))


class BlendingDecoder(nn.Module):
  """Draws an image in [0, 1], and blends it with the picture and the warped picture.

  A departure from the paper, whose decoder draws everything from z. At every pixel the
  image is a mean of what is drawn, what moved and what stayed, with weights that the
  network finds: so what a picture shows need not pass through z.

  With `fine_flow`, the picture is warped by a flow of its own resolution: an arm is
  narrower than a cell of the flow. The change is in proportion to the motion around,
  so without motion the picture is not warped.
  """

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  num_residual: int = 6
  fine_flow: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    z: Float[Array, "b s s c"],
    motion: Motion,
    picture: Float[Array, "b h w 3"],
    train: bool,
  ) -> Float[Array, "b h w 3"]:
    """Decodes.

    Args:
      z: warped.
      motion: flow and occlusion.
      picture: as it is.
      train: see `models.blocks`.
    """
    cells, size = z.shape[1:3], picture.shape[1:3]
    displacement = motion.flow - identity_grid(*motion.flow.shape[1:3])[None]
    warped = jax.vmap(warp)(picture, resize_aligned(motion.flow, *size))
    pictures = jnp.concatenate([warped, picture], -1).astype(self.dtype)
    side = 2**self.num_down
    coarse = jnp.concatenate([displacement, motion.occlusion], -1)
    coarse = resize_aligned(coarse, *cells).astype(self.dtype)
    x = jnp.concatenate([z.astype(self.dtype), coarse, fold(pictures, side)], -1)
    features = min(self.max_features, self.base_features * side)
    x = Same(features, dtype=self.dtype, name="first")(x, train)
    x = _residuals(self, x, train)
    if self.fine_flow:
      zeros = dict(kernel_init=nn.initializers.zeros, bias_init=nn.initializers.zeros)
      change = Conv(2 * side**2, dtype=self.dtype, name="fine", **zeros)(x)
      change = unfold(change.astype(jnp.float32), side)
      reach = resize_aligned(_reach(displacement), *size)
      flow = resize_aligned(motion.flow, *size)
      # Its error is no error of the flow of cells, each of which has one motion.
      given = jax.lax.stop_gradient
      self.sow("intermediates", FINE_FLOW, given(flow) + given(reach) * change)
      flow += reach * change
      warped = jax.vmap(warp)(picture, flow)
      pictures = jnp.concatenate([warped, picture], -1).astype(self.dtype)
    x = jnp.concatenate([_upsampled(self, x, train), pictures], -1)
    x = Same(self.base_features, dtype=self.dtype, name="join")(x, train)
    x = Conv(6, 7, dtype=self.dtype, name="last")(x).astype(jnp.float32)
    drawn, weights = nn.sigmoid(x[..., :3]), jax.nn.softmax(x[..., 3:])
    layers = jnp.stack([drawn, warped, picture], -2)
    return (weights[..., None] * layers).sum(-2)


def _reach(displacement: Float[Array, "b s s 2"]) -> Float[Array, "b s s 1"]:
  """Returns the largest motion |x| + |y| of the cells around each cell."""
  length = jnp.abs(displacement).sum(-1, keepdims=True)
  return nn.max_pool(length, (3, 3), padding="SAME")


def _residuals(
  decoder: ImageDecoder | BlendingDecoder, x: Float[Array, "b h w c"], train: bool
) -> Float[Array, "b h w c"]:
  """Returns what a decoder's residual blocks, made here, bring forth."""
  for i in range(decoder.num_residual):
    x = Residual(dtype=decoder.dtype, name=f"residual_{i}")(x, train)
  return x


def _upsampled(
  decoder: ImageDecoder | BlendingDecoder, x: Float[Array, "b h w c"], train: bool
) -> Float[Array, "b oh ow d"]:
  """Returns what a decoder's upsampling, made here, brings forth."""
  for i in reversed(range(decoder.num_down)):
    features = min(decoder.max_features, decoder.base_features * 2**i)
    x = Up(features, dtype=decoder.dtype, name=f"up_{i}")(x, train)
  return x

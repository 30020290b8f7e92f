"""Encoder of images to latents z, decoder of warped z to images (FOMM's layers)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Down, Residual, Same, Up
from dabfusion_jax.ops.folding import fold


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
    x = _trunk(self, z.astype(self.dtype), train)
    x = Conv(3, 7, dtype=self.dtype, name="last")(x)
    return nn.sigmoid(x.astype(jnp.float32))


class BlendingDecoder(nn.Module):
  """Draws an image in [0, 1], and blends it with the picture and the warped picture.

  A departure from the paper, whose decoder draws everything from z. At every pixel the
  image is a mean of what is drawn, what moved and what stayed, with weights that the
  network finds: so what a picture shows need not pass through z.
  """

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  num_residual: int = 6
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    z: Float[Array, "b s s c"],
    motion: Float[Array, "b s s 3"],
    warped: Float[Array, "b h w 3"],
    picture: Float[Array, "b h w 3"],
    train: bool,
  ) -> Float[Array, "b h w 3"]:
    """Decodes.

    Args:
      z: warped.
      motion: displacement in half widths of the picture, and occlusion.
      warped: the picture, warped.
      picture: as it is.
      train: see `models.blocks`.
    """
    pictures = jnp.concatenate([warped, picture], -1).astype(self.dtype)
    side = 2**self.num_down
    motion = motion.astype(self.dtype)
    x = jnp.concatenate([z.astype(self.dtype), motion, fold(pictures, side)], -1)
    x = Same(z.shape[-1], dtype=self.dtype, name="first")(x, train)
    x = jnp.concatenate([_trunk(self, x, train), pictures], -1)
    x = Same(self.base_features, dtype=self.dtype, name="join")(x, train)
    x = Conv(6, 7, dtype=self.dtype, name="last")(x).astype(jnp.float32)
    drawn, weights = nn.sigmoid(x[..., :3]), jax.nn.softmax(x[..., 3:])
    layers = jnp.stack([drawn, warped, picture], -2)
    return (weights[..., None] * layers).sum(-2)


def _trunk(
  decoder: ImageDecoder | BlendingDecoder, x: Float[Array, "b h w c"], train: bool
) -> Float[Array, "b oh ow d"]:
  """Returns what a decoder's residual blocks and upsampling, made here, bring forth."""
  dtype = decoder.dtype
  for i in range(decoder.num_residual):
    x = Residual(dtype=dtype, name=f"residual_{i}")(x, train)
  for i in reversed(range(decoder.num_down)):
    features = min(decoder.max_features, decoder.base_features * 2**i)
    x = Up(features, dtype=dtype, name=f"up_{i}")(x, train)
  return x

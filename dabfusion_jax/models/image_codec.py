"""Encoder of images to latents z, decoder of warped z to images (FOMM's layers)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Down, Residual, Same, Up


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
    x = z.astype(self.dtype)
    for i in range(self.num_residual):
      x = Residual(dtype=self.dtype, name=f"residual_{i}")(x, train)
    for i in reversed(range(self.num_down)):
      features = min(self.max_features, self.base_features * 2**i)
      x = Up(features, dtype=self.dtype, name=f"up_{i}")(x, train)
    x = Conv(3, 7, dtype=self.dtype, name="last")(x)
    return nn.sigmoid(x.astype(jnp.float32))

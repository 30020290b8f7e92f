"""Image -> latent z, and warped z -> image (Johnson-style, as FOMM builds it)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.models.blocks import Conv, Down, Residual, Same, Up


class ImageEncoder(nn.Module):
  """[0, 1] image -> z at a quarter of its side (`num_down` = 2)."""

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: Float[Array, "b h w c"], train: bool):
    x = Same(self.base_features, 7, dtype=self.dtype, name="first")(image, train)
    for i in range(self.num_down):
      features = min(self.max_features, self.base_features * 2 ** (i + 1))
      x = Down(features, dtype=self.dtype, name=f"down_{i}")(x, train)
    return x.astype(jnp.float32)


class ImageDecoder(nn.Module):
  """Warped z -> [0, 1] image. It sees nothing else: no skips (paper Eq. 1, Fig. 3)."""

  base_features: int = 64
  max_features: int = 512
  num_down: int = 2
  num_residual: int = 6
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, z: Float[Array, "b h w c"], train: bool):
    x = z.astype(self.dtype)
    for i in range(self.num_residual):
      x = Residual(dtype=self.dtype, name=f"residual_{i}")(x, train)
    for i in reversed(range(self.num_down)):
      features = min(self.max_features, self.base_features * 2**i)
      x = Up(features, dtype=self.dtype, name=f"up_{i}")(x, train)
    x = Conv(3, 7, dtype=self.dtype, name="last")(x)
    return nn.sigmoid(x.astype(jnp.float32))

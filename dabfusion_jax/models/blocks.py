"""Convolutional building blocks of stage 1 (FOMM), channels last.

Every block takes `train`: in training batch norm uses the statistics of the batch
(the global batch under `jit`) and updates its running ones.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bias_init(fan_in: int) -> Callable:
  """Uniform in +-1/sqrt(fan_in), as the reference implementations initialise."""
  limit = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return init


class Conv(nn.Module):
  """Square 2-D convolution, stride 1, 'same' zero padding, with bias."""

  features: int
  kernel_size: int = 3
  kernel_init: Callable = kernel_init
  bias_init: Callable | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
    size = self.kernel_size
    return nn.Conv(
      self.features,
      (size, size),
      padding=size // 2,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init or bias_init(size * size * x.shape[-1]),
      dtype=self.dtype,
      name="conv",
    )(x)


class NormRelu(nn.Module):
  """Batch norm (eps 1e-5, running momentum 0.9), then ReLU."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    x = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      name="norm",
    )(x)
    return nn.relu(x)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow c"]:
  """2 x 2 mean with stride 2."""
  return nn.avg_pool(x, (2, 2), strides=(2, 2))


def upsample_nearest(x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow c"]:
  """Every pixel becomes a 2 x 2 block."""
  return jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2)


class Same(nn.Module):
  """conv -> batch norm -> ReLU at the same size."""

  features: int
  kernel_size: int = 3
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    x = Conv(self.features, self.kernel_size, dtype=self.dtype, name="conv")(x)
    return NormRelu(dtype=self.dtype, name="norm")(x, train)


class Down(nn.Module):
  """conv 3 x 3 -> batch norm -> ReLU -> 2 x 2 average pool."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    return average_pool(Same(self.features, dtype=self.dtype, name="same")(x, train))


class Up(nn.Module):
  """nearest x 2 -> conv 3 x 3 -> batch norm -> ReLU."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    x = upsample_nearest(x)
    return Same(self.features, dtype=self.dtype, name="same")(x, train)


class Residual(nn.Module):
  """Pre-activation residual block: twice (batch norm, ReLU, conv 3 x 3), plus input."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    y = x
    for i in (1, 2):
      y = NormRelu(dtype=self.dtype, name=f"norm_{i}")(y, train)
      y = Conv(x.shape[-1], dtype=self.dtype, name=f"conv_{i}")(y)
    return x + y


class Hourglass(nn.Module):
  """`num_blocks` Down, then as many Up with the encoder's maps concatenated.

  Down i gives min(max_features, base_features 2^(i+1)) channels. The last map to be
  concatenated is the input itself, so the output has base_features + c channels.
  Raises `ValueError` where the input has no pixel left at the bottom.
  """

  base_features: int
  max_features: int
  num_blocks: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool):
    if min(x.shape[1:3]) < 2**self.num_blocks:
      raise ValueError(
        f"An hourglass of {self.num_blocks} blocks needs at least"
        f" {2**self.num_blocks} pixels a side, got {x.shape[1:3]}."
      )
    width = lambda i: min(self.max_features, self.base_features * 2**i)
    maps = [x]
    for i in range(self.num_blocks):
      down = Down(width(i + 1), dtype=self.dtype, name=f"down_{i}")
      maps.append(down(maps[-1], train))
    y = maps.pop()
    for i in reversed(range(self.num_blocks)):
      y = Up(width(i), dtype=self.dtype, name=f"up_{i}")(y, train)
      y = jnp.concatenate([y, maps.pop()], axis=-1)
    return y

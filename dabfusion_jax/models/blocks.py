"""Convolutional building blocks of stage 1 (FOMM), channels last.

Blocks with batch norm take `train`: if it is true, they use the statistics of the batch
(of the global batch under `jit`) and update the running statistics.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from dabfusion_jax.ops.convolutions import conv, conv_upsampled

# Flax traces initializers at every use; under `jit` once per shape.
_init = functools.partial(jax.jit, static_argnums=(1, 2))
kernel_init = _init(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))


@functools.cache
def bias_init(fan_in: int) -> nn.initializers.Initializer:
  """Returns an initializer: uniform in +-1/sqrt(fan_in), as in FOMM and LFDM."""
  limit = fan_in**-0.5

  @_init
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -limit, limit)

  return init


class Conv(nn.Module):
  """2-D convolution with a square kernel, stride 1, zero padding and bias.

  If `upsample` is true, every pixel is first repeated as a block of 2 x 2.
  """

  features: int
  kernel_size: int = 3
  upsample: bool = False
  kernel_init: nn.initializers.Initializer = kernel_init
  bias_init: nn.initializers.Initializer | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow d"]:
    size = self.kernel_size
    return _Convolution(
      self.features,
      (size, size),
      self.kernel_init,
      self.bias_init or bias_init(size * size * x.shape[-1]),
      self.upsample,
      self.dtype,
      name="conv",
    )(x)


class _Convolution(nn.Module):
  """The parameters of `nn.Conv`, used by the forms of `ops.convolutions`."""

  features: int
  size: tuple[int, int]
  kernel_init: nn.initializers.Initializer
  bias_init: nn.initializers.Initializer
  upsample: bool
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow d"]:
    shape = (*self.size, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    bias = self.param("bias", self.bias_init, shape[-1:], jnp.float32)
    x, kernel, bias = (jnp.asarray(value, self.dtype) for value in (x, kernel, bias))
    if self.upsample:
      y = conv_upsampled(x, kernel)
    else:
      y = conv(x, kernel, padding=self.size[0] // 2)
    return y + bias[None, None, None]


class NormRelu(nn.Module):
  """Batch norm (epsilon 1e-5, momentum 0.9 of running statistics), then ReLU."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    x = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      name="norm",
    )(x)
    return nn.relu(x)


class Same(nn.Module):
  """Convolution, batch norm, ReLU; `upsample` doubles the size before them."""

  features: int
  kernel_size: int = 3
  upsample: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    x = Conv(
      self.features, self.kernel_size, self.upsample, dtype=self.dtype, name="conv"
    )(x)
    return NormRelu(dtype=self.dtype, name="norm")(x, train)


class Down(nn.Module):
  """Convolution 3 x 3, batch norm, ReLU, average pool 2 x 2."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    x = Same(self.features, dtype=self.dtype, name="same")(x, train)
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


class Up(nn.Module):
  """Nearest-neighbour upsampling by 2, convolution 3 x 3, batch norm, ReLU."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    same = Same(self.features, upsample=True, dtype=self.dtype, name="same")
    return same(x, train)


class Residual(nn.Module):
  """Pre-activation residual block of twice batch norm, ReLU, convolution 3 x 3."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    y = x
    for i in (1, 2):
      y = NormRelu(dtype=self.dtype, name=f"norm_{i}")(y, train)
      y = Conv(x.shape[-1], dtype=self.dtype, name=f"conv_{i}")(y)
    return x + y


class Hourglass(nn.Module):
  """`num_blocks` of Down, then as many of Up, joined by skip connections.

  Block `down_i` has min(max_features, base_features 2^(i+1)) channels. The last skip
  connection is the input itself, so the output has base_features + c channels.

  Raises:
    ValueError: the input is smaller than 2^num_blocks pixels.
  """

  base_features: int
  max_features: int
  num_blocks: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool
  ) -> Float[Array, "b oh ow d"]:
    if min(x.shape[1:3]) < 2**self.num_blocks:
      raise ValueError(
        f"An hourglass of {self.num_blocks} blocks needs at least"
        f" {2**self.num_blocks} pixels per side, got {x.shape[1:3]}."
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

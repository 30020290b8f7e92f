"""Convolutions of frames against those of the libraries."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.ops import convolutions, im2col

VIDEO = jax.random.normal(jax.random.key(7), (2, 3, 4, 6, 8))


def test_folded_convolution_equals_the_three_dimensional_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 8, 5))
  folded = convolutions.conv_frames(VIDEO, kernel, stride=2, padding=1)
  expected = jax.lax.conv_general_dilated(
    VIDEO,
    kernel,
    (1, 2, 2),
    [(0, 0), (1, 1), (1, 1)],
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  )
  assert folded.shape == (2, 3, 2, 3, 5)
  np.testing.assert_allclose(folded, expected, atol=1e-4)


def test_folded_transposed_convolution_equals_the_three_dimensional_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 5, 8))
  folded = convolutions.conv_transpose_frames(VIDEO, kernel)
  layer = nn.ConvTranspose(
    5, (1, 4, 4), (1, 2, 2), "SAME", use_bias=False, transpose_kernel=True
  )
  expected = layer.apply({"params": {"kernel": kernel}}, VIDEO)
  np.testing.assert_allclose(folded, expected, atol=1e-4)


def test_transposed_convolution_is_the_adjoint_of_the_strided_one():
  kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 5, 8))
  fine = jax.random.normal(jax.random.key(1), (2, 3, 8, 12, 5))
  down = convolutions.conv_frames(fine, kernel, stride=2, padding=1)
  up = convolutions.conv_transpose_frames(VIDEO, kernel)
  np.testing.assert_allclose(jnp.vdot(down, VIDEO), jnp.vdot(fine, up), rtol=1e-4)


def test_convolution_of_few_channels_equals_that_of_many():
  kernel = jax.random.normal(jax.random.key(0), (1, 7, 7, 8, 5))
  expected = convolutions.conv_frames(VIDEO, kernel)
  np.testing.assert_allclose(
    convolutions.conv_few_channels(VIDEO, kernel), expected, atol=1e-4
  )


@pytest.mark.parametrize(
  ("shape", "kernel_size", "channels"),
  [  # (b, h, w, c): below and at the sizes that have forms of their own
    ((2, 3, 3, 4), (3, 3), 5),
    ((2, 4, 3, 4), (3, 3), 5),
    ((1, 4, 4, 512), (1, 1), 5),
    ((1, 63, 64, 4), (3, 3), 3),
    ((1, 64, 66, 4), (3, 3), 3),
    ((1, 64, 64, 4), (7, 1), 3),
    ((1, 64, 64, 64), (1, 1), 128),
  ],
)
def test_convolution_of_any_size_is_that_of_xla(shape, kernel_size, channels):
  x = jax.random.normal(jax.random.key(0), shape)
  kernel = jax.random.normal(jax.random.key(1), (*kernel_size, shape[-1], channels))
  padding = kernel_size[0] // 2
  ours = lambda x, kernel: convolutions.conv(x, kernel, padding=padding)
  _assert_same(ours, lambda *pair: _by_xla(*pair, padding), x, kernel)


@pytest.mark.parametrize("size", [(15, 16), (16, 17)])
def test_convolution_of_a_doubled_image_is_that_of_the_image_doubled(size):
  x = jax.random.normal(jax.random.key(0), (2, *size, 4))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 5))
  doubled = lambda x: jnp.kron(x, jnp.ones((1, 2, 2, 1)))
  theirs = lambda x, kernel: _by_xla(doubled(x), kernel, 1)
  _assert_same(convolutions.conv_upsampled, theirs, x, kernel)


def test_a_doubled_image_has_no_form_for_other_kernels():
  with pytest.raises(ValueError, match="3 x 3"):
    convolutions.conv_upsampled(jnp.zeros((1, 16, 16, 4)), jnp.zeros((5, 5, 4, 4)))


@pytest.mark.parametrize(
  ("shape", "kernel", "stride"),
  [  # below and at the sizes of frames that have a form of their own
    ((2, 3, 7, 9, 24), (3, 3, 24, 24), 1),
    ((2, 3, 8, 9, 24), (3, 3, 24, 24), 1),
    ((2, 3, 9, 8, 4), (3, 3, 4, 8), 1),
    ((2, 3, 8, 8, 24), (4, 4, 24, 24), 2),
    ((2, 1, 8, 8, 512), (1, 3, 512, 128), 1),
  ],
)
def test_convolution_of_frames_of_any_size_is_that_of_xla(shape, kernel, stride):
  x = jax.random.normal(jax.random.key(0), shape)
  kernel = jax.random.normal(jax.random.key(1), kernel)
  padding = kernel.shape[0] // 2 if stride == 1 else 1
  ours = lambda x, kernel: convolutions.conv_frames(
    x, kernel[None], stride=stride, padding=padding
  )

  def theirs(x, kernel):
    y = _by_xla(x.reshape(-1, *x.shape[2:]), kernel, padding, stride)
    return y.reshape(*x.shape[:2], *y.shape[1:])

  _assert_same(ours, theirs, x, kernel)


@pytest.mark.parametrize("channels", [(3, 4), (8, 2), (2, 40)])
@pytest.mark.parametrize("gathered", [1, 700, 2_000, 10**6])
def test_kernel_gradients_are_the_same_in_any_parts(gathered, channels, monkeypatch):
  """Covers parts of one row, of some rows, of one image and of several images."""
  monkeypatch.setattr(im2col, "_GATHERED", gathered)
  x = jax.random.normal(jax.random.key(0), (2, 6, 4, 5, channels[0]))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, *channels))
  form = functools.partial(convolutions.conv_im2col.cpu, padding=1)
  plain = functools.partial(convolutions.conv_im2col.plain, padding=1)
  _assert_same(form, plain, x, kernel)


@pytest.mark.parametrize(
  ("function", "shape", "channels", "is_gathered"),
  [
    (convolutions.conv_frames, (1, 2, 8, 8), (25, 20), True),
    (convolutions.conv_frames, (1, 2, 7, 8), (25, 20), False),
    (convolutions.conv_frames, (1, 2, 8, 8), (24, 20), False),
    (convolutions.conv_frames, (1, 2, 8, 8), (256, 129), False),
    (convolutions.conv, (1, 64, 64), (25, 20), True),
    (convolutions.conv, (1, 64, 64), (3, 8), True),
    (convolutions.conv, (1, 64, 63), (25, 20), False),
    (convolutions.conv, (1, 64, 64), (3, 9), False),
  ],
)
def test_sizes_choose_how_the_gradient_of_a_kernel_is_made(
  function, shape, channels, is_gathered
):
  depth = (1,) * (len(shape) - 3)
  shapes = (*shape, channels[0]), (*depth, 3, 3, *channels)
  arrays = [jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes]
  jaxpr = jax.make_jaxpr(functools.partial(function, padding=1))(*arrays)
  assert ("custom_vjp" in str(jaxpr)) == is_gathered


def test_kernel_gradients_in_half_precision_sum_in_single(monkeypatch):
  monkeypatch.setattr(im2col, "_GATHERED", 1)  # a row at once: many addends
  rng = np.random.default_rng(0)
  x, gradient = (
    jnp.asarray(rng.random((1, 1, 128, 16, 4)), jnp.bfloat16) for _ in range(2)
  )
  kernel = jnp.zeros((3, 3, 4, 4))

  def slope(form, dtype):
    form = functools.partial(form, padding=1)
    pull = jax.vjp(form, x.astype(dtype), kernel.astype(dtype))[1]
    return pull(gradient.astype(dtype))[1].astype(jnp.float32)

  found = slope(convolutions.conv_im2col.cpu, jnp.bfloat16)
  np.testing.assert_allclose(
    found, slope(convolutions.conv_im2col.plain, jnp.float32), rtol=2**-8
  )


def _by_xla(x, kernel, padding, stride=1):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    [(padding, padding)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _assert_same(ours, theirs, x, kernel):
  """Compares values and gradients; the loss weighs every output differently."""

  def of(function):
    def loss(x, kernel):
      y = function(x, kernel)
      return (y * jnp.cos(jnp.arange(float(y.size))).reshape(y.shape)).sum(), y

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, kernel)

  near = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
  jax.tree.map(near, of(ours), of(theirs))

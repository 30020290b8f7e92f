"""Arguments of attention, and how far two results and their gradients are apart."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.ops.attention import AttentionWeights


def draw_arguments(sizes, heads, has_bias=True, dtype=jnp.float32):
  """Draws input [b m s c], weights of n heads of d features, and a bias if wanted."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  channels, inner = sizes[-1], heads[0] * heads[1]
  gain = draw(channels)
  qkv = (2 * draw(channels, 3, *heads) / channels**0.5).astype(dtype)
  out = (draw(inner, channels) / inner**0.5).astype(dtype)
  bias = (draw(heads[0], sizes[2], sizes[2]),) if has_bias else ()
  x = draw(*sizes).astype(dtype)
  arguments = x, AttentionWeights(gain, qkv, out), *bias
  return jax.tree.map(jnp.asarray, arguments)  # no operation, which would be compiled


def value_and_gradient(form):
  """Returns a function of arguments; the loss weighs every output differently."""

  def loss(arguments):
    y = form(*arguments).astype(jnp.float32)
    return (y * jnp.cos(jnp.arange(float(y.size))).reshape(y.shape)).sum(), y

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def differences(a, b):
  """Returns largest differences, relative to the largest value of each array in b."""
  wide = lambda x: np.asarray(x, np.float64)
  return [
    np.abs(wide(x) - wide(y)).max() / np.abs(wide(y)).max()
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  ]

"""Forms of attention for TPUs: whole layers in a kernel (`kernels.apply_in_kernel`).

Lanes hold the features of all heads of a group. A mask per head takes the place of
slices, which TPUs make well at multiples of 128 lanes only; to a multiplier of matrices
of 128 x 128 the other heads of the group cost nothing.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dabfusion_jax.ops.chunks import chunk_size
from dabfusion_jax.ops.kernel_calls import divides
from dabfusion_jax.ops.kernels import Block, apply_in_kernel, dot
from dabfusion_jax.ops.norms import layer_norm
from dabfusion_jax.ops.positions import rotation, turn

_LANES = 128
_SUBLANES = 8  # rows of a tile; positions of a sequence are a multiple of it
# What the 16 MiB on the chip of a TPU v4 have room for, as its compiler finds.
_PARAM_BYTES = 1_650_000
_LONGEST_SOFTMAX, _LONGEST_LINEAR = 128, 1024  # sequences
_SOFTMAX_ROWS, _LINEAR_ROWS = 320, 512  # positions at a time, if sequences are shorter
_ROW_FLOATS = 320 * 512  # positions times channels at a time


def softmax_fits(
  x: Float[Array, "b m s c"],
  qkv: Float[Array, "c 3 n d"],
  bias: Float[Array, "n s s"] | None,
) -> bool:
  """Returns whether `softmax_attention` takes these shapes."""
  parts, bias_bytes = (4, 0) if bias is None else (6, 4 * bias.size)
  return _fits(x, qkv, parts, bias_bytes) and x.shape[2] <= _LONGEST_SOFTMAX


def linear_fits(x: Float[Array, "b m s c"], qkv: Float[Array, "c 3 n d"]) -> bool:
  """Returns whether `linear_attention` takes these shapes."""
  return _fits(x, qkv, 4, 0) and x.shape[2] <= _LONGEST_LINEAR


def _fits(x, qkv, parts: int, bias_bytes: int) -> bool:
  """Returns whether heads and positions fill tiles, and the chip has room for them."""
  inner, width = math.prod(qkv.shape[2:]), _group_width(qkv)
  positions, channels = x.shape[2:]
  whole_tiles = inner % width == 0 and width % qkv.shape[3] == 0
  param_bytes = parts * inner * channels * qkv.dtype.itemsize + bias_bytes
  return (
    divides(len(x))
    and whole_tiles
    and positions % _SUBLANES == 0
    and param_bytes <= _PARAM_BYTES
    and positions * _whole_lanes(channels) <= _ROW_FLOATS
  )


def _whole_lanes(channels: int) -> int:
  """Returns the lanes that `channels` take."""
  return -(-channels // _LANES) * _LANES


def _group_width(qkv: Float[Array, "c 3 n d"]) -> int:
  """Returns the number of features of the heads that are treated together."""
  return min(_LANES, qkv.shape[2] * qkv.shape[3])


def _block_size(x: Float[Array, "b m s c"], rows: int) -> int:
  """Returns how many of the m sequences a block of at most `rows` positions holds."""
  positions, channels = x.shape[2:]
  rows = min(rows, _ROW_FLOATS // _whole_lanes(channels))
  return chunk_size(x.shape[1], rows // positions)


def _flops(x: Float[Array, "b m s c"], out: Float[Array, "i c"], width: int) -> int:
  """Returns the operations of a sequence that the plain form does as well.

  Projections, and products by `width` numbers per position and feature. What masks set
  to zero is not counted.
  """
  return 2 * x.shape[2] * len(out) * (4 * x.shape[3] + width)


def _make_params(gain, parts, out, width: int):
  """Returns the parameters of a layer, those of each group of heads by themselves.

  Args:
    gain: of the layer norm, [c].
    parts: projections such as those to queries, keys and values, [c n d] each.
    out: the projection back, [(n d) c].
    width: of a group.
  """
  starts = range(0, len(out), width)
  parts = [part.reshape(len(part), -1) for part in parts]
  return {
    "gain": gain[None],
    "parts": [[part[:, i : i + width] for part in parts] for i in starts],
    "out": [out[i : i + width] for i in starts],
  }


def _head_masks(width: int, head_dim: int) -> list[Float[Array, "1 w"]]:
  """Returns the lanes of each head in a group."""
  lane = jax.lax.broadcasted_iota(jnp.int32, (1, width), 1)
  starts = range(0, width, head_dim)
  return [((lane >= i) & (lane < i + head_dim)).astype(jnp.float32) for i in starts]


def softmax_attention(
  x: Float[Array, "b m s c"],
  gain: Float[Array, "c"],
  qkv: Float[Array, "c 3 n d"],
  out: Float[Array, "i c"],
  bias: Float[Array, "n s s"] | None,
) -> Float[Array, "b m s c"]:
  """Applies softmax attention, rotated and with a bias if there is one; i = n d."""
  num_heads, head_dim = qkv.shape[2:]
  width = _group_width(qkv)
  size = _block_size(x, _SOFTMAX_ROWS)
  parts, tables, biases = list(jnp.moveaxis(qkv, 1, 0)), [], []
  if bias is not None:
    # Rotation is x cos + turn(x) sin, and a turned query is a projection as well.
    parts += [turn(parts[0]), turn(parts[1])]
    repeats = (size, width // head_dim)
    tables = [np.tile(table, repeats) for table in rotation(x.shape[2], head_dim)]
    tables = [jnp.asarray(table, jnp.float32) for table in tables]
    biases = list(bias)
  params = _make_params(gain, parts, out, width)
  per_group = width // head_dim
  params["bias"] = [biases[i : i + per_group] for i in range(0, num_heads, per_group)]
  settings, flops = (head_dim, x.dtype), _flops(x, out, 2 * x.shape[2])
  block = Block(_softmax_block, settings, size, flops)
  return apply_in_kernel(block, x, params, tables)


def _softmax_block(x: Float[Array, "m s c"], params, tables, head_dim, dtype):
  """Returns the update of `softmax_attention` for a few sequences, in float32."""
  y = layer_norm(x, params["gain"][0]).reshape(-1, x.shape[-1])
  update = jnp.zeros_like(y)
  for parts, out, bias in zip(
    params["parts"], params["out"], params["bias"], strict=True
  ):
    update += _softmax_group(y, parts, out, bias, tables, x.shape[:2], head_dim, dtype)
  return update.reshape(x.shape)


@functools.partial(jax.jit, static_argnums=(5, 6, 7))  # traced once for all groups
def _softmax_group(x, parts, out, bias, tables, sizes, head_dim, dtype):
  """Returns what one group of heads adds to the update, [(m s) c].

  Args:
    x: the normalised input, [(m s) c].
    parts: projections to queries, keys and values, and if there are `tables`, to turned
      queries and keys, [c w] each.
    out: the projection back, [w c].
    bias: of each head, [s s]; or empty.
    tables: cosine and sine of the rotation, [(m s) w]; or empty.
    sizes: (m, s).
    head_dim: features of a head.
    dtype: of the products.
  """
  q, k, v, *turned = (dot(x, part, (1, 0), dtype) for part in parts)
  if tables:
    cosine, sine = tables
    q, k = (y * cosine + z * sine for y, z in zip((q, k), turned, strict=True))
  q, k, v = (y.reshape(*sizes, len(out)) for y in (q * head_dim**-0.5, k, v))
  y = jnp.zeros_like(q)
  for head, mask in enumerate(_head_masks(len(out), head_dim)):
    logits = dot(q * mask[None], k, (1, 1), dtype)
    if bias:
      logits += bias[head][None]
    largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    exponentials = jnp.exp(logits - largest)
    total = exponentials.sum(-1, keepdims=True)
    y += mask[None] * (dot(exponentials, v, (1, 0), dtype) / total)
  return dot(y.reshape(-1, len(out)), out, (1, 0), dtype)


def linear_attention(
  x: Float[Array, "b m s c"],
  gain: Float[Array, "c"],
  qkv: Float[Array, "c 3 n d"],
  out: Float[Array, "i c"],
) -> Float[Array, "b m s c"]:
  """Applies linear attention; i = n d."""
  head_dim, width = qkv.shape[3], _group_width(qkv)
  params = _make_params(gain, list(jnp.moveaxis(qkv, 1, 0)), out, width)
  head = np.arange(width) // head_dim
  tables = [jnp.asarray(head[:, None] == head[None], jnp.float32)]
  settings, flops = (head_dim, x.dtype), _flops(x, out, 2 * head_dim)
  block = Block(_linear_block, settings, _block_size(x, _LINEAR_ROWS), flops)
  return apply_in_kernel(block, x, params, tables)


def _linear_block(x: Float[Array, "m s c"], params, tables, head_dim, dtype):
  """Returns the update of `linear_attention` for a few sequences, in float32."""
  y = layer_norm(x, params["gain"][0]).reshape(-1, x.shape[-1])
  update = jnp.zeros_like(y)
  for parts, out in zip(params["parts"], params["out"], strict=True):
    update += _linear_group(y, parts, out, *tables, x.shape[:2], head_dim, dtype)
  return update.reshape(x.shape)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _linear_group(x, parts, out, same_head, sizes, head_dim, dtype):
  """Returns what one group of heads adds to the update, [(m s) c].

  The matrix of all keys and values of the group is taken as a whole, and what joins
  different heads is set to zero.

  Args:
    x, parts, out, sizes, head_dim, dtype: as for `_softmax_group`.
    same_head: whether two features belong to the same head, [w w].
  """
  q, k, v = (dot(x, part, (1, 0), dtype) for part in parts)
  largest = jnp.zeros_like(q)
  for mask in _head_masks(len(out), head_dim):
    of_head = jnp.where(mask > 0, q, -jnp.inf).max(-1, keepdims=True)
    largest += mask * jax.lax.stop_gradient(of_head)
  exponentials = jnp.exp(q - largest)
  total = dot(exponentials, same_head, (1, 0), jnp.float32)
  q = exponentials / total * head_dim**-0.5
  q, k, v = (y.reshape(*sizes, len(out)) for y in (q, k, v))
  exponentials = jnp.exp(k - jax.lax.stop_gradient(k.max(1, keepdims=True)))
  k = exponentials / exponentials.sum(1, keepdims=True)
  context = dot(k, v, (0, 0), dtype) * same_head[None]
  y = dot(q, context, (1, 0), dtype)
  return dot(y.reshape(-1, len(out)), out, (1, 0), dtype)

"""Layers of attention against their formulas, and what they must not mix."""

import jax
import numpy as np
import pytest

from dabfusion_jax.models.attention import (
  RelativePositionBias,
  SpatialAttention,
  SpatialLinearAttention,
  TemporalAttention,
)

HEADS, DIM, CHANNELS = 2, 4, 6
X = jax.random.normal(jax.random.key(0), (2, 5, 3, 2, CHANNELS))
BIAS = jax.random.normal(jax.random.key(1), (HEADS, 5, 5))


def _softmax(x, axis=-1):
  e = np.exp(x - x.max(axis, keepdims=True))
  return e / e.sum(axis, keepdims=True)


def _normalised(x, gain):
  x = np.asarray(x, np.float64)
  spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  return (x - x.mean(-1, keepdims=True)) / spread * np.asarray(gain)


def _heads(y, kernel):
  """Projects [... c] to q, k and v, each [... heads dim], heads before features."""
  y = y @ np.asarray(kernel, np.float64)
  return np.moveaxis(y.reshape(*y.shape[:-1], 3, HEADS, DIM), -3, 0)


def _init(layer, *args):
  variables = jax.jit(layer.init)(jax.random.key(2), *args)
  gain = 1 + 0.3 * jax.random.normal(jax.random.key(3), (CHANNELS,))
  variables["params"]["norm"] = gain
  return variables


def _temporal_literally(params, x, bias):
  """Computes each pixel by itself, with interleaved rotary pairs (2i, 2i + 1)."""
  q, k, v = _heads(_normalised(x, params["norm"]), params["qkv"])
  num_frames = x.shape[1]
  out = np.zeros((*x.shape[:-1], HEADS, DIM))
  for b, row, col, n in np.ndindex(x.shape[0], *x.shape[2:4], HEADS):
    at = (b, slice(None), row, col, n)
    rotated = []
    for features in (q[at] * DIM**-0.5, k[at]):
      pairs = features[:, ::2] + 1j * features[:, 1::2]
      frequency = 10000.0 ** (-np.arange(DIM // 2) / (DIM // 2))
      pairs = pairs * np.exp(1j * np.arange(num_frames)[:, None] * frequency)
      rotated.append(pairs)
    logits = (rotated[0] @ rotated[1].conj().T).real + np.asarray(bias)[n]
    out[at] = _softmax(logits) @ v[at]
  kernel = np.asarray(params["out"])
  return out.reshape(*x.shape[:-1], -1) @ kernel


def test_relative_bias_depends_on_key_minus_query():
  layer = RelativePositionBias(HEADS)
  params = layer.init(jax.random.key(0), 6)
  assert params["params"]["table"].shape == (32, HEADS)
  bias = layer.apply(params, 6)
  np.testing.assert_array_equal(bias[:, 1, 3], bias[:, 2, 4])
  np.testing.assert_array_equal(bias[:, 1, 3], params["params"]["table"][16 + 2])


def test_temporal_attention_is_the_literal_formula():
  layer = TemporalAttention(HEADS, DIM)
  variables = _init(layer, X, BIAS)
  y = jax.jit(layer.apply)(variables, X, BIAS)
  expected = _temporal_literally(variables["params"], X, BIAS)
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_temporal_attention_does_not_mix_pixels():
  layer = TemporalAttention(HEADS, DIM)
  variables = _init(layer, X, BIAS)
  of_pixel = lambda x: layer.apply(variables, x, BIAS)[0, :, 1, 1].sum()
  gradient = np.array(jax.jit(jax.grad(of_pixel))(X))
  assert gradient[0, :, 1, 1].any()
  gradient[0, :, 1, 1] = 0
  assert not gradient.any()


def test_temporal_attention_depends_on_the_order_of_frames():
  layer = TemporalAttention(HEADS, DIM)
  variables = _init(layer, X, BIAS)
  apply = jax.jit(layer.apply)
  forward = apply(variables, X, 0 * BIAS)
  backward = apply(variables, X[:, ::-1], 0 * BIAS)[:, ::-1]
  assert np.abs(forward - backward).max() > 1e-3  # by rotary embedding alone


def test_temporal_attention_accepts_more_frames_than_the_paper_has():
  layer = TemporalAttention(HEADS, DIM)
  x = jax.random.normal(jax.random.key(0), (1, 50, 1, 1, CHANNELS))
  bias_layer = RelativePositionBias(HEADS)
  bias_variables = bias_layer.init(jax.random.key(0), 40)
  bias = bias_layer.apply(bias_variables, 50)
  variables = _init(layer, X, BIAS)
  y = jax.jit(layer.apply)(variables, x, bias)
  expected = _temporal_literally(variables["params"], x, bias)
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_spatial_attention_is_the_literal_formula():
  layer = SpatialAttention(HEADS, DIM)
  variables = _init(layer, X)
  params = variables["params"]
  q, k, v = _heads(_normalised(X, params["norm"]), params["qkv"])
  q, k, v = (a.reshape(2, 5, 6, HEADS, DIM) for a in (q, k, v))
  logits = np.einsum("btpnd,btqnd->btnpq", q * DIM**-0.5, k)
  expected = np.einsum("btnpq,btqnd->btpnd", _softmax(logits), v).reshape(
    2, 5, 3, 2, -1
  )
  expected = expected @ np.asarray(params["out"])
  np.testing.assert_allclose(jax.jit(layer.apply)(variables, X), expected, atol=1e-5)


def test_linear_attention_is_the_literal_formula():
  layer = SpatialLinearAttention(HEADS, DIM)
  variables = _init(layer, X)
  params = variables["params"]
  q, k, v = _heads(_normalised(X, params["norm"]), params["qkv"])
  q, k, v = (a.reshape(2, 5, 6, HEADS, DIM) for a in (q, k, v))
  q, k = _softmax(q) * DIM**-0.5, _softmax(k, axis=2)
  context = np.einsum("btpnd,btpne->btnde", k, v)
  expected = np.einsum("btpnd,btnde->btpne", q, context).reshape(2, 5, 3, 2, -1)
  expected = expected @ np.asarray(params["out"]) + np.asarray(params["bias"])
  np.testing.assert_allclose(jax.jit(layer.apply)(variables, X), expected, atol=1e-5)


@pytest.mark.parametrize("layer_class", [SpatialAttention, SpatialLinearAttention])
def test_spatial_attention_has_no_positions_and_does_not_mix_frames(layer_class):
  layer = layer_class(HEADS, DIM)
  variables = _init(layer, X)
  y = layer.apply(variables, X)
  flipped = layer.apply(variables, X[:, :, ::-1])[:, :, ::-1]
  np.testing.assert_allclose(flipped, y, atol=1e-5)
  changed = layer.apply(variables, X.at[:, 2].add(1.5 * X[:, 1]))
  np.testing.assert_array_equal(changed[:, [0, 1, 3, 4]], y[:, [0, 1, 3, 4]])
  assert np.abs(changed[:, 2] - y[:, 2]).max() > 1e-3

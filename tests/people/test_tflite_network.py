"""A network read from a file computes what its operations are defined to."""

import types

import jax
import numpy as np
import pytest
import scipy.signal
import threadpoolctl

from dabfusion_jax.people import tflite_network
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store, tflite_reader
from dabfusion_jax.pretrained.tflite_reader import Graph, Operation, read_tflite
from data_pipeline.errors import UserError

_RNG = np.random.default_rng(0)


def random(*shape):
  return _RNG.normal(size=shape).astype(np.float32)


def run(name, x, constants, options, compiled):
  """Runs one operation on a picture."""
  weights = {i + 1: value for i, value in enumerate(constants)}
  out = len(weights) + 1
  operation = Operation(name, tuple(range(out)), (out,), options)
  shapes = (x[None].shape, *(value.shape for value in constants), ())
  graph = Graph((operation,), shapes, weights, (0,), (out,))
  return TfliteNetwork(graph, (0,), compiled)(x)[0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("is_same", [False, True])
def test_convolutions_equal_those_of_xla(compiled, stride, is_same):
  x, kernel, bias = random(9, 8, 3), random(4, 3, 3, 3), random(4)
  options = {"same": is_same, "stride": stride, "activation": ""}
  expected = jax.lax.conv_general_dilated(
    x[None], kernel, (stride, stride), "SAME" if is_same else "VALID",
    dimension_numbers=("NHWC", "OHWI", "NHWC"),
  )[0] + bias.reshape(1, 1, 4)  # fmt: skip
  found = run("conv", x, [kernel, bias], options, compiled)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  kernel, bias = random(1, 3, 3, 3), random(3)
  expected = jax.lax.conv_general_dilated(
    x[None], kernel.transpose(1, 2, 0, 3), (stride, stride),
    "SAME" if is_same else "VALID", feature_group_count=3,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )[0] + bias.reshape(1, 1, 3)  # fmt: skip
  found = run("depthwise_conv", x, [kernel, bias], options, compiled)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_transposed_convolution_spreads_each_pixel():
  x, kernel = random(3, 4, 2), random(1, 2, 2, 2)
  options = {"same": True, "stride": 2}
  bias = np.zeros(1, np.float32)
  found = run("Convolution2DTransposeBias", x, [kernel, bias], options, False)
  for row, column in ((0, 0), (4, 7), (5, 2)):
    pixel = x[row // 2, column // 2] @ kernel[0, row % 2, column % 2]
    assert found[row, column, 0] == pytest.approx(float(pixel), abs=1e-5)


def test_pools_resizing_and_activations():
  x = random(4, 6, 2)
  options = {"stride": 2, "window": 2, "activation": "relu6"}
  blocks = x.reshape(2, 2, 3, 2, 2)
  found = run("max_pool", x, [], options, False)
  np.testing.assert_allclose(found, np.clip(blocks.max((1, 3)), 0, 6))
  options = {"align_corners": 0, "half_pixel": 1}
  size = np.array([8, 12], np.int32)
  found = run("resize_bilinear", x, [size], options, False)
  expected = jax.image.resize(x, (8, 12, 2), "bilinear")
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(
    run("hard_swish", x, [], {}, False), x * np.clip(x + 3, 0, 6) / 6, atol=1e-6
  )


def test_channels_become_pixels_and_arrays_are_joined():
  x = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
  found = run("depth_to_space", x, [], {"block": 2}, False)
  np.testing.assert_array_equal(found[..., 0], [[0, 1, 4, 5], [2, 3, 6, 7]])
  options = {"axis": 3, "activation": ""}
  found = run("concatenate", x, [2 * x[None]], options, False)
  np.testing.assert_array_equal(found, np.concatenate([x, 2 * x], -1))


class _Table:
  """A table of a file, its fields by number."""

  def __init__(self, **fields):
    self.fields = {int(name[1:]): value for name, value in fields.items()}

  def number(self, field, kind):
    return self.fields.get(field, 0)

  def numbers(self, field, kind):
    return np.array(self.fields.get(field, []), kind)

  def table(self, field):
    return self.fields[field]

  tables = table


def test_sparse_rows_are_read():
  lists = {"_3": _Table(_0=[0, 2, 2, 3]), "_5": _Table(_0=[1, 3, 0])}
  rows = _Table(_0=1, _2=2, _4=3, **lists)
  values = np.array([5, 6, 7], np.float16)
  axes = [_Table(), _Table(), rows]
  found = tflite_reader._dense(values, (3, 1, 4), _Table(_2=axes))
  np.testing.assert_array_equal(found, [[0, 5, 0, 6], [0] * 4, [7, 0, 0, 0]])
  for other in ({"_2": [rows, rows]}, {"_1": [4], "_2": axes}):
    with pytest.raises(ValueError, match="sparse"):
      tflite_reader._dense(values, (3, 4), _Table(**other))


def test_sparse_rows_without_places_are_damage(monkeypatch):
  def read(content):
    rows = types.SimpleNamespace(number=lambda *_: 1, table=lambda field: None)
    sparsity = _Table(_2=[rows], _1=[])
    return tflite_reader._dense(np.ones(3, np.float16), (3, 4), sparsity)

  monkeypatch.setattr(tflite_reader, "_read_graph", read)
  with pytest.raises(UserError, match="not a network of TensorFlow Lite"):
    read_tflite(b"")


@pytest.mark.parametrize("content", [b"", b"nonsense" * 9, bytes(200)])
def test_a_file_that_is_no_network_is_refused_in_one_line(content):
  with pytest.raises(UserError, match="not a network of TensorFlow Lite") as error:
    read_tflite(content)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("name", "size"),
  [
    pytest.param("selfie", 256, marks=pytest.mark.slow),
    pytest.param("blazepose-full", 256, marks=pytest.mark.slow),
    ("blazepose-detector", 224),
  ],
)
def test_the_real_networks_are_the_same_compiled_and_not(name, size):
  try:
    graph = read_tflite(store.load(name)["model"].tobytes())
  except store.MissingWeightsError as error:
    pytest.skip(str(error))
  x = scipy.signal.convolve(
    _RNG.random((size, size, 3)), np.ones((9, 9, 1)) / 81, "same"
  )
  outputs = [TfliteNetwork(graph, (0,), c)(x.astype(np.float32)) for c in (False, True)]
  np.testing.assert_allclose(*(o[0] for o in outputs), rtol=1e-4, atol=2e-3)


def blas_threads():
  libraries = threadpoolctl.threadpool_info()
  return {x["num_threads"] for x in libraries if x["user_api"] == "blas"}


def test_numpy_has_one_thread_inside_a_network_and_its_own_number_after():
  np.ones((2, 2)) @ np.ones((2, 2))  # loads the library
  with threadpoolctl.threadpool_limits(2, user_api="blas"):
    before = blas_threads()
    inside = tflite_network._ONE_THREAD
    inside.__enter__()
    inside.__enter__()  # as of another thread, which goes on longer
    inside.__exit__()
    assert blas_threads() == {1}
    inside.__exit__()
    assert blas_threads() == before


def test_a_network_runs_its_products_in_one_thread(monkeypatch):
  seen = []
  monkeypatch.setitem(
    tflite_network._OPERATIONS,
    "relu",
    lambda x, options, xp: seen.append(blas_threads()) or x,
  )
  x = random(2, 2, 1)
  with threadpoolctl.threadpool_limits(2, user_api="blas"):
    run("relu", x, (), {}, False)
  assert seen == [{1}]

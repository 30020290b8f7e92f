"""Weights in fewer bits come back as near as the bits allow, and then stay so."""

import numpy as np
import pytest

from dabfusion_jax.storage import rounding
from dabfusion_jax.storage.rounding import (
  DTYPES,
  EXPONENT,
  FLOAT16,
  FLOAT32,
  INT8,
  SCALE,
)


def weights():
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(3, 3, 30, 20)) * 10.0 ** rng.uniform(-5, 2, 20)
  kernel[..., 7] = 0
  small = rng.normal(size=(4, 5))
  arrays = {"conv/kernel": kernel, "conv/bias": rng.normal(size=5_000), "small": small}
  return {name: value.astype(np.float32) for name, value in arrays.items()}


def test_integers_are_within_half_a_step_of_their_channel():
  given = weights()
  packed = rounding.pack(given, INT8)
  assert packed["conv/kernel"].dtype == np.int8
  assert packed["conv/bias"].dtype == packed["small"].dtype == np.float16
  kernel = given["conv/kernel"]
  error = np.abs(rounding.unpack(packed)["conv/kernel"] - kernel).max((0, 1, 2))
  step = np.abs(kernel).max((0, 1, 2)) / 127
  assert (error <= 0.501 * step).all() and error[7] == 0
  assert np.abs(packed["conv/kernel"]).max() == 127


def uneven():
  """Returns an array with an input channel to whose size all would be rounded."""
  kernel = np.random.default_rng(0).normal(size=(3, 3, 40, 20)).astype(np.float32)
  kernel[:, :, 5] *= 30
  return kernel


def test_input_channels_of_different_size_are_as_exact_as_others():
  packed = rounding.pack({"kernel": uneven()}, INT8)
  assert packed["kernel"].dtype == packed["kernel" + EXPONENT].dtype == np.int8
  error = rounding.unpack(packed)["kernel"] - uneven()
  norm = lambda x: np.sqrt(np.square(x).mean((0, 1, 3)))
  assert (norm(error) < 0.02 * norm(uneven())).all()


def test_an_array_of_which_integers_lose_much_stays_in_half_precision():
  # One large value in each channel.
  kernel = 200 * np.eye(200, dtype=np.float32)
  kernel += np.random.default_rng(0).normal(size=kernel.shape).astype(np.float32)
  packed = rounding.pack({"kernel": kernel}, INT8)
  assert packed.keys() == {"kernel"} and packed["kernel"].dtype == np.float16
  again = rounding.pack(rounding.unpack(packed), INT8)
  np.testing.assert_array_equal(again["kernel"], packed["kernel"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_packing_again_changes_nothing(dtype):
  given = weights() | {"uneven": uneven()}
  once = rounding.unpack(rounding.pack(given, dtype))
  twice = rounding.unpack(rounding.pack(once, dtype))
  for name, value in once.items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(twice[name], value)


def test_float32_is_kept():
  given = weights()
  for name, value in rounding.unpack(rounding.pack(given, FLOAT32)).items():
    np.testing.assert_array_equal(value, given[name])


@pytest.mark.parametrize("dtype", [FLOAT16, INT8])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_cannot_be_rounded(dtype, value):
  with pytest.raises(ValueError, match="kernel is not finite"):
    rounding.pack({"kernel": np.full((50, 50), value, np.float32)}, dtype)


@pytest.mark.parametrize("dtype", [FLOAT16, INT8])
def test_what_half_precision_cannot_hold_is_named(dtype):
  with pytest.raises(ValueError, match="bias does not fit float16"):
    rounding.pack({"bias": np.full(3, 1e6, np.float32)}, dtype)


@pytest.mark.parametrize(
  "change",
  [
    {"conv/kernel" + SCALE: None},
    {"conv/kernel" + SCALE: np.ones(19, np.float32)},
    {"conv/kernel" + SCALE: np.ones(20, np.float16)},
    {"conv/kernel" + SCALE: np.full(20, np.nan, np.float32)},
    {"conv/kernel": None},
    {"conv/kernel": np.ones((3, 3, 30, 20), np.float32)},
    {"small": np.ones((4, 5), np.int64)},
    {"small" + EXPONENT: np.ones(4, np.int8)},
    {"kernel" + EXPONENT: np.ones(39, np.int8)},
    {"kernel" + EXPONENT: np.ones(40, np.float32)},
    {"kernel": None},
    {"nothing" + EXPONENT: np.ones(4, np.int8)},
    {
      "small": np.ones(4, np.int8),
      "small" + SCALE: np.ones(4, np.float32),
      "small" + EXPONENT: np.int8(1),
    },
  ],
)
def test_integers_without_their_scales_are_damage(change):
  packed = rounding.pack(weights() | {"kernel": uneven()}, INT8) | change
  packed = {name: value for name, value in packed.items() if value is not None}
  with pytest.raises(ValueError, match="kernel|small|nothing"):
    rounding.unpack(packed)

"""Weights in fewer bits: in half precision, or as 8-bit integers with scales.

An array of many values, with two axes or more, is stored as integers in [-127, 127]
and one scale per output channel (its last axis), under the name of the array and
`SCALE`. All others stay in half precision, and so does an array of which integers would
lose too much: one whose input channels differ much in size.
"""

from collections.abc import Mapping

import numpy as np

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
DTYPES = (FLOAT32, FLOAT16, INT8)
SCALE = ":scale"  # no parameter of a Linen module has a colon
_MIN_VALUES = 2_000  # of an array that is stored as integers
_LARGEST = 127
_MAX_ERROR = 0.03  # of integers, root mean square over that of the array; often 0.01
_SCALE_BITS = 12  # so that values are exact, and packing them again changes nothing


def pack(weights: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
  """Returns arrays as they are stored.

  Args:
    weights: float32, by name.
    dtype: one of `DTYPES`.

  Raises:
    ValueError: a value to be rounded is not finite, or beyond the range of float16.
  """
  packed = {}
  for name, value in weights.items():
    if dtype == FLOAT32:
      packed[name] = value
      continue
    if not np.isfinite(value).all():
      raise ValueError(f"{name} is not finite")
    if dtype == INT8 and value.ndim > 1 and value.size >= _MIN_VALUES:
      scale = _scale(value)
      integers = np.round(value / scale).astype(np.int8)
      error = np.linalg.norm(integers * scale - value)
      if error <= _MAX_ERROR * np.linalg.norm(value):
        packed[name], packed[name + SCALE] = integers, scale
        continue
    with np.errstate(over="ignore"):
      packed[name] = value.astype(np.float16)
    if not np.isfinite(packed[name]).all():
      raise ValueError(f"{name} does not fit float16")
  return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns stored arrays in float32.

  Raises:
    ValueError: integers without their scales, or scales without their integers.
  """
  weights = {}
  for name, value in packed.items():
    if name.endswith(SCALE):
      if name.removesuffix(SCALE) not in packed:
        raise ValueError(f"{name} belongs to nothing")
      continue
    scale = packed.get(name + SCALE)
    if value.dtype == np.int8:
      if (
        scale is None
        or scale.dtype != np.float32
        or scale.shape != value.shape[-1:]
        or not np.isfinite(scale).all()
      ):
        raise ValueError(f"{name} has no scales that fit")
      weights[name] = value * scale
    elif scale is not None or value.dtype not in (np.float16, np.float32):
      raise ValueError(f"{name} is {value.dtype}")
    else:
      weights[name] = value.astype(np.float32)
  return weights


def _scale(value: np.ndarray) -> np.ndarray:
  """Returns the scale of each output channel, float32, rounded up to few bits."""
  largest = np.abs(value).max(tuple(range(value.ndim - 1))).astype(np.float64)
  fraction, exponent = np.frexp(np.where(largest, largest, 1.0) / _LARGEST)
  fraction = np.ceil(np.ldexp(fraction, _SCALE_BITS))
  return np.ldexp(fraction, exponent - _SCALE_BITS).astype(np.float32)

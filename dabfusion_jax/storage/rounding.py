"""Weights in fewer bits: in half precision, or as 8-bit integers with scales.

An array of many values, with two axes or more, is stored as integers in [-127, 127]
and one scale per output channel (its last axis), under the name of the array and
`SCALE`. If its input channels (the axis before) differ much in size, each of them has a
power of two as well, under the name and `EXPONENT`. All others stay in half precision,
and so does an array of which even these integers would lose too much.
"""

from collections.abc import Mapping

import numpy as np

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
DTYPES = (FLOAT32, FLOAT16, INT8)
SCALE, EXPONENT = ":scale", ":exponent"  # no parameter of a Linen module has a colon
_MIN_VALUES = 2_000  # of an array that is stored as integers
_LARGEST = 127
_MAX_ERROR = 0.018  # of integers, root mean square over that of the array; often 0.01
_FLOATS = (np.float16, np.float32)
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
      integers, error = _to_integers(value)
      if error > _MAX_ERROR:
        exponent = _exponent(value)
        integers, error = _to_integers(np.ldexp(value, -exponent[:, None]))
        integers[EXPONENT] = exponent
      if error <= _MAX_ERROR:
        packed |= {name + suffix: array for suffix, array in integers.items()}
        continue
    with np.errstate(over="ignore"):
      packed[name] = value.astype(np.float16)
    if not np.isfinite(packed[name]).all():
      raise ValueError(f"{name} does not fit float16")
  return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns stored arrays in float32.

  Raises:
    ValueError: integers without their scales, or scales or exponents without their
      integers.
  """
  weights = {}
  for name, value in packed.items():
    if name.endswith((SCALE, EXPONENT)):
      if name.rpartition(":")[0] not in packed:
        raise ValueError(f"{name} belongs to nothing")
      continue
    scale, exponent = (packed.get(name + suffix) for suffix in (SCALE, EXPONENT))
    if value.dtype == np.int8:
      if (
        scale is None
        or scale.dtype != np.float32
        or scale.shape != value.shape[-1:]
        or not np.isfinite(scale).all()
      ):
        raise ValueError(f"{name} has no scales that fit")
      weights[name] = value * scale
      if exponent is not None:
        # An array of one axis has no input channels.
        wanted = (np.int8, value.shape[-2:-1] or None)
        if (exponent.dtype, exponent.shape) != wanted:
          raise ValueError(f"{name} has exponents that do not fit")
        weights[name] = np.ldexp(weights[name], exponent[:, None])
    elif scale is not None or exponent is not None or value.dtype not in _FLOATS:
      raise ValueError(f"{name} is {value.dtype}")
    else:
      weights[name] = value.astype(np.float32)
  return weights


def _to_integers(value: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
  """Returns the integers and their scales by suffix, and the error."""
  scale = _scale(value)
  integers = np.round(value / scale).astype(np.int8)
  error = np.linalg.norm(integers * scale - value) / max(np.linalg.norm(value), 1e-30)
  return {"": integers, SCALE: scale}, float(error)


def _exponent(value: np.ndarray) -> np.ndarray:
  """Returns the exponent of the size of each input channel, int8."""
  axes = (*range(value.ndim - 2), value.ndim - 1)
  size = np.sqrt(np.square(value, dtype=np.float64).mean(axes))
  exponent = np.round(np.log2(np.where(size, size, 1.0)))
  return np.clip(exponent, -100, 100).astype(np.int8)


def _scale(value: np.ndarray) -> np.ndarray:
  """Returns the scale of each output channel, float32, rounded up to few bits."""
  largest = np.abs(value).max(tuple(range(value.ndim - 1))).astype(np.float64)
  fraction, exponent = np.frexp(np.where(largest, largest, 1.0) / _LARGEST)
  fraction = np.ceil(np.ldexp(fraction, _SCALE_BITS))
  return np.ldexp(fraction, exponent - _SCALE_BITS).astype(np.float32)

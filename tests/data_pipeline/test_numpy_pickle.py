"""Pickled arrays are read; a pickle that names code is refused, and nothing runs."""

import os
import pickle

import numpy as np
import pytest

from data_pipeline.numpy_pickle import UnsafePickleError, read_arrays

VALUES = np.arange(12, dtype=np.float32)


class Malicious:
  """Runs a command when it is unpickled."""

  def __reduce__(self):
    return os.system, ("true",)


def recursive_dict():
  tree = {}
  tree["itself"] = tree
  return tree


def test_arrays_are_read_by_their_joined_names():
  tree = {"a": {"b": VALUES.reshape(3, 4), "c": np.float64(2)}, "d": [1, 2]}
  arrays = read_arrays(pickle.dumps(tree))
  assert arrays.keys() == {"a/b", "a/c", "d"}
  np.testing.assert_array_equal(arrays["a/b"], tree["a"]["b"])
  assert arrays["a/b"].dtype == np.float32 and arrays["a/c"] == 2
  np.testing.assert_array_equal(arrays["d"], [1, 2])


def test_arrays_of_numpy_1_are_read():
  content = pickle.dumps({"a": VALUES}, 3)
  assert b"numpy._core.multiarray" in content
  arrays = read_arrays(content.replace(b"numpy._core", b"numpy.core"))
  np.testing.assert_array_equal(arrays["a"], VALUES)


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (pickle.dumps({"a": Malicious()}), "it names .*system"),
    (b"cbuiltins\neval\n(V1\ntR.", "it names builtins.eval"),
    (pickle.dumps({"a": np.array([None])}), "'a' is not an array of numbers"),
    (pickle.dumps({"a": {"b": "text"}}), "'a/b' is not an array of numbers"),
    (pickle.dumps({"a": [[1], [2, 3]]}), "contains something other than arrays"),
    (pickle.dumps(recursive_dict()), "contains something other than arrays"),
    (pickle.dumps({1: VALUES}), "contains no named arrays"),
    (pickle.dumps([VALUES]), "contains no named arrays"),
    (pickle.dumps({"a": VALUES})[:-20], "damaged pickle"),
    (b"", "damaged pickle"),
  ],
)
def test_a_pickle_of_anything_else_is_refused_in_one_line(content, reason):
  with pytest.raises(UnsafePickleError, match=reason) as error:
    read_arrays(content)
  assert "\n" not in str(error.value)

"""Tests of the checks of types in tests."""

import importlib
import sys

import numpy as np
import pytest
import type_checks
from jaxtyping import TypeCheckError, install_import_hook

from dabfusion_jax.inference import beats_file
from dabfusion_jax.people.squares import Square
from data_pipeline.records.clip_record import encode_video

MODULE = """
import numpy as np
from jaxtyping import Float

def twice(x: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
  return 2 * x

class Points:
  x = np.zeros((3, 4))

  @property
  def first(self) -> Float[np.ndarray, "2"]:
    return self.x[0]
"""
WRONG = np.zeros((3, 4))


@pytest.fixture
def points(tmp_path, monkeypatch):
  (tmp_path / "checked_points.py").write_text(MODULE)
  monkeypatch.syspath_prepend(tmp_path)
  with install_import_hook("checked_points", "type_checks.check"):
    yield importlib.import_module("checked_points")
  del sys.modules["checked_points"]


def test_wrong_shapes_are_found_at_first_calls(points):
  points.twice(np.zeros((3, 2)))
  with pytest.raises(TypeCheckError):
    points.twice(WRONG)
  with pytest.raises(TypeCheckError):
    points.Points().first  # noqa: B018


def test_later_calls_are_not_checked(points, monkeypatch):
  monkeypatch.setattr(type_checks, "CALLS", 3)
  for _ in range(5):
    points.twice(np.zeros((3, 2)))
  points.twice(WRONG)
  points.Points.x = np.zeros((1, 2))
  for _ in range(5):
    points.Points().first  # noqa: B018
  points.Points.x = WRONG
  assert points.Points().first.shape == (4,)


def test_the_packages_are_checked():
  for function in (Square.put_back, beats_file.read, encode_video):
    assert hasattr(function, "__wrapped__"), function

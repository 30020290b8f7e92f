"""Surfaces come back from the bytes of a record, in any number of threads."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest

from data_pipeline.records.surfaces import Surfaces


def make_surfaces():
  """Returns one triangle that fills the middle of two frames of 8 x 8 pixels."""
  triangle = np.full((2, 8, 8), -1, np.int32)
  triangle[:, 2:6, 2:6] = 0
  depth = np.where(triangle >= 0, 100, np.inf).astype(np.float32)
  points = np.float32([[[1, 1, 100], [7, 1, 100], [4, 7, 100]]]).repeat(2, 0)
  place = np.zeros((2, 8, 8, 2), np.float32)
  return Surfaces(triangle, place, np.int32([[0, 1, 2]]), points, depth)


def test_files_of_arrays_are_parsed_by_one_thread_at_a_time(monkeypatch):
  # Python 3.11 does not survive two of them under JAX's callback of the collector.
  surfaces, load, inside, most = make_surfaces(), np.load, [], []
  code = surfaces.encode()

  def slow(*args, **settings):
    inside.append(threading.get_ident())
    most.append(len(inside))
    time.sleep(0.02)
    file = load(*args, **settings)
    inside.pop()
    return file

  monkeypatch.setattr(np, "load", slow)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    decoded = list(pool.map(Surfaces.decode, [code] * 8))
  assert len(most) == 8 and max(most) == 1
  for found in decoded:
    np.testing.assert_array_equal(found.triangle, surfaces.triangle)
    np.testing.assert_array_equal(found.points, surfaces.points)


@pytest.mark.parametrize("size", [8, 1024])
def test_a_record_keeps_what_is_hidden_and_where_a_surface_is(size):
  surfaces = make_surfaces()
  surfaces.triangle[1, :, 4:] = -1
  surfaces.depth[1, :, 4:] = 0  # a black bar beside the picture
  points = surfaces.points.copy()
  points[..., 0] += size - 8
  large = [
    np.pad(x, ((0, 0), (0, 0), (size - 8, 0), *((0, 0),) * (x.ndim - 3)))
    for x in (surfaces.triangle + 1, surfaces.place, surfaces.depth)
  ]
  surfaces = Surfaces(large[0] - 1, large[1], surfaces.corners, points, large[2])
  again = Surfaces.decode(surfaces.encode())
  for a, b in zip(surfaces.motion(0, 1), again.motion(0, 1), strict=True):
    np.testing.assert_allclose(a, b, atol=1 / 64)
  visible = again.motion(0, 1)[1]
  assert visible[2:6, -6:-4].all() and not visible[:, -4:].any()


def test_what_is_turned_over_or_behind_a_hand_is_hidden():
  surfaces = make_surfaces()
  for depth, seen in ((101, True), (97, False)):  # of what frame 1 shows there
    surfaces.depth[1] = depth
    assert surfaces.motion(0, 1)[1][2:6, 2:6].all() == seen
  surfaces.depth[1] = 100
  surfaces.points[1] = surfaces.points[1, [0, 2, 1]]  # what is seen stays in place
  assert not surfaces.motion(0, 1)[1].any()

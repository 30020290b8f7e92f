"""Windows begin where their policy says, inside of shots, and off any beat grid."""

import numpy as np
import pytest

from data_pipeline.cutting.windows import Windows

TIMES = np.arange(120) / 10


def starts(windows, name="a", times=TIMES, segments=((0.0, np.inf),), num_frames=10):
  return windows.starts(name, times, num_frames, 10, segments)


def test_random_windows_start_anywhere_and_depend_on_the_name_only():
  windows = Windows("random", 1)
  names = [f"video{i}" for i in range(200)]
  drawn = np.concatenate([starts(windows, name) for name in names])
  again = np.concatenate([starts(windows, name) for name in names])
  np.testing.assert_array_equal(drawn, again)
  assert 0 <= drawn.min() < 0.5 and 10.4 < drawn.max() <= 11.0
  assert np.std(np.mod(drawn, 0.5)) > 0.1
  first, second = starts(Windows("random", 2))
  assert 0 <= first < 5.5 < second


@pytest.mark.parametrize("policy", ["first", "random", "strided", "spread"])
@pytest.mark.parametrize("fps", [3, 10, 20, 60000 / 1001])
def test_a_video_exactly_as_long_as_the_clip_fits(policy, fps):
  windows = Windows(policy, 1)
  times = np.arange(int(8 * fps + 1e-6)) / fps
  np.testing.assert_allclose(starts(windows, times=times, num_frames=80), 0, atol=0.06)
  assert not len(starts(windows, times=times[: -max(1, int(fps / 5))], num_frames=80))


def test_the_first_window_is_at_the_start_and_strided_ones_at_equal_distances():
  np.testing.assert_array_equal(starts(Windows("first")), [0])
  np.testing.assert_allclose(starts(Windows("strided", 1.0)), np.arange(12))
  np.testing.assert_allclose(starts(Windows("strided", 2.5)), [0, 2.5, 5, 7.5, 10])


@pytest.mark.parametrize("text", ["first", "random:7", "strided:0.7", "spread:0.7"])
def test_windows_stay_in_their_shot(text):
  shots = ((0.0, 0.8), (0.8, 3.05), (3.05, 8.0), (8.0, np.inf))
  windows = Windows.parse(text)
  assert str(windows) == text
  drawn = starts(windows, segments=shots)
  assert len(drawn) >= (1 if text == "first" else 7)
  for start in drawn:
    end = start + 0.9
    inside = [b <= start + 1e-9 and end <= e + 1e-9 for b, e in shots]
    assert any(inside[1:]) and not inside[0], (start, end)
  # The first shot alone is too short.
  assert not len(starts(windows, segments=shots[:1]))


def test_spread_windows_are_as_many_as_strided_and_off_the_grid():
  shots = ((0.0, 3.05), (3.05, 4.05), (4.05, np.inf))
  drawn = starts(Windows("spread", 2.0), segments=shots)
  grid = starts(Windows("strided", 2.0), segments=shots)
  assert len(drawn) == len(grid) == 2 + 1 + 4
  np.testing.assert_array_equal(np.histogram(drawn, (0, 3.05, 4.05, 12))[0], [2, 1, 4])
  assert np.diff(drawn).max() < 4 and (np.abs(drawn - grid) > 0.1).sum() == 6
  again = starts(Windows("spread", 2.0), segments=shots)
  np.testing.assert_array_equal(drawn, again)
  names = [f"video{i}" for i in range(200)]
  many = np.concatenate([starts(Windows("spread", 4.0), name) for name in names])
  assert np.std(np.mod(many, 0.5)) > 0.1 and many.max() > 10.5


def test_no_window_occurs_twice():
  shots = tuple((float(i), i + 0.99) for i in range(3))
  assert len(starts(Windows("random", 5), segments=shots)) == 1


@pytest.mark.parametrize("text", ["last", "random:1.5", "strided:0", "random:x", ""])
def test_unknown_policies_are_refused(text):
  with pytest.raises(ValueError, match="write first, random:COUNT"):
    Windows.parse(text)

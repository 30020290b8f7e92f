"""The benchmark of whole songs: parts, their beats, and what is measured of them."""

import types

import numpy as np
import pytest

from benchmarks import songs
from dabfusion_jax.evaluation.reading.poses import JOINTS


def test_parts_have_the_same_length_whatever_is_made_at_once():
  frames = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones(3, np.uint8)
  cuts = np.split(frames, [1, 2, 14])
  dance = types.SimpleNamespace(parts=[types.SimpleNamespace(frames=x) for x in cuts])
  parts = list(songs.parts_of(dance, 5))
  assert [len(part) for part in parts] == [5] * 4
  np.testing.assert_array_equal(np.concatenate(parts), frames[:20])


def test_beats_of_a_part_have_one_beyond_either_end():
  beats = np.arange(0.25, 60, 0.5)
  found = songs.beats_between(beats, 30.0, 32.0)
  np.testing.assert_allclose(found, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25])
  np.testing.assert_allclose(songs.beats_between(beats, 0.0, 0.5), [0.25, 0.75])


def test_a_dance_that_stops_on_the_beat_and_drifts_is_measured_so():
  still = np.zeros((len(JOINTS), 2))
  still[:, 1] = np.linspace(0, 100, len(JOINTS))
  trunk = songs._trunk(still)
  t = np.arange(100) / 10
  swing = 20 * np.sin(2 * np.pi * t)[:, None]  # still at 0.25 s, 0.75 s, ...
  joints = np.repeat(still[None], 100, axis=0)
  joints[..., 0] += swing + 0.5 * trunk
  joints[..., 1] -= 0.25 * trunk
  visible = np.ones(joints.shape[:2], bool)
  visible[:10] = False
  visible[10:20, 0] = False  # the head alone
  measured = songs.measure(joints, visible, still, np.arange(-0.25, 11, 0.5), 10.0)
  assert measured.found == 0.9
  assert measured.align > 0.8 > 0.3 > measured.shifted
  assert measured.aside == pytest.approx(0.5, abs=0.05)
  assert measured.above == pytest.approx(0.25) and measured.trunk == pytest.approx(1)
  assert measured.spread == pytest.approx(0, abs=1e-6)
  speed = np.abs(np.diff(swing[10:, 0])).mean() * 10 / trunk
  assert measured.speed == pytest.approx(speed, rel=0.02)


@pytest.mark.parametrize(
  ("made", "more", "message"),
  [
    ([], [], "nowhere"),
    (["nowhere"], [], "holds no pictures"),
    (["nowhere", "nowhere/a.png"], ["--seconds=3"], "--seconds >= --part_seconds"),
  ],
)
def test_input_that_cannot_be_used_is_one_line_and_nothing_is_written(
  tmp_path, made, more, message
):
  for name in made:
    path = tmp_path / name
    path.mkdir() if not path.suffix else path.touch()
  output = tmp_path / "output"
  with pytest.raises(SystemExit) as caught:
    songs.main([f"--pictures={tmp_path / 'nowhere'}", f"--output={output}", *more])
  text = str(caught.value)
  assert message in text and "\n" not in text
  assert not output.exists()

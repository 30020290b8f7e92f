"""Dances of many inputs are those of each, and music may be in memory."""

import numpy as np
import pytest
import soundfile
import toys

from data_pipeline.errors import UserError
from data_pipeline.synthdance.generate import write_wav

_FRAME = toys.FRAME


@pytest.mark.parametrize(
  "joining", [pytest.param("windows", marks=pytest.mark.slow), "chain"]
)
def test_dances_of_a_batch_are_those_that_are_made_alone(
  pipeline, toy, music, tmp_path, joining
):
  rate, short = 44_100, tmp_path / "short.wav"
  write_wav(short, np.zeros((5 * rate, 2), np.float32))
  picture = np.full((_FRAME, _FRAME, 3), 90, np.uint8)
  songs = [music, short, music, short, short]
  options = {"drawing": "decoder", "beats": [0.5, 1.0], "seed": 3, "duration": "full"}
  options |= {"joining": joining, "details": False if joining == "windows" else None}
  alone = [pipeline(picture, song, **options) for song in songs]
  seen, together = [], []
  for dance in pipeline.stream_all(
    [(picture, song) for song in songs],
    batch_size=2,
    callback=lambda done, total: seen.append((done, total)),
    **options,
  ):
    together.append(dance.collect())
  assert [len(dance.frames) for dance in together] == [134, 50, 134, 50, 50]
  for one, other in zip(alone, together, strict=True):
    np.testing.assert_array_equal(other.frames, one.frames)
    np.testing.assert_array_equal(other.flow, one.flow)
    assert other.settings == one.settings and other.notes == one.notes
  shares = [done for done, _ in seen]
  assert shares == sorted(shares) and 0 < shares[0] < 1 and seen[-1] == (5, 5)


def test_a_bad_input_of_many_is_named_and_loses_its_own_dance_alone(
  pipeline, toy, music, tmp_path
):
  picture = np.full((_FRAME, _FRAME, 3), 90, np.uint8)
  options = {"drawing": "decoder", "beats": [0.5]}
  good, bad = (picture, music), (picture, "nowhere.wav")
  pairs = [bad, good, ("no.png", music), good, bad, bad, bad]
  dances = list(pipeline.stream_all(iter(pairs), batch_size=3, **options))
  alone = pipeline(picture, music, **options)
  other = "^array: nowhere.wav"
  faults = [other, "", f"^{music}: no.png", "", *[other] * 3]
  for dance, fault in zip(dances, faults, strict=True):
    if not fault:
      np.testing.assert_array_equal(dance.collect().flow, alone.flow)
      continue
    with pytest.raises(UserError, match=fault):
      dance.save(tmp_path / "a.mp4")
  with pytest.raises(UserError, match="^nowhere.wav"):
    pipeline.stream(*pairs[0], **options)
  assert list(pipeline.stream_all([])) == []


def test_a_song_in_memory_is_danced_to_as_the_same_song_in_a_file(
  pipeline, toy, music, tmp_path
):
  picture = np.full((_FRAME, _FRAME, 3), 90, np.uint8)
  options = {"drawing": "decoder", "duration": "full", "music_start": 2.0}
  song = soundfile.read(music)
  twice = pipeline.stream_all([(picture, song)] * 2, **options)
  one, again = (dance.collect() for dance in twice)
  other = pipeline(picture, music, **options)
  np.testing.assert_array_equal(one.flow, other.flow)
  np.testing.assert_array_equal(again.flow, other.flow)
  np.testing.assert_array_equal(one.audio, other.audio)
  assert one.settings == other.settings | {"music": "array"}
  _, _, settings = one.save(tmp_path / "a.mp4")
  assert '"music": "array"' in settings.read_text()
  with pytest.raises(UserError, match="^array lasts 13.37 s; a dance cannot begin"):
    pipeline(picture, song, music_start=20.0)

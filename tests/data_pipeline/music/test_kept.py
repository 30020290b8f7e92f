"""What was heard of music is kept, and nothing depends on it."""

import json
import logging
import os
import pathlib
import stat

import numpy as np
import pytest

from data_pipeline import files
from data_pipeline.music import kept
from data_pipeline.music.kept import keep_beats, keep_embeddings, users_folder
from data_pipeline.music.tracked import Tracked

RATE = 8000
SOUND = np.sin(np.arange(RATE, dtype=np.float32))
HEARD = Tracked(np.array([0.1, 0.7 + 1e-12]), np.array([0.1]), "Who knows.", 93.5)


class Tracker:
  name, identity = "counting", {"name": "counting", "version": 1}
  num_heard = 0

  def __init__(self, heard=HEARD):
    self.heard = heard

  def __call__(self, audio, sample_rate, bpm=None):
    self.num_heard += 1
    return self.heard


class Encoder:
  name, size, identity, sample_rate = "counting", 3, {"name": "counting"}, RATE
  num_heard = 0

  def __call__(self, audio, sample_rate):
    return self.encode_batch([audio], sample_rate)[0]

  def encode_batch(self, sounds, sample_rate):
    self.num_heard += len(sounds)
    return np.stack([np.array([len(s), s[0], s[-1]], np.float32) for s in sounds])


def test_beats_are_heard_once_for_a_sound_a_rate_a_tempo_and_a_tracker(tmp_path):
  tracker = Tracker()
  for _ in range(2):  # for each process
    keeper = keep_beats(tracker, tmp_path)
    found = keeper(SOUND, RATE)
    np.testing.assert_array_equal(found.times, HEARD.times)
    np.testing.assert_array_equal(found.downbeats, HEARD.downbeats)
    assert (found.doubt, found.other_bpm) == (HEARD.doubt, HEARD.other_bpm)
  assert tracker.num_heard == 1
  assert (keeper.name, keeper.identity) == (tracker.name, tracker.identity)
  louder, others = SOUND.copy(), [(SOUND, RATE + 1), (SOUND, RATE, 90.0)]
  louder[-1] += 1e-3
  for count, given in enumerate([*others, (louder, RATE)], 2):
    keeper(*given)
    assert tracker.num_heard == count
  tracker.identity = {"name": "counting", "version": 2}
  keeper(SOUND, RATE)
  assert tracker.num_heard == 5


@pytest.mark.parametrize("what", ["code", "versions"])
def test_whoever_changes_what_listens_hears_the_change(tmp_path, monkeypatch, what):
  tracker, encoder = Tracker(), Encoder()
  for count in (1, 2):
    for _ in range(2):
      keep_beats(tracker, tmp_path)(SOUND, RATE)
      keep_embeddings(encoder, tmp_path)(SOUND, RATE)
    assert tracker.num_heard == encoder.num_heard == count
    if what == "code":
      monkeypatch.setattr(kept, "_hash_of", lambda *paths: str(paths))
    else:
      monkeypatch.setattr(kept, "_versions", lambda: ["another"])


def test_the_code_of_a_tracker_is_all_of_its_folder_and_of_an_encoder_its_file(
  tmp_path, monkeypatch
):
  read = []
  monkeypatch.setattr(kept, "_hash_of", lambda *paths: read.append(paths) or "")
  keep_beats(Tracker(), tmp_path)(SOUND, RATE)
  keep_embeddings(Encoder(), tmp_path)
  names = {path.name for path in read[0]}
  assert {"crnn_tracker.py", "beat_decoder.py", "onsets.py"} <= names
  assert [pathlib.Path(path).name for path in read[1]] == ["test_kept.py"]


def test_a_hash_depends_on_every_file(tmp_path):
  paths = [tmp_path / name for name in "ab"]
  hashes = []
  for content in ("12", "13", "22"):
    for path, text in zip(paths, content, strict=True):
      path.write_text(text)
    kept._hash_of.cache_clear()
    hashes.append(kept._hash_of(*paths))
  kept._hash_of.cache_clear()
  assert len(set(hashes)) == 3


def test_only_new_windows_are_encoded(tmp_path):
  encoder = Encoder()
  first = keep_embeddings(encoder, tmp_path)(SOUND, RATE)
  sounds = [SOUND[:5], SOUND, SOUND[:9]]
  all_three = keep_embeddings(encoder, tmp_path).encode_batch(sounds, RATE)
  assert encoder.num_heard == 3
  np.testing.assert_array_equal(all_three[1], first)
  np.testing.assert_array_equal(all_three, encoder.encode_batch(sounds, RATE))
  assert encoder.num_heard == 6
  for _ in range(2):
    keep_embeddings(encoder, tmp_path)(SOUND, RATE + 1)
  assert encoder.num_heard == 7
  encoder.identity = {"name": "counting", "version": 2}
  keep_embeddings(encoder, tmp_path)(SOUND, RATE)
  assert encoder.num_heard == 8
  assert not hasattr(keep_embeddings(encoder, tmp_path), "encode_texts")
  encoder.encode_texts = lambda texts: np.ones((len(texts), 3), np.float32)
  assert keep_embeddings(encoder, tmp_path).encode_texts(["krump"]).shape == (1, 3)


def _entry(**fields):
  whole = {"times": [0.1, 0.7], "downbeats": [0.1], "doubt": "", "other_bpm": None}
  return json.dumps({**whole, **fields}).encode()


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"{}",
    b"[" * 100_000,
    b"PK\3\4",
    np.float32([np.nan, 1, 1]).tobytes(),
    bytes(12),
    np.ones(4, np.float32).tobytes(),
    _entry(times="x"),
    _entry(times=[[0.1]]),
    _entry(times=[0.7, 0.1]),
    _entry(times=[-0.1]),
    _entry(times=[float("nan")]),
    _entry(times=[10**400]),
    _entry(times=None),
    _entry(downbeats=[0.3]),
    _entry(doubt=1),
    _entry(other_bpm="90"),
    _entry(other_bpm=-1.0),
    b" " * (kept._MAX_JSON_BYTES + 1),
  ],
)
def test_a_damaged_entry_is_heard_anew_and_mended(tmp_path, content):
  tracker, encoder = Tracker(), Encoder()
  for count in (1, 2, 2):
    found = keep_beats(tracker, tmp_path)(SOUND, RATE)
    vector = keep_embeddings(encoder, tmp_path)(SOUND, RATE)
    assert tracker.num_heard == encoder.num_heard == count
    assert found.other_bpm == HEARD.other_bpm and vector[0] == len(SOUND)
    if count == 1:
      for path in tmp_path.iterdir():
        path.write_bytes(content)


def test_an_entry_as_it_is_written_is_believed(tmp_path):
  tracker = Tracker()
  keep_beats(tracker, tmp_path)(SOUND, RATE)
  (path,) = tmp_path.iterdir()
  path.write_bytes(_entry(times=[0.0, 0.1, 0.7], other_bpm=90.0))
  found = keep_beats(tracker, tmp_path)(SOUND, RATE)
  assert tracker.num_heard == 1 and found.other_bpm == 90.0
  np.testing.assert_array_equal(found.times, [0.0, 0.1, 0.7])


def test_a_full_disk_costs_nothing_but_time(small_disk):
  (small_disk / "full").write_bytes(bytes(60_000))
  times = np.arange(3000.0)
  tracker, encoder = Tracker(Tracked(times)), Encoder()
  found = keep_beats(tracker, small_disk)(SOUND, RATE)
  np.testing.assert_array_equal(found.times, times)
  encoder.encode_batch = lambda sounds, rate: np.ones((len(sounds), 9000), np.float32)
  assert keep_embeddings(encoder, small_disk)(SOUND, RATE).shape == (9000,)
  assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path):
  (tmp_path / "file").write_bytes(b"")
  folder = tmp_path / "file" / "music"
  assert len(keep_beats(Tracker(), folder)(SOUND, RATE).times) == 2
  assert keep_embeddings(Encoder(), folder)(SOUND, RATE).shape == (3,)


def test_what_is_asked_for_again_stays_longest(tmp_path):
  keeper = keep_beats(Tracker(), tmp_path)
  keeper(SOUND, RATE)
  (first,) = tmp_path.iterdir()
  os.utime(first, (1, 1))
  keeper(SOUND[:9], RATE)
  (second,) = set(tmp_path.iterdir()) - {first}
  os.utime(second, (2, 2))
  keeper(SOUND, RATE)
  files.remove_oldest(tmp_path, first.stat().st_size)
  assert list(tmp_path.iterdir()) == [first]


def test_a_users_folder_is_bounded_and_one_that_cannot_be_made_is_told(
  tmp_path, monkeypatch, caplog
):
  monkeypatch.setenv("DABFUSION_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr(kept, "MAX_BYTES", 25)
  folder = users_folder()
  assert folder == tmp_path / "cache" / "music"
  for name in "abc":
    (folder / name).write_bytes(bytes(10))
  users_folder()
  assert len(list(folder.iterdir())) == 2
  assert stat.S_IMODE(folder.stat().st_mode) == 0o700  # which songs were heard
  (tmp_path / "file").write_bytes(b"")
  monkeypatch.setenv("DABFUSION_CACHE", str(tmp_path / "file"))
  with caplog.at_level(logging.WARNING):
    assert users_folder() is None
  (message,) = caplog.messages
  assert "DABFUSION_CACHE" in message and "\n" not in message

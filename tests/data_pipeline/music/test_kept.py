"""What was heard of music is kept, and nothing depends on it."""

import logging

import numpy as np
import pytest

from data_pipeline.music import kept
from data_pipeline.music.kept import keep_beats, keep_embeddings, users_folder
from data_pipeline.music.tracked import Tracked

RATE = 8000
SOUND = np.sin(np.arange(RATE, dtype=np.float32))
HEARD = Tracked(np.array([0.1, 0.7 + 1e-12]), np.array([0.1]), "Who knows.", 93.5)


class Tracker:
  name, identity = "counting", {"name": "counting", "version": 1}
  num_heard = 0

  def __call__(self, audio, sample_rate, bpm=None):
    self.num_heard += 1
    return HEARD


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


def test_who_changes_the_code_that_listens_hears_the_change(tmp_path, monkeypatch):
  tracker = Tracker()
  keep_beats(tracker, tmp_path)(SOUND, RATE)
  monkeypatch.setattr(kept, "_code", lambda: "another")
  keep_beats(tracker, tmp_path)(SOUND, RATE)
  assert tracker.num_heard == 2


def test_only_new_windows_are_encoded(tmp_path):
  encoder = Encoder()
  first = keep_embeddings(encoder, tmp_path)(SOUND, RATE)
  both = keep_embeddings(encoder, tmp_path).encode_batch([SOUND[:5], SOUND], RATE)
  assert encoder.num_heard == 2
  np.testing.assert_array_equal(both[1], first)
  np.testing.assert_array_equal(both, encoder.encode_batch([SOUND[:5], SOUND], RATE))
  assert not hasattr(keep_embeddings(encoder, tmp_path), "encode_texts")
  encoder.encode_texts = lambda texts: np.ones((len(texts), 3), np.float32)
  assert keep_embeddings(encoder, tmp_path).encode_texts(["krump"]).shape == (1, 3)


@pytest.mark.parametrize(
  "content", [b"", b"{}", b"[1]", b'{"times": "x"}', b"\x93NUMPY"]
)
def test_a_damaged_entry_is_heard_anew_and_mended(tmp_path, content):
  tracker, encoder = Tracker(), Encoder()
  for count in (1, 2, 2):
    found = keep_beats(tracker, tmp_path)(SOUND, RATE)
    vector = keep_embeddings(encoder, tmp_path)(SOUND, RATE)
    assert tracker.num_heard == encoder.num_heard == count
    assert found.other_bpm == HEARD.other_bpm and vector.shape == (3,)
    if count == 1:
      for path in tmp_path.iterdir():
        path.write_bytes(content)


def test_a_full_disk_costs_nothing_but_time(small_disk):
  (small_disk / "full").write_bytes(bytes(60_000))
  tracker, encoder = Tracker(), Encoder()
  tracker.__class__ = type("Long", (Tracker,), {"__call__": lambda *_: Tracked(times)})
  times = np.arange(3000.0)
  np.testing.assert_array_equal(
    keep_beats(tracker, small_disk)(SOUND, RATE).times, times
  )
  encoder.encode_batch = lambda sounds, rate: np.zeros((len(sounds), 9000), np.float32)
  assert keep_embeddings(encoder, small_disk)(SOUND, RATE).shape == (9000,)
  assert [path.name for path in small_disk.iterdir()] == ["full"]


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
  (tmp_path / "file").write_bytes(b"")
  monkeypatch.setenv("DABFUSION_CACHE", str(tmp_path / "file"))
  with caplog.at_level(logging.WARNING):
    assert users_folder() is None
  (message,) = caplog.messages
  assert "DABFUSION_CACHE" in message and "\n" not in message

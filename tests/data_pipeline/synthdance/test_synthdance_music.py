"""Generated songs are reproducible, on the beat, and differ by genre."""

import hashlib

import librosa
import numpy as np
import pytest

from data_pipeline.aist import GENRES, tempo_bpm
from data_pipeline.synthdance import music

# sha256 of four seconds from 1 s on, as 16-bit samples. An intended change of the music
# changes them; put the new ones here and say so in the commit.
GOLDEN = {
  "mBR0": "1b42e1a2f391",
  "mWA4": "ca1b7bbadbd0",
  "mJB2": "f84c16cafb29",
  "mHO2": "865b929246d9",
}


@pytest.mark.parametrize("track", GOLDEN)
def test_samples_are_the_same_on_every_machine(track):
  samples = music.to_int16(music.render_music(track, 1.0, 4.0)).astype("<i2")
  assert hashlib.sha256(samples.tobytes()).hexdigest()[:12] == GOLDEN[track]


def test_a_part_is_a_slice_of_the_song():
  whole = music.render_music("mPO2", 0.0, 9.0)
  begin = round(3.21 * music.SAMPLE_RATE)
  part = music.render_music("mPO2", 3.21, 4.0)
  np.testing.assert_array_equal(part, whole[begin : begin + len(part)])


def test_16_bits_represent_the_samples_exactly():
  audio = music.render_music("mKR1", 0.0, 2.0)
  assert np.abs(audio).max() < 1.0
  np.testing.assert_array_equal(
    music.to_int16(audio).astype(np.float32) / 32768.0, audio
  )


@pytest.mark.parametrize("track", ["mLH0", "mHO3", "mJB5"])
def test_librosa_finds_the_tempo_and_the_beats(track):
  # All 60 tracks pass; three stand for them here.
  audio = music.render_music(track).mean(axis=1)
  audio = librosa.resample(
    audio, orig_sr=music.SAMPLE_RATE, target_sr=22050, res_type="polyphase"
  )
  tempo, beats = librosa.beat.beat_track(y=audio, sr=22050, units="time")
  assert np.ravel(tempo)[0] == pytest.approx(tempo_bpm(track), rel=0.04)
  # The true grid is the one the tracker follows, not the one half a beat off.
  true = music.beat_times(track)
  period = 60.0 / tempo_bpm(track)
  early = np.abs(beats[:, None] - true).min(1)
  off_beat = np.abs(beats[:, None] - true - period / 2).min(1)
  assert (early < off_beat).mean() > 0.9


def test_genres_differ_in_sound():
  spectra = []
  for genre in GENRES:
    audio = music.render_music(f"m{genre}3", 0.0, 4.0).mean(axis=1)
    power = np.abs(np.fft.rfft(audio)) ** 2
    edges = (np.geomspace(40, 16000, 13) / music.SAMPLE_RATE * len(audio)).astype(int)
    bands = np.log([power[a:b].mean() for a, b in zip(edges, edges[1:], strict=False)])
    spectra.append(bands - bands.mean())
  distance = np.abs(np.array(spectra)[:, None] - np.array(spectra)).mean(-1)
  assert distance[~np.eye(10, dtype=bool)].min() > 0.15


def test_ballet_jazz_is_quiet_and_nothing_is_silent():
  loudness = {}
  for genre in GENRES:
    audio = music.render_music(f"m{genre}1", 0.0, 4.0)
    loudness[genre] = np.sqrt((audio**2).mean())
    blocks = audio[: len(audio) // 441 * 441].reshape(-1, 441, 2)
    assert np.abs(blocks).max(axis=1).min() > 1e-4, genre
  others = min(v for k, v in loudness.items() if k != "JB")
  assert 3.0 < others / loudness["JB"] < 15.0


def test_the_two_channels_differ():
  left, right = music.render_music("mMH1", 0.0, 2.0).T
  assert 0.5 < np.corrcoef(left, right)[0, 1] < 0.999

"""Music in memory is heard as the same samples in a file are."""

import pathlib

import numpy as np
import pytest
import soundfile

from dabfusion_jax.inference.sound import as_file, key_of, name_of
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError

RATE = 16_000


def wave(channels=()):
  time = np.arange(RATE) / RATE
  sound = 0.4 * np.sin(2 * np.pi * 440 * time)
  return np.stack([sound] * channels[0], 1) * [1, 0.5] if channels else sound


@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_samples_are_read_as_from_a_file(tmp_path, channels, rate):
  sound = wave(channels)
  path = tmp_path / "song.wav"
  soundfile.write(path, sound, RATE, subtype="FLOAT")
  with as_file((sound, RATE)) as given:
    for mono in (True, False):
      np.testing.assert_array_equal(
        reader.read_audio(given, rate, mono=mono),
        reader.read_audio(path, rate, mono=mono),
      )
  assert not pathlib.Path(given).exists()


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2", ">i2"])
def test_samples_may_be_numbers_of_several_kinds(dtype):
  sound = wave()
  scale = 32_767 if "i" in dtype else 1
  with as_file(((scale * sound).astype(dtype), RATE)) as path:
    heard = reader.read_audio(path, RATE)
  np.testing.assert_allclose(heard, sound, atol=1e-4)


def test_a_fault_of_sound_in_memory_names_no_file():
  with pytest.raises(MediaError, match="^array: no sound") as error:
    with as_file((np.zeros((10, 1), np.float32), 8000)) as path:
      raise MediaError(f"{path.parent}/array.wav: no sound.")
  assert str(path.parent) not in str(error.value)


def test_a_file_stays_where_it_is(tmp_path):
  for name in (str(tmp_path / "a.mp3"), tmp_path / "b.wav"):
    with as_file(name) as path:
      assert path == name


@pytest.mark.parametrize(
  ("music", "message"),
  [
    (7, "not int"),
    (np.zeros(9), "not ndarray"),
    ((np.zeros(9), RATE, 1), "not tuple"),
    ((RATE, np.zeros(9)), "sample rate must be a whole number"),  # as SciPy returns it
    ((np.zeros(9), 44.1), "from 1000 to 384000, not 44.1"),
    ((np.zeros(9), 0), "not 0;"),
    ((np.zeros((2, 900)), RATE), r"float64 \[2, 900\]; convert or transpose"),
    ((np.zeros((2, 3, 4)), RATE), r"float64 \[2, 3, 4\]"),
    ((np.zeros(0), RATE), "has no samples"),
    ((np.zeros((0, 2)), RATE), "has no samples"),
    (([[0.1, 0.2], [0.3]], RATE), "convert or transpose"),
    ((np.zeros(9), [RATE]), r"not \[16000\]"),
    ((), "not tuple"),
    ((np.zeros(9, np.int32), RATE), r"int32 \[9\]"),
    (("song.mp3", RATE), r"<U8 \[\]"),
    ((np.array([0.1, np.nan]), RATE), r"reach nan; scale them to \[-1, 1\]"),
    ((np.array([0.1, -np.inf]), RATE), "reach inf"),
    ((np.array([0.1, 1e300]), RATE), "reach 1e"),
    ((32_767 * wave(), RATE), "reach 1.311e"),  # of int16, as float
    ((np.zeros(1000 * 602, np.float32), 1000), "10 minutes"),
  ],
)
def test_what_is_no_music_is_refused_in_one_line(music, message, unchecked_types):
  with pytest.raises(UserError, match=message) as caught, as_file(music):
    pass
  assert "\n" not in str(caught.value)


def test_music_in_memory_has_a_name_and_is_told_apart():
  first, second = wave(), wave()
  assert name_of((first, RATE)) == "array" and name_of("a.mp3") == "a.mp3"
  assert name_of(pathlib.Path("a.mp3")) == "a.mp3"
  assert key_of((first, RATE)) == key_of((first, RATE)) != key_of((second, RATE))
  assert key_of((first, RATE)) != key_of((first, 2 * RATE))
  assert key_of("a.mp3") == key_of(pathlib.Path("a.mp3")) != key_of("b.mp3")


def test_what_is_no_music_has_a_name_and_a_key(unchecked_types):
  for music in ((), 7, wave(), [wave(), RATE], (wave(), [RATE])):
    assert name_of(music) == "array" and hash(key_of(music))

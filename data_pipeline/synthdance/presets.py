"""Lists the clips of the generated data sets.

| preset | clips | purpose |
|---|---|---|
| `smoke` | 8 of 4 s | tests: both splits, several frame rates |
| `demo` | 240 of 7.1 to 8 s, close | training on a small machine in minutes |
| `medium` | 1,229 of 7.1 to 8 s, close | an hour or two; `dance_e` and `dance_b` |
| `full` | 12,672 of 4 s, whole stage | the shape of AIST: 1,408 dances, 9 cameras |
| `backdrops_smoke` | 8 of 4 s, figures before backdrops | tests |
| `backdrops` | 1,240 of 4 s, figures before backdrops | pictures outside studios |
| `people_smoke` | 8 of 4 s, people before backdrops | tests |
| `people` | 1,240 of 4 s, people before backdrops | pictures of people; `people_e` |
| `people_pairs` | 3,131 of 4 s at 3 frames per second, more people | stage 1 |

Clips before backdrops are of 128 pixels. In a third of them the dancer stands still at
first, arms down, as people do in pictures: the dance begins late by a beat at most.

A clip is for testing if both its music and its dancer are held out, and for training if
neither is. Only `full` has clips with one of the two held out, as `test_music` and
`test_dancer` (`data_pipeline.aist.split_of`).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from data_pipeline.aist import (
  CAMERAS,
  DANCERS,
  GENRES,
  SITUATIONS,
  ClipName,
  held_out_dancers,
  held_out_tracks,
)
from data_pipeline.errors import UserError
from data_pipeline.synthdance.choreography import seed

PRESETS = (
  "smoke", "demo", "medium", "full", "backdrops_smoke", "backdrops", "people_smoke",
  "people", "people_pairs",
)  # fmt: skip
CLOSE_SECONDS = 8.0
HAND_HELD_SECONDS = 4.0
STANDS_SHARE = 1 / 3  # of the hand-held clips, in which the dancer stands at first
DELAY_BEATS = 2
FILM_FPS = Fraction(60000, 1001)


@dataclasses.dataclass(frozen=True)
class ClipSpec:
  """The arguments of `generate.write_clip` for one video."""

  name: ClipName
  framing: str
  fps: int | Fraction
  seconds: float
  start_seconds: float
  look: str = "figures"
  delay_beats: int = 0


def clips_of_preset(preset: str) -> Sequence[ClipSpec]:
  """Returns the clips of a preset, always the same and in the same order.

  Raises:
    UserError: there is no such preset.
  """
  makers = {
    "smoke": _smoke,
    "demo": _demo,
    "medium": _medium,
    "full": _full,
    "backdrops_smoke": lambda: _hand_held_smoke("figures_backdrops"),
    "backdrops": lambda: _hand_held("figures_backdrops"),
    "people_smoke": lambda: _hand_held_smoke("people"),
    "people": lambda: _hand_held("people"),
    "people_pairs": lambda: _hand_held("people", num_train=36, fps=3),
  }
  if preset not in makers:
    raise UserError(f"Unknown preset {preset!r}; expected one of {PRESETS}.")
  return tuple(makers[preset]())


def _spec(
  name: ClipName, framing: str, seconds: float, fps: int | Fraction = 10
) -> ClipSpec:
  """Returns a clip that begins at a random place of its sequence, in milliseconds.

  Clips that begin on a beat would reveal the beats to a model that does not listen.
  """
  length = SITUATIONS[name.situation] * 60.0 / name.bpm
  seconds = min(seconds, int(length * 10 + 1e-6) / 10)
  rng = np.random.default_rng(seed("start", str(name)))
  spare = int((length - seconds) * 1000 + 1e-6)
  start = int(rng.integers(spare + 1)) / 1000
  return ClipSpec(name, framing, fps, seconds, start)


def _smoke() -> Iterator[ClipSpec]:
  train = (
    ("gBR_sBM_c01_d04_mBR3_ch03", "close", 10),
    ("gLO_sFM_c02_d13_mLO1_ch01", "close", 10),
    ("gWA_sBM_c09_d26_mWA4_ch05", "close", 20),
    ("gJB_sFM_c08_d07_mJB2_ch02", "close", 10),
    ("gHO_sBM_c01_d20_mHO2_ch07", "aist", FILM_FPS),
    ("gKR_sFM_c01_d28_mKR1_ch04", "close", 10),
  )
  test = (
    ("gPO_sBM_c01_d12_mPO1_ch02", "close", 10),
    ("gMH_sFM_c02_d24_mMH3_ch03", "close", 10),
  )
  for name, framing, fps in train + test:
    yield _spec(ClipName.parse(name), framing, 4.0, fps)


def _demo() -> Iterator[ClipSpec]:
  return _close("demo", num_train=2, num_test=4)


def _medium() -> Iterator[ClipSpec]:
  return _close("medium", num_train=12, num_test=8)


def _hand_held_smoke(look: str) -> Iterator[ClipSpec]:
  for spec in _smoke():
    yield _in_look(_spec(spec.name, "close", HAND_HELD_SECONDS), look)


def _hand_held(look: str, num_train: int = 12, fps: int = 10) -> Iterator[ClipSpec]:
  for spec in _close("hand_held", num_train, 8, HAND_HELD_SECONDS):
    yield dataclasses.replace(_in_look(spec, look), fps=fps)


def _in_look(spec: ClipSpec, look: str) -> ClipSpec:
  """Returns the clip in another look; in a third of them the dancer stands at first.

  The music begins anywhere within a beat before the dance does, so that standing still
  reveals nothing about the beats.
  """
  rng = np.random.default_rng(seed("stands", str(spec.name)))
  if rng.random() > STANDS_SHARE:
    return dataclasses.replace(spec, look=look)
  beat_seconds = 60.0 / spec.name.bpm
  start = int((DELAY_BEATS - rng.random()) * beat_seconds * 1000) / 1000
  return dataclasses.replace(
    spec, look=look, delay_beats=DELAY_BEATS, start_seconds=start
  )


def _close(
  preset: str, num_train: int, num_test: int, seconds: float = CLOSE_SECONDS
) -> Iterator[ClipSpec]:
  """Yields close clips of every dancer to every track, all of different dances.

  Args:
    preset: seeds the choice of dances.
    num_train, num_test: clips per dancer and track in either split.
    seconds: length of a clip.
  """
  tracks, dancers = held_out_tracks(), held_out_dancers()
  seen = set()
  turn = 0
  for genre in GENRES:
    for index in range(6):
      music = f"m{genre}{index}"
      is_test = music in tracks
      for dancer in DANCERS[genre]:
        if (dancer in dancers) != is_test:
          continue
        # Half of the clips are from the front, the others from the sides and below.
        for k in range(num_test if is_test else num_train):
          situation = ("sBM", "sFM", "sFM", "sBM")[k % 4]
          camera = "c01" if k % 2 == 0 else ("c02", "c08", "c09")[turn % 3]
          turn += k % 2
          pool = 10 if situation == "sBM" else 21
          rng = np.random.default_rng(seed(preset, music, dancer, str(k)))
          choreography = f"ch{1 + int(rng.integers(pool)):02d}"
          name = ClipName(genre, situation, camera, dancer, music, choreography)
          if name not in seen:
            seen.add(name)
            yield _spec(name, "close", seconds)


def _full() -> Iterator[ClipSpec]:
  for name in _aist_sequences():
    for camera in CAMERAS:
      yield _spec(dataclasses.replace(name, camera=camera), "aist", 4.0)


def _aist_sequences() -> Iterator[ClipName]:
  """Yields 1,199 basic and 209 advanced dances; like AIST, two fewer than planned."""
  for genre in GENRES:
    dancers = DANCERS[genre]
    for index in range(6):
      # Two of the three dancers dance to a track.
      for dancer in (dancers[index % 3], dancers[(index + 1) % 3]):
        for k in range(1, 11):
          if (genre, index, dancer, k) == ("JB", 4, dancers[2], 10):
            continue
          yield ClipName(genre, "sBM", "c01", dancer, f"m{genre}{index}", f"ch{k:02d}")
    for k in range(1, 22):
      if (genre, k) != ("JB", 21):
        music = f"m{genre}{(k - 1) % 6}"
        yield ClipName(genre, "sFM", "c01", dancers[(k - 1) // 7], music, f"ch{k:02d}")

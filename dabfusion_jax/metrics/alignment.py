"""Do motion and music coincide: 2D-MM Align (sec. 4.2 of the paper) and AV-Align.

numpy float64 on event times in seconds. Neither score means anything without its
chance level: at sigma 50 ms motion that ignores the music scores 0.223 in 2D-MM Align
on average over the AIST tracks, which is what the paper prints for its ground truth.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal
from jaxtyping import Bool, Float

from dabfusion_jax.metrics import motion

SIGMA_SECONDS = 0.05
MAX_MISSING_POSES = 0.15  # share of frames
PRESETS = ("paper", "mint", "bailando")
_PRESET_SIGMA_FRAMES = 3.0  # of mint and bailando, whatever the rate


class Score(NamedTuple):
  """A clip's score; None where undefined. `reason` names why, or flags a special 0."""

  value: float | None
  reason: str | None = None


def beat_alignment(
  motion_beats: Float[np.ndarray, "n"],
  music_beats: Float[np.ndarray, "m"],
  sigma: float | int,
) -> Score:
  """The paper's formula: (1/n) sum_i exp(-min_j |x_i - y_j|^2 / (2 sigma^2)).

  x are the motion's beats, y the music's; both and `sigma` in one common unit. Order
  does not matter and repeated beats count as often as they occur. No motion beat: 0,
  flagged, so a frozen video scores 0. Else no music beat: undefined.
  """
  if not len(motion_beats):
    return Score(0.0, "no_kinematic_beat")
  if not len(music_beats):
    return Score(None, "no_music_beat")
  x, y = (np.asarray(beats, np.float64) for beats in (motion_beats, music_beats))
  nearest = np.abs(x[:, None] - y[None, :]).min(axis=1)
  return Score(float(np.exp(-(nearest**2) / (2 * sigma**2)).mean()))


def chance_level(period: float | int, sigma: float | int = SIGMA_SECONDS) -> float:
  """Expected `beat_alignment` of motion that knows nothing of the music.

  sigma sqrt(2 pi) / P * erf(P / (2 sqrt(2) sigma)) for music beats of period P and
  motion beats uniform in time. 60 / bpm seconds is the period of a song.
  """
  share = math.erf(period / (2 * math.sqrt(2) * sigma))
  return sigma * math.sqrt(2 * math.pi) / period * share


def mm_align(
  joints: Float[np.ndarray, "t joints 2"],
  visible: Bool[np.ndarray, "t joints"],
  music_beats: Float[np.ndarray, "m"],
  fps: float | int,
  preset: str = "paper",
  sigma: float | int = SIGMA_SECONDS,
) -> Score:
  """2D-MM Align of one clip from its poses (pixels) and music beats (seconds).

  `music_beats` should include one beat outside each edge of the clip. Presets:
    paper: mean over motion beats, pauses of the mean joint speed, `sigma` seconds;
      undefined where over 15 % of the frames have no visible joint.
    mint: google-research/mint, `calculate_beat_scores.py`: summed joint speed, strict
      minima over 10 frames to both sides, sigma of 3 frames.
    bailando: lisiyao21/Bailando, `beat_align_score.py`: mean joint speed smoothed by 5
      frames, strict minima, sigma of 3 frames, mean over *music* beats, those inside
      the clip alone: no motion could meet the others.
  The last two count in frames and were made for 60 fps: another rate warns. They have
  no rule for missing poses: one missing frame leaves them undefined.

  Raises:
    ValueError: unknown preset.
  """
  if preset not in PRESETS:
    raise ValueError(f"Unknown preset {preset!r}; expected one of {PRESETS}.")
  missing = (~visible.any(axis=1)).mean() if len(visible) else 1.0
  if missing > (MAX_MISSING_POSES if preset == "paper" else 0):
    return Score(None, "pose_missing")
  if preset == "paper":
    speed = motion.joint_speed(joints, visible)
    return beat_alignment(motion.kinematic_beats(speed, fps), music_beats, sigma)
  if fps != 60:
    warnings.warn(f"Preset {preset!r} is made for 60 fps, not {fps}.", stacklevel=2)
  # Both tools count whole frames.
  music_frames = np.round(np.asarray(music_beats, np.float64) * fps)
  if preset == "mint":
    motion_frames = _mint_beats(joints)
    return beat_alignment(motion_frames, music_frames, _PRESET_SIGMA_FRAMES)
  music_frames = music_frames[(music_frames >= 0) & (music_frames < len(joints))]
  motion_frames = _bailando_beats(joints)
  if not len(motion_frames):
    return Score(None, "no_kinematic_beat")
  if not len(music_frames):
    return Score(None, "no_music_beat")
  return beat_alignment(music_frames, motion_frames, _PRESET_SIGMA_FRAMES)


def _mint_beats(joints) -> np.ndarray:
  """Index of the later frame of a step; the zero in front silences 10 frames."""
  steps = np.linalg.norm(np.diff(joints.astype(np.float32), axis=0), axis=-1)
  speed = np.concatenate([np.zeros(1, np.float32), steps.sum(axis=1)])
  return scipy.signal.argrelextrema(speed, np.less, order=10)[0].astype(np.float64)


def _bailando_beats(joints) -> np.ndarray:
  """Index of the earlier frame of a step."""
  steps = np.linalg.norm(np.diff(np.asarray(joints, np.float64), axis=0), axis=-1)
  speed = scipy.ndimage.gaussian_filter(steps.mean(axis=1), 5)
  return scipy.signal.argrelextrema(speed, np.less)[0].astype(np.float64)


def av_align(
  onsets: Float[np.ndarray, "n"],
  flow_speed: Float[np.ndarray, "steps"],
  fps: float | int,
  version: int = 2,
) -> Score:
  """AV-Align of one clip (Yariv et al. 2023, TempoTokens `av_align.py`).

  `onsets` are the music's in seconds, from audio cut to the clip; `flow_speed` the mean
  optical flow of each pair of neighbouring frames in pixels, [t - 1]. Version 1 is the
  code of October 2023, where one peak may serve many onsets and a score can exceed 1;
  version 2, of February 2025, asks for 0.1 pixel of flow and matches one to one.

  Raises:
    ValueError: unknown version.
  """
  if not len(flow_speed):
    return Score(None, "too_short")
  peaks = flow_peaks(flow_speed, fps, version)
  if not len(onsets) and not len(peaks):
    return Score(None, "no_events")
  matches = count_matches(onsets, peaks, fps, version)
  return Score(matches / (len(onsets) + len(peaks) - matches))


def flow_peaks(
  flow_speed: Float[np.ndarray, "steps"], fps: float | int, version: int = 2
) -> Float[np.ndarray, "peaks"]:
  """Times in seconds of strict local maxima of the flow; flat tops are no peaks.

  The first value is doubled so that value i belongs to frame i, at i / fps.
  """
  _check_version(version)
  values = np.asarray(flow_speed, np.float64)
  values = np.concatenate([values[:1], values])
  inner = values[1:-1]
  is_peak = (inner > values[:-2]) & (inner > values[2:])  # nan compares as False
  if version == 2:
    is_peak &= inner >= 0.1
  return (np.flatnonzero(is_peak) + 1) / fps


def count_matches(
  onsets: Float[np.ndarray, "n"],
  peaks: Float[np.ndarray, "m"],
  fps: float | int,
  version: int = 2,
) -> int:
  """How many onsets have a peak less than one frame away.

  Version 2 is greedy, not optimal: onsets in the order given, each takes the first
  free peak in the order given.
  """
  _check_version(version)
  window = 1 / fps
  free = list(map(float, peaks))
  matches = 0
  for onset in map(float, onsets):
    for i, peak in enumerate(free):
      if peak - window < onset < peak + window:
        matches += 1
        if version == 2:
          del free[i]
        break
  return matches


def _check_version(version: int) -> None:
  if version not in (1, 2):
    raise ValueError(f"Unknown version {version!r} of AV-Align; expected 1 or 2.")

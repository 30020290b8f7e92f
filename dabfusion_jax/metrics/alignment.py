"""Alignment of motion and music: 2D-MM Align (paper, sec. 4.2) and AV-Align.

Events are float64 times in seconds, in numpy. Neither score means anything without its
chance level: at sigma 50 ms, motion that ignores the music has a 2D-MM Align of 0.223
on average over the AIST tracks, which is the paper's figure for its ground truth.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal
from jaxtyping import Bool, Float, Float64

from dabfusion_jax.metrics import motion

SIGMA_SECONDS = 0.05
MAX_MISSING_POSES = 0.15  # as a share of frames
PRESETS = ("paper", "mint", "bailando")
_PRESET_SIGMA_FRAMES = 3.0  # of mint and bailando, at any frame rate


class Score(NamedTuple):
  """The score of a clip."""

  value: float | None  # None if it is undefined
  reason: str | None = None  # why it is undefined, or which special case is 0


def beat_alignment(
  motion_beats: Float[np.ndarray, "n"],
  music_beats: Float[np.ndarray, "m"],
  sigma: float | int,
) -> Score:
  """Computes (1/n) sum_i exp(-min_j |x_i - y_j|^2 / (2 sigma^2)), the paper's formula.

  Motion beats x, music beats y and `sigma` are in the same unit. Their order does not
  matter, and repeated beats count as often as they occur. Without a motion beat the
  score is 0, with a reason, so that a frozen video scores 0; without a music beat it is
  undefined otherwise.
  """
  if not len(motion_beats):
    return Score(0.0, "no_kinematic_beat")
  if not len(music_beats):
    return Score(None, "no_music_beat")
  x, y = (np.asarray(beats, np.float64) for beats in (motion_beats, music_beats))
  nearest = np.abs(x[:, None] - y[None, :]).min(axis=1)
  return Score(float(np.exp(-(nearest**2) / (2 * sigma**2)).mean()))


def chance_level(period: float | int, sigma: float | int = SIGMA_SECONDS) -> float:
  """Returns the expected `beat_alignment` of motion that ignores the music.

  sigma sqrt(2 pi) / P * erf(P / (2 sqrt(2) sigma)) for music beats of period P (of a
  song: 60 / bpm seconds) and motion beats that are uniform in time.
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
  """Computes the 2D-MM Align of a clip.

  Presets:
    paper: mean over motion beats, which are pauses of the mean joint speed; `sigma` in
      seconds; undefined if over 15 % of the frames have no visible joint.
    mint: google-research/mint, `calculate_beat_scores.py`: summed joint speed, strict
      minima among 10 frames on each side, sigma of 3 frames.
    bailando: lisiyao21/Bailando, `beat_align_score.py`: mean joint speed smoothed by 5
      frames, strict minima, sigma of 3 frames, mean over *music* beats. Only those
      at a step of the clip count, since no motion could meet the others.
  The last two work in frames and were made for 60 fps; another rate causes a warning.
  They have no rule for missing poses: a single missing joint makes them undefined.

  Args:
    joints: 2-D poses in pixels.
    visible: which joints were detected.
    music_beats: in seconds; should include a beat beyond each end of the clip.
    fps: frames per second.
    preset: one of `PRESETS`.
    sigma: in seconds, of preset `paper`.

  Raises:
    ValueError: unknown preset.
  """
  if preset not in PRESETS:
    raise ValueError(f"Unknown preset {preset!r}; expected one of {PRESETS}.")
  is_found = visible.any(axis=1) if preset == "paper" else visible.all(axis=1)
  missing = (~is_found).mean() if len(visible) else 1.0
  if missing > (MAX_MISSING_POSES if preset == "paper" else 0):
    return Score(None, "pose_missing")
  if preset == "paper":
    speed = motion.joint_speed(joints, visible)
    return beat_alignment(motion.kinematic_beats(speed, fps), music_beats, sigma)
  if fps != 60:
    warnings.warn(f"Preset {preset!r} is made for 60 fps, not {fps}.", stacklevel=2)
  # Both tools work with whole frames.
  music_frames = np.round(np.asarray(music_beats, np.float64) * fps)
  if preset == "mint":
    motion_frames = _mint_beats(joints)
    return beat_alignment(motion_frames, music_frames, _PRESET_SIGMA_FRAMES)
  num_steps = len(joints) - 1
  music_frames = music_frames[(music_frames >= 0) & (music_frames < num_steps)]
  motion_frames = _bailando_beats(joints)
  if not len(motion_frames):
    return Score(None, "no_kinematic_beat")
  if not len(music_frames):
    return Score(None, "no_music_beat")
  return beat_alignment(music_frames, motion_frames, _PRESET_SIGMA_FRAMES)


def _mint_beats(
  joints: Float[np.ndarray, "t joints 2"],
) -> Float64[np.ndarray, "beats"]:
  """Returns the later frame of each step at a pause.

  The speed begins with a zero, as in mint, so no pause is found in the first 10 frames.
  """
  steps = np.linalg.norm(np.diff(joints.astype(np.float32), axis=0), axis=-1)
  speed = np.concatenate([np.zeros(1, np.float32), steps.sum(axis=1)])
  return scipy.signal.argrelextrema(speed, np.less, order=10)[0].astype(np.float64)


def _bailando_beats(
  joints: Float[np.ndarray, "t joints 2"],
) -> Float64[np.ndarray, "beats"]:
  """Returns the earlier frame of each step at a pause."""
  steps = np.linalg.norm(np.diff(np.asarray(joints, np.float64), axis=0), axis=-1)
  speed = scipy.ndimage.gaussian_filter(steps.mean(axis=1), 5)
  return scipy.signal.argrelextrema(speed, np.less)[0].astype(np.float64)


def av_align(
  onsets: Float[np.ndarray, "n"],
  flow_speed: Float[np.ndarray, "steps"],
  fps: float | int,
  version: int = 2,
) -> Score:
  """Computes the AV-Align of a clip (Yariv et al. 2023, TempoTokens `av_align.py`).

  Args:
    onsets: of the music in seconds, from audio that is cut to the clip.
    flow_speed: mean optical flow between consecutive frames in pixels, t - 1 values.
    fps: frames per second.
    version: 1 is the code of October 2023, kept for papers older than 2: a peak may
      match many onsets, and scores can exceed 1. 2, of February 2025, requires 0.1
      pixels of flow and matches one to one.

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
  """Returns the times in seconds of strict local maxima of the flow.

  The first value is repeated, so that value i belongs to frame i, at i / fps.
  """
  _check_version(version)
  values = np.asarray(flow_speed, np.float64)
  values = np.concatenate([values[:1], values])
  inner = values[1:-1]
  is_peak = (inner > values[:-2]) & (inner > values[2:])  # false next to a nan
  if version == 2:
    is_peak &= inner >= 0.1
  return (np.flatnonzero(is_peak) + 1) / fps


def count_matches(
  onsets: Float[np.ndarray, "n"],
  peaks: Float[np.ndarray, "m"],
  fps: float | int,
  version: int = 2,
) -> int:
  """Counts the onsets with a peak less than a frame away.

  Version 2 is greedy, not optimal: each onset, in the given order, takes the first peak
  that is still free, in the given order.
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

"""Scores one clip without its real counterpart: alignment, motion and drift."""

import dataclasses
import warnings

import numpy as np
from jaxtyping import Float, Float32, Float64

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.evaluation.reading.poses import FROM_COCO, Poses
from dabfusion_jax.evaluation.scoring.events import Events
from dabfusion_jax.metrics import alignment, appearance
from dabfusion_jax.metrics.alignment import Score
from dabfusion_jax.metrics.clip_score import clip_score
from dabfusion_jax.metrics.motion import kinematic_beats

SOUND_METRICS = ("av_align", "av_align_v1", "clip_score")
_PRESETS = {"mm_align_mint": "mint", "mm_align_bailando": "bailando"}
_ALIGNMENT_METRICS = ("mm_align", *_PRESETS, "beat_alignment", "beat_alignment_joints")
_ALIGNMENT_METRICS += SOUND_METRICS


@dataclasses.dataclass(frozen=True)
class Motion:
  """The motion of a clip, as far as it is known.

  Attributes:
    fps: frames per second.
    speed: mean optical flow of each step, pixels per frame.
    jitter: mean change of the optical flow, pixels per frame^2.
    poses: estimated joints in pixels, and which are visible; None without them.
    joints2d: true joints in pixels, NaN where unknown; None if all are.
    embeddings: of the frames by CLIP; None without its weights.
    no_poses: the reason if there are no poses.
    poses_late_seconds: how late the pose estimator is.
  """

  fps: float
  speed: Float64[np.ndarray, "steps"]
  jitter: Float64[np.ndarray, "fewer"]
  poses: Poses | None = None
  joints2d: Float[np.ndarray, "t 17 2"] | None = None
  embeddings: Float32[np.ndarray, "t 512"] | None = None
  no_poses: str = "not_asked"
  poses_late_seconds: float = 0.0

  def frozen(self) -> "Motion":
    """Returns the motion of the same clip with its first frame held still."""
    hold = clips.hold_first
    return dataclasses.replace(
      self,
      speed=np.zeros_like(self.speed),
      jitter=np.zeros_like(self.jitter),
      poses=self.poses and tuple(map(hold, self.poses)),
      joints2d=None,
      embeddings=None if self.embeddings is None else hold(self.embeddings),
    )


def alignment_scores(motion: Motion, events: Events) -> dict[str, Score]:
  """Returns all alignment metrics of a clip's motion with some music.

  A video without motion scores 0 in 2D-MM Align, beat alignment and AV-Align; it is
  not undefined.
  """
  if events.reason:
    return dict.fromkeys(_ALIGNMENT_METRICS, Score(None, events.reason))
  scores = beat_scores(motion, events.beats) | sound_scores(motion, events)
  for name, preset in _PRESETS.items():
    if motion.poses is None:
      scores[name] = Score(None, motion.no_poses)
      continue
    with warnings.catch_warnings():  # the preset warns that it is made for 60 fps
      warnings.filterwarnings("ignore", message="Preset .* is made for 60 fps")
      scores[name] = alignment.mm_align(
        *motion.poses, events.beats, motion.fps, preset=preset
      )
  return scores


def sound_scores(motion: Motion, events: Events) -> dict[str, Score]:
  """Returns what needs the sound itself: AV-Align and CLIPScore."""
  if events.onsets is None:
    return dict.fromkeys(SOUND_METRICS, Score(None, events.no_onsets))
  scores = {
    "av_align": alignment.av_align(events.onsets, motion.speed, motion.fps, 2),
    "av_align_v1": alignment.av_align(events.onsets, motion.speed, motion.fps, 1),
    "clip_score": Score(None, "no_weights"),
  }
  if motion.embeddings is not None and events.embedding is not None:
    scores["clip_score"] = clip_score(motion.embeddings, events.embedding)
  return scores


def beat_scores(motion: Motion, beats: Float64[np.ndarray, "n"]) -> dict[str, Score]:
  """Returns beat alignment of optical flow, of poses (2D-MM Align), of true joints.

  The motion beats are every minimum of speed (`motion.kinematic_beats`).
  """
  scores = {"beat_alignment": _beat_alignment(motion.speed, motion.fps, beats)}
  if not len(motion.speed):
    scores["beat_alignment"] = Score(None, "too_short")
  scores["mm_align"] = Score(None, motion.no_poses)
  if motion.poses is not None:
    scores["mm_align"] = alignment.mm_align(
      *motion.poses, beats + motion.poses_late_seconds, motion.fps
    )
  scores["beat_alignment_joints"] = Score(None, "no_truth")
  if motion.joints2d is not None:
    joints = motion.joints2d[:, FROM_COCO].astype(np.float64)
    is_known = np.isfinite(joints).all(axis=-1)
    scores["beat_alignment_joints"] = alignment.mm_align(
      np.where(is_known[..., None], joints, 0.0), is_known, beats, motion.fps
    )
  return scores


def _beat_alignment(speed: np.ndarray, fps: float, beats: np.ndarray) -> Score:
  motion_beats = kinematic_beats(speed, fps)
  return alignment.beat_alignment(motion_beats, beats, alignment.SIGMA_SECONDS)


def motion_scores(motion: Motion) -> dict[str, Score]:
  """Returns the mean speed and jitter of the optical flow."""
  return {"speed": _mean(motion.speed), "jitter": _mean(motion.jitter)}


def _mean(values: np.ndarray) -> Score:
  return Score(float(values.mean())) if len(values) else Score(None, "too_short")


def drift_score(features: Float32[np.ndarray, "t d"]) -> Score:
  """Returns the identity drift; undefined below 9 frames."""
  value = appearance.drift(features)
  return Score(value) if value is not None else Score(None, "too_short")

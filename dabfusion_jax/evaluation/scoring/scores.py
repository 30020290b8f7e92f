"""Scores of one clip that need no real counterpart: alignment and motion."""

import dataclasses
import warnings

import numpy as np

from dabfusion_jax.evaluation.reading.poses import FROM_COCO
from dabfusion_jax.metrics import alignment, appearance
from dabfusion_jax.metrics.alignment import Score
from dabfusion_jax.metrics.clip_score import clip_score
from dabfusion_jax.metrics.motion import joint_speed, kinematic_beats

Pose = tuple[np.ndarray, np.ndarray]
_NO_SOUND = Score(None, "no_sound")


@dataclasses.dataclass(frozen=True)
class Events:
  """The music of a clip. `beats` (seconds) may hold one beat beyond either edge.

  `source` says where the beats come from; `reason` why there is no music at all. Beats
  may be known of a clip without sound: then `onsets` and `embedding` are None.
  """

  beats: np.ndarray
  onsets: np.ndarray | None
  source: str
  track: str
  period: float | None
  reason: str | None = None
  embedding: np.ndarray | None = None  # Wav2CLIP's; None also without its weights


@dataclasses.dataclass(frozen=True)
class Moves:
  """The motion of a clip: optical flow, estimated and true poses (None: unknown)."""

  fps: float
  speed: np.ndarray
  jitter: np.ndarray
  pose: Pose | None = None
  joints2d: np.ndarray | None = None
  pose_reason: str = "not_asked"
  embeddings: np.ndarray | None = None  # CLIP's of the frames; None: no weights


def alignment_scores(moves: Moves, events: Events) -> dict[str, Score]:
  """All alignment metrics of a clip's motion with some music.

  A video without motion scores 0 in 2D-MM Align and AV-Align, not undefined.
  """
  names = ("mm_align", "mm_align_mint", "mm_align_bailando", "mm_align_flow")
  names += ("mm_align_joints", "av_align", "av_align_v1", "clip_score")
  if events.reason:
    scores = {name: Score(None, events.reason) for name in names}
  else:
    scores = beat_scores(moves, events.beats) | sound_scores(moves, events)
    for preset in ("mint", "bailando"):
      name = f"mm_align_{preset}"
      if moves.pose is None:
        scores[name] = Score(None, moves.pose_reason)
      else:
        with warnings.catch_warnings():  # the preset's own warning: made for 60 fps
          warnings.filterwarnings("ignore", message="Preset .* is made for 60 fps")
          scores[name] = alignment.mm_align(
            *moves.pose, events.beats, moves.fps, preset=preset
          )
  return scores


def sound_scores(moves: Moves, events: Events) -> dict[str, Score]:
  """What needs the sound itself: AV-Align and CLIPScore."""
  if events.onsets is None:
    return dict.fromkeys(("av_align", "av_align_v1", "clip_score"), _NO_SOUND)
  scores = {
    "av_align": alignment.av_align(events.onsets, moves.speed, moves.fps, 2),
    "av_align_v1": alignment.av_align(events.onsets, moves.speed, moves.fps, 1),
    "clip_score": Score(None, "no_weights"),
  }
  if moves.embeddings is not None and events.embedding is not None:
    scores["clip_score"] = clip_score(moves.embeddings, events.embedding)
  return scores


def beat_scores(moves: Moves, beats: np.ndarray) -> dict[str, Score]:
  """The paper's formula from flow speed, estimated and true poses."""
  pauses = kinematic_beats(moves.speed, moves.fps)
  sigma = alignment.SIGMA_SECONDS
  scores = {"mm_align_flow": alignment.beat_alignment(pauses, beats, sigma)}
  if len(moves.speed) < 1:
    scores["mm_align_flow"] = Score(None, "too_short")
  scores["mm_align"] = Score(None, moves.pose_reason)
  if moves.pose is not None:
    scores["mm_align"] = alignment.mm_align(*moves.pose, beats, moves.fps)
  scores["mm_align_joints"] = Score(None, "no_truth")
  if moves.joints2d is not None:
    joints = moves.joints2d[:, FROM_COCO].astype(np.float64)
    speed = joint_speed(joints, np.ones(joints.shape[:2], bool))
    scores["mm_align_joints"] = alignment.beat_alignment(
      kinematic_beats(speed, moves.fps), beats, sigma
    )
  return scores


def motion_scores(moves: Moves) -> dict[str, Score]:
  """Mean speed and jitter of the optical flow."""
  return {
    "speed": _mean(moves.speed),
    "jitter": _mean(moves.jitter),
  }


def _mean(values: np.ndarray) -> Score:
  return Score(float(values.mean())) if len(values) else Score(None, "too_short")


def drift_score(features: np.ndarray) -> Score:
  """Identity drift; undefined below 9 frames."""
  value = appearance.drift(features)
  return Score(value) if value is not None else Score(None, "too_short")

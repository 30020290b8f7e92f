"""Measures clips one by one: each beside its real counterpart and its nulls."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm
from jaxtyping import Float64, UInt8

from dabfusion_jax.evaluation.reading.changes import CODED, FROZEN, Change
from dabfusion_jax.evaluation.reading.clip_sets import ClipSet
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading
from dabfusion_jax.evaluation.reading.labels import Labels, parse_labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reading.poses import PoseSource
from dabfusion_jax.evaluation.scoring import baselines, paired, scores
from dabfusion_jax.evaluation.scoring.catalog import (
  BEAT_METRICS,
  PAIRED,
  SHUFFLED,
  STAGE1_METRICS,
)
from dabfusion_jax.evaluation.scoring.events import Events, collect_events
from dabfusion_jax.evaluation.scoring.scores import Motion
from dabfusion_jax.metrics import alignment, appearance
from dabfusion_jax.metrics.alignment import Score
from data_pipeline.music.onsets import LATE_SECONDS

Scores = dict[str, Score]  # by metric
_MAX_RATIO = 1.05  # of the lengths of clips whose music may be exchanged


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of a measurement; all of them are part of the protocol."""

  groups: tuple[str, ...]  # of `catalog.GROUPS`
  reading: Reading = Reading()
  seed: int = 0
  num_draws: int = 20  # of shuffled music
  include_first: bool = False  # whether frame 0 counts in paired scores
  resize: str = "default"  # of FVD, one of `i3d.RESIZES`
  beats_late_seconds: float = LATE_SECONDS  # of the beat tracker
  poses_late_seconds: float = 0.0  # of the pose estimator


@dataclasses.dataclass(frozen=True)
class Extras:
  """What an evaluation can use besides the two folders of clips.

  Attributes:
    networks: pretrained networks, as far as their weights are there.
    poses: finds joints.
    training: thumbnails of the clips that a model was trained on.
    training_digest: of their data set.
    stage1: rebuilds a real clip from its own motion.
  """

  networks: Networks
  poses: PoseSource | None = None
  training: UInt8[np.ndarray, "n t 16 16 3"] | None = None
  training_digest: str | None = None
  stage1: Change | None = None


@dataclasses.dataclass(eq=False)
class Measured:
  """All scores of all clips, before they are summarised.

  Attributes:
    names: of the clips.
    labels: of each clip.
    events: music of each clip.
    scores: `scores[kind][i]` are those of clip i. The kinds are "sample", "real",
      "frozen" (the first frame held still), "codec" (the real clip after mp4 coding),
      "shuffled" (mean over draws of other music), "half_beat" (beats moved by half an
      interval) and "chance" (in closed form).
    draws: scores with shuffled music by metric, NaN if undefined.
  """

  names: list[str]
  labels: list[Labels]
  events: list[Events]
  scores: dict[str, list[Scores]]
  draws: dict[str, Float64[np.ndarray, "draws n"]]

  def shuffled_sd(self, metric: str, indices: Sequence[int]) -> float | None:
    """Returns the SD over draws of the mean over some clips."""
    if metric not in self.draws:
      return None
    draws = self.draws[metric][:, list(indices)]
    means = [row[np.isfinite(row)].mean() for row in draws if np.isfinite(row).any()]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None

  def column(self, kind: str, metric: str) -> list[Score]:
    """Returns the scores of all clips; [] if there are none of this kind."""
    absent = Score(None, "no_reference" if kind == "real" else "not_computed")
    return [row.get(metric, absent) for row in self.scores.get(kind, [])]

  def metrics(self) -> list[str]:
    """Returns all metrics that any clip was measured by, in order of appearance."""
    names: dict[str, None] = {}
    for kind in ("sample", "real"):
      for row in self.scores[kind]:
        names |= dict.fromkeys(row)
    return list(names)


def measure(
  samples: ClipSet, references: ClipSet | None, settings: Settings, extras: Extras
) -> Measured:
  """Measures every clip of `samples`, and the real clip of the same name."""
  names = sorted(samples.features)
  labels = [parse_labels(name) for name in names]
  kinds = {kind: [] for kind in ("sample", "real", "frozen", "codec")}
  result = Measured(names, labels, [], kinds, {})
  measurer = _Measurer(settings, extras, references is not None)
  motions: list[Motion] = []
  for name, label in zip(tqdm.tqdm(names, "clips", unit="clip"), labels, strict=True):
    sample = samples.features[name]
    reference = references.features.get(name) if references else None
    networks, late = extras.networks, settings.beats_late_seconds
    events = collect_events(sample, reference, label, networks, late)
    motions.append(measurer.motion(sample))
    real_events = None
    if reference is not None:  # by its own music alone, whatever is compared with it
      real_events = collect_events(reference, None, label, networks, late)
    rows = measurer.scores(sample, motions[-1], reference, events, real_events)
    for kind, row in rows.items():
      result.scores[kind].append(row)
    result.events.append(events)
    sample.forget()
    if reference is not None:
      reference.forget()
  if "alignment" in settings.groups:
    _add_alignment_nulls(result, motions, settings)
  return result


@dataclasses.dataclass(frozen=True)
class _Measurer:
  """Measures one clip at a time."""

  settings: Settings
  extras: Extras
  has_references: bool

  def scores(
    self,
    sample: ClipFeatures,
    motion: Motion,
    reference: ClipFeatures | None,
    events: Events,
    real_events: Events | None,
  ) -> dict[str, Scores]:
    """Returns the scores of a clip by kind."""
    groups, stage1 = self.settings.groups, self.extras.stage1
    rows: dict[str, Scores] = {"real": {}, "frozen": {}, "codec": {}}
    rows["sample"] = self.own(sample, motion, events)
    if "alignment" in groups:
      rows["frozen"] |= scores.alignment_scores(motion.frozen(), events)
    if reference is not None:
      real_motion = self.motion(reference, is_real=True)
      rows["real"] = self.own(reference, real_motion, real_events)
    if "paired" in groups and self.has_references:
      for kind, row in zip(
        ("sample", "frozen"), self.pair(sample, reference), strict=True
      ):
        rows[kind] |= row
    if stage1 is not None and reference is not None:
      for kind, change in (("sample", stage1), ("frozen", FROZEN)):
        changed = reference.changed(change)
        rebuilt = paired.paired_scores(
          changed,
          reference,
          self.extras.networks,
          include_first=self.settings.include_first,
        )
        for name in STAGE1_METRICS:
          rows[kind][name] = rebuilt[name.removeprefix("stage1_")]
    if "codec" in groups and reference is not None and reference.info["lossless"]:
      coded = reference.changed(CODED)
      rows["codec"] = self.own(coded, self.motion(coded), real_events)
      if "paired" in groups:
        rows["codec"] |= self.paired(coded, reference)
    return rows

  def motion(self, clip: ClipFeatures, is_real: bool = False) -> Motion:
    """Returns the motion of a clip; that of a real one includes its true joints."""
    groups, networks, poses = (
      self.settings.groups,
      self.extras.networks,
      self.extras.poses,
    )
    has_poses = "pose" in groups and poses is not None
    has_clip = "alignment" in groups and "clip" in networks
    return Motion(
      fps=clip.fps,
      speed=clip.motion["speed"],
      jitter=clip.motion["jitter"],
      poses=clip.pose(poses) if has_poses else None,
      joints2d=clip.truth.get("joints2d") if is_real else None,
      embeddings=clip.clip_frames(networks) if has_clip else None,
      no_poses="no_pose_estimator" if "pose" in groups else "not_asked",
      poses_late_seconds=self.settings.poses_late_seconds,
    )

  def own(self, clip: ClipFeatures, motion: Motion, events: Events) -> Scores:
    """Returns the scores that need no real clip."""
    groups, extras = self.settings.groups, self.extras
    own = scores.motion_scores(motion) if "motion" in groups else {}
    if "drift" in groups:
      if "alex" not in extras.networks:
        own["drift"] = Score(None, "no_weights")
      elif min(clip.info["shape"][1:]) < paired.MIN_LPIPS_SIZE:
        own["drift"] = Score(None, "too_small")
      else:
        own["drift"] = scores.drift_score(clip.appearance(extras.networks))
    if extras.training is not None:
      distance, _ = appearance.nearest_distance(clip.thumbnails, extras.training)
      own["nearest_training"] = Score(distance)
    if "alignment" in groups:
      own |= scores.alignment_scores(motion, events)
    return own

  def pair(
    self, sample: ClipFeatures, reference: ClipFeatures | None
  ) -> tuple[Scores, Scores]:
    """Returns the paired scores of the sample, and of the frozen clip as their null."""
    if reference is None:
      absent = dict.fromkeys(PAIRED, Score(None, "no_reference"))
      return absent, absent
    own = self.paired(sample, reference)
    if not np.array_equal(sample.info["shape"], reference.info["shape"]):
      return own, own  # undefined, for the same reason
    return own, self.paired(reference.changed(FROZEN), reference)

  def paired(self, clip: ClipFeatures, reference: ClipFeatures) -> Scores:
    """Returns the paired scores of a clip."""
    return paired.paired_scores(
      clip,
      reference,
      self.extras.networks,
      lpips_networks=("alex", "vgg") if "lpips" in self.settings.groups else (),
      include_first=self.settings.include_first,
    )


def _add_alignment_nulls(
  result: Measured, motions: Sequence[Motion], settings: Settings
) -> None:
  """Adds chance, beats half an interval later, and the music of other tracks."""
  if not motions:  # as in a share of the clips that holds real ones only
    return
  result.scores["half_beat"], result.scores["chance"] = [], []
  own = result.scores["sample"]
  for motion, events, row_of_own in zip(motions, result.events, own, strict=True):
    later = baselines.half_beat_later(events.beats)
    row = {} if events.reason else scores.beat_scores(motion, later)
    result.scores["half_beat"].append(row)
    level = Score(None, "tempo_unknown")
    if events.period:
      level = Score(alignment.chance_level(events.period))
    # Chance is a mean over the clips that have a score, as tempi differ.
    chance = {
      name: row_of_own[name] if row_of_own[name].value is None else level
      for name in BEAT_METRICS
    }
    result.scores["chance"].append(chance)
  lengths = [(len(motion.speed) + 1) / motion.fps for motion in motions]
  if max(lengths) > _MAX_RATIO * min(lengths):
    return  # music that ends before the motion, or goes on after it, is no null
  names = zip(result.events, result.labels, strict=True)
  tracks = [events.track or label.sequence for events, label in names]
  is_heard = lambda e: e.strength is not None and e.strength.any()
  unknown = [i for i, e in enumerate(result.events) if not e.track and is_heard(e)]
  alike = baselines.first_alike([result.events[i].strength for i in unknown])
  for i, first in zip(unknown, alike, strict=True):
    tracks[i] = tracks[unknown[first]]
  by_beats: dict[bytes, str] = {}  # without sound, beats alone tell a track
  for i, e in enumerate(result.events):
    if not (e.track or is_heard(e) or e.reason):
      tracks[i] = by_beats.setdefault(np.round(e.beats, 3).tobytes(), tracks[i])
  orders = baselines.derangements(tracks, settings.num_draws, settings.seed)
  if orders is None:
    return
  # Each pair is scored once, however many draws contain it.
  pairs = {(i, j) for order in orders for i, j in enumerate(order)}
  known: dict[tuple[int, int], Mapping[str, Score]] = {
    (i, j): scores.alignment_scores(motions[i], result.events[j]) for i, j in pairs
  }
  result.scores["shuffled"] = [{} for _ in motions]
  for metric in SHUFFLED:
    values = [
      [known[pair].get(metric, Score(None)).value for pair in enumerate(order)]
      for order in orders
    ]
    draws = result.draws[metric] = np.array(values, np.float64)  # None becomes NaN
    for row, column in zip(result.scores["shuffled"], draws.T, strict=True):
      defined = column[np.isfinite(column)]
      mean = Score(float(defined.mean())) if len(defined) else Score(None, "undefined")
      row[metric] = mean

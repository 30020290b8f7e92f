"""Measures clips one by one: each beside its real counterpart and its nulls."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from dabfusion_jax.evaluation import nulls, paired, scores
from dabfusion_jax.evaluation.catalog import BEAT_METRICS, SHUFFLED
from dabfusion_jax.evaluation.features import ClipFeatures, Reading
from dabfusion_jax.evaluation.names import Labels, parse_labels
from dabfusion_jax.evaluation.networks import Networks
from dabfusion_jax.evaluation.poses import PoseSource
from dabfusion_jax.evaluation.scores import Events, Moves
from dabfusion_jax.evaluation.sides import Side
from dabfusion_jax.metrics import alignment, appearance
from dabfusion_jax.metrics.alignment import Score

SIZE_OF_NETWORKS = 32  # pixels that AlexNet and VGG need


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is measured and how; all of it enters the protocol."""

  groups: tuple[str, ...]
  reading: Reading = Reading()
  seed: int = 0
  num_draws: int = 20
  include_first: bool = False
  resize: str = "default"


@dataclasses.dataclass(frozen=True)
class Training:
  """Thumbnails uint8 [n, t, 16, 16, 3] of the clips a model was trained on."""

  thumbnails: np.ndarray
  digest: str  # of their data set


@dataclasses.dataclass(eq=False)
class Measured:
  """All scores of all clips, before they are summed up.

  `scores[of][i]` maps metric -> Score of clip `names[i]`. `of` is "sample", "real",
  "frozen" (first frame kept still), "shuffled" (mean over draws of other music),
  "half_beat" (beats moved by half a period) or "chance" (closed form).
  `shuffled_sd[metric]` is the SD over draws of the mean over clips.
  """

  names: list[str]
  labels: list[Labels]
  events: list[Events]
  scores: dict[str, list[dict[str, Score]]]
  shuffled_sd: dict[str, float]

  def column(self, of: str, metric: str) -> list[Score]:
    """The scores of all clips; those that are not there are undefined."""
    absent = Score(None, "no_reference" if of == "real" else "not_computed")
    return [found.get(metric, absent) for found in self.scores.get(of, [])]

  def metrics(self) -> list[str]:
    """All metrics that some clip was asked for, in order of appearance."""
    found: dict[str, None] = {}
    for of in ("sample", "real"):
      for one in self.scores[of]:
        found |= dict.fromkeys(one)
    return list(found)


def measure(
  samples: Side,
  references: Side | None,
  settings: Settings,
  networks: Networks,
  pose: PoseSource | None = None,
  training: Training | None = None,
) -> Measured:
  """Measures every clip of `samples`, and the real clip of the same name."""
  names = sorted(samples.features)
  real = references.features if references else {}
  result = Measured(names, [parse_labels(name) for name in names], [], {}, {})
  result.scores = {of: [] for of in ("sample", "real", "frozen")}
  moves: list[Moves] = []
  for name, labels in zip(
    tqdm.tqdm(names, desc="clips", unit="clip"), result.labels, strict=True
  ):
    sample, reference = samples.features[name], real.get(name)
    events = hear(sample, reference, labels)
    result.events.append(events)
    moves.append(_moves(sample, settings, pose))
    frozen = _still(moves[-1])
    rows = {"sample": {}, "real": {}, "frozen": {}}
    rows["sample"] |= _own_scores(sample, moves[-1], settings, networks, training)
    if reference is not None:
      truth = _moves(reference, settings, pose, is_real=True)
      rows["real"] |= _own_scores(reference, truth, settings, networks, training)
    if "alignment" in settings.groups:
      rows["sample"] |= scores.alignment_scores(moves[-1], events)
      rows["frozen"] |= scores.alignment_scores(frozen, events)
      if reference is not None:
        rows["real"] |= scores.alignment_scores(truth, events)
    if "paired" in settings.groups and references is not None:
      rows["sample"] |= _paired(sample, reference, settings, networks)
      rows["frozen"] |= _paired(sample, reference, settings, networks, frozen=True)
    for of, row in rows.items():
      result.scores[of].append(row)
    sample.forget()
    if reference is not None:
      reference.forget()
  if "alignment" in settings.groups:
    _add_nulls(result, moves, settings)
  return result


def _moves(
  one: ClipFeatures, settings: Settings, pose: PoseSource | None, is_real: bool = False
) -> Moves:
  found = one.motion
  has_pose = "pose" in settings.groups and pose is not None
  return Moves(
    fps=one.fps,
    speed=found["speed"],
    jitter=found["jitter"],
    pose=one.pose(pose) if has_pose else None,
    joints2d=one.truth.get("joints2d") if is_real else None,
    pose_reason="no_pose_estimator",
  )


def _still(moves: Moves) -> Moves:
  """The motion of the same clip if its first frame were kept."""
  pose = moves.pose
  if pose is not None:
    pose = tuple(np.repeat(x[:1], len(x), axis=0) for x in pose)
  return dataclasses.replace(
    moves,
    speed=np.zeros_like(moves.speed),
    jitter=np.zeros_like(moves.jitter),
    pose=pose,
    joints2d=None,
  )


def _own_scores(one, moves, settings, networks, training) -> dict[str, Score]:
  """Scores that need neither music nor a real clip."""
  found = scores.motion_scores(moves) if "motion" in settings.groups else {}
  if "drift" in settings.groups:
    if "alex" not in networks:
      found["drift"] = Score(None, "no_weights")
    elif min(one.info["shape"][1:]) < SIZE_OF_NETWORKS:
      found["drift"] = Score(None, "too_small")
    else:
      found["drift"] = scores.drift_score(one.appearance(networks))
  if training is not None:
    distance, _ = appearance.nearest_distance(one.thumbnails, training.thumbnails)
    found["nearest_training"] = Score(distance)
  if "alignment" in settings.groups:
    found["clip_score"] = Score(None, "no_weights")
  return found


def _paired(sample, reference, settings, networks, frozen=False) -> dict[str, Score]:
  if reference is None:
    return {name: Score(None, "no_reference") for name in paired.METRICS}
  nets = ("alex", "vgg") if "lpips" in settings.groups else ()
  return paired.paired_scores(
    sample,
    reference,
    networks,
    nets=nets,
    frozen=frozen,
    include_first=settings.include_first,
  )


def hear(
  sample: ClipFeatures, reference: ClipFeatures | None, labels: Labels
) -> Events:
  """The music of a clip: known beats first, then tracked ones, then those heard.

  Onsets come from the sample's own sound, or from the real clip's if it has none.
  """
  sides = [one for one in (sample, reference) if one is not None]
  heard = next((one.sound for one in sides if one.info["has_sound"]), None)
  candidates = [
    (one.truth[key], source)
    for key, source in (("true_beat_times", "known"), ("beat_times", "tracked in song"))
    for one in reversed(sides)
    if key in one.truth
  ]
  if heard is not None:
    candidates.append((heard["beats"], "tracked in clip"))
  beats, source = candidates[0] if candidates else (np.zeros(0), "none")
  beats = np.asarray(beats, np.float64)
  return Events(
    beats=beats,
    onsets=np.zeros(0) if heard is None else heard["onsets"],
    source=source,
    track=labels.track,
    period=nulls.period_seconds(labels.bpm, beats),
    reason=None if candidates else "no_sound",
  )


def _add_nulls(result: Measured, moves: Sequence[Moves], settings: Settings) -> None:
  """Chance, half a beat later, and the music of other tracks."""
  events, count = result.events, len(moves)
  result.scores["half_beat"], result.scores["chance"] = [], []
  for one, music in zip(moves, events, strict=True):
    later = nulls.half_beat_later(music.beats)
    found = {} if music.reason else scores.beat_scores(one, later)
    result.scores["half_beat"].append(found)
    level = Score(None, "tempo_unknown")
    if music.period:
      level = Score(alignment.chance_level(music.period))
    result.scores["chance"].append(dict.fromkeys(BEAT_METRICS, level))
  # Where the name tells no track, a clip has a music of its own.
  tracks = [m.track or name for m, name in zip(events, result.names, strict=True)]
  draws = nulls.derangements(tracks, settings.num_draws, settings.seed)
  if draws is None:
    return
  # Each pair is scored once, however many draws hold it.
  known: dict[tuple[int, int], Mapping[str, Score]] = {}
  for order in draws:
    for i, j in enumerate(order):
      if (i, j) not in known:
        known[i, j] = scores.alignment_scores(moves[i], events[j])
  result.scores["shuffled"] = [{} for _ in range(count)]
  for metric in SHUFFLED:
    table = np.full((len(draws), count), np.nan)
    for d, order in enumerate(draws):
      for i, j in enumerate(order):
        value = known[i, j].get(metric, Score(None)).value
        table[d, i] = np.nan if value is None else value
    for i in range(count):
      values = table[:, i][np.isfinite(table[:, i])]
      mean = Score(float(values.mean())) if len(values) else Score(None, "undefined")
      result.scores["shuffled"][i][metric] = mean
    means = [np.mean(row[np.isfinite(row)]) for row in table if np.isfinite(row).any()]
    if len(means) > 1:
      result.shuffled_sd[metric] = float(np.std(means, ddof=1))

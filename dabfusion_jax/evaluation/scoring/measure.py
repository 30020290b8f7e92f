"""Measures clips one by one: each beside its real counterpart and its nulls."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from dabfusion_jax.evaluation.reading import music_events
from dabfusion_jax.evaluation.reading.clip_sets import Side
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading
from dabfusion_jax.evaluation.reading.labels import Labels, parse_labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reading.poses import PoseSource
from dabfusion_jax.evaluation.scoring import baselines, paired, scores
from dabfusion_jax.evaluation.scoring.catalog import BEAT_METRICS, SHUFFLED
from dabfusion_jax.evaluation.scoring.scores import Events, Moves
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
  "frozen" (first frame kept still), "codec" (the real clip after one mp4 coding),
  "shuffled" (mean over draws of other music), "half_beat" (beats moved by half a
  period) or "chance" (closed form). `draws[metric]` [draws, clips] holds the scores
  with shuffled music, nan where undefined.
  """

  names: list[str]
  labels: list[Labels]
  events: list[Events]
  scores: dict[str, list[dict[str, Score]]]
  draws: dict[str, np.ndarray]

  def shuffled_sd(self, metric: str, indices: Sequence[int]) -> float | None:
    """SD over draws of the mean over some clips."""
    if metric not in self.draws:
      return None
    rows = self.draws[metric][:, list(indices)]
    means = [row[np.isfinite(row)].mean() for row in rows if np.isfinite(row).any()]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None

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
  result.scores = {of: [] for of in ("sample", "real", "frozen", "codec")}
  moves: list[Moves] = []
  for name, labels in zip(
    tqdm.tqdm(names, desc="clips", unit="clip"), result.labels, strict=True
  ):
    sample, reference = samples.features[name], real.get(name)
    events = hear(sample, reference, labels, networks)
    result.events.append(events)
    moves.append(_moves(sample, settings, networks, pose))
    frozen = _still(moves[-1])
    rows = {"sample": {}, "real": {}, "frozen": {}, "codec": {}}
    rows["sample"] |= _own_scores(sample, moves[-1], settings, networks, training)
    if reference is not None:
      truth = _moves(reference, settings, networks, pose, is_real=True)
      rows["real"] |= _own_scores(reference, truth, settings, networks, training)
    if "alignment" in settings.groups:
      rows["sample"] |= scores.alignment_scores(moves[-1], events)
      rows["frozen"] |= scores.alignment_scores(frozen, events)
      if reference is not None:
        rows["real"] |= scores.alignment_scores(truth, events)
    if "paired" in settings.groups and references is not None:
      rows["sample"] |= _paired(sample, reference, settings, networks)
      rows["frozen"] |= _paired(sample, reference, settings, networks, frozen=True)
    if "codec" in settings.groups and reference is not None:
      if reference.info["lossless"]:
        rows["codec"] = _codec_scores(reference, events, settings, networks, pose)
    for of, row in rows.items():
      result.scores[of].append(row)
    sample.forget()
    if reference is not None:
      reference.forget()
  if "alignment" in settings.groups:
    _add_nulls(result, moves, settings)
  return result


def _codec_scores(reference, events, settings, networks, pose) -> dict[str, Score]:
  """What the real clip scores after one pass through the coding of an mp4."""
  coded = reference.coded()
  moves = _moves(coded, settings, networks, pose)
  row = _own_scores(coded, moves, settings, networks, None)
  if "alignment" in settings.groups:
    row |= scores.alignment_scores(moves, events)
  if "paired" in settings.groups:
    row |= _paired(coded, reference, settings, networks)
  return row


def _moves(
  one: ClipFeatures,
  settings: Settings,
  networks: Networks,
  pose: PoseSource | None,
  is_real: bool = False,
) -> Moves:
  found = one.motion
  has_clip = "alignment" in settings.groups and "clip" in networks
  has_pose = "pose" in settings.groups and pose is not None
  return Moves(
    fps=one.fps,
    speed=found["speed"],
    jitter=found["jitter"],
    pose=one.pose(pose) if has_pose else None,
    joints2d=one.truth.get("joints2d") if is_real else None,
    pose_reason="no_pose_estimator",
    embeddings=one.clip_frames(networks) if has_clip else None,
  )


def _still(moves: Moves) -> Moves:
  """The motion of the same clip if its first frame were kept."""
  still = lambda x: np.repeat(x[:1], len(x), axis=0)
  pose, embeddings = moves.pose, moves.embeddings
  return dataclasses.replace(
    moves,
    speed=np.zeros_like(moves.speed),
    jitter=np.zeros_like(moves.jitter),
    pose=None if pose is None else tuple(map(still, pose)),
    joints2d=None,
    embeddings=None if embeddings is None else still(embeddings),
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
  sample: ClipFeatures,
  reference: ClipFeatures | None,
  labels: Labels,
  networks: Networks,
) -> Events:
  """The music of a clip: known beats first, then tracked ones, then those heard.

  Onsets and the embedding come from the sample's own sound, or from the real clip's if
  it has none.
  """
  sides = [one for one in (sample, reference) if one is not None]
  speaker = next((one for one in sides if one.info["has_sound"]), None)
  heard = None if speaker is None else speaker.sound
  has_clip = speaker is not None and "wav2clip" in networks
  candidates = [
    (one.truth[key], source)
    for key, source in (("true_beat_times", "known"), ("beat_times", "tracked in song"))
    for one in reversed(sides)
    if key in one.truth
  ]
  if heard is not None:
    seconds = sample.info["shape"][0] / sample.fps
    continued = music_events.continue_beats(heard["beats"], seconds)
    candidates.append((continued, "tracked in clip, continued"))
  beats, source = candidates[0] if candidates else (np.zeros(0), "none")
  beats = np.asarray(beats, np.float64)
  return Events(
    beats=beats,
    onsets=None if heard is None else heard["onsets"],
    source=source,
    track=labels.track,
    period=baselines.period_seconds(labels.bpm, beats),
    reason=None if candidates else "no_sound",
    embedding=speaker.clip_sound(networks) if has_clip else None,
  )


def _add_nulls(result: Measured, moves: Sequence[Moves], settings: Settings) -> None:
  """Chance, half a beat later, and the music of other tracks."""
  events, count = result.events, len(moves)
  result.scores["half_beat"], result.scores["chance"] = [], []
  for one, music in zip(moves, events, strict=True):
    later = baselines.half_beat_later(music.beats)
    found = {} if music.reason else scores.beat_scores(one, later)
    result.scores["half_beat"].append(found)
    level = Score(None, "tempo_unknown")
    if music.period:
      level = Score(alignment.chance_level(music.period))
    result.scores["chance"].append(dict.fromkeys(BEAT_METRICS, level))
  # Where the name tells no track, a clip has a music of its own.
  tracks = [m.track or name for m, name in zip(events, result.names, strict=True)]
  draws = baselines.derangements(tracks, settings.num_draws, settings.seed)
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
    result.draws[metric] = table

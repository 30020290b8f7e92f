"""Claims 2 and 3: the dance is on the beat, and follows the beats it is given."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from dabfusion_jax.evaluation.scoring import baselines
from dabfusion_jax.evaluation.study import dancing, estimates
from dabfusion_jax.evaluation.study import subjects as clips
from dabfusion_jax.evaluation.study.drawing import Artist, Dances
from dabfusion_jax.evaluation.study.estimates import Estimate, Row
from dabfusion_jax.evaluation.study.subjects import Subjects
from dabfusion_jax.inference.inputs import Music

TEMPI = (0.5, 0.8, 1.25, 2.0)  # 0.8 and 1.25 stay among the tempi of the songs
CALM = 0.5  # of the speed with music; what calm means is our choice
_RULES = {"": dancing.RULE, ", every minimum at its frame": dancing.PLAIN}


@dataclasses.dataclass(frozen=True)
class Stage:
  """What the figures of motion need to know: the picture's (h, w), fps and chance."""

  subjects: Subjects
  size: tuple[int, int]
  fps: float
  seed: int

  def pauses(self, flows: np.ndarray, rule: dancing.Rule = dancing.RULE):
    return dancing.pauses(dancing.speeds(flows, self.size), self.fps, rule)

  def speed(self, flows: np.ndarray) -> np.ndarray:
    """Of each clip, [n]."""
    return dancing.speeds(flows, self.size).mean(axis=1)

  def mean(self, values) -> Estimate:
    return estimates.mean(values, self.subjects.sequences)

  def pictures(self) -> list[np.ndarray]:
    return [record["frames"][0] for record in self.subjects.records]

  def ids(self) -> list[int]:
    return [int(record["example_id"]) for record in self.subjects.records]


def alignment_rows(stage: Stage, dances: Mapping[str, Dances]) -> list[Row]:
  """Of true clips and of dances named `e` and `b`: every line, and e against b."""
  subjects, beats = stage.subjects, stage.subjects.beats
  tracks = [label.track for label in subjects.labels]
  chance = dancing.chance(beats)
  table = []
  for words, rule in _RULES.items():
    true_pauses = stage.pauses(subjects.flow, rule)
    true = dancing.align(true_pauses, beats)
    found = {}
    for name, flows in {"true clips": subjects.flow, **_flows(dances)}.items():
      when = stage.pauses(flows, rule)
      found[name] = dancing.align(when, beats)
      shifted = dancing.align_shifted(when, beats)
      shuffled = dancing.align_shuffled(when, beats, tracks, stage.seed)
      level = stage.mean(true)
      row = lambda what, value, null, null_is, level=level: Row(
        what, stage.mean(value), level, stage.mean(null), null_is
      )
      title = f"alignment of {name}{words}"
      table += [row(title, found[name], chance, "chance, closed form")]
      table += [row(f"{title}, beats half a period late", shifted, chance, "chance")]
      if shuffled is not None:
        table += [row(f"{title}, beats of other tracks", shuffled, chance, "chance")]
    for name in dances:
      way = estimates.way(found[name], chance, true, subjects.sequences)
      asked = {} if words or name != "e" else _at_least(way, 0.7)
      table.append(Row(f"way of {name} from chance to true{words}", way, **asked))
      if name == "b" and not words:
        above = stage.mean(found["b"] - chance)
        table.append(
          Row("b above chance", above, asked="above, or why not", met=_over(above, 2))
        )
    if {"e", "b"} <= set(dances):
      gap = stage.mean(found["e"] - found["b"])
      asked = "" if words else "at least 4 standard errors"
      met = None if words else _over(gap, 4)
      table.append(Row(f"e minus b, paired{words}", gap, asked=asked, met=met))
      table.append(Row(f"the same in standard errors{words}", _in_errors(gap)))
  return table


def motion_rows(stage: Stage, dances: Mapping[str, Dances]) -> list[Row]:
  """How much the dances move beside the true clips."""
  true = stage.subjects.flow
  table = []
  for name, flows in _flows(dances).items():
    table += [
      Row(
        f"flow speed of {name} [px/frame]",
        stage.mean(stage.speed(flows)),
        stage.mean(stage.speed(true)),
      ),
      Row(
        f"flow jitter of {name} [px/frame^2]",
        stage.mean(dancing.jitters(flows, stage.size)),
        stage.mean(dancing.jitters(true, stage.size)),
      ),
      Row(
        f"pauses of {name} in a clip",
        stage.mean([len(one) for one in stage.pauses(flows)]),
        stage.mean([len(one) for one in stage.pauses(true)]),
      ),
    ]
  return table


def control_rows(
  stage: Stage,
  artist: Artist,
  plain: Dances,
  silence: np.ndarray,
  slowed: Mapping[float, np.ndarray],
) -> list[Row]:
  """What `artist` makes of beats moved, slowed, hurried and taken away.

  `plain` are its dances to the true beats; `silence` the embedding of no sound;
  `slowed` the flows of true clips shown at the `TEMPI` below 1. The music stays the
  clip's own where only the beats change.
  """
  subjects, beats = stage.subjects, stage.subjects.beats
  true = dancing.align(stage.pauses(subjects.flow), beats)
  table = []

  def draw(heard: Sequence[Music]) -> Dances:
    frames = subjects.flow.shape[1]
    return artist.draw(stage.pictures(), heard, stage.ids(), frames)

  def judge(words: str, given: list[np.ndarray], asked: bool) -> np.ndarray:
    when = stage.pauses(draw(subjects.heard(given)).flow)
    with_given, with_own = dancing.align(when, given), dancing.align(when, beats)
    chance_given, chance_own = dancing.chance(given), dancing.chance(beats)
    # As far above chance as true clips are, at the tempo that is given.
    reach = chance_given + (1 - chance_given) * (
      (true - dancing.chance(beats)) / (1 - dancing.chance(beats))
    )
    way = estimates.way(with_given, chance_given, reach, subjects.sequences)
    own, below = stage.mean(with_own), stage.mean(with_own - chance_own)
    null = "chance, closed form"
    table.extend(
      [
        Row(
          f"{words}: alignment with the given beats",
          stage.mean(with_given),
          stage.mean(reach),
          stage.mean(chance_given),
          null,
        ),
        Row(f"{words}: way with them", way, **_at_least(way, 0.6) if asked else {}),
        Row(
          f"{words}: alignment with the clip's own beats",
          own,
          stage.mean(true),
          stage.mean(chance_own),
          null,
          **{"asked": "at or below chance", "met": not _over(below, 2)}
          if words.startswith("half a period late")
          else {},
        ),
        Row(
          f"{words}: pauses for each given beat",
          stage.mean(_pauses_per_beat(when, given, stage)),
          stage.mean(_pauses_per_beat(stage.pauses(subjects.flow), beats, stage)),
        ),
      ]
    )
    return with_given

  judge("half a period late", [baselines.half_beat_later(one) for one in beats], True)
  for factor in TEMPI:
    asked, words = factor in (0.5, 2.0), f"tempo x {factor:g}"
    found = judge(words, [clips.at_tempo(one, factor) for one in beats], asked)
    if factor < 1:
      table += slowed_rows(stage, words, factor, slowed[factor], found)
  silent = [Music(np.zeros((0, 2), np.float32), silence, np.zeros(0))] * len(subjects)
  dances = draw(silent)
  table += [
    Row(
      "silence: flow speed [px/frame]",
      stage.mean(stage.speed(dances.flow)),
      stage.mean(stage.speed(subjects.flow)),
      stage.mean(stage.speed(plain.flow)),
      "the same model with music",
    ),
    Row(
      "silence: alignment with the clip's beats",
      stage.mean(dancing.align(stage.pauses(dances.flow), beats)),
      stage.mean(true),
      stage.mean(dancing.chance(beats)),
      "chance, closed form",
    ),
  ]
  ratio = estimates.ratio(
    stage.speed(dances.flow), stage.speed(plain.flow), subjects.sequences
  )
  asked = {"asked": f"at most {CALM:g}", "met": ratio.value <= CALM}
  table.append(Row("silence: speed against that with music", ratio, **asked))
  return table


def slowed_rows(
  stage: Stage, words: str, factor: float, slowed: np.ndarray, found: np.ndarray
) -> list[Row]:
  """What true clips score that are shown `factor` times as fast, and the way to it.

  A slow pause is long, and a dancer who was early is so by longer: true clips score
  less, so less can be asked. `slowed` are their flows; `found` [n] is the alignment of
  dances to beats as slow.
  """
  beats = [one / factor for one in stage.subjects.beats]
  true = dancing.align(stage.pauses(slowed), beats)
  chance = dancing.chance(beats)
  way = estimates.way(found, chance, true, stage.subjects.sequences)
  level = Row(
    f"{words}: alignment of true clips shown as slow",
    stage.mean(true),
    None,
    stage.mean(chance),
    "chance, closed form",
  )
  return [level, Row(f"{words}: way to them", way)]


def _pauses_per_beat(when, beats, stage: Stage) -> np.ndarray:
  """The first and last frame cannot pause: counted in what lies between."""
  seconds = (stage.subjects.flow.shape[1] - 2) / stage.fps
  return np.array(
    [
      len(a) * clips.period_seconds(b) / seconds
      for a, b in zip(when, beats, strict=True)
    ]
  )


def _flows(dances: Mapping[str, Dances]) -> dict[str, np.ndarray]:
  return {name: one.flow for name, one in dances.items()}


def _at_least(found: Estimate, share: float | int) -> dict:
  return {"asked": f"at least {share:g}", "met": found.value >= share}


def _over(gap: Estimate, errors: float | int) -> bool:
  """Whether a difference is so many standard errors above zero."""
  return gap.error is not None and gap.value > errors * gap.error


def _in_errors(gap: Estimate) -> Estimate:
  value = gap.value / gap.error if gap.error else float("nan")
  return Estimate(value, None, gap.n, gap.n_sequences)

"""Claim 5: how few steps are enough, by quality and by alignment."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.study import dancing, estimates, films
from dabfusion_jax.evaluation.study.beats import Stage
from dabfusion_jax.evaluation.study.drawing import Artist
from dabfusion_jax.evaluation.study.estimates import Estimate, Row
from dabfusion_jax.evaluation.study.films import Viewer

FEW = (5, 10, 20, 50)
PANELS = {
  "fvd": "FVD",
  "way": "alignment, share of the way",
  "speed": "flow speed / true",
  "jitter": "flow jitter / true",
}
_NOISE = 2.0  # a loss below so many of its errors is none
_CRITERIA = ("fvd", "alignment", "speed")


@dataclasses.dataclass(frozen=True)
class Point:
  """One sampler with one number of steps."""

  method: str
  num_steps: int
  figures: Mapping[str, Estimate]  # fvd and its half, alignment, way, speed, jitter
  true_half: Estimate  # FVD of a half of the true clips against the other
  alignment: np.ndarray  # of each clip


def measure(
  stage: Stage, viewer: Viewer, artist: Artist, method: str, num_steps: int
) -> Point:
  """Draws the stage's subjects and measures them.

  `speed` and `jitter` are ratios to the true clips'; `fvd_half` compares half of the
  clips with the other half of the true ones, mean and SD of ten splits.
  """
  subjects = stage.subjects
  heard, frames = subjects.heard(subjects.given), subjects.flow.shape[1]
  changes = {"method": method, "num_steps": num_steps}
  dances = artist.draw(stage.pictures(), heard, stage.ids(), frames, **changes)
  values = dancing.align(stage.pauses(dances.flow), subjects.beats)
  true = true_alignment(stage)
  chance = dancing.chance(subjects.beats)
  ratio = lambda f: estimates.ratio(
    f(dances.flow), f(subjects.flow), subjects.sequences
  )
  fvd = films.fvd_of(viewer.logits(artist, dances), viewer, None, stage.seed)
  figures = {
    "fvd": fvd["found"],
    "fvd_half": fvd["half"],
    "alignment": stage.mean(values),
    "way": estimates.way(values, chance, true, subjects.sequences),
    "speed": ratio(stage.speed),
    "jitter": ratio(lambda flow: dancing.jitters(flow, stage.size)),
  }
  return Point(method, num_steps, figures, fvd["true"], values)


def true_alignment(stage: Stage) -> np.ndarray:
  """Of each true clip."""
  return dancing.align(stage.pauses(stage.subjects.flow), stage.subjects.beats)


def losses(point: Point, best: Mapping[str, Point], stage: Stage) -> dict[str, Any]:
  """How much worse than the best of each figure, beside the noise of that.

  To be more on the beat than true clips are is no better, nor is another speed.
  """
  mine, other = point.figures["fvd_half"], best["fvd"].figures["fvd_half"]
  beyond = max(0.0, best["alignment"].alignment.mean() - true_alignment(stage).mean())
  align = stage.mean(best["alignment"].alignment - point.alignment - beyond)
  speed, steady = point.figures["speed"], best["speed"].figures["speed"]
  return {
    "fvd": mine.value - other.value,
    "fvd_noise": float(np.hypot(mine.error, other.error)),
    "alignment": align.value,
    "alignment_noise": align.error,
    "speed": abs(speed.value - 1) - abs(steady.value - 1),
    "speed_noise": float(np.hypot(speed.error, steady.error)),
  }


def choose(points: Sequence[Point], stage: Stage) -> tuple[Point, list[dict[str, Any]]]:
  """The fewest steps that lose nothing beyond twice the noise, and all losses.

  Among samplers of as few steps, the one of the lowest FVD.
  """
  best = {
    "fvd": min(points, key=lambda p: p.figures["fvd_half"].value),
    "alignment": max(points, key=lambda p: p.figures["alignment"].value),
    "speed": min(points, key=lambda p: abs(p.figures["speed"].value - 1)),
  }
  table = [losses(point, best, stage) for point in points]
  good = [
    point
    for point, loss in zip(points, table, strict=True)
    if all(loss[key] <= _NOISE * loss[f"{key}_noise"] for key in _CRITERIA)
  ]
  # The best may be three; then none is good at all, and quality decides.
  pool = good or [best["fvd"]]
  fewest = min(point.num_steps for point in pool)
  pool = [point for point in pool if point.num_steps == fewest]
  return min(pool, key=lambda p: p.figures["fvd_half"].value), table


def rows(points: Sequence[Point], note: str = "") -> list[Row]:
  """Lines of the table."""
  table = []
  for point in points:
    title = f"{point.method}, {point.num_steps} steps{note}"
    figures = point.figures
    table += [
      Row(f"FVD, {title}", figures["fvd"], point.true_half),
      Row(f"way from chance to true, {title}", figures["way"]),
      Row(f"flow speed against true, {title}", figures["speed"]),
      Row(f"flow jitter against true, {title}", figures["jitter"]),
    ]
  return table


def study(
  artist: Artist,
  many: tuple[Stage, Viewer],
  few: tuple[Stage, Viewer],
  methods: Sequence[str],
  long_steps: Sequence[int],
) -> tuple[list[Row], dict[str, Any], dict[str, dict[str, Any]]]:
  """Few steps of every method on many clips, long ones of ddim and ddpm on few.

  Returns the rows, plain values worth keeping (`chosen` among them), and the panels of
  the curve.
  """
  points = [measure(*many, artist, m, number) for number in FEW for m in methods]
  chosen, table = choose(points, many[0])
  long = [(m, n) for n in (FEW[-1], *long_steps) for m in ("ddim", "ddpm")]
  long_points = [measure(*few, artist, *one) for one in long]
  panels = {
    title: {
      method: [(p.num_steps, p.figures[key]) for p in points if p.method == method]
      for method in methods
    }
    for key, title in PANELS.items()
  }
  extra = {
    "points": list(map(_plain, points)),
    "long_points": list(map(_plain, long_points)),
    "losses": table,
    "chosen": {"method": chosen.method, "num_steps": chosen.num_steps},
  }
  note = f", {len(few[0].subjects)} clips"
  return rows(points) + rows(long_points, note), extra, panels


def _plain(point: Point) -> dict[str, Any]:
  figures = {key: dataclasses.asdict(one) for key, one in point.figures.items()}
  return {"method": point.method, "num_steps": point.num_steps, "figures": figures}

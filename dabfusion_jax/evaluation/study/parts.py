"""Lists the parts of the study, by name."""

import dataclasses
from collections.abc import Callable

from dabfusion_jax.evaluation.study import (
  beats,
  comparisons,
  control,
  lengths,
  replay,
  stage1,
  steps,
)
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.study import Study


@dataclasses.dataclass(frozen=True)
class Entry:
  """A part of the study: how it is measured, its title, and a note for readers."""

  measure: Callable[[Study], Part]
  title: str
  note: str = ""


PARTS = {
  "stage1": Entry(stage1.measure, "Stage 1"),
  "beats": Entry(
    beats.measure,
    "On the beat",
    "Motion beats are minima of the mean speed of the latent flow: every one"
    " (beat alignment), or those at least half a standard deviation of the clip's speed"
    " deep, placed by a parabola (strict). sigma 50 ms; chance in closed form.",
  ),
  "control": Entry(
    control.measure,
    "Following the beats given",
    "The music stays the clip's own if the beats change. `real clips` are those at"
    " their own tempo, placed as far between chance and 1 at the tempo given.",
  ),
  "models": Entry(comparisons.models, "With and without beats (Tables 1 and 3)"),
  "trackers": Entry(comparisons.trackers, "Tracked and true beats"),
  "lengths": Entry(
    lengths.measure,
    "Longer dances (Tables 5 and 7)",
    "All by the same model: the paper trains another one for 80 frames at once. The"
    " music of longer dances is the clip's; its true beats are continued.",
  ),
  "groups": Entry(comparisons.groups, "Cameras and genres (Tables 2 and 4)"),
  "styles": Entry(
    comparisons.styles,
    "Style vector and music (Table 6)",
    "In place of text: the mean embedding of the genre's training clips.",
  ),
  "steps": Entry(
    steps.measure,
    "Few steps",
    "The error of an FVD is its SD over halves of the clips; beside it, that of one"
    " half of the real clips against the other.",
  ),
  "replay": Entry(replay.measure, "Memorised training clips"),
}

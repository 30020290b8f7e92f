"""The table of the phases of a first dance."""

import dataclasses
import time
from collections.abc import Iterator

from benchmarks.first_frame import PHASES, Clock, dance, table


def test_phases_follow_each_other_without_a_gap():
  clock = Clock(time.monotonic())
  began = clock.wall
  for phase in PHASES:
    clock.end(phase)
  assert list(clock.phases) == list(PHASES)
  total = sum(wall for wall, _ in clock.phases.values())
  assert abs(total - (clock.wall - began)) < 1e-6


def test_a_table_has_medians_and_their_sum_of_the_phases_that_a_case_has():
  new = [
    {"start and imports": (wall, 2.0), "first step": (1.0, 1.0)} for wall in (1, 2, 9)
  ]
  again = [{"first step": (0.5, 0.25), "programs compiled": (0, None)}]
  lines = table({"new": new, "again": again}).splitlines()
  rows = {line.split(" | ")[0][2:]: line for line in lines[2:]}
  assert rows["start and imports"] == "| start and imports | 2.00 | 2.00 |  |  |"
  assert rows["all"] == "| all | 3.00 | 3.00 | 0.50 | 0.25 |"
  assert rows["programs compiled"] == "| programs compiled |  |  | 0 |  |"


def test_the_phases_of_all_windows_of_a_dance_are_added_up(tmp_path):
  """Two windows of two steps each; each step and each part takes its time."""

  @dataclasses.dataclass(frozen=True)
  class Stream:
    parts: Iterator[int]

    def save(self, path):
      for _ in self.parts:
        time.sleep(0.01)

  class Pipeline:
    def stream(self, *inputs, callback, **asked):
      def parts():
        for step in range(1, 5):
          time.sleep(0.03)
          callback(step, 4)
          if step % 2 == 0:
            yield step

      return Stream(parts())

  clock = Clock(time.monotonic())
  dance(clock, Pipeline(), (), tmp_path / "dance.mp4", seed=0)
  seconds = {phase: wall for phase, (wall, _) in clock.phases.items()}
  assert seconds["first step"] >= 0.03 and seconds["other steps"] >= 0.09
  assert seconds["drawing and writing"] >= 0.02

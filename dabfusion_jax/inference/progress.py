"""A progress bar of dances that are made one after another."""

from typing import Any

import tqdm

from data_pipeline import interrupts

_FORMAT = "{percentage:3.0f}%|{bar}| {desc}, {remaining} left"


class DanceBar(tqdm.tqdm):
  """Shows how much of the dances is made, and how long the rest takes.

  The estimate begins with the first step: what comes before it, reading and compiling,
  takes as long as many steps.
  """

  def __init__(self, count: int, **options: Any) -> None:
    """Begins with none of `count` dances; options are those of tqdm, such as `file`."""
    self._count, self._number = count, -1
    # Without smoothing, the estimate is an average, so later dances are read in it too.
    super().__init__(
      total=float(count), bar_format=_FORMAT, smoothing=0, desc="dances", **options
    )

  def begin(self) -> None:
    """Begins the next dance."""
    self._number += 1
    self.update(self._number - self.n)
    self.set_description_str(f"{self._title}: getting ready")

  def show(self, done: int, total: int) -> None:
    """Shows that `done` of `total` steps of this dance are done.

    Raises:
      KeyboardInterrupt: the program was interrupted.
    """
    interrupts.check()
    self.set_description_str(self._title, refresh=False)
    progress = self._number + done / total
    if done and not self.initial:
      self.initial = progress
      self.unpause()
    self.update(progress - self.n)

  @property
  def _title(self) -> str:
    return f"dance {self._number + 1} of {self._count}"

"""Makes dances for several users, one after another, in a folder of its own."""

import collections
import contextlib
import dataclasses
import functools
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.inference.dance import Dance
from dabfusion_jax.inference.dance_files import Part
from dabfusion_jax.inference.group import read_group
from dabfusion_jax.inference.layers import DECODER, LAYERS
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.subject import ALL
from dabfusion_jax.metrics.motion import grid_speed
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.web import chart, preview
from dabfusion_jax.web.limits import (
  Limits,
  Request,
  check_pixels,
  check_request,
  check_upload,
)
from dabfusion_jax.web.wording import for_page
from data_pipeline.errors import UserError
from data_pipeline.media import reader

Report = Callable[[float, str], None]  # (share that is done, what is being done)
_READ, _SAMPLED = 0.1, 0.8  # share that is done once the inputs are read; the frames


class StoppedError(UserError):
  """A dance that its user no longer wants."""


@dataclasses.dataclass(frozen=True)
class Preview:
  """A picture as it will dance, shown before anything is drawn.

  Attributes:
    picture: to be shown.
    drawing: how a dance of it is drawn, one of `layers.DRAWINGS`.
    size: most pixels of the longer side of a dance of it.
    notes: what the user should know.
  """

  picture: UInt8[np.ndarray, "h w 3"]
  drawing: str
  size: int
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Result:
  """A finished dance: its files, its chart as SVG, and notes."""

  video: pathlib.Path
  gif: pathlib.Path
  chart: str
  notes: tuple[str, ...]


class DanceService:
  """The same models for all users; whoever comes later waits.

  Nothing outside of `folder` is read, whatever path a client names.
  """

  def __init__(
    self,
    pipeline: DancePipeline,
    folder: pathlib.Path,
    limits: Limits,
    figures: DancePipeline | None = None,
  ) -> None:
    """Takes a model and a folder.

    Args:
      pipeline: the model.
      folder: private; uploads lie in it, and dances are written into it.
      limits: of what may be asked.
      figures: another model for pictures in which there is no person.
    """
    self._figures = figures or pipeline
    self.pipeline, self.folder, self.limits = pipeline, folder, limits
    self._turn = threading.Lock()
    # What was shown before a dance is not looked for again.
    self._found = functools.lru_cache(maxsize=32)(self._find)
    # Of the dances that are made, by user.
    self._stops: dict[str, set[threading.Event]] = collections.defaultdict(set)
    # Of the last finished dance: from its last step until its files were written.
    self._drawing_seconds = 0.0

  def preview(self, image: str | pathlib.Path | None, pick: int | str) -> Preview:
    """Finds and frames the person in a picture, or everybody.

    Raises:
      UserError: a picture that cannot be used, in one line.
    """
    path = self._picture(image)
    with naming_files(path):
      return self._found(path, path.stat().st_size, pick)

  def dance(self, request: Request, user: str, report: Report) -> Result:
    """Makes a dance, after those that were asked for before.

    Args:
      request: what is asked for.
      user: whose it is; `stop` takes the same name.
      report: called as the work goes on.

    Raises:
      UserError: an input that cannot be used, or the user has stopped it.
    """
    with naming_files():
      check_request(request, self.limits)
    picture = self._picture(request.image)
    song = check_upload(request.music, "song", self.folder, self.limits)
    for path in (picture, song):
      path.touch()  # kept from now on, while it waits
    stop = threading.Event()
    self._stops[user].add(stop)
    report(0.0, "Waiting for the model")
    with self._turn, naming_files(picture, song), self._forgetting(user, stop):
      check_not(stop)
      report(0.0, "Looking at the picture")
      seen = self.preview(picture, request.pick)
      options = {
        "music_start": float(request.music_start),
        "duration": request.seconds,
        "bpm": request.bpm,
        "num_inference_steps": request.steps,
        "pick": request.pick,
        "seed": request.seed,
        "drawing": seen.drawing,
      }
      if seen.drawing == DECODER:
        options["pick"] = 1  # there is nobody to choose
      if seen.drawing == LAYERS:
        options["size"] = min(request.size, seen.size)
      report(_READ / 2, "Listening to the music")
      clock = _Clock(report, stop, self._drawing_seconds)
      pipeline = self.pipeline if seen.drawing == LAYERS else self._figures
      stream = pipeline.stream(picture, song, callback=clock, **options)
      made = dataclasses.replace(stream, parts=_until(stop, stream.parts)).collect()
      notes = tuple(note.replace(str(song), song.name) for note in made.notes)
      result = self._write(made, seen.notes + notes, pipeline.frame_size, stop)
      self._drawing_seconds = clock.since_last_step()
      return result

  def stop(self, user: str) -> None:
    """Ends the dances of a user at their next step, or before they begin."""
    for stop in tuple(self._stops.get(user, ())):
      stop.set()

  def warm_up(self, image: pathlib.Path, music: pathlib.Path) -> None:
    """Compiles the model, so that the first user does not wait for it.

    It makes a dance of one window in two steps; longer ones are made of the same.
    """
    with self._turn:
      self.pipeline(image, music, num_inference_steps=2)

  def sweep(self, now: float | None = None) -> None:
    """Removes uploads and dances that nobody has used for `Limits.keep_seconds`."""
    now = time.time() if now is None else now
    for path in sorted(self.folder.rglob("*"), reverse=True):  # contents before folders
      with contextlib.suppress(OSError):  # somebody else's removal, or not empty
        if path.is_dir():
          path.rmdir()
        elif now - path.lstat().st_mtime > self.limits.keep_seconds:
          path.unlink()
          self._found.cache_clear()  # what was drawn of it as well

  def _find(self, path: pathlib.Path, num_bytes: int, pick: int | str) -> Preview:
    del num_bytes  # tells a file from an earlier one of its name
    picture = reader.read_image(path)
    size = max(picture.shape[:2])
    if pick == ALL:
      group, notes = read_group(picture, None)
      if group:
        return Preview(preview.draw_people(group), LAYERS, size, said(notes))
      pick = 1  # nobody else can dance
    layers, _, notes = self.pipeline.read_picture(path, DanceOptions(pick=pick))
    if layers is None:
      _, shown, _ = self._figures.read_picture(path, DanceOptions(drawing=DECODER))
      side = self._figures.frame_size
      return Preview(preview.enlarge(shown), DECODER, side, said(notes))
    return Preview(preview.draw_people((layers,)), LAYERS, size, said(notes))

  @contextlib.contextmanager
  def _forgetting(self, user: str, stop: threading.Event) -> Iterator[None]:
    """Forgets how to stop a dance once it is done."""
    try:
      yield
    finally:
      self._stops[user].discard(stop)
      if not self._stops[user]:
        del self._stops[user]

  def _picture(self, image: str | pathlib.Path | None) -> pathlib.Path:
    path = check_upload(image, "picture", self.folder, self.limits)
    check_pixels(path, self.limits)
    return path

  def _write(
    self,
    made: Dance,
    notes: tuple[str, ...],
    frame_size: int,
    stop: threading.Event,
  ) -> Result:
    check_not(stop)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dance_", dir=self.folder))
    # Users know files by name; where they lie here is nobody's business.
    keys = ("image", "music", "checkpoint")
    names = {key: pathlib.Path(made.settings[key]).name for key in keys}
    made = dataclasses.replace(made, settings=made.settings | names)
    video = made.save(folder / "dance.mp4")[0]
    speed = grid_speed(made.flow, (frame_size, frame_size))
    drawn = chart.draw_dance(made.audio, made.beats, speed, made.motion_fps)
    check_not(stop)  # the GIF takes as long again
    return Result(video, made.to_gif(folder / "dance.gif"), drawn, said(notes))


def _until(stop: threading.Event, parts: Iterator[Part]) -> Iterator[Part]:
  """Yields the parts of a dance as they are drawn, until it is stopped."""
  for part in parts:
    check_not(stop)
    yield part


class _Clock:
  """Reports the steps of a dance with the time left; ends it if it is stopped."""

  def __init__(self, report: Report, stop: threading.Event, drawing: float) -> None:
    self._report, self._stop, self._drawing = report, stop, drawing
    self._first = self._last = 0.0

  def __call__(self, done: int, total: int) -> None:
    check_not(self._stop)
    self._last = time.monotonic()
    if done == 1:
      self._first = self._last  # before it something may have been compiled
    share = _READ + (_SAMPLED - _READ) * done / total
    if done == total:
      self._report(share, "Drawing the frames" + left(self._drawing))
      return
    text = f"Step {done} of {total}"
    if done > 1:
      per_step = (self._last - self._first) / (done - 1)
      text += left(per_step * (total - done) + self._drawing)
    self._report(share, text)

  def since_last_step(self) -> float:
    return time.monotonic() - self._last


def left(seconds: float) -> str:
  """Returns a remark such as ", about 12 s left"; empty below a second."""
  if seconds < 1:
    return ""
  if seconds < 90:
    return f", about {seconds:.0f} s left"
  return f", about {seconds / 60:.0f} min left"


def check_not(stop: threading.Event) -> None:
  """Raises `StoppedError` if a dance was stopped."""
  if stop.is_set():
    raise StoppedError("The dance was stopped.")


def said(notes: tuple[str, ...]) -> tuple[str, ...]:
  """Returns notes in the words of the page, each once."""
  return tuple(dict.fromkeys(filter(None, map(for_page, notes))))


@contextlib.contextmanager
def naming_files(*paths: pathlib.Path) -> Iterator[None]:
  """Says errors as users of the page know files and options.

  Files are named without the folder they lie in.
  """
  try:
    yield
  except UserError as error:
    text = str(error)
    for path in paths:
      text = text.replace(str(path), path.name)
    raise type(error)(for_page(text) or text) from error

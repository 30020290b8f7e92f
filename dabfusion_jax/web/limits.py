"""Checks what strangers give the web app, before anything is decoded or computed."""

import dataclasses
import pathlib

from dabfusion_jax.inference.inputs import InputError, check_number
from dabfusion_jax.inference.options import BPM
from dabfusion_jax.inference.subject import ALL
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.media import pictures


class UploadError(UserError):
  """A file that the web app does not take; one line says why."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """The most that may be asked of the web app.

  Attributes:
    upload_bytes: of one file.
    pixels: of a picture, before it is scaled.
    seconds: of a dance.
    steps: network evaluations.
    size: pixels of the longer side of a dance.
    waiting: requests in the queue.
    keep_seconds: how long an upload or a dance stays on disk after its last use.
  """

  upload_bytes: int = 64 * 2**20
  pixels: int = 40_000_000
  seconds: int = 20
  steps: int = 100
  size: int = 1024
  waiting: int = 8
  keep_seconds: int = 3600


@dataclasses.dataclass(frozen=True)
class Request:
  """A dance that somebody asks for; a number that was left empty is None.

  Attributes:
    image, music: files, as the client names them.
    seconds: its length.
    music_start: second of the song that it begins at.
    bpm: tempo of the song; None: as it is heard.
    steps: network evaluations.
    size: pixels of the longer side, at most those of the picture.
    pick: which person dances, 1 is the largest; or `subject.ALL`.
    seed: of the noise.
  """

  image: str | pathlib.Path | None
  music: str | pathlib.Path | None
  seconds: float | int | None
  music_start: float | int | None
  bpm: float | int | None
  steps: int | None
  size: int | None
  pick: int | str | None
  seed: int | None


MIN_SIZE, MIN_SECONDS = 64, 1


def check_request(request: Request, limits: Limits) -> None:
  """Raises `InputError` if a number is missing or out of its range."""
  for name, low, high in (
    ("seconds", MIN_SECONDS, limits.seconds),
    ("music_start", 0, None),
    ("bpm", *BPM),
    ("steps", 1, limits.steps),
    ("size", MIN_SIZE, limits.size),
    ("pick", 1, None),
    ("seed", 0, cli.MAX_SEED),
  ):
    value = getattr(request, name)
    if name == "pick" and value == ALL:
      continue
    if value is None:
      if name == "bpm":
        continue
      raise InputError(f"{name} is empty; give a number.")
    bounds = (low,) if high is None else (low, high)
    check_number(name, value, *bounds)


def check_upload(
  path: str | pathlib.Path | None,
  what: str,
  folder: pathlib.Path,
  limits: Limits,
) -> pathlib.Path:
  """Returns the path of an upload that may be read.

  Args:
    path: as the browser names it; a client can name anything.
    what: "picture" or "song", for the message.
    folder: of all uploads; nothing outside is read, and links that lead out of it are
      not followed.
    limits: of its size.

  Raises:
    UploadError: none was given, it lies elsewhere, or it is too large.
  """
  if not path:
    raise UploadError(f"There is no {what} yet; give one, or take the example.")
  real = pathlib.Path(path).resolve()
  if folder.resolve() not in real.parents:
    raise UploadError(f"This {what} was not uploaded here; upload it.")
  if not real.is_file():
    raise UploadError(f"This {what} was removed in the meantime; upload it again.")
  if real.stat().st_size > limits.upload_bytes:
    raise UploadError(
      f"The {what} has {real.stat().st_size / 2**20:.0f} MB; at most"
      f" {limits.upload_bytes / 2**20:.0f} MB are taken."
    )
  return real


def check_pixels(path: pathlib.Path, limits: Limits) -> None:
  """Raises `UploadError` if the head of a picture says that it is too large.

  A file that is no picture passes: reading it says what it is.
  """
  width, height = pictures.size_of(path) or (0, 0)
  if width * height > limits.pixels:
    raise UploadError(
      f"The picture has {width}x{height} pixels; at most"
      f" {limits.pixels / 1e6:.0f} million are taken: scale it down."
    )

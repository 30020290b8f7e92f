"""What a user may ask of a dance, for the library and the command line alike."""

import argparse
import dataclasses
import numbers
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.inference.inputs import OptionError, check_integer, check_number
from dabfusion_jax.inference.layers import (
  DECODER,
  DEFAULT_SIZE,
  DRAWINGS,
  LAYERS,
)
from dabfusion_jax.inference.motion import CHAIN, WINDOWS
from dabfusion_jax.inference.subject import ALL, OWN
from dabfusion_jax.settings.diffusion import (
  MAX_GUIDANCE,
  DiffusionSettings,
  SamplingSettings,
)
from data_pipeline import cli
from data_pipeline.media import reader
from data_pipeline.music.tracked import TRACKERS

BPM = (30.0, 300.0)  # tempi that are no slip of the keyboard
FULL = "full"  # duration of the whole song
MAX_SECONDS = 24 * 3600.0
SMOOTH_FPS, MAX_FPS = 30, 60  # of a person drawn in layers
REFUSE, LOOP, END = "refuse", "loop", "end"  # music that is shorter than the dance


def duration(text: str) -> str | float:
  """Parses seconds, `1:30`, or `FULL`, as a `type` of argparse."""
  if text == FULL:
    return FULL
  try:
    return cli.positive_float(str(cli.seconds(text)))
  except argparse.ArgumentTypeError:
    raise argparse.ArgumentTypeError(
      f"must be seconds above 0 or m:ss, such as 12.5 or 1:30, or {FULL}, not"
      f" {text[:20]}"
    ) from None


def person(text: str) -> str | int:
  """Parses which person dances, a number or `ALL`, as a `type` of argparse."""
  if text == ALL:
    return ALL
  try:
    return cli.whole_number(text)
  except argparse.ArgumentTypeError:
    raise argparse.ArgumentTypeError(
      f"must be a number, such as 2, or {ALL}, not {text[:20]}"
    ) from None


def _option(text: str, default: Any = None, **argument: Any) -> Any:
  """Returns a field with its help text and keywords of `add_argument`."""
  return dataclasses.field(default=default, metadata={"help": text} | argument)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DanceOptions:
  """Options of a dance. None takes the model's own setting.

  `beats` is a file (`beats_file.read`) or a sequence of seconds from the song's
  start. The help texts of the fields are the documentation of the others.

  Raises:
    OptionError: a value out of its range; one line says which.
  """

  text: str | None = _option("style in words, instead of the music's; needs CLAP")
  beats: str | pathlib.Path | Sequence[float] | None = _option(
    "file of beat times in seconds, instead of the tracked ones: one per line, labels"
    " of an audio editor, csv with a header, or JSON",
    type=cli.path,
  )
  beat_tracker: str | None = _option(
    "crnn, a network that hears real songs better; or librosa, the paper's; by default"
    " crnn if its weights are imported",
    choices=TRACKERS,
  )
  bpm: float | None = _option(
    "tempo of the song, if the tracker gets it wrong", type=cli.number
  )
  music_start: float = _option(
    "where in the song to begin: seconds or m:ss", 0.0, type=cli.seconds
  )
  duration: str | float | int | None = _option(
    "seconds of the dance, m:ss, or full: as long as the music; one window by default",
    type=duration,
  )
  short_music: str = _option(
    "if the music is shorter than the dance: refuse it, loop it, or end the dance",
    REFUSE,
    choices=(REFUSE, LOOP, END),
  )
  joining: str = _option(
    "of dances longer than a window. windows: overlapping ones, denoised together;"
    " chain: each begins in the last frame of the one before, as in the paper",
    WINDOWS,
    choices=(WINDOWS, CHAIN),
  )
  num_frames: int | None = _option(
    "frames of a window, which is drawn at once; as trained by default",
    type=cli.whole_number,
  )
  method: str | None = _option("sampler; the model's by default", choices=METHODS)
  num_inference_steps: int | None = _option(
    "network evaluations of a window, 1 to the steps of the training; more take longer",
    type=cli.whole_number,
  )
  eta: float | None = _option(
    "noise added by the sampler ddim, 0 to 1", type=cli.number
  )
  guidance_scale: float | None = _option(
    f"strength of music and beats, 0 to {MAX_GUIDANCE}; 1 is as learnt",
    type=cli.number,
  )
  details: bool | None = _option(
    "add the details that the codec loses of the picture, moved along; by default only"
    " if it loses much",
    action=argparse.BooleanOptionalAction,
  )
  drawing: str | None = _option(
    "layers: the person of the picture, moved over its still background; decoder: the"
    " frames of the network, as in the paper; by default layers, if there is a person",
    choices=DRAWINGS,
  )
  scene: str | pathlib.Path = _option(
    "own: the picture itself; studio; or a picture, whose dancer is replaced",
    OWN,
    type=cli.path,
  )
  size: int | None = _option(
    f"pixels of the longer side, for layers; {DEFAULT_SIZE} by default, or as many as"
    " the picture has",
    type=cli.whole_number,
  )
  fps: int | None = _option(
    "frames per second of a person drawn in layers, a multiple of the model's; up to"
    f" {SMOOTH_FPS} by default",
    type=cli.whole_number,
  )
  pick: int | str = _option(
    "which person of the picture dances, 1 is the largest; or all", 1, type=person
  )
  seed: int | np.integer = _option(
    "the same seed gives the same dance", 0, type=cli.whole_number
  )

  @property
  def shows_decoded(self) -> bool:
    """Whether the network's own frames are asked for, or needed."""
    return self.drawing == DECODER or self.joining == CHAIN

  @property
  def first_pick(self) -> int:
    """Returns which person dances, if only one does."""
    return 1 if self.pick == ALL else self.pick

  def __post_init__(self):
    for field in dataclasses.fields(self):  # some numbers are no JSON
      value = getattr(self, field.name)
      if isinstance(value, np.generic):
        object.__setattr__(self, field.name, value.item())
      elif isinstance(value, numbers.Real) and not isinstance(value, int | float):
        object.__setattr__(self, field.name, float(value))
    check_number("music_start", self.music_start, 0, reader.MAX_SECONDS)
    if self.pick != ALL:
      check_integer("pick", self.pick, 1)
      if self.pick != 1 and self.shows_decoded and str(self.scene) == OWN:
        raise OptionError(
          "pick belongs to layers; the decoder draws the whole picture."
        )
    elif self.shows_decoded or str(self.scene) != OWN:
      raise OptionError(
        "pick=all is for layers in the people's own picture: leave out scene, drawing"
        " and joining."
      )
    if self.size is not None:
      check_integer("size", self.size, reader.MIN_IMAGE_SIZE)
      if self.drawing == DECODER:
        raise OptionError("size belongs to layers; the decoder has a size of its own.")
    if self.fps is not None:
      check_integer("fps", self.fps, 1, MAX_FPS)
      if self.shows_decoded:
        raise OptionError("fps belongs to layers; the decoder has a rate of its own.")
    check_integer("seed", self.seed, 0, cli.MAX_SEED)
    self._check_length()
    for name, low, high in (
      ("bpm", *BPM),
      ("eta", 0.0, 1.0),
      ("guidance_scale", 0, MAX_GUIDANCE),
    ):
      if getattr(self, name) is not None:
        check_number(name, getattr(self, name), low, high)
    if self.beats is not None and self.bpm is not None:
      raise OptionError(
        "--beats replaces the tracker, --bpm helps it: give one of them."
      )
    if self.beats is not None and self.beat_tracker is not None:
      raise OptionError("--beats replaces the tracker: leave out --beat_tracker.")

  def _check_length(self) -> None:
    if isinstance(self.duration, int | float):
      check_number("duration", self.duration, 0.001, MAX_SECONDS)
    elif self.duration is not None and self.duration != FULL:
      shown = repr(self.duration)[:20]
      raise OptionError(f"duration is {FULL!r} or seconds, not {shown}.")
    if not isinstance(self.details, bool | None):
      raise OptionError(f"details is True, False or None, not {self.details!r:.20}.")
    for name, known in (
      ("short_music", (REFUSE, LOOP, END)),
      ("joining", (WINDOWS, CHAIN)),
      ("drawing", (None, *DRAWINGS)),
    ):
      if getattr(self, name) not in known:
        raise OptionError(f"{name} is one of {', '.join(filter(None, known))}.")
    if self.joining == CHAIN and (self.drawing == LAYERS or self.details):
      raise OptionError(
        "A chain draws each window from frames of its own, so neither layers nor"
        " details of the picture can be moved with it: leave out joining=chain."
      )

  def sampling(self, settings: DiffusionSettings) -> SamplingSettings:
    """Returns how a dance is drawn: the model's settings with what is asked for.

    Raises:
      OptionError: steps or noise that the sampler cannot take.
    """
    names = [field.name for field in dataclasses.fields(SamplingSettings)]
    asked = {name: getattr(self, name) for name in names}
    asked = {name: value for name, value in asked.items() if value is not None}
    values = dataclasses.asdict(settings.sampling) | asked
    steps, most = values["num_inference_steps"], settings.diffusion.num_timesteps
    check_integer("num_inference_steps", steps, 1, most)
    sampling = SamplingSettings(**values)
    if sampling.method not in METHODS:
      raise OptionError(
        f"Unknown method {sampling.method!r}; known: {', '.join(METHODS)}."
      )
    if self.eta is not None and sampling.method != "ddim":
      raise OptionError(f"eta belongs to ddim, not to {sampling.method}.")
    return sampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds an argument per field of `DanceOptions`."""
  for field in dataclasses.fields(DanceOptions):
    keywords = dict(field.metadata)
    parser.add_argument(f"--{field.name}", default=field.default, **keywords)


def from_arguments(args: argparse.Namespace) -> dict[str, Any]:
  """Returns the keywords of `DanceOptions` that a command line gives."""
  return {f.name: getattr(args, f.name) for f in dataclasses.fields(DanceOptions)}

"""A dance whose picture and music are read, and whose motion is yet to be drawn."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import PIL.Image
from jaxtyping import Float32, Float64, UInt8

from dabfusion_jax import __version__
from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.beat_notes import beat_notes
from dabfusion_jax.inference.dance import DanceStream, FailedDance
from dabfusion_jax.inference.group import picture_of, read_group
from dabfusion_jax.inference.inputs import OptionError, PathLike
from dabfusion_jax.inference.layers import DECODER, LAYERS, Layers
from dabfusion_jax.inference.length import (
  check_window,
  count_frames,
  frames_per_motion,
)
from dabfusion_jax.inference.motion import CHAIN, Motion
from dabfusion_jax.inference.options import LOOP, DanceOptions
from dabfusion_jax.inference.painter import (
  DecoderPainter,
  GroupPainter,
  Painter,
  needs_details,
  paint_parts,
)
from dabfusion_jax.inference.picture import read_picture
from dabfusion_jax.inference.sampler import ReadJoints
from dabfusion_jax.inference.song import Song
from dabfusion_jax.inference.sound import Music, as_file, key_of, name_of
from dabfusion_jax.inference.subject import ALL
from dabfusion_jax.settings.diffusion import DiffusionSettings
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.music import trackers
from data_pipeline.music.encoders import MusicEncoder

Picture = PathLike | PIL.Image.Image | UInt8[np.ndarray, "h w 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
  """A dance before anything is drawn.

  Attributes:
    asked: the user's options.
    image: the picture, as given.
    layers: of each person who dances; none if the picture is not drawn in layers.
    ref_images: the frame that the network is shown, of each of them.
    song: that is danced to.
    window: frames that are drawn at once.
    num_frames: of the motion of the whole dance.
    fps: frames per second of the motion.
    times: frames of the video per frame of the motion.
    notes: what the user should know.
  """

  asked: DanceOptions
  image: Picture
  layers: tuple[Layers, ...]
  ref_images: tuple[UInt8[np.ndarray, "n n 3"], ...]
  song: Song
  window: int
  num_frames: int
  fps: float
  times: int
  notes: tuple[str, ...]

  def stream(
    self,
    motions: Iterator[tuple[Motion, ...]],
    rebuild: Callable[[int], UInt8[np.ndarray, "n n 3"]],
    read_joints: ReadJoints | None,
    details_below_db: float,
    drawn_by: Mapping[str, Any],
  ) -> DanceStream:
    """Returns the dance, which is painted while it is read.

    Args:
      motions: its windows, in order, of each person.
      rebuild: returns the network's frame of a person without motion.
      read_joints: see `Layers.painter`.
      details_below_db: see `painter.needs_details`.
      drawn_by: settings of the sampler, name and digests of the weights, recorded.
    """
    details, notes, asked = self.asked.details, self.notes, self.asked
    ref_image = self.ref_images[0]
    if asked.joining == CHAIN and asked.drawing is None:
      side = len(ref_image)
      notes += (
        f"A chain shows the decoder's frames of {side} x {side} pixels, as in the"
        " paper; --joining=windows shows more of the picture.",
      )
    if self.layers or asked.joining == CHAIN:
      details = False
    elif details is None:
      details, more = needs_details(ref_image, rebuild(0), details_below_db)
      notes += more
    painter: Painter
    if not self.layers:
      painter, still = DecoderPainter(ref_image, rebuild(0), details), ref_image
    else:
      painters = [
        layers.painter(
          len(ref_image), functools.partial(rebuild, i), read_joints, self.times
        )
        for i, layers in enumerate(self.layers)
      ]
      painter = GroupPainter(tuple(painters)) if len(painters) > 1 else painters[0]
      still = picture_of(self.layers)
    seconds = self.num_frames / self.fps
    num_frames, fps = self.num_frames * self.times, self.fps * self.times
    settings = {
      **dataclasses.asdict(asked),
      "image": _name(self.image),
      "music": self.song.name,
      "beats": _as_json(asked.beats),
      "scene": str(asked.scene),
      "num_frames": self.window,
      "total_frames": num_frames,
      "fps": fps,
      "motion_fps": self.fps,
      "details": details,
      "drawing": LAYERS if self.layers else DECODER,
      "size": max(still.shape[:2]),
      **drawn_by,
      "beat_tracker": self.song.tracker,
      "heard_bpm": self.song.heard_bpm,
      "beat_times": _rounded(self.song.beats(0.0, seconds)),
      "downbeat_times": _rounded(self.song.downbeats(0.0, seconds)),
      "dabfusion_jax": __version__,
      "jax": jax.__version__,
    }
    parts = paint_parts(motions, painter, self.song, self.fps)
    return DanceStream(parts, num_frames, fps, settings, notes, still)


def read_drafts(
  pairs: Sequence[tuple[Picture, Music]],
  asked: DanceOptions,
  settings: DiffusionSettings,
  frame_size: int,
  encoder: MusicEncoder,
  beside: Callable[[int], contextlib.AbstractContextManager],
  beats_folder: pathlib.Path | None,
) -> list[Draft | FailedDance]:
  """Reads pictures and pieces of music, each piece once.

  Args:
    pairs: a picture and a piece of music for each dance.
    asked: options of all of them.
    settings: the model's.
    frame_size: pixels per side of the model's frame.
    encoder: the model's.
    beside: given the number of people who dance in the first picture; entered while
      the first piece of music is listened to.
    beats_folder: see `inputs.read_music`.

  Raises:
    OptionError: an option that no dance of this model can have.
  """
  fps, window = float(settings.latents.fps), check_window(asked.num_frames, settings)
  times_asked = frames_per_motion(asked.fps, fps)
  heard: dict[str | tuple[int, ...], tuple[Song, tuple[str, ...]]] = {}
  entered = [beside]

  @contextlib.contextmanager
  def beside_once(num_people: int) -> Iterator[None]:
    with entered.pop()(num_people) if entered else contextlib.nullcontext():
      yield

  def read(image: Picture, music: Music) -> Draft:
    layers, notes = (), ()
    if asked.pick == ALL:
      layers, notes = read_group(inputs.read_picture(image), asked.size)
    refs = tuple(each.reference(frame_size) for each in layers)
    if not layers:
      one, ref_image, notes = read_picture(image, asked, settings, frame_size)
      layers, refs = () if one is None else (one,), (ref_image,)
    key = key_of(music)
    if key not in heard:
      heard[key] = read_song(
        music, asked, settings, encoder, beside_once(len(refs)), beats_folder
      )
    song, more = heard[key]
    num_frames, times = count_frames(song, asked, window, fps), times_asked
    notes += more
    if layers and asked.details:
      notes += ("Layers keep the details of the picture; --details is the decoder's.",)
    if not layers or layers[0].scene.landmarks is None:  # no joints to draw between
      if asked.fps not in (None, fps):
        notes += (
          f"Where no arms and legs are found, it has {fps:g} frames per second.",
        )
      times = 1
    if settings.condition.beats:
      seconds = num_frames / fps
      notes += beat_notes(song, song.beats(0.0, seconds), seconds)
    return Draft(
      asked, image, layers, refs, song, window, num_frames, fps, times, notes
    )

  drafts: list[Draft | FailedDance] = []
  for image, music in pairs:
    try:
      drafts.append(read(image, music))
    except OptionError:
      raise  # of all of them
    except (UserError, OSError, MemoryError) as error:
      drafts.append(FailedDance(error, _name(image), name_of(music)))
  return drafts


def read_song(
  music: Music,
  asked: DanceOptions,
  settings: DiffusionSettings,
  encoder: MusicEncoder,
  beside: contextlib.AbstractContextManager,
  beats_folder: pathlib.Path | None,
) -> tuple[Song, tuple[str, ...]]:
  """Reads a piece of music as a dance to it would.

  Returns:
    The song, and notes on its file.

  Raises:
    OptionError: an option that no dance of this model can have.
    InputError, MediaError, UserError: music that cannot be used, in one line.
  """
  if not settings.condition.beats and (asked.beats, asked.bpm) != (None, None):
    raise OptionError("This model follows no beats: leave out --bpm, or --beats.")
  tracker = asked.beat_tracker and trackers.make_tracker(asked.beat_tracker)
  with reader.collect_notes() as notes, as_file(music) as path:
    song = inputs.read_music(
      path,
      encoder,
      asked.music_start,
      name=name_of(music),
      text=asked.text,
      beat_times=asked.beats,
      bpm=asked.bpm,
      is_looped=asked.short_music == LOOP,
      tracker=tracker or None,
      beside=beside,
      beats_folder=beats_folder,
    )
  name = name_of(music)  # sound in memory was read from a temporary file
  return song, tuple(note.text.replace(str(path), name) for note in notes)


def _name(image: Picture) -> str:
  is_file = isinstance(image, str | pathlib.Path)
  return str(image if is_file else getattr(image, "filename", "") or "array")


def _rounded(times: Float64[np.ndarray, "n"]) -> list[float]:
  return [round(float(t), 3) for t in times]


def _as_json(
  beats: PathLike | Sequence[float] | Float32[np.ndarray, "n"] | None,
) -> str | list[float] | None:
  if beats is None or isinstance(beats, str | pathlib.Path):
    return beats and str(beats)
  return [float(time) for time in beats]

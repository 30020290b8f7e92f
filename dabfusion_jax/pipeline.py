"""The public API: one picture and a piece of music in, a dance video out.

pipe = DancePipeline.from_pretrained("runs/demo_diffusion")
dance = pipe("person.jpg", "song.mp3", num_inference_steps=50, seed=0)
dance.save("dance.mp4")
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dabfusion_jax.config import make_diffusion_stage, make_sampling_plan
from dabfusion_jax.diffusion import process
from dabfusion_jax.diffusion.windows import Joiner
from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.batch import condition_of, make_batch
from dabfusion_jax.inference.dance import Dance, DanceStream
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.layers import (
  DECODER,
  LAYERS,
  OWN,
  Layers,
  choreograph,
  make_layers,
)
from dabfusion_jax.inference.length import MIN_FRAMES, count_frames
from dabfusion_jax.inference.motion import CHAIN, draw_motions
from dabfusion_jax.inference.options import LOOP, DanceOptions
from dabfusion_jax.inference.painter import (
  DecoderPainter,
  needs_details,
  paint_parts,
)
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.inference.song import Song
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.diffusion import DiffusionSettings, SamplingSettings
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage import saved_stage
from data_pipeline.media import reader
from data_pipeline.music import encoders, trackers


@dataclasses.dataclass(frozen=True, eq=False)
class DancePipeline:
  """Both stages of a trained model, and the music encoder they were trained with.

  `devices` share the examples of a batch; None: the first local one alone.
  """

  stage: DiffusionStage
  params: Any
  settings: DiffusionSettings
  autoencoder_settings: AutoencoderSettings
  digests: dict[str, str]  # of both stages, by name
  encoder_name: str | None = None
  devices: tuple[jax.Device, ...] | None = None

  @classmethod
  def from_pretrained(
    cls, folder: str | pathlib.Path, encoder: str | None = None
  ) -> "DancePipeline":
    """Loads a trained stage 2 with its stage 1.

    Args:
      folder: the workdir of a training, a published folder, a name in
        `saved_stage.SHIPPED`, or a repository of the Hugging Face hub that holds a
        published folder (`storage.hub`).
      encoder: name of the music encoder (`encoders.make_encoder`), which must be the
        one the model was trained with; it says where the weights are. None: in the
        hub's cache, if it needs any.

    Raises:
      SavedStageError, CheckpointError: no trained stage 2 there, or no stage 1 in it.
    """
    diffusion = saved_stage.load_stage(folder, "diffusion")
    stage1 = saved_stage.load_autoencoder_of(folder)
    expected = diffusion.settings.latents.autoencoder
    if stage1.digest != expected:
      raise saved_stage.SavedStageError(
        f"The stage 1 in {folder} has the hash {stage1.digest[:12]}, but stage 2 was"
        f" trained with {expected[:12]}; restore the right one."
      )
    return cls(
      make_diffusion_stage(diffusion.settings, stage1),
      diffusion.params,
      diffusion.settings,
      stage1.settings,
      {"diffusion": diffusion.digest, "autoencoder": stage1.digest},
      encoder,
    )

  @property
  def fps(self) -> float:
    """Frames per second of a dance."""
    return float(self.settings.latents.fps)

  @property
  def frame_size(self) -> int:
    """Pixels per side of a frame."""
    return self.autoencoder_settings.data.frame_size

  @property
  def clip_format(self) -> dict[str, Any]:
    """The format of clips that suit this model, for `loader.open_clips(expect=...)`."""
    latents = self.settings.latents
    return {
      "fps": latents.fps,
      "encoder": latents.encoder,
      "framing": latents.framing,
      "frame_size": self.frame_size,
      "num_frames": self.settings.data.num_frames,
    }

  def __call__(
    self,
    image: str | pathlib.Path | UInt8[np.ndarray, "h w 3"],
    music: str | pathlib.Path,
    *,
    callback: Callable[[int, int], None] | None = None,
    **options: Any,
  ) -> Dance:
    """Makes a dance of one picture to one piece of music, in memory.

    Arguments, errors and options are those of `stream`, whose dances are not held in
    memory.

    Returns:
      The dance; the same inputs and seed give the same one on any number of devices.
    """
    return self.stream(image, music, callback=callback, **options).collect()

  def stream(
    self,
    image: str | pathlib.Path | UInt8[np.ndarray, "h w 3"],
    music: str | pathlib.Path,
    *,
    callback: Callable[[int, int], None] | None = None,
    **options: Any,
  ) -> DanceStream:
    """Reads a picture and a piece of music, and returns a dance that is yet to be made.

    A dance longer than a window is drawn window by window (`DanceOptions.joining`).

    Args:
      image: file of any size and format, or an array.
      music: any file with sound.
      callback: called after each step with (steps done, steps in all).
      **options: fields of `DanceOptions`, such as `seed=0` or `duration="full"`.

    Raises:
      InputError, MediaError, UserError: an input that cannot be used, in one line.
    """
    asked = DanceOptions(**options)
    sampling = asked.sampling(self.settings)
    window = self._check_window(asked.num_frames)
    layers, ref_image, notes = self.read_picture(image, asked)
    with reader.collect_notes() as media_notes:
      song = self._read_music(music, asked, self._compiling(window, sampling))
    num_frames = count_frames(song, asked, window, self.fps)
    beat_times = song.beats(0.0, num_frames / self.fps)
    notes += tuple(note.text for note in media_notes)
    notes += self._beat_notes(song, asked, beat_times, num_frames)
    with weights_that_fit():
      z = self.batch_sampler.encode([ref_image])
      rebuilt = self.batch_sampler.rebuild(z)[0]
    details = asked.details
    if layers is not None or asked.joining == CHAIN:
      details = False
    elif details is None:
      limit = self.settings.picture.details_below_db
      details, note = needs_details(ref_image, rebuilt, limit)
      notes += note
    if layers is None:
      painter, still = DecoderPainter(ref_image, rebuilt, details), ref_image
    else:
      painter, still = layers.painter(rebuilt), layers.scene.picture
    record = {
      **dataclasses.asdict(asked),
      "image": "array" if isinstance(image, np.ndarray) else str(image),
      "music": str(music),
      "beats": _as_json(asked.beats),
      "scene": str(asked.scene),
      "num_frames": window,
      "total_frames": num_frames,
      "fps": self.fps,
      "details": details,
      "drawing": DECODER if layers is None else LAYERS,
      "size": max(still.shape[:2]),
      **dataclasses.asdict(sampling),
      "beat_tracker": song.tracker,
      "beat_times": _rounded(beat_times),
      "downbeat_times": _rounded(song.downbeats(0.0, num_frames / self.fps)),
      "weights": self.digests,
      "jax": jax.__version__,
    }

    def draw(batch, ids, show, joiner):
      with weights_that_fit():
        return self.draw(batch, ids, sampling, asked.seed, show, joiner)

    sampler, joining = self.batch_sampler, asked.joining
    motions = draw_motions(
      draw, sampler, z, song, num_frames, self.fps, window, joining, callback
    )
    parts = paint_parts(motions, painter, song, self.fps)
    return DanceStream(parts, num_frames, self.fps, record, notes, still)

  def read_picture(
    self, image: str | pathlib.Path | UInt8[np.ndarray, "h w 3"], asked: DanceOptions
  ) -> tuple[Layers | None, UInt8[np.ndarray, "n n 3"], tuple[str, ...]]:
    """Reads a picture as a dance of it would, before anything else is computed.

    Args:
      image: file of any size and format, or an array.
      asked: of which `drawing`, `joining`, `scene`, `size` and `pick` matter.

    Returns:
      The layers if it is drawn in layers, the frame that the network is shown, and
      notes for the user.

    Raises:
      InputError, MediaError: a picture that cannot be used, in one line.
    """
    picture, size = inputs.read_picture(image), self.frame_size
    scene = str(asked.scene)
    is_asked = asked.drawing == LAYERS or asked.size is not None
    is_decoded = asked.drawing == DECODER or asked.joining == CHAIN
    is_large = max(picture.shape[:2]) > size
    layers, notes = None, ()
    if not is_decoded and (is_asked or is_large or scene != OWN):
      layers, notes = make_layers(picture, scene, asked.size, asked.pick, is_asked)
    if layers is not None:
      return layers, layers.reference(size), notes
    if scene != OWN:
      picture, notes = choreograph(picture, scene, asked.pick)
    framing = self.settings.latents.framing
    pad = self.settings.picture.pad_to_square
    return None, inputs.frame_image(picture, framing, size, pad), notes

  def draw(
    self,
    batch: dict[str, Any],
    example_ids: Sequence[int],
    sampling: SamplingSettings,
    seed: int,
    callback: Callable[[int, int], None] | None = None,
    joiner: Joiner | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Draws latent motion for a batch (`make_batch`).

    Args:
      batch: of b examples; b must divide by the number of devices.
      example_ids: b numbers; the noise of an example depends on its number and `seed`.
      sampling: how it is drawn.
      seed: of the noise.
      callback: called after each step with (steps done, steps in all).
      joiner: of longer dances, if the batch is a window of them.

    Returns:
      Flow [b, t, s, s, 2] and occlusion [b, t, s, s, 1].
    """
    ids = jnp.asarray(example_ids, jnp.int32)
    keys = process.example_keys(jax.random.key(seed), ids)
    plan = make_sampling_plan(self.settings.diffusion, sampling)
    guidance = sampling.guidance_scale
    return self.batch_sampler.draw(batch, keys, plan, guidance, callback, joiner)

  def sample_records(
    self, records: Sequence[Mapping[str, Any]], seed: int, batch_size: int = 4
  ) -> Iterator[tuple[Mapping[str, Any], UInt8[np.ndarray, "t h w 3"]]]:
    """Draws a dance for each clip of a data set, by the model's own settings.

    Args:
      records: clips (`data_pipeline.records.loader`); read batch by batch.
      seed: of the noise, with each record's `example_id`.
      batch_size: clips per device.

    Yields:
      (record, frames) in the order of the records.
    """
    rows = batch_size * len(self.batch_sampler.devices)
    settings = self.settings
    for first in range(0, len(records), rows):
      part = [records[i] for i in range(first, min(first + rows, len(records)))]
      # The last batch is filled up: one shape, one program.
      filled = part + [part[-1]] * (rows - len(part))
      z = self.batch_sampler.encode([record["frames"][0] for record in filled])
      conditions = [condition_of(record, settings.data.beats) for record in filled]
      batch = make_batch(z, conditions, settings.data.num_frames, self.fps)
      ids = [int(record["example_id"]) for record in filled]
      flow, occlusion = self.draw(batch, ids, settings.sampling, seed)
      frames = self.batch_sampler.decode(z, flow, occlusion)
      yield from zip(part, frames, strict=False)

  @functools.cached_property
  def batch_sampler(self) -> BatchSampler:
    """Both stages on batches, compiled once for all dances."""
    devices = self.devices or tuple(jax.local_devices()[:1])
    return BatchSampler(self.stage, self.params, devices)

  @functools.cached_property
  def encoder(self) -> encoders.MusicEncoder:
    """The music encoder that the model was trained with."""
    return encoders.make_same_encoder(self.settings.latents.encoder, self.encoder_name)

  def _check_window(self, num_frames: int | None) -> int:
    """Returns the frames that are drawn at once, checked against what the model can."""
    trained = self.settings.data.num_frames
    if num_frames is None:
      return trained
    is_fixed = self.settings.condition.beat_mode == "global_concat"
    if num_frames < MIN_FRAMES or (is_fixed and num_frames != trained):
      made = f"at least {MIN_FRAMES} frames"
      if is_fixed:
        made = f"{trained} frames and no other number (its beats are one vector)"
      raise InputError(f"This model makes {made}, not {num_frames}.")
    return num_frames

  def _compiling(
    self, num_frames: int, sampling: SamplingSettings
  ) -> contextlib.AbstractContextManager:
    """Returns the context that compiles what a dance needs beside something else."""
    return self.batch_sampler.compiling(
      self.frame_size,
      num_frames,
      self.encoder.size,
      make_sampling_plan(self.settings.diffusion, sampling),
      sampling.guidance_scale,
    )

  def _read_music(
    self,
    music: str | pathlib.Path,
    asked: DanceOptions,
    beside: contextlib.AbstractContextManager,
  ) -> Song:
    if not self.settings.condition.beats and (asked.beats, asked.bpm) != (None, None):
      raise InputError("This model follows no beats: leave out --beats and --bpm.")
    tracker = asked.beat_tracker and trackers.make_tracker(asked.beat_tracker)
    return inputs.read_music(
      music,
      self.encoder,
      asked.music_start,
      text=asked.text,
      beat_times=asked.beats,
      bpm=asked.bpm,
      is_looped=asked.short_music == LOOP,
      tracker=tracker or None,
      beside=beside,
    )

  def _beat_notes(
    self,
    song: Song,
    asked: DanceOptions,
    times: Float64[np.ndarray, "n"],
    num_frames: int,
  ) -> tuple[str, ...]:
    inside = (times >= 0) & (times < num_frames / self.fps)
    if not self.settings.condition.beats:
      return ()
    if asked.beats is not None:
      none = "None of the given beats lies in this part of the music."
      return () if inside.any() else (none,)
    doubt = song.tracked.doubt
    if not inside.any():
      none = "No beats were found in this part of the music, so the dance follows none"
      return (f"{none}; --beats=FILE can give them.",)
    if not doubt:
      return ()
    return (
      f"The beats of the music may be wrong. {doubt} --beats=FILE can give them, "
      "--bpm=N helps to find them.",
    )


@contextlib.contextmanager
def weights_that_fit() -> Iterator[None]:
  """Turns the error of a network about its parameters into one line."""
  try:
    yield
  except flax.errors.FlaxError as error:
    reason = str(error).strip().splitlines()[0][:160]
    raise saved_stage.SavedStageError(
      f"The weights do not fit the config.json beside them ({reason}); get the folder"
      " again."
    ) from error


def _rounded(times: Float64[np.ndarray, "n"]) -> list[float]:
  return [round(float(t), 3) for t in times]


def _as_json(
  beats: str | pathlib.Path | Sequence[float] | Float32[np.ndarray, "n"] | None,
) -> str | list[float] | None:
  if beats is None or isinstance(beats, str | pathlib.Path):
    return beats and str(beats)
  return [float(time) for time in beats]

"""The public API: one picture and a piece of music in, a dance video out.

pipe = DancePipeline.from_pretrained("runs/demo_diffusion")
dance = pipe("person.jpg", "song.mp3", num_inference_steps=50, seed=0)
dance.save("dance.mp4")
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.config import make_diffusion_stage, make_sampling_plan
from dabfusion_jax.diffusion import process
from dabfusion_jax.diffusion.windows import Joiner
from dabfusion_jax.inference.batch import condition_of, make_batch
from dabfusion_jax.inference.dance import Dance, DanceStream, FailedDance
from dabfusion_jax.inference.draft import Draft, Picture, read_drafts
from dabfusion_jax.inference.inputs import check_integer
from dabfusion_jax.inference.layers import Layers
from dabfusion_jax.inference.length import check_window
from dabfusion_jax.inference.motion import draw_ahead, draw_motions, motions_of
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.picture import read_picture
from dabfusion_jax.inference.rows import count_rows, rows_of
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.inference.sound import Music
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.diffusion import DiffusionSettings, SamplingSettings
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage.saved_stage import load_both_stages, name_of
from data_pipeline.music import encoders, kept


@dataclasses.dataclass(frozen=True, eq=False)
class DancePipeline:
  """Both stages of a trained model, and the music encoder they were trained with.

  `devices` share the examples of a batch; None: the first local one alone. In
  `music_folder`, what was heard of songs is kept for other processes. `checkpoint` is
  recorded with each dance.
  """

  stage: DiffusionStage = dataclasses.field(repr=False)
  params: Any = dataclasses.field(repr=False)
  settings: DiffusionSettings = dataclasses.field(repr=False)
  autoencoder_settings: AutoencoderSettings = dataclasses.field(repr=False)
  digests: dict[str, str]  # of both stages, by name
  encoder_name: str | None = None
  devices: tuple[jax.Device, ...] | None = None
  music_folder: pathlib.Path | None = None
  checkpoint: str | None = None

  @classmethod
  def from_pretrained(
    cls,
    folder: str | pathlib.Path,
    encoder: str | None = None,
    music_folder: str | pathlib.Path | None = None,
  ) -> "DancePipeline":
    """Loads a trained stage 2 with its stage 1.

    Args:
      folder: the workdir of a training, a published folder, a name in
        `saved_stage.SHIPPED`, or a repository of the Hugging Face hub that holds a
        published folder (`storage.hub`).
      encoder: name of the music encoder (`encoders.make_encoder`), which must be the
        one the model was trained with; it says where the weights are. None: in the
        hub's cache, if it needs any.
      music_folder: of the pipeline (`kept.users_folder`).

    Raises:
      SavedStageError, CheckpointError: no trained stage 2 there, or no stage 1 in it.
    """
    diffusion, stage1 = load_both_stages(folder)
    return cls(
      make_diffusion_stage(diffusion.settings, stage1),
      diffusion.params,
      diffusion.settings,
      stage1.settings,
      {"diffusion": diffusion.digest, "autoencoder": stage1.digest},
      encoder,
      music_folder=None if music_folder is None else pathlib.Path(music_folder),
      checkpoint=name_of(folder),
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
    image: Picture,
    music: Music,
    *,
    callback: Callable[[int, int], None] | None = None,
    **options: Any,
  ) -> Dance:
    """Makes a dance of one picture to one piece of music, in memory.

    Arguments, errors and options are those of `stream`, which needs less memory.

    Returns:
      The dance; the same inputs and seed give the same one on any number of devices.
    """
    return self.stream(image, music, callback=callback, **options).collect()

  def stream(
    self,
    image: Picture,
    music: Music,
    *,
    callback: Callable[[int, int], None] | None = None,
    **options: Any,
  ) -> DanceStream:
    """Reads a picture and a piece of music, and returns a dance that is yet to be made.

    A dance longer than a window is drawn window by window (`DanceOptions.joining`).

    Args:
      image: file of any size and format, a PIL image, or an array.
      music: any file with sound, or (samples, sample rate) as `librosa.load` and
        `soundfile.read` return them: [n] or [n, channels], in [-1, 1].
      callback: called after each step with (steps done, steps in all).
      **options: fields of `DanceOptions`, such as `seed=0` or `duration="full"`.

    Raises:
      InputError, MediaError, UserError: an input that cannot be used, in one line.
    """
    (dance,) = self._streams([(image, music)], DanceOptions(**options), 1, callback)
    if isinstance(dance, FailedDance):
      raise dance.reason
    return dance

  def stream_all(
    self,
    pairs: Iterable[tuple[Picture, Music]],
    *,
    batch_size: int = 4,
    callback: Callable[[float, int], None] | None = None,
    **options: Any,
  ) -> Iterator[DanceStream | FailedDance]:
    """Makes dances of many pictures and pieces of music, several at once.

    Each is the dance that `stream` makes, up to the rounding of float32. Memory holds
    the motion of one batch; its frames are painted while a dance is saved or collected.

    Args:
      pairs: (picture, piece of music) of each dance, as `stream` takes them.
      batch_size: dances per device that are drawn at once.
      callback: called after each step with (dances done, dances in all), where the
        first number counts parts of dances too.
      **options: of all dances, fields of `DanceOptions`.

    Yields:
      The dances in the order of the pairs. One whose picture or music cannot be used
      raises that when it is saved or collected, and ends none of the others.

    Raises:
      OptionError: an option that no dance of this model can have.
    """
    check_integer("batch_size", batch_size, 1)
    asked, pairs = DanceOptions(**options), list(pairs)
    per_device = min(batch_size, -(-len(pairs) // len(self.batch_sampler.devices)))
    num_rows = per_device * len(self.batch_sampler.devices)
    for first in range(0, len(pairs), max(1, num_rows)):
      part = pairs[first : first + num_rows]
      show = lambda done, steps, first=first, part=part: callback(
        first + len(part) * done / steps, len(pairs)
      )
      yield from self._streams(part, asked, num_rows, callback and show)

  def read_picture(
    self, image: Picture, asked: DanceOptions
  ) -> tuple[Layers | None, UInt8[np.ndarray, "n n 3"], tuple[str, ...]]:
    """Reads a picture as a dance of it would, before anything else is computed.

    See `inference.picture.read_picture`.
    """
    return read_picture(image, asked, self.settings, self.frame_size)

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

  def __getstate__(self) -> dict[str, Any]:
    """Returns the fields, for copies and other processes, which compile anew."""
    return {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}

  @functools.cached_property
  def batch_sampler(self) -> BatchSampler:
    """Both stages on batches, compiled once for all dances."""
    devices = self.devices or tuple(jax.local_devices()[:1])
    return BatchSampler(self.stage, self.params, devices)

  @functools.cached_property
  def encoder(self) -> encoders.MusicEncoder:
    """The music encoder that the model was trained with."""
    encoder = encoders.make_same_encoder(
      self.settings.latents.encoder, self.encoder_name
    )
    if self.music_folder is None:
      return encoder
    return kept.keep_embeddings(encoder, self.music_folder)

  def _streams(
    self,
    pairs: Sequence[tuple[Picture, Music]],
    asked: DanceOptions,
    num_rows: int,
    callback: Callable[[int, int], None] | None,
  ) -> list[DanceStream | FailedDance]:
    """Returns a dance for each pair: one is drawn while it is read, several here.

    A batch has `num_rows`, those beyond the pairs filled up: one shape, one program. It
    has more if several people dance in a picture.
    """
    sampler, settings = self.batch_sampler, self.settings
    sampling = asked.sampling(settings)
    window = check_window(asked.num_frames, settings)
    plan = make_sampling_plan(settings.diffusion, sampling)
    guidance = sampling.guidance_scale
    size, music_size = self.frame_size, self.encoder.size
    # With joints read from the flow, a picture of a person needs no decoder.
    decodes = sampler.read_joints is None or asked.shows_decoded
    devices = len(sampler.devices)

    def beside(people: int) -> contextlib.AbstractContextManager:
      sizes = (count_rows(people, num_rows, devices), size, window, music_size)
      return sampler.compiling(*sizes, plan, guidance, decodes)

    drafts = read_drafts(
      pairs, asked, settings, size, self.encoder, beside, self.music_folder
    )
    good = [draft for draft in drafts if isinstance(draft, Draft)]
    if not good:
      return drafts
    rows, places = rows_of(good, num_rows, devices)
    z = sampler.encode([ref_image for _, ref_image in rows])
    rebuild = functools.cache(lambda: sampler.rebuild(z))

    def draw(batch, ids, show, joiner):
      return self.draw(batch, ids, sampling, asked.seed, show, joiner)

    songs, lengths = zip(*((row.song, row.num_frames) for row, _ in rows), strict=True)
    make = functools.partial(
      draw_motions, draw, sampler, z, songs, lengths, self.fps, window, asked.joining
    )
    motions = draw_ahead(make, callback)
    if len(good) > 1:
      motions = list(motions)
    drawn_by = {**dataclasses.asdict(sampling), "weights": self.digests}
    drawn_by["checkpoint"] = self.checkpoint
    made = iter(
      draft.stream(
        motions_of(motions, place),
        lambda i, first=place.start: rebuild()[first + i],
        sampler.read_joints,
        settings.picture.details_below_db,
        drawn_by,
      )
      for draft, place in zip(good, places, strict=True)
    )
    return [next(made) if isinstance(draft, Draft) else draft for draft in drafts]

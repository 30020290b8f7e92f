"""Opens held-out clips of generated data, with all that is known about them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy.typing import ArrayLike

from dabfusion_jax.evaluation.reading.labels import Labels, parse_labels
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.study import latent_motion
from dabfusion_jax.evaluation.study.cached_sampler import CachedSampler, Latents
from dabfusion_jax.evaluation.study.latent_motion import BeatTimes, LatentMotion
from dabfusion_jax.inference.song import Condition
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings.diffusion import SamplingSettings
from data_pipeline.errors import UserError
from data_pipeline.records import clip_record, latent_record, loader
from data_pipeline.records.picks import even_indices

MIN_SEQUENCES = 4  # to compare one half with the other


@dataclasses.dataclass(frozen=True)
class HeldOutClips:
  """Clips that no model was trained on.

  Attributes:
    records: of `data_pipeline.records.loader`, with their truth.
    latents: what stage 1 makes of the real frames.
    data: digest of the data set.
    beat_kind: the beats that models are given, those they were trained with.
    fps: frames per second.
  """

  records: Sequence[Mapping[str, Any]]
  latents: Latents
  data: str
  beat_kind: str
  fps: float

  def __len__(self) -> int:
    return len(self.records)

  @property
  def num_frames(self) -> int:
    """Frames per clip."""
    return self.latents.num_frames

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of the frames in pixels."""
    return self.records[0]["frames"].shape[1:3]

  @functools.cached_property
  def labels(self) -> list[Labels]:
    """Groups that each clip belongs to."""
    return [parse_labels(record["name"]) for record in self.records]

  @functools.cached_property
  def sequences(self) -> list[str]:
    """The independent samples: cameras of one sequence film the same motion."""
    return [labels.sequence for labels in self.labels]

  @property
  def names(self) -> list[str]:
    """Names of the clips."""
    return [f"{record['name']}.{record['window']}" for record in self.records]

  @property
  def ref_images(self) -> list[UInt8[np.ndarray, "h w 3"]]:
    """First frames."""
    return [record["frames"][0] for record in self.records]

  @property
  def example_ids(self) -> list[int]:
    """Numbers that set the noise of each clip's dances."""
    return [int(record["example_id"]) for record in self.records]

  @property
  def true_beats(self) -> list[Float64[np.ndarray, "_"]]:
    """True beats in seconds from the start, one beyond either edge."""
    return [record[clip_record.BEATS["truth"]] for record in self.records]

  @property
  def given_beats(self) -> list[Float64[np.ndarray, "_"]]:
    """Beats that models are given, in seconds."""
    return [record[clip_record.BEATS[self.beat_kind]] for record in self.records]

  def conditions(
    self,
    beats: BeatTimes | None = None,
    embeddings: Sequence[Float32[np.ndarray, "d"]] | None = None,
  ) -> list[Condition]:
    """Returns conditions: each clip's own music and given beats, or others."""
    beats = self.given_beats if beats is None else beats
    if embeddings is None:
      embeddings = [record["music"] for record in self.records]
    return [Condition(*both) for both in zip(embeddings, beats, strict=True)]

  def draw(
    self,
    sampler: CachedSampler,
    conditions: Sequence[Condition] | None = None,
    num_frames: int | None = None,
    sampling: SamplingSettings | None = None,
  ) -> Latents:
    """Draws a dance for each clip, by default to its own music and given beats."""
    return sampler.draw(
      self.ref_images,
      self.conditions() if conditions is None else conditions,
      self.example_ids,
      num_frames or self.num_frames,
      sampling,
    )

  def motion(self, latents: Latents) -> LatentMotion:
    """Returns the motion of dances of these clips."""
    return latent_motion.motion_of(latents.flow, self.size, self.fps)

  @functools.cached_property
  def real_motion(self) -> LatentMotion:
    """The motion of the real clips."""
    return self.motion(self.latents)

  @functools.cached_property
  def real_alignment(self) -> Float64[np.ndarray, "n"]:
    """Strict beat alignment of the real clips with their true beats."""
    return self.real_motion.alignment(self.true_beats)

  @functools.cached_property
  def chance(self) -> Float64[np.ndarray, "n"]:
    """Chance level of beat alignment at the tempo of each clip."""
    return latent_motion.chance(self.true_beats)

  def ratio(self, numerator: ArrayLike, denominator: ArrayLike) -> Estimate:
    """Returns the ratio of two means, with its error by sequence."""
    return aggregate.ratio(numerator, denominator, self.sequences)

  def fraction_of_gap(
    self, values: ArrayLike, chance: ArrayLike, real: ArrayLike
  ) -> Estimate:
    """Returns where values lie between chance (0) and real clips (1)."""
    return aggregate.fraction_of_gap(values, chance, real, self.sequences)

  def take(self, indices: Sequence[int]) -> "HeldOutClips":
    """Returns some of the clips."""
    records = [self.records[i] for i in indices]
    return dataclasses.replace(
      self, records=records, latents=self.latents.take(indices)
    )


def open_held_out(
  pipeline: DancePipeline, data: str, latents: str, num_clips: int
) -> HeldOutClips:
  """Opens test clips, evenly spaced over the split, and what stage 1 makes of them.

  Args:
    pipeline: a model trained on these data.
    data: folder made by `data_pipeline.build`, with true beats.
    latents: folder made by `dabfusion_jax.latents` from these data.
    num_clips: how many.

  Raises:
    RecordError, LatentError: there are no such data or latents.
    UserError: the data are not generated, the latents are of another stage 1 or of
      other data, or the clips are of too few sequences.
  """
  if "truth" not in loader.read_manifest(data)["beats"]:
    raise UserError(
      f"{data} holds films, without true beats; give data of --source=synthdance, or"
      " measure dances of films with dabfusion_jax.evaluate."
    )
  source = loader.open_clips(data, "test", expect=pipeline.clip_format, beats="truth")
  digest = source.manifest["content_sha256"]
  manifest = latent_record.read_manifest(latents)
  wanted = {"autoencoder": pipeline.digests["autoencoder"], "data": digest}
  for key, value in wanted.items():
    if manifest[key] != value:
      raise UserError(
        f"The latents in {latents} are of other {key} ({manifest[key][:12]}, not"
        f" {value[:12]}); give those that the models were trained on."
      )
  blobs = latent_record.open_latents(latents, "test")
  indices = even_indices(len(source), num_clips)
  decoded = [latent_record.decode(blobs[i]) for i in indices]
  arrays = (
    np.stack([clip[key] for clip in decoded]) for key in ("flow", "occlusion", "z")
  )
  digests = [f"{digest} {pipeline.digests['autoencoder']} {i}" for i in indices]
  clips = HeldOutClips(
    [source[i] for i in indices],
    Latents(*arrays, digests),
    digest,
    pipeline.settings.data.beats,
    pipeline.fps,
  )
  num_sequences = len(set(clips.sequences))
  if num_sequences < MIN_SEQUENCES:
    raise UserError(
      f"{len(clips)} clips of {data} are of {num_sequences} sequences;"
      f" {MIN_SEQUENCES} are needed to compare one half with the other."
    )
  return clips

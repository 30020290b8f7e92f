"""The parts of `dabfusion_jax.claims`, and the clips they are tested on."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.study import (
  beats,
  comparisons,
  curve,
  replay,
  results,
  stage1,
  steps,
)
from dabfusion_jax.evaluation.study.drawing import Artist, Dances
from dabfusion_jax.evaluation.study.films import Viewer
from dabfusion_jax.evaluation.study.results import Part
from dabfusion_jax.evaluation.study.subjects import Subjects, spread
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.cutting import ingest
from data_pipeline.errors import UserError
from data_pipeline.records import clip_record, latent_record, loader, slow_motion
from data_pipeline.records.style_vectors import style_vectors
from data_pipeline.synthdance.truth import body_motion

SHORT_CLIPS = 16  # of the long samplings
# Of the part map, whose values are 1 + the place in `synthdance.parts.PARTS`.
REGIONS = {
  "head and trunk": range(1, 10),
  "legs": range(10, 16),
  "arms": range(16, 20),
  "hands": range(20, 22),
}


@dataclasses.dataclass(eq=False)
class Study:
  """All that the parts need; a method for each.

  Attributes:
    data: folder of the data set that the subjects are from.
    latents: folder of its latents, for the training clips among them.
    methods: samplers of the part `steps`.
    long_steps: numbers of steps of its long samplings.
    output: folder of the curve.
  """

  artists: Mapping[str, Artist]
  subjects: Subjects
  networks: Networks
  cache: FeatureCache
  seed: int
  data: str
  latents: str
  methods: Sequence[str]
  long_steps: Sequence[int]
  output: pathlib.Path

  def stage(self, subjects: Subjects | None = None) -> beats.Stage:
    pipeline = self.artists["e"].pipeline
    size = (pipeline.frame_size,) * 2
    return beats.Stage(subjects or self.subjects, size, pipeline.fps, self.seed)

  def viewer(self, subjects: Subjects | None = None) -> Viewer:
    return Viewer(subjects or self.subjects, self.networks, self.cache)

  def dances(self, name: str) -> Dances:
    """Of every subject, with its own music and the beats that models are given."""
    subjects, stage = self.subjects, self.stage()
    heard, frames = subjects.heard(subjects.given), subjects.flow.shape[1]
    return self.artists[name].draw(stage.pictures(), heard, stage.ids(), frames)

  def all_dances(self) -> dict[str, Dances]:
    return {name: self.dances(name) for name in self.artists}

  # One method for each part.

  def stage1(self) -> Part:
    scores = stage1.measure(
      self.artists["e"], self.subjects, self.networks, true_motion, REGIONS
    )
    return Part(stage1.rows(scores, self.subjects, REGIONS), {"scores": scores})

  def beats(self) -> Part:
    stage, dances = self.stage(), self.all_dances()
    rows = beats.alignment_rows(stage, dances) + beats.motion_rows(stage, dances)
    return Part(rows)

  def control(self) -> Part:
    artist, subjects = self.artists["e"], self.subjects
    seconds = subjects.flow.shape[1] / artist.pipeline.fps
    silence = np.zeros(round(seconds * ingest.SAMPLE_RATE), np.float32)
    embedding = artist.pipeline.encoder(silence, ingest.SAMPLE_RATE)
    slowed = {
      factor: np.stack([slow_motion.stretch(flow, factor) for flow in subjects.flow])
      for factor in beats.TEMPI
      if factor < 1
    }
    dances = self.dances("e")
    return Part(beats.control_rows(self.stage(), artist, dances, embedding, slowed))

  def models(self) -> Part:
    return Part(
      comparisons.models(self.stage(), self.viewer(), self.artists, self.all_dances())
    )

  def trackers(self) -> Part:
    return Part(comparisons.trackers(self.stage(), self.artists["e"]))

  def lengths(self) -> Part:
    return Part(comparisons.lengths(self.stage(), self.viewer(), self.artists["e"]))

  def groups(self) -> Part:
    return Part(
      comparisons.groups(self.stage(), self.viewer(), self.artists, self.all_dances())
    )

  def styles(self) -> Part:
    return Part(
      comparisons.styles(
        self.stage(),
        self.viewer(),
        self.artists,
        self.all_dances(),
        style_vectors(self.data),
      )
    )

  def steps(self) -> Part:
    few = self.subjects.first(SHORT_CLIPS)
    rows, extra, panels = steps.study(
      self.artists["e"],
      (self.stage(), self.viewer()),
      (self.stage(few), self.viewer(few)),
      self.methods,
      self.long_steps,
    )
    results.write(self.output / "steps.svg", curve.plot(panels))
    return Part(rows, extra)

  def replay(self) -> Part:
    source = latent_record.open_latents(self.latents, "train")
    flows = np.stack([latent_record.decode(blob)["flow"] for blob in source])
    manifest = loader.read_manifest(self.data)
    videos = [name.rpartition(".")[0] for name in manifest["splits"]["train"]]
    return Part(replay.rows(self.stage(), self.all_dances(), flows, videos))


def true_motion(record: Mapping[str, Any]) -> np.ndarray:
  """Where every body pixel of a clip was in the first frame: [t, h, w, 2] pixels."""
  poses = record["part_pose"]
  return np.stack(
    [
      body_motion(part_map, pose, poses[0])
      for part_map, pose in zip(record["part_map"], poses, strict=True)
    ]
  )


def open_subjects(
  pipeline: DancePipeline, data_dir: str, latents_dir: str, num_clips: int
) -> Subjects:
  """Test clips, spread evenly over the split, with what stage 1 makes of them.

  Raises:
    RecordError, LatentError: no such data or latents, or others than the model's.
    UserError: latents of another stage 1 or other data, or data without truth.
  """
  source = loader.open_clips(
    data_dir, "test", expect=pipeline.clip_format, beats="truth"
  )
  digest = loader.read_manifest(data_dir)["content_sha256"]
  found = latent_record.read_manifest(latents_dir)
  for key, wanted in (
    ("autoencoder", pipeline.digests["autoencoder"]),
    ("data", digest),
  ):
    if found[key] != wanted:
      raise UserError(
        f"The latents in {latents_dir} are of other {key} ({found[key][:12]}, not"
        f" {wanted[:12]}); give those the models were trained on."
      )
  blobs = latent_record.open_latents(latents_dir, "test")
  chosen = spread(len(source), num_clips)
  records = [source[i] for i in chosen]
  decoded = [latent_record.decode(blobs[i]) for i in chosen]
  arrays = [
    np.stack([one[key] for one in decoded]) for key in ("flow", "occlusion", "z")
  ]
  return Subjects(
    records, *arrays, digest, clip_record.BEATS[pipeline.config["data"]["beats"]]
  )

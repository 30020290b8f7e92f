r"""Does it dance: the table of what must be true of trained models, from checkpoints.

  python -m dabfusion_jax.claims --checkpoint_e=runs/dance_e \
    --checkpoint_b=runs/dance_b --data=data/synthdance_medium \
    --latents=data/dance_latents --output=runs/claims

Both models, with beats and without, share one stage 1; the data are generated ones,
whose truth is known. Every figure stands with its number of clips, its standard error
by sequence, the value of the true clips, and the null. Parts (`--parts`):

  stage1        pictures rebuilt, and flow against the body's true motion
  beats         alignment of dances and true clips with the true beats
  control       beats moved, at other tempi, and silence
  models, trackers, lengths, groups, styles   the paper's comparisons in miniature
  steps         few steps of every sampler, and long ones on fewer clips
  replay        distance to the nearest training clip

Each writes OUTPUT/PART.json; `claims.md` holds the table of those that are done, and
`steps.svg` the curve. The same command goes on where it was stopped.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dabfusion_jax.arguments import UsageError, check_positive
from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.evaluation.cache import FeatureCache
from dabfusion_jax.evaluation.claims import (
  beats,
  comparisons,
  curve,
  replay,
  results,
  stage1,
  steps,
)
from dabfusion_jax.evaluation.claims.drawing import Artist, Dances, Sampling
from dabfusion_jax.evaluation.claims.films import Viewer
from dabfusion_jax.evaluation.claims.results import Part
from dabfusion_jax.evaluation.claims.subjects import Subjects, spread
from dabfusion_jax.evaluation.claims.titles import NOTES, TITLES
from dabfusion_jax.evaluation.networks import Networks, open_networks
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.user_errors import one_line_errors
from data_pipeline import ingest, latent_record, loader
from data_pipeline.style_vectors import style_vectors
from data_pipeline.synthdance.truth import body_motion

VERSION = 1  # of what the parts measure
SHORT_CLIPS = 16  # of the long samplings
MIN_CLIPS = 4  # of a half against the other


@dataclasses.dataclass(eq=False)
class Study:
  """All that the parts need."""

  args: argparse.Namespace
  artists: Mapping[str, Artist]
  subjects: Subjects
  networks: Networks
  cache: FeatureCache

  def stage(self, subjects: Subjects | None = None) -> beats.Stage:
    pipeline = self.artists["e"].pipeline
    size = (pipeline.frame_size,) * 2
    return beats.Stage(subjects or self.subjects, size, pipeline.fps, self.args.seed)

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
      self.artists["e"], self.subjects, self.networks, true_motion
    )
    return Part(stage1.rows(scores, self.subjects), {"scores": scores})

  def beats(self) -> Part:
    stage, dances = self.stage(), self.all_dances()
    rows = beats.alignment_rows(stage, dances) + beats.motion_rows(stage, dances)
    return Part(rows)

  def control(self) -> Part:
    artist, subjects = self.artists["e"], self.subjects
    seconds = subjects.flow.shape[1] / artist.pipeline.fps
    silence = np.zeros(round(seconds * ingest.SAMPLE_RATE), np.float32)
    embedding = artist.pipeline.encoder(silence, ingest.SAMPLE_RATE)
    return Part(beats.control_rows(self.stage(), artist, self.dances("e"), embedding))

  def models(self) -> Part:
    return Part(
      comparisons.models(self.stage(), self.viewer(), self.artists, self.all_dances())
    )

  def trackers(self) -> Part:
    return Part(comparisons.trackers(self.stage(), self.artists["e"]))

  def lengths(self) -> Part:
    return Part(
      comparisons.lengths(
        self.stage(), self.viewer(), self.artists["e"], self.dances("e")
      )
    )

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
        style_vectors(self.args.data),
      )
    )

  def steps(self) -> Part:
    few = self.subjects.first(SHORT_CLIPS)
    rows, extra, panels = steps.study(
      self.artists["e"],
      (self.stage(), self.viewer()),
      (self.stage(few), self.viewer(few)),
      self.args.methods,
      self.args.long_steps,
    )
    results.write(pathlib.Path(self.args.output) / "steps.svg", curve.plot(panels))
    return Part(rows, extra)

  def replay(self) -> Part:
    source = latent_record.open_latents(self.args.latents, "train")
    flows = np.stack([latent_record.decode(blob)["flow"] for blob in source])
    manifest = loader.read_manifest(self.args.data)
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


def open_subjects(args: argparse.Namespace, pipeline: DancePipeline) -> Subjects:
  """Test clips, spread evenly over the split, with what stage 1 makes of them.

  Raises:
    RecordError, LatentError: no such data or latents, or others than the model's.
    UsageError: latents of another stage 1 or other data, or data without truth.
  """
  latents, data = pipeline.config["latents"], pipeline.config["data"]
  expect = {
    "fps": latents["fps"],
    "encoder": latents["encoder"],
    "framing": latents["framing"],
    "frame_size": pipeline.frame_size,
    "num_frames": data["num_frames"],
  }
  source = loader.open_clips(args.data, "test", expect=expect, beats="truth")
  digest = loader.read_manifest(args.data)["content_sha256"]
  found = latent_record.read_manifest(args.latents)
  for key, wanted in (
    ("autoencoder", pipeline.digests["autoencoder"]),
    ("data", digest),
  ):
    if found[key] != wanted:
      raise UsageError(
        f"The latents in {args.latents} are of other {key} ({found[key][:12]}, not"
        f" {wanted[:12]}); give those the models were trained on."
      )
  blobs = latent_record.open_latents(args.latents, "test")
  chosen = spread(len(source), args.num_clips)
  records = [source[i] for i in chosen]
  decoded = [latent_record.decode(blobs[i]) for i in chosen]
  arrays = [
    np.stack([one[key] for one in decoded]) for key in ("flow", "occlusion", "z")
  ]
  return Subjects(records, *arrays, digest, loader.BEATS[data["beats"]])


def open_artist(folder: str, args: argparse.Namespace, cache: FeatureCache) -> Artist:
  """A model with its sampling, changed where the command line says so."""
  pipeline = DancePipeline.from_pretrained(folder)
  settings = dict(pipeline.config["sampling"])
  changes = {
    "method": args.method,
    "num_steps": args.num_steps,
    "guidance_scale": args.guidance_scale,
  }
  settings |= {key: value for key, value in changes.items() if value is not None}
  return Artist(pipeline, cache, Sampling(**settings), args.seed)


def run(args: argparse.Namespace) -> None:
  """Computes the parts that are missing, prints and writes the table."""
  check_positive(args, "num_steps", "guidance_scale")
  if args.num_clips < MIN_CLIPS:
    raise UsageError(f"--num_clips={args.num_clips} are too few; {MIN_CLIPS} at least.")
  unknown = sorted(set(args.parts) - set(TITLES))
  if unknown:
    raise UsageError(f"Unknown parts {unknown}; known: {', '.join(TITLES)}.")
  unknown = sorted(set(args.methods) - set(METHODS))
  if unknown:
    raise UsageError(f"Unknown methods {unknown}; known: {', '.join(METHODS)}.")
  output = pathlib.Path(args.output)
  cache = FeatureCache(args.cache or output / "cache")
  artists = {"e": open_artist(args.checkpoint_e, args, cache)}
  if args.checkpoint_b:
    artists["b"] = open_artist(args.checkpoint_b, args, cache)
  stages = {artist.pipeline.digests["autoencoder"] for artist in artists.values()}
  if len(stages) > 1:
    raise UsageError("The two models have different first stages; train both on one.")
  networks = open_networks(("i3d", "alex"))
  for line in networks.missing.values():
    raise UsageError(line)
  subjects = open_subjects(args, artists["e"].pipeline)
  study = Study(args, artists, subjects, networks, cache)
  identity = {
    "version": VERSION,
    "weights": {name: dict(a.pipeline.digests) for name, a in artists.items()},
    "sampling": {name: dataclasses.asdict(a.sampling) for name, a in artists.items()},
    "data": subjects.data,
    "clips": subjects.clip_names,
    "given_beats": subjects.given_key,
    "seed": args.seed,
    "networks": dict(networks.hashes),
    "jax": jax.__version__,
  }
  tables = []
  for name in TITLES:
    path = output / f"{name}.json"
    own = identity
    if name == "steps":
      own = identity | {"methods": args.methods, "long_steps": args.long_steps}
    part = results.read_part(path, own)
    if part is None and name in args.parts:
      compute: Callable[[], Part] = getattr(study, name)
      part = compute()
      results.write_part(path, own, part)
    if part is not None:
      tables.append(results.markdown(TITLES[name], NOTES.get(name), part.rows))
      print(tables[-1], flush=True)
  results.write(output / "claims.md", "\n".join(tables))
  print(output / "claims.md")


def _list(text: str) -> list[str]:
  return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
  return [int(word) for word in _list(text)]


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.claims",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--checkpoint_e", required=True, help="stage 2 with beats, as for sample")
  add("--checkpoint_b", help="stage 2 without; all that needs it is left out if none")
  add("--data", required=True, help="folder made by data_pipeline.build")
  add("--latents", required=True, help="folder made by data_pipeline.latent_cache")
  add("--output", required=True, help="folder for results")
  add("--cache", help="folder of dances and features; OUTPUT/cache by default")
  add("--num_clips", type=int, default=60, help="held-out clips")
  add("--seed", type=int, default=0, help="of dances, shuffles and splits")
  add("--method", help="sampler; the checkpoint's by default")
  add("--num_steps", type=int, help="of the sampler; the checkpoint's by default")
  add("--guidance_scale", type=float, help="the checkpoint's by default")
  add("--parts", type=_list, default=list(TITLES), help="comma-separated")
  add(
    "--methods",
    type=_list,
    default=[method for method in METHODS if method != "ddim_lfdm"],
    help="samplers of the part steps",
  )
  add("--long_steps", type=_numbers, default=[250], help="of ddim and ddpm on 16 clips")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with one_line_errors("claims"):
    run(args)


if __name__ == "__main__":
  main()

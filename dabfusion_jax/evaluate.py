r"""Measures generated dances, every number beside its null. Four forms:

  python -m dabfusion_jax.evaluate --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --output=runs/demo_evaluation

both stages of a trained model on the test clips of a data set;

  python -m dabfusion_jax.evaluate --samples=DIR --references=DIR --output=DIR

an export (`dabfusion_jax.export`) or the videos of any system, paired by name with real
ones where names agree (without --references: what needs no real clips). Writes
result.json, scores.jsonl (a line for every score) and keeps features in OUTPUT/cache;

  python -m dabfusion_jax.evaluate report --output=DIR

one self-contained page, report.html, from the result in OUTPUT and the clips it is of;

  python -m dabfusion_jax.evaluate tables --output=DIR RESULT.json ...

the tables of the paper as markdown and CSV, its figures beside those of the results.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from dabfusion_jax.evaluation import trained_model
from dabfusion_jax.evaluation.reading.blazepose import BlazePose, PoseError
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.clip_sets import Side, common_shape, open_side
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.reading.poses import PoseFiles, PoseSource
from dabfusion_jax.evaluation.reporting import protocol, report, tables
from dabfusion_jax.evaluation.reporting.result import (
  as_text,
  evaluate,
  score_lines,
  write_result,
)
from dabfusion_jax.evaluation.scoring.catalog import GROUPS
from dabfusion_jax.evaluation.scoring.measure import Settings, Training
from dabfusion_jax.export import even_indices, open_source
from dabfusion_jax.metrics import alignment, appearance
from dabfusion_jax.metrics.features import i3d
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.pretrained import store
from data_pipeline import files
from data_pipeline.cli import one_line_errors, positive_float, positive_int
from data_pipeline.errors import UserError
from data_pipeline.records import loader


def evaluate_checkpoint(args: argparse.Namespace) -> None:
  """Evaluates a trained model, prints the table, writes evaluation.json."""
  pipeline = DancePipeline.from_pretrained(args.checkpoint)
  clips = open_source(pipeline, args.data, "test")
  chosen = [clips[i] for i in even_indices(len(clips), args.num_clips)]
  text, result = trained_model.evaluate_model(pipeline, chosen, args.seed)
  print(text)
  result = {
    "checkpoint": str(args.checkpoint),
    "data": str(args.data),
    "split": "test",
    "protocol": {
      "data": clips.manifest["content_sha256"],
      "clips_hash": protocol.list_hash(result["clips"]),
      "num_clips": len(chosen),
      "num_frames": len(chosen[0]["frames"]),
      "fps": pipeline.fps,
      "frame_size": pipeline.frame_size,
      "sigma_seconds": alignment.SIGMA_SECONDS,
      "seed": args.seed,
      "definitions": protocol.DEFINITIONS,
      "versions": protocol.versions(),
    },
  } | result
  args.output.mkdir(parents=True, exist_ok=True)
  path = args.output / "evaluation.json"
  files.write_json(path, result)
  print(path)


def evaluate_samples(args: argparse.Namespace) -> None:
  """Evaluates a folder of samples, prints a table, writes the result."""
  unknown = sorted(set(args.metrics) - set(GROUPS))
  if unknown:
    raise UserError(f"Unknown metrics {unknown}; known: {', '.join(GROUPS)}.")
  kept = pathlib.Path(args.cache or args.output).resolve()
  for folder in filter(None, (args.samples, args.references)):
    if kept.is_relative_to(pathlib.Path(folder).resolve()):
      raise UserError(
        f"{kept} lies inside the folder of clips {folder}, where what is written would"
        " be taken for clips; choose another --output."
      )
  needs = {"lpips": ("alex", "vgg"), "drift": ("alex",)}
  needs |= {"fvd": ("i3d",), "fvd_16f": ("i3d",), "alignment": ("clip", "wav2clip")}
  wanted = {name for group in args.metrics for name in needs.get(group, ())}
  networks = open_networks(tuple(sorted(wanted)))
  for line in networks.missing.values():
    print(f"evaluate: not computed: {line}", file=sys.stderr)
  reading = Reading(args.fps, args.num_frames, args.frame_size, args.segment_frames)
  cache = FeatureCache(args.cache or args.output / "cache")
  samples = open_side(args.samples, "samples", reading, cache)
  manifest = read_manifest(args.samples)
  note_unfinished(samples, manifest)
  references = None
  if args.references:
    whole = dataclasses.replace(reading, segment_frames=None)
    if args.segment_frames and not args.num_frames:
      # Real clips have no seams: they are cut to what is left of the samples.
      length, *_ = common_shape({"samples": samples})
      whole = dataclasses.replace(whole, num_frames=length)
    references = open_side(args.references, "references", whole, cache)
  settings = Settings(
    groups=tuple(args.metrics),
    reading=reading,
    seed=args.seed,
    include_first=args.include_first,
    resize=args.fvd_resize,
  )
  training = None
  if args.training:
    *_, fps = common_shape({"samples": samples})
    training = training_clips(args.training, fps, cache)
  result, measured = evaluate(
    samples, references, settings, networks, pose_source(args), training
  )
  result = {"subject": subject(args, manifest, samples)} | result
  print(as_text(result))
  print(write_result(args.output, result, score_lines(measured)))


def read_manifest(folder: str) -> dict[str, object]:
  """Of an export; empty for any other folder."""
  path = pathlib.Path(folder) / "manifest.json"
  return json.loads(path.read_text()) if path.is_file() else {}


def note_unfinished(samples: Side, manifest: dict[str, object]) -> None:
  """Adds to the failures that an export lacks clips, if it does."""
  expected = manifest.get("num_clips", 0)
  found = len(samples.features) + len(samples.failures)
  if found < expected:
    samples.failures["manifest.json"] = (
      f"the export is not finished, {found} of {expected} clips: run it again."
    )


def subject(
  args: argparse.Namespace, manifest: dict[str, object], samples: Side
) -> dict[str, object]:
  """What was evaluated: not part of the protocol."""
  files = samples.features.items()
  folder = pathlib.Path(args.samples)
  return {
    "label": args.label or manifest.get("label") or folder.resolve().name,
    "embedding": manifest.get("embedding"),
    "trained_frames": manifest.get("trained_frames"),
    "samples": str(folder),
    "samples_hash": protocol.list_hash(f"{name} {x.file.digest}" for name, x in files),
    "references": args.references,
    "manifest": manifest,
    "command": " ".join(["python -m dabfusion_jax.evaluate", *sys.argv[1:]]),
  }


def pose_source(args: argparse.Namespace) -> PoseSource | None:
  """Pose files if given, else BlazePose where it is installed and imported."""
  if "pose" not in args.metrics:
    return None
  if args.poses:
    return PoseFiles(*args.poses)
  try:
    return BlazePose()
  except (PoseError, store.MissingWeightsError) as error:
    print(f"evaluate: no poses: {error}", file=sys.stderr)
    return None


def training_clips(data: str, fps: float, cache: FeatureCache) -> Training:
  """The training split of a data set, whose clips must have the samples' rate."""
  expect = {"fps": fps}
  source = loader.open_clips(data, "train", expect=expect, fields=("frames",))
  digest = source.manifest["content_sha256"]

  def compute():
    thumbnails = [appearance.thumbnails(clip["frames"]) for clip in source]
    return {"thumbnails": np.stack(thumbnails)}

  found = cache.get("training", [digest], {"split": "train"}, compute)
  return Training(found["thumbnails"], digest)


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.evaluate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  names = lambda text: [name for name in text.split(",") if name]
  add("words", nargs="*", metavar="report | tables RESULT.json ...", help="see above")
  add("--checkpoint", help="stage 2, as for sample")
  add("--data", help="folder made by data_pipeline.build")
  add(
    "--num_clips", type=positive_int, help="so many test clips, evenly; all by default"
  )
  add("--samples", help="export or folder of generated videos")
  add("--references", help="export or folder of real ones")
  add("--output", type=pathlib.Path, required=True, help="folder for results")
  add("--seed", type=int, default=0, help="of clips, shuffles and resampling")
  add("--metrics", type=names, default=list(GROUPS), help=f"of {','.join(GROUPS)}")
  add("--fps", type=positive_float, help="overrides a wrong frame rate tag")
  add("--num_frames", type=positive_int, help="cut all clips to so many")
  add("--frame_size", type=positive_int, help="bring all clips to this size")
  add("--segment_frames", type=positive_int, help=(
    "generated clips are chains of segments of so many frames, each of which begins "
    "with the last frame of the one before: it is dropped"))  # fmt: skip
  add("--poses", type=names, help="folders of poses (npz) instead of BlazePose")
  add("--training", help="data set the model was trained on: nearest clips")
  add("--cache", help="folder of features; OUTPUT/cache by default")
  add("--fvd_resize", choices=i3d.RESIZES, default="default", help="for FVD, to 224 px")
  add("--include_first", action="store_true", help="pair frame 0, the given one, too")
  add("--label", help="name of the system in tables")
  return parser


def run(args: argparse.Namespace) -> None:
  """Does what the command line says."""
  form, *rest = args.words or ["evaluate"]
  if form == "tables":
    if not rest:
      raise UserError("tables needs the result.json of at least one evaluation.")
    text, paths = tables.write_tables(args.output, tables.read_results(rest))
    print(text, *paths, sep="\n")
    return
  if rest or form not in ("evaluate", "report"):
    raise UserError(f"Unexpected argument {(rest or [form])[0]!r}.")
  if form == "report":
    print(report.write_report(args.output, args.samples, args.references))
    return
  if args.samples:
    evaluate_samples(args)
    return
  for name in ("checkpoint", "data"):
    if getattr(args, name) is None:
      raise UserError(f"--{name} is missing; see --help for the four forms.")
  evaluate_checkpoint(args)


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_intermixed_args(argv)
  with one_line_errors("evaluate"):
    run(args)


if __name__ == "__main__":
  main()

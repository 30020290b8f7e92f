r"""Measures generated dances, every number beside its null. Four forms:

  python -m dabfusion_jax.evaluate --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --output=runs/demo_evaluation

both stages of a trained model on the test clips of a data set;

  python -m dabfusion_jax.evaluate --samples=DIR --references=DIR --output=DIR

an export (`dabfusion_jax.export`) or the videos of any system, paired by name with real
ones where names agree (without --references: what needs no real clips). Writes
result.json, scores.jsonl (a line for every score) and keeps features in OUTPUT/cache;

  python -m dabfusion_jax.evaluate report --samples=DIR --references=DIR --output=DIR

one self-contained page, report.html, from the result in OUTPUT;

  python -m dabfusion_jax.evaluate tables --output=DIR RESULT.json ...

the tables of the paper as markdown and CSV, its figures beside those of the results.
"""

import json
import pathlib
import sys

import numpy as np
from absl import app, flags

from dabfusion_jax import weights
from dabfusion_jax.evaluation import program, report, tables, trained_model
from dabfusion_jax.evaluation.blazepose import BlazePose, PoseError
from dabfusion_jax.evaluation.cache import FeatureCache
from dabfusion_jax.evaluation.catalog import GROUPS
from dabfusion_jax.evaluation.features import Reading
from dabfusion_jax.evaluation.measure import Settings
from dabfusion_jax.evaluation.networks import open_networks
from dabfusion_jax.evaluation.poses import PoseFiles, PoseSource
from dabfusion_jax.evaluation.sides import open_side
from dabfusion_jax.metrics import appearance
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline import loader

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Stage 2, as for sample.")
_DATA = flags.DEFINE_string("data", None, "Folder made by data_pipeline.build.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", None, "Test clips; all by default.")
_SAMPLES = flags.DEFINE_string("samples", None, "Export or folder of generated videos.")
_REFERENCES = flags.DEFINE_string("references", None, "Export or folder of real ones.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for results.")
_SEED = flags.DEFINE_integer("seed", 0, "Of generated clips, shuffles and resampling.")
_METRICS = flags.DEFINE_list("metrics", list(GROUPS), f"Any of {', '.join(GROUPS)}.")
_FPS = flags.DEFINE_float("fps", None, "Overrides a wrong frame rate tag.")
_NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Cut all clips to so many.")
_FRAME_SIZE = flags.DEFINE_integer("frame_size", None, "Bring all clips to this size.")
_POSES = flags.DEFINE_list("poses", [], "Folders of poses (npz) instead of BlazePose.")
_TRAINING = flags.DEFINE_string("training", None, "Data set the model was trained on.")
_CACHE = flags.DEFINE_string("cache", None, "Folder of features; OUTPUT/cache if None.")
_FIRST = flags.DEFINE_bool("include_first", False, "Pair frame 0, the given one, too.")
_LABEL = flags.DEFINE_string("label", None, "Name of the system in tables.")


class UsageError(ValueError):
  """Flags that do not go together."""


def evaluate_checkpoint() -> None:
  """Evaluates a trained model, prints the table, writes evaluation.json."""
  pipeline = DancePipeline.from_pretrained(_CHECKPOINT.value)
  latents = pipeline.config["latents"]
  expect = {
    "fps": latents["fps"],
    "encoder": latents["encoder"],
    "frame_size": pipeline.frame_size,
    "num_frames": pipeline.config["data"]["num_frames"],
  }
  clips = loader.open_clips(
    _DATA.value, "test", expect=expect, beats=pipeline.config["data"]["beats"]
  )
  count = min(len(clips), _NUM_CLIPS.value or len(clips))
  # Evenly over the split, so that a few clips still see all genres.
  chosen = [clips[int(i)] for i in np.linspace(0, len(clips) - 1, count)]
  text, result = trained_model.evaluate_model(pipeline, chosen, _SEED.value)
  print(text)
  result = {
    "checkpoint": str(_CHECKPOINT.value),
    "data": str(_DATA.value),
    "split": "test",
  } | result
  folder = pathlib.Path(_OUTPUT.value)
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "evaluation.json"
  temporary = path.with_suffix(".part")
  temporary.write_text(json.dumps(result, indent=2) + "\n")
  temporary.replace(path)
  print(path)


def evaluate_samples() -> None:
  """Evaluates a folder of samples, prints a table, writes the result."""
  output = pathlib.Path(_OUTPUT.value)
  groups = tuple(_METRICS.value)
  unknown = sorted(set(groups) - set(GROUPS))
  if unknown:
    raise UsageError(f"Unknown metrics {unknown}; known: {', '.join(GROUPS)}.")
  wanted = {"lpips": ("alex", "vgg"), "drift": ("alex",)}
  wanted |= {"fvd": ("i3d",), "fvd_16f": ("i3d",)}
  names = sorted({name for group in groups for name in wanted.get(group, ())})
  networks = open_networks(tuple(names))
  for line in networks.missing.values():
    print(f"evaluate: not computed: {line}", file=sys.stderr)
  reading = Reading(_FPS.value, _NUM_FRAMES.value, _FRAME_SIZE.value)
  cache = FeatureCache(_CACHE.value or output / "cache")
  samples = open_side(_SAMPLES.value, "samples", reading, cache)
  references = None
  if _REFERENCES.value:
    references = open_side(_REFERENCES.value, "references", reading, cache)
  settings = Settings(
    groups=groups,
    reading=reading,
    seed=_SEED.value,
    include_first=_FIRST.value,
  )
  pose, training = pose_source(groups), training_clips(cache)
  result, measured = program.evaluate(
    samples, references, settings, networks, pose, training
  )
  result = {"subject": subject()} | result
  print(program.as_text(result))
  print(program.write_result(output, result, program.score_lines(measured)))


def subject() -> dict[str, object]:
  """What was evaluated: not part of the protocol."""
  folder = pathlib.Path(_SAMPLES.value)
  manifest = {}
  if (folder / "manifest.json").is_file():
    manifest = json.loads((folder / "manifest.json").read_text())
  label = _LABEL.value or manifest.get("label") or folder.resolve().name
  return {
    "label": label,
    "embedding": manifest.get("embedding"),
    "trained_frames": manifest.get("trained_frames"),
    "samples": str(folder),
    "references": _REFERENCES.value,
    "manifest": manifest,
    "command": " ".join(["python -m dabfusion_jax.evaluate", *sys.argv[1:]]),
  }


def pose_source(groups: tuple[str, ...]) -> PoseSource | None:
  """Pose files if given, else BlazePose where it is installed and imported."""
  if "pose" not in groups:
    return None
  if _POSES.value:
    return PoseFiles(*_POSES.value)
  try:
    return BlazePose()
  except (PoseError, weights.MissingWeightsError) as error:
    print(f"evaluate: no poses: {error}", file=sys.stderr)
    return None


def training_clips(cache: FeatureCache) -> np.ndarray | None:
  """Thumbnails [n, t, 16, 16, 3] of the training split."""
  if not _TRAINING.value:
    return None
  digest = loader.read_manifest(_TRAINING.value)["content_sha256"]

  def compute():
    clips = loader.open_clips(_TRAINING.value, "train", fields=("frames",))
    thumbnails = [appearance.thumbnails(clip["frames"]) for clip in clips]
    return {"thumbnails": np.stack(thumbnails)}

  return cache.get("training", [digest], {"split": "train"}, compute)["thumbnails"]


def require(*wanted: str) -> None:
  """Raises UsageError for a flag that is missing."""
  for name in wanted:
    if flags.FLAGS[name].value is None:
      raise UsageError(f"--{name} is missing; see --help for the four forms.")


def run(words: list[str]) -> None:
  """Does what the command line says."""
  require("output")
  output = pathlib.Path(_OUTPUT.value)
  if words[:1] == ["tables"]:
    if len(words) < 2:
      raise UsageError("tables needs the result.json of at least one evaluation.")
    text, paths = tables.write_tables(output, tables.read_results(words[1:]))
    print(text, *paths, sep="\n")
    return
  if words == ["report"]:
    require("samples")
    print(report.write_report(output, _SAMPLES.value, _REFERENCES.value))
    return
  if words:
    raise UsageError(f"Unexpected argument {words[0]!r}.")
  if _SAMPLES.value:
    evaluate_samples()
    return
  require("checkpoint", "data")
  evaluate_checkpoint()


def main(argv: list[str]) -> None:
  try:
    run(argv[1:])
  except (ValueError, OSError, RuntimeError, weights.WeightsError) as error:
    sys.exit(f"evaluate: {error}")


if __name__ == "__main__":
  flags.FLAGS.set_gnu_getopt(True)  # words and flags in any order
  app.run(main)

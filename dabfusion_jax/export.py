r"""Samples of a trained model for every test clip, ready to be evaluated.

  python -m dabfusion_jax.export --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --split=test --output=exports/demo

Writes samples/NAME.npz (frames without loss), samples/NAME.mp4 (with the music),
references/NAME.npz (the real clip and what is known of it) and manifest.json. The same
command goes on where it was stopped. A sample depends on the seed and on the number of
its clip, not on the number of devices or processes, nor on what else is in its batch;
another --batch_size is another program, which may round differently (1 grey level).

Several processes share the work: with --distributed each takes its part, and so do
separate commands with --shard=0 --num_shards=4 and so on.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from dabfusion_jax.diffusion import process
from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.parallel import hardware
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline import files
from data_pipeline.cli import one_line_errors, positive_int
from data_pipeline.errors import UserError
from data_pipeline.media import writer
from data_pipeline.records import loader

FORMAT = 1
_MOST_SECONDS = 7 * 24 * 3600  # that one process may be done before another


class ExportError(UserError):
  """An export that cannot be begun or gone on with; the message says why."""


def clip_name(clip: Mapping[str, Any]) -> str:
  """The name of a clip's files: video and window."""
  return f"{clip['name']}-w{int(clip['window'])}"


def samples(
  pipeline: DancePipeline,
  source: Sequence[Mapping[str, Any]],
  indices: Sequence[int],
  seed: int,
  batch_size: int = 4,
  devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
  """(record, frames uint8 [t, h, w, 3]) of the clips `indices` of a source.

  Records are those of `data_pipeline.records.loader`; `batch_size` is per device.
  """
  devices = tuple(devices or jax.local_devices())
  pipeline = dataclasses.replace(pipeline, devices=devices)
  plan, guidance = pipeline.stage.plan, pipeline.config["sampling"]["guidance_scale"]
  rows = batch_size * len(devices)
  for first in range(0, len(indices), rows):
    records = [source[i] for i in indices[first : first + rows]]
    # The last batch is filled up: one shape, one program.
    filled = records + [records[-1]] * (rows - len(records))
    batch = {
      key: np.stack([r[key] for r in filled])
      for key in ("music", "beats", "beat_features")
    }
    batch["z"] = pipeline.sampler.encode([r["frames"][0] for r in filled])
    ids = jnp.asarray([r["example_id"] for r in filled], jnp.int32)
    keys = process.example_keys(jax.random.key(seed), ids)
    frames, _ = pipeline.sampler.generate(batch, keys, plan, guidance)
    yield from zip(records, frames, strict=False)


def write_reference(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
  """The real clip and what is known of it."""
  wanted = ("frames", "fps", "audio", "sample_rate", *clips.TRUTH)
  arrays = {key: record[key] for key in wanted if key in record}
  clips.write_arrays(folder / f"{clip_name(record)}.npz", arrays)


def write_sample(
  folder: pathlib.Path, record: Mapping[str, Any], frames: np.ndarray
) -> None:
  """The generated clip, last the npz: where it lies, the clip is done."""
  name, fps = clip_name(record), record["fps"]
  audio = record["audio"].astype(np.float32) / 32768
  rate = Fraction(fps).limit_denominator(1001)
  writer.write_video(
    folder / f"{name}.mp4", frames, rate, audio, int(record["sample_rate"])
  )
  clips.write_arrays(folder / f"{name}.npz", {"frames": frames, "fps": fps})


def open_export(output: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Makes the folders, or checks that the export there is the same one.

  Raises:
    ExportError: another export lies there; the first difference is named.
  """
  path = output / "manifest.json"
  if path.is_file():
    found = json.loads(path.read_text())
    for key, value in json.loads(json.dumps(manifest)).items():
      if found.get(key) != value:
        raise ExportError(
          f"{output} holds another export: {key} is {found.get(key)!r} there and"
          f" {value!r} here; choose another folder."
        )
    return
  for part in ("samples", "references"):
    (output / part).mkdir(parents=True, exist_ok=True)
  files.write_json(path, manifest)


def export(
  pipeline: DancePipeline,
  source: Sequence[Mapping[str, Any]],
  output: pathlib.Path,
  manifest: Mapping[str, Any],
  *,
  seed: int,
  indices: Sequence[int],
  batch_size: int = 4,
  devices: Sequence[jax.Device] | None = None,
) -> int:
  """Writes what is missing of the clips `indices`; returns how many that were."""
  open_export(output, manifest)
  folder = output / "samples"
  names = {i: clip_name(source[i]) for i in indices}
  missing = [i for i in indices if not (folder / f"{names[i]}.npz").is_file()]
  bar = tqdm.tqdm(total=len(indices), initial=len(indices) - len(missing), unit="clip")
  with bar:
    for record, frames in samples(pipeline, source, missing, seed, batch_size, devices):
      write_reference(output / "references", record)
      write_sample(folder, record, frames)
      bar.update()
  return len(missing)


def open_source(pipeline: DancePipeline, data: str, split: str) -> loader.Clips:
  """The clips of a data set that is like the one the model was trained on.

  Raises:
    RecordError: it differs; the first difference is named.
  """
  beats = pipeline.config["data"]["beats"]
  return loader.open_clips(data, split, expect=pipeline.clip_format, beats=beats)


def even_indices(total: int, count: int | None) -> list[int]:
  """`count` of `total` clips, evenly spread, so that a few still see all genres."""
  count = min(total, count or total)
  return [int(i) for i in np.linspace(0, total - 1, count)]


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.export",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--checkpoint", required=True, help="stage 2, as for sample")
  add("--data", required=True, help="folder made by data_pipeline.build")
  add("--split", default="test", help="which clips")
  add("--output", required=True, help="folder of the export")
  add("--seed", type=int, default=0, help="of the samples")
  add(
    "--num_clips",
    type=positive_int,
    help="so many, evenly over the split; all by default",
  )
  add("--batch_size", type=positive_int, default=4, help="clips a device makes at once")
  add("--shard", type=int, help="which part; this process's by default")
  add("--num_shards", type=positive_int, help="how many parts there are")
  add("--distributed", action="store_true", help="join the other processes")
  return parser


def run(args: argparse.Namespace) -> None:
  """Exports what the command line names."""
  pipeline = DancePipeline.from_pretrained(args.checkpoint)
  latents, data = pipeline.config["latents"], pipeline.config["data"]
  source = open_source(pipeline, args.data, args.split)
  num_shards = jax.process_count() if args.num_shards is None else args.num_shards
  shard = jax.process_index() if args.shard is None else args.shard
  if not 0 <= shard < num_shards:
    raise ExportError(f"There is no part {shard} of {num_shards}; they count from 0.")
  chosen = even_indices(len(source), args.num_clips)
  manifest = {
    "format": FORMAT,
    "label": pathlib.Path(args.checkpoint).name,
    "weights": dict(pipeline.digests),
    "embedding": latents["encoder"]["name"],
    "data": loader.read_manifest(args.data)["content_sha256"],
    "split": args.split,
    "num_clips": len(chosen),
    "num_frames": data["num_frames"],
    "trained_frames": data["num_frames"],
    "fps": latents["fps"],
    "frame_size": pipeline.frame_size,
    "seed": args.seed,
    "sampling": dict(pipeline.config["sampling"]),
    "condition": dict(pipeline.config["condition"]),
    "jax": jax.__version__,
  }
  written = export(
    pipeline,
    source,
    pathlib.Path(args.output),
    manifest,
    seed=args.seed,
    indices=chosen[shard::num_shards],
    batch_size=args.batch_size,
  )
  print(f"{args.output}: {written} clips written, part {shard} of {num_shards}")


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with one_line_errors("export"):
    hardware.use_cpu_cores()
    if args.distributed:
      # Who is done waits for the others, which by default ends them after 5 minutes.
      jax.distributed.initialize(shutdown_timeout_seconds=_MOST_SECONDS)
    run(args)


if __name__ == "__main__":
  main()

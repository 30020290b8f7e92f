r"""Samples of a trained model for every test clip, ready to be evaluated.

  python -m dabfusion_jax.export --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --split=test --output=exports/demo

Writes samples/NAME.npz (lossless frames), samples/NAME.mp4 (with the music),
references/NAME.npz (the real clip and its annotations) and manifest.json. The same
command continues an interrupted export. A sample depends on the seed and on the number
of its clip, not on the number of devices or processes, nor on the rest of its batch;
another --batch_size is another program, which may round differently (by 1 grey level).

Several processes share the work: with --distributed each takes its part, and so do
separate commands with --process_index=0 --process_count=4 and so on.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import tqdm

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.parallel import hardware, share
from dabfusion_jax.parallel.compiled import keep_compiled
from dabfusion_jax.parallel.share import Share
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.locks import hold_folder
from data_pipeline.media import writer
from data_pipeline.media.pcm import int16_to_sound
from data_pipeline.records import loader
from data_pipeline.records.picks import even_indices

FORMAT = 2


class ExportError(UserError):
  """An export that cannot be started or continued; the message says why."""


class _Chosen(Sequence):
  """Some records of a source, read when they are asked for."""

  def __init__(self, source: Sequence[Mapping[str, Any]], indices: Sequence[int]):
    self._source, self._indices = source, indices

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    return self._source[self._indices[index]]


def clip_name(clip: Mapping[str, Any]) -> str:
  """Returns the name of a clip's files, from its video and window."""
  return f"{clip['name']}-w{int(clip['window'])}"


def write_reference(
  folder: pathlib.Path, record: Mapping[str, Any], beat_tracker: str
) -> None:
  """Writes the real clip and its annotations, and what tracked its beats."""
  wanted = ("frames", "fps", "audio", "sample_rate", *clips.TRUTH)
  arrays = {key: record[key] for key in wanted if key in record}
  arrays["beat_tracker"] = np.asarray(beat_tracker)
  clips.write_arrays(folder / f"{clip_name(record)}.npz", arrays)


def write_sample(
  folder: pathlib.Path, record: Mapping[str, Any], frames: np.ndarray
) -> None:
  """Writes the generated clip; its npz comes last and marks it as done."""
  name, fps = clip_name(record), record["fps"]
  audio = int16_to_sound(record["audio"])
  rate = Fraction(fps).limit_denominator(1001)
  writer.write_video(
    folder / f"{name}.mp4", frames, rate, audio, int(record["sample_rate"])
  )
  clips.write_arrays(folder / f"{name}.npz", {"frames": frames, "fps": fps})


def open_export(output: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Creates the folders, or checks that the export in them is the same one.

  Raises:
    ExportError: another export lies there; the first difference is named.
  """
  path = output / "manifest.json"
  if path.is_file():
    there = files.read_json(path)
    for key, value in json.loads(json.dumps(manifest)).items():
      if there.get(key) != value:
        raise ExportError(
          f"{output} holds another export: {key} is {there.get(key)!r} there and"
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
) -> int:
  """Writes the missing ones of the clips `indices`, and returns how many they were."""
  open_export(output, manifest)
  folder = output / "samples"
  names = {i: clip_name(source[i]) for i in indices}
  missing = [i for i in indices if not (folder / f"{names[i]}.npz").is_file()]
  done = len(indices) - len(missing)
  with tqdm.tqdm(total=len(indices), initial=done, unit="clip") as bar:
    records = _Chosen(source, missing)
    for record, frames in pipeline.sample_records(records, seed, batch_size):
      write_reference(output / "references", record, pipeline.settings.data.beats)
      write_sample(folder, record, frames)
      bar.update()
  return len(missing)


def open_source(pipeline: DancePipeline, data: str, split: str) -> loader.Clips:
  """Opens the clips of a data set of the format that the model was trained on.

  Raises:
    RecordError: it has another format; the first difference is named.
  """
  beats = pipeline.settings.data.beats
  return loader.open_clips(data, split, expect=pipeline.clip_format, beats=beats)


def make_manifest(
  pipeline: DancePipeline, checkpoint: str, data: str, split: str, count: int, seed: int
) -> dict[str, Any]:
  """Returns what manifest.json says: everything the samples depend on."""
  settings = pipeline.settings
  return {
    "format": FORMAT,
    "label": pathlib.Path(checkpoint).name,
    "weights": dict(pipeline.digests),
    "embedding": settings.latents.encoder["name"],
    "data": loader.read_manifest(data)["content_sha256"],
    "split": split,
    "num_clips": count,
    "num_frames": settings.data.num_frames,
    "trained_frames": settings.data.num_frames,
    "fps": settings.latents.fps,
    "frame_size": pipeline.frame_size,
    "seed": seed,
    "sampling": dataclasses.asdict(settings.sampling),
    "condition": dataclasses.asdict(settings.condition),
    "jax": jax.__version__,
  }


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.export", __doc__)
  add, count = parser.add_argument, cli.positive_int
  add("--checkpoint", type=cli.path, required=True, help="stage 2, as for sample")
  add("--data", type=cli.path, required=True, help="folder made by data_pipeline.build")
  add("--split", default="test", help="which clips")
  add("--output", type=cli.local_path, required=True, help="folder of the export")
  add("--seed", type=cli.seed, default=0, help="of the noise")
  add("--num_clips", type=count, help="how many, evenly over the split; default: all")
  add("--batch_size", type=count, default=4, help="clips per device")
  share.add_arguments(parser)
  return parser


def run(args: argparse.Namespace, own: Share) -> None:
  """Exports what the command line names, as far as it is this process's."""
  files.check_writable(args.output, is_folder=True)
  pipeline = DancePipeline.from_pretrained(args.checkpoint)
  pipeline = dataclasses.replace(pipeline, devices=tuple(jax.local_devices()))
  source = open_source(pipeline, args.data, args.split)
  chosen = even_indices(len(source), args.num_clips)
  manifest = make_manifest(
    pipeline, args.checkpoint, args.data, args.split, len(chosen), args.seed
  )
  with hold_folder(args.output, own.lock):
    written = export(
      pipeline,
      source,
      args.output,
      manifest,
      seed=args.seed,
      indices=own.of(chosen),
      batch_size=args.batch_size,
    )
  print(f"{args.output}: {written} clips written, {own}")


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with share.ended_at_once(), cli.one_line_errors("export"):
    hardware.use_cpu_cores()
    own = share.from_arguments(args)
    hardware.check_backend()
    keep_compiled()
    run(args, own)


if __name__ == "__main__":
  main()

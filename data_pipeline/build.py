r"""Builds a data set: videos -> clip records -> shards and a manifest.

  python -m data_pipeline.build --source=synthdance --preset=demo --output=data/demo
  python -m data_pipeline.build --source=aist --videos=DIR --output=data/aist
  python -m data_pipeline.build --source=folder --videos=DIR --output=data/mine

The output folder may be remote (--output=gs://...); then the data set is built in a
local cache, and sent when it is complete. It contains:

  manifest.json  what the data set contains; written last, so it marks a finished one
  inputs.json    the state of the files it was made from
  report.csv     which videos are missing, broken, left out or too short, and why
  silence.json   the embedding of silence
  shards/        TFDS folder of clip records, read by `data_pipeline.records.loader`
  work/          beats per song and clips per video, kept as they are finished

A data set is complete for the files it was made from: if videos, songs, annotations or
metadata are added, replaced, removed or become readable, the same command rebuilds what
has changed. A video that cannot be used costs one line of the report. The exit status
is 3 if any video was broken, and 1 if no data set could be built. After an interruption
the same command resumes from `work/`, which may be deleted once the manifest exists.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from etils import epath

from data_pipeline import files
from data_pipeline.building import data_set
from data_pipeline.building.local_build import build_locally
from data_pipeline.building.options import read_arguments, settings_of
from data_pipeline.building.settings import BuildSettings
from data_pipeline.cli import one_line_errors
from data_pipeline.extras import needs_extra
from data_pipeline.locks import hold_folder

BROKEN = 3  # exit status: the data set is complete, but some videos were broken


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  args = read_arguments(argv, __doc__)
  with one_line_errors("build"):
    settings = settings_of(args)
    before = data_set.finished_manifest(args.output, settings.description())
    manifest, state = before, "was complete already"
    changes = None
    if manifest is not None:
      changes = data_set.find_changes(args.output, settings.source.survey())
    if changes:
      print(f"{args.output} has changed: {data_set.describe_statuses(changes)}.")
    if manifest is None or changes:
      manifest, state = _build(settings, args), "is complete"
  for split, count in manifest["videos"].items():
    listed = "" if count["listed"] is None else f" of {count['listed']} listed"
    clips = manifest["splits"].get(split, [])
    num_used = len({clip.rpartition(".")[0] for clip in clips})
    used = f"{num_used} of " if num_used < count["found"] else ""
    print(f"{split}: {used}{count['found']} videos{listed}, {len(clips)} clips.")
  counts = ", ".join(f"{n['clips']} {split}" for split, n in manifest["counts"].items())
  print(f"{args.output} {state}: {counts} clips.")
  if manifest["report"]:
    lines = ", ".join(f"{n} {status}" for status, n in manifest["report"].items())
    print(f"{epath.Path(args.output) / data_set.REPORT}: {lines}.")
  for split, count in manifest["videos"].items():
    if count["found"] and split not in manifest["counts"]:
      print(
        f"note: no video of {split} became a clip; the report says why, and the column"
        " `split` of --metadata chooses others."
      )
  old = (before or manifest)["splits"]
  for split, clips in manifest["splits"].items():
    for other in old.keys() - {split}:
      moved = sorted(set(clips) & set(old[other]))
      if moved:
        print(
          f"warning: {len(moved)} clips of {other} are in {split} now, as {moved[0]};"
          " the column `split` of --metadata keeps them in place."
        )
  if manifest["report"].get("broken"):
    sys.exit(BROKEN)


def _build(settings: BuildSettings, args: argparse.Namespace) -> dict[str, Any]:
  if args.beam is not None:
    with needs_extra("beam"):
      from data_pipeline.building.beam_build import build_with_beam

    return build_with_beam(settings, pathlib.Path(args.output), args.beam.split())
  folder = files.local_folder(args.output, "build")
  manifest = build_locally(settings, folder, args.workers)
  if files.is_remote(args.output):
    with hold_folder(args.output):
      data_set.send(folder, args.output)
  return manifest


if __name__ == "__main__":
  main()

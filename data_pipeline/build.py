r"""Builds a data set: videos -> per-video results -> shards and a manifest.

  python -m data_pipeline.build --source=synthdance --preset=demo --output=data/demo
  python -m data_pipeline.build --source=aist --videos=DIR --output=data/aist
  python -m data_pipeline.build --source=folder --videos=DIR --output=data/mine

The output folder, here or on another machine (`--output=gs://...`, built in a cache
here and sent when it is complete):

  manifest.json  what the data set is; written last, so it marks a finished one
  report.csv     what is missing, broken, left out or too short, and why
  silence.json   what the music encoder makes of silence
  texts.json     each genre in words, where the encoder takes words
  shards/        TFDS folder of clip records, read by `data_pipeline.records.loader`
  work/          per-song beats and per-video records, kept as they are finished

A video that cannot be used costs a line of the report, and the exit status is 3 where
any was broken; it is 1 where no data set came of it. Interrupted at any moment, the
same command goes on from `work/`, which may be deleted once the manifest is there.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm
from etils import epath

from data_pipeline import files
from data_pipeline.building import data_set
from data_pipeline.building.data_set import BuildError as BuildError
from data_pipeline.building.data_set import ClipLine
from data_pipeline.building.local_pool import LocalPool
from data_pipeline.building.options import options_of, read_arguments
from data_pipeline.building.video_work import Settings as Settings
from data_pipeline.building.video_work import VideoCut, find_beats, write_vectors
from data_pipeline.cli import one_line_errors
from data_pipeline.cutting import ingest
from data_pipeline.media.errors import MediaError
from data_pipeline.sources.base import Finding, SourceVideo, Survey

BROKEN = 3  # exit status: the data set is complete, but files were broken


def build(settings: Settings, output: pathlib.Path, num_workers: int) -> dict[str, Any]:
  """Builds the data set, or what is missing of it, on this machine.

  Args:
    settings: what to build.
    output: folder of the data set.
    num_workers: processes.

  Returns:
    The manifest.

  Raises:
    BuildError: the folder holds a data set of other settings, or no clip came of it.
  """
  description = settings.description()
  finished = data_set.finished_manifest(output, description)
  if finished is not None:
    return finished
  with data_set.open_work(output, description) as work:
    write_vectors(settings, output)
    for folder in (work / "songs", work / "clips"):
      folder.mkdir(exist_ok=True)
    survey = settings.source.survey()
    findings = list(survey.findings)
    with LocalPool(num_workers) as pool:
      songs = [(settings, s, heard, work) for s, heard in sorted(survey.songs.items())]
      reasons = dict(pool.run(_find_beats, songs, "songs", _crashed_song))
      videos = []
      for video in survey.videos:
        if reasons[video.song]:
          findings.append(Finding("broken", video.name, reasons[video.song]))
        else:
          videos.append((settings, video, work))
      cut = pool.run(_cut_video, videos, "videos", _crashed_video)
      findings += [finding for finding in cut if finding.status != "whole"]
    return _finish(description, survey, findings, output)


# --- Work of the processes ---------------------------------------------------------


def _song_file(song: str, work: pathlib.Path) -> pathlib.Path:
  return work / "songs" / f"{song}.npy"


def _find_beats(
  settings: Settings, song: str, heard: Sequence[str], work: pathlib.Path
) -> tuple[str, str]:
  """The song, and why it cannot be used, or an empty text."""
  path = _song_file(song, work)
  if path.is_file():
    return song, ""
  try:
    times = find_beats(settings, song, heard)
  except MediaError as error:
    return song, str(error)
  with files.whole_file(path) as temporary, open(temporary, "wb") as file:
    np.save(file, times)
  return song, ""


_CRASH = "its process died (a decoder's fault, or no memory left); convert it to mp4."


def _crashed_song(settings, song, heard, work) -> tuple[str, str]:
  return song, f"{song}: {_CRASH}"


def _crashed_video(settings, video, work) -> Finding:
  return Finding("broken", video.name, f"{video.name}: {_CRASH}")


def _clip_file(name: str, work: pathlib.Path) -> pathlib.Path:
  return work / "clips" / f"{name}.npz"


def _cut_video(settings: Settings, video: SourceVideo, work: pathlib.Path) -> Finding:
  """Saves the windows of a video, and then a note of what came of it."""
  note = work / "clips" / f"{video.name}.json"
  if note.is_file():
    known = json.loads(note.read_text())
    return Finding(known["status"], video.name, known["reason"])
  beats = np.load(_song_file(video.song, work), allow_pickle=False)
  with tempfile.TemporaryDirectory(prefix="video-", dir=work) as folder:
    try:
      cut = VideoCut(
        settings, video, beats, pathlib.Path(folder), work / "embeddings"
      )  # fmt: skip
      clips = []
      for features in cut:
        clips.append(data_set.clip_line(video.split, features))
        ingest.save_result(_clip_file(clips[-1].name, work), features)
    except MediaError as error:
      return Finding("broken", video.name, str(error))
  lines = [dataclasses.asdict(clip) for clip in clips]
  found = {"status": cut.status, "reason": cut.reason}
  data_set.write_json(note, {**found, "clips": lines})
  return Finding(cut.status, video.name, cut.reason)


# --- Shards ------------------------------------------------------------------------


def _finish(
  description: dict[str, Any],
  survey: Survey,
  findings: Sequence[Finding],
  output: pathlib.Path,
) -> dict[str, Any]:
  """Writes report, shards and manifest from the results."""
  work = output / "work"
  data_set.write_report(output, findings)
  unusable = {f.name for f in findings if f.status == "broken"}
  clips, splits = [], {}
  for video in survey.videos:
    if video.name not in unusable:
      note = json.loads((work / "clips" / f"{video.name}.json").read_text())
      for line in note["clips"]:
        clips.append(ClipLine(**{**line, "split": video.split}))
        splits.setdefault(video.split, []).append(_clip_file(clips[-1].name, work))
  if not clips:
    raise BuildError(
      f"No clip came of {len(survey.videos)} videos "
      f"({data_set.describe(findings) or 'none found'}); {output / data_set.REPORT} "
      "says why. Lower --num_frames if they are too short."
    )
  for folder in work.glob("video-*"):  # left behind by a killed worker
    shutil.rmtree(folder, ignore_errors=True)
  unfinished = output / "shards.unfinished"
  for folder in (unfinished, output / "shards"):
    shutil.rmtree(folder, ignore_errors=True)
  with tqdm.tqdm(total=len(clips), desc="shards", unit="") as progress:

    def load(file: pathlib.Path) -> tuple[str, dict[str, Any]]:
      features = ingest.load_result(file)
      del features["digest"]
      progress.update()
      return file.stem, features

    # Imported here: the workers have no need of it.
    from data_pipeline.building.tfds_builder import write_shards

    example = ingest.load_result(next(iter(splits.values()))[0])
    write_shards(
      unfinished, example, {split: map(load, paths) for split, paths in splits.items()}
    )
  unfinished.replace(output / "shards")
  manifest = data_set.make_manifest(description, survey, clips, findings)
  data_set.write_json(output / data_set.MANIFEST, manifest)
  return manifest


# --- Command line ------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
  args = read_arguments(argv, __doc__)
  with one_line_errors("build"):
    was_there = (epath.Path(args.output) / data_set.MANIFEST).exists()
    manifest = _run(options_of(args), args)
  for split, count in manifest["videos"].items():
    listed = "" if count["listed"] is None else f" of {count['listed']} listed"
    clips = manifest["counts"].get(split, {"clips": 0})["clips"]
    print(f"{split}: {count['found']}{listed} videos, {clips} clips.")
  counts = ", ".join(f"{n['clips']} {split}" for split, n in manifest["counts"].items())
  state = "was complete already" if was_there else "is complete"
  print(f"{args.output} {state}: {counts} clips.")
  if manifest["report"]:
    lines = ", ".join(f"{n} {status}" for status, n in manifest["report"].items())
    print(f"{epath.Path(args.output) / data_set.REPORT}: {lines}.")
  if manifest["report"].get("broken"):
    sys.exit(BROKEN)


def _run(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
  if args.beam is not None:
    from data_pipeline.building.beam_build import (
      build_with_beam,  # needs the extra `beam`
    )

    return build_with_beam(settings, pathlib.Path(args.output), args.beam.split())
  finished = data_set.finished_manifest(args.output, settings.description())
  if finished is not None:
    return finished
  here = files.local_folder(args.output, "build")
  manifest = build(settings, here, max(1, args.workers))
  if files.is_remote(args.output):
    data_set.send(here, args.output)
  return manifest


if __name__ == "__main__":
  main()

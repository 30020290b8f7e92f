"""Builds a data set in the processes of one machine.

Results are kept in the folder of unfinished work as soon as they are complete: beats in
`songs/`, clips in `clips/`, each video with a note of its outcome. A build that is
interrupted resumes from them.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tqdm

from data_pipeline import files
from data_pipeline.building.data_set import BuildError, build_data_set
from data_pipeline.building.local_pool import LocalPool
from data_pipeline.building.manifest import ClipEntry, clip_entry
from data_pipeline.building.settings import BuildSettings
from data_pipeline.building.video_work import cut_video, find_beats, outcome_of
from data_pipeline.media.errors import MediaError
from data_pipeline.media.notes import collect_notes
from data_pipeline.music.tracked import Tracked
from data_pipeline.sources.base import Finding, SourceVideo, Survey
from data_pipeline.workers import count_cores

T, U = TypeVar("T"), TypeVar("U")
_MAX_READERS = 16  # threads, each with a record of several MB
_MAX_REPAIRS = 20  # clips that are found damaged and are cut again
_CRASH = "its process died (bug in a decoder, or out of memory); convert it to mp4."


def build_locally(
  settings: BuildSettings, output: pathlib.Path, num_workers: int
) -> dict[str, Any]:
  """Builds a data set, or what is missing of it, on this machine.

  Args:
    settings: what to build.
    output: folder of the data set.
    num_workers: number of processes.

  Returns:
    The manifest.

  Raises:
    BuildError: see `build_data_set`.
  """
  write_clips = functools.partial(_write_clips, settings, num_workers)
  return build_data_set(settings, output, write_clips)


def _write_clips(
  settings: BuildSettings,
  num_workers: int,
  survey: Survey,
  work: pathlib.Path,
  shards: pathlib.Path,
) -> tuple[list[ClipEntry], list[Finding]]:
  for _ in range(_MAX_REPAIRS):
    try:
      return _try_write_clips(settings, num_workers, survey, work, shards)
    except _DamagedClipError as error:  # it is gone now, so that it is cut again
      print(f"{error} and is made again.")
      shutil.rmtree(shards, ignore_errors=True)
  raise BuildError(f"{work} keeps losing clips; check the disk.")


def _try_write_clips(
  settings: BuildSettings,
  num_workers: int,
  survey: Survey,
  work: pathlib.Path,
  shards: pathlib.Path,
) -> tuple[list[ClipEntry], list[Finding]]:
  findings = [*survey.findings, *_cut_videos(settings, num_workers, survey, work)]
  broken = {finding.name for finding in findings if finding.status == "broken"}
  clips: list[ClipEntry] = []
  paths: dict[str, list[pathlib.Path]] = {}
  for video in survey.videos:
    if video.name not in broken:
      note = json.loads(_note_file(video.name, work).read_text())
      for entry in note["clips"]:
        # Splits may have changed since the clip was cut.
        clips.append(ClipEntry(**entry | {"split": video.split}))
        paths.setdefault(video.split, []).append(_clip_file(clips[-1].name, work))
  for folder in work.glob("video-*"):  # left behind by a killed worker
    shutil.rmtree(folder, ignore_errors=True)
  if clips:
    _write_shards(shards, paths)
  return clips, findings


def _write_shards(
  shards: pathlib.Path, paths: Mapping[str, Sequence[pathlib.Path]]
) -> None:
  # Imported here: the worker processes do not need it.
  from data_pipeline.building.tfds_builder import write_shards

  example = _load_or_remove(next(iter(paths.values()))[0])
  with tqdm.tqdm(total=sum(map(len, paths.values())), desc="shards", unit="") as bar:

    def records(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
      for path, features in zip(
        paths[split], _ahead(_load_or_remove, paths[split]), strict=True
      ):
        del features["digest"]
        bar.update()
        yield path.stem, features

    write_shards(shards, example, {split: records(split) for split in paths})


class _DamagedClipError(Exception):
  """A file of `work/clips` that was damaged after it was written; it is removed."""


def _load_or_remove(path: pathlib.Path) -> dict[str, Any]:
  try:
    return load_features(path)
  except (MemoryError, PermissionError):
    raise
  except files.DAMAGED_NPZ as error:
    path.unlink(missing_ok=True)
    raise _DamagedClipError(f"{path} is damaged ({error})") from error


def _ahead(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
  """Yields the results in order, while threads work on the next ones.

  What they parse needs no lock (`records.surfaces`): JAX is not in this program.
  """
  num_threads = min(count_cores(), _MAX_READERS)
  waiting: collections.deque[concurrent.futures.Future[U]] = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    for item in items:
      waiting.append(pool.submit(function, item))
      if len(waiting) > num_threads:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


# --- The worker processes -------------------------------------------------------------


def _cut_videos(
  settings: BuildSettings, num_workers: int, survey: Survey, work: pathlib.Path
) -> list[Finding]:
  """Tracks the beats of all songs and cuts all videos; returns what went wrong."""
  for name in ("songs", "clips"):
    (work / name).mkdir(exist_ok=True)
  for path in filter(pathlib.Path.is_file, work.rglob(".*")):
    path.unlink()  # half a file, left behind by a killed worker
  findings, videos = [], []
  with LocalPool(num_workers) as pool:
    beats = {
      song: _beats_file(song, survey.song_digest(song), work) for song in survey.songs
    }
    songs = sorted(survey.songs.items())
    songs = [(settings, song, paths, beats[song]) for song, paths in songs]
    problems = dict(pool.run(_find_beats, songs, "songs", _crashed_song))
    for video in survey.videos:
      if problems[video.song]:
        findings.append(Finding("broken", video.name, problems[video.song]))
      else:
        digest = survey.video_digest(video)
        videos.append((settings, video, beats[video.song], digest, work))
    outcomes = pool.run(_cut_video, videos, "videos", _crashed_video)
    findings += [outcome for outcome in outcomes if outcome.status != "whole"]
  return findings


def _find_beats(
  settings: BuildSettings, song: str, paths: Sequence[str], path: pathlib.Path
) -> tuple[str, str]:
  """Saves the beats of a song; returns it and its problem, or an empty string."""
  if _is_whole(path):
    return song, ""
  try:
    tracked = find_beats(settings, song, paths)
  except MediaError as error:
    return song, str(error)
  with files.whole_file(path) as temporary, open(temporary, "wb") as file:
    np.savez(file, times=tracked.times, doubt=tracked.doubt)
  return song, ""


def _is_whole(path: pathlib.Path) -> bool:
  try:
    with zipfile.ZipFile(path) as archive:
      return archive.testzip() is None  # a small file
  except files.DAMAGED_NPZ:
    return False


def _crashed_song(
  settings: BuildSettings, song: str, paths: Sequence[str], path: pathlib.Path
) -> tuple[str, str]:
  return song, f"{song}: {_CRASH}"


def _cut_video(
  settings: BuildSettings,
  video: SourceVideo,
  beats_file: pathlib.Path,
  digest: str,
  work: pathlib.Path,
) -> Finding:
  """Saves the clips of a video, and then a note of the outcome, which it returns.

  A note of the same digest (`Survey.video_digest`) saves the work.
  """
  note = _note_file(video.name, work)
  if (done := _outcome_before(note, video.name, digest, work)) is not None:
    return done
  note.unlink(missing_ok=True)  # its clips are about to be replaced, one by one
  saved = files.read_npz(beats_file)
  beats = Tracked(saved["times"], doubt=str(saved["doubt"]))
  clips = []
  folders = tempfile.TemporaryDirectory(prefix="video-", dir=work)
  with folders as folder, collect_notes() as notes:
    try:
      embeddings = work / "embeddings"
      cut = cut_video(settings, video, beats, pathlib.Path(folder), embeddings)
      for features in cut.records:
        clips.append(clip_entry(video.split, features))
        save_features(_clip_file(clips[-1].name, work), features)
    except MediaError as error:
      return Finding("broken", video.name, str(error))
  finding = outcome_of(video.name, cut, notes)
  outcome = {"status": finding.status, "reason": finding.reason, "digest": digest}
  entries = [dataclasses.asdict(clip) for clip in clips]
  files.write_json(note, outcome | {"clips": entries})
  return finding


def _outcome_before(
  note: pathlib.Path, name: str, digest: str, work: pathlib.Path
) -> Finding | None:
  """Returns the outcome of a video that was cut; None if it is to be cut (again).

  It is cut again if its note or a file of its clips is damaged or gone.
  """
  try:
    outcome = json.loads(note.read_text())
    if outcome["digest"] != digest:
      return None
    paths = [_clip_file(clip["name"], work) for clip in outcome["clips"]]
    finding = Finding(outcome["status"], name, outcome["reason"])
  except (OSError, ValueError, KeyError, TypeError):
    return None
  return finding if all(map(zipfile.is_zipfile, paths)) else None


def _crashed_video(
  settings: BuildSettings,
  video: SourceVideo,
  beats_file: pathlib.Path,
  digest: str,
  work: pathlib.Path,
) -> Finding:
  return Finding("broken", video.name, f"{video.name}: {_CRASH}")


# --- The files of unfinished work -----------------------------------------------------


def _beats_file(song: str, digest: str, work: pathlib.Path) -> pathlib.Path:
  return work / "songs" / f"{song}.{digest}.npz"


def _clip_file(name: str, work: pathlib.Path) -> pathlib.Path:
  return work / "clips" / f"{name}.npz"


def _note_file(video: str, work: pathlib.Path) -> pathlib.Path:
  return work / "clips" / f"{video}.json"


def save_features(path: pathlib.Path, features: Mapping[str, Any]) -> None:
  """Writes an encoded record with its `digest`, whole or not at all."""
  with files.whole_file(path) as temporary, open(temporary, "wb") as file:
    np.savez_compressed(file, **features)


def load_features(path: pathlib.Path) -> dict[str, Any]:
  """Reads what `save_features` wrote."""
  arrays = files.read_npz(path)
  return {key: x.item() if x.ndim == 0 else x for key, x in arrays.items()}

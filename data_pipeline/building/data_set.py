"""Builds the folder of a data set around the clips, wherever these are made.

The manifest is written last, so its presence marks a finished data set.
It is finished for the files it was made from: if these change, it is built again.
"""

import contextlib
import csv
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from data_pipeline import files
from data_pipeline.building.manifest import (
  MANIFEST,
  ClipEntry,
  count_statuses,
  make_manifest,
  without_labels,
)
from data_pipeline.building.settings import BuildSettings
from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.locks import LOCK, hold_folder
from data_pipeline.records.silence import write_silence
from data_pipeline.sources.base import Finding, Survey

REPORT = "report.csv"
INPUTS = "inputs.json"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

# Writes the clips of a survey as shards, given the folders of unfinished work and of
# the shards; returns an entry per clip, and all findings.
WriteClips = Callable[
  [Survey, pathlib.Path, pathlib.Path], tuple[list[ClipEntry], list[Finding]]
]


class BuildError(UserError):
  """A build that cannot continue: why, and what to do about it."""


def build_data_set(
  settings: BuildSettings, output: pathlib.Path, write_clips: WriteClips
) -> dict[str, Any]:
  """Builds a data set, unless it is finished already and its files are the same.

  Args:
    settings: what to build.
    output: folder of the data set.
    write_clips: makes the clips.

  Returns:
    The manifest.

  Raises:
    BuildError: the folder contains a data set of other settings, or there are no clips.
    LockedError: another build is writing it.
  """
  description = settings.description()
  survey = settings.source.survey()
  inputs = _digests(survey)  # before the clips: files may change while they are made
  manifest = finished_manifest(output, description)
  changes = [] if manifest is None else find_changes(output, survey)
  if manifest is not None and not changes:
    return manifest
  with open_work(output, description) as work:
    write_silence(output, settings.music_encoder())
    unfinished = output / "shards.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    clips, findings = write_clips(survey, work, unfinished)
    findings = [*findings, *changes]
    write_report(output, findings)
    if not clips:
      advice = ""
      if "too_short" in count_statuses(findings):
        advice = " Or lower --num_frames for short videos, and choose another --output."
      raise BuildError(
        f"No clip could be made from {len(survey.videos)} videos "
        f"({describe_statuses(findings) or 'none found'}); see {output / REPORT}."
        f"{advice}"
      )
    # Until here, a data set that was finished before stays usable.
    (output / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(output / "shards", ignore_errors=True)
    unfinished.replace(output / "shards")
    files.write_json(output / INPUTS, inputs)
    manifest = make_manifest(description, survey, clips, findings)
    files.write_json(output / MANIFEST, manifest)
    return manifest


def finished_manifest(
  output: epath.PathLike, description: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns the manifest of a finished data set, or None if it is not finished.

  Raises:
    BuildError: it has other settings, or is something other than a data set.
  """
  path = epath.Path(output) / MANIFEST
  with needs_extra("gcs"):
    if not path.exists():
      return None
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    settings = manifest["settings"]
  except (ValueError, KeyError, TypeError, RecursionError):
    raise BuildError(
      f"{path} is not the manifest of a data set; choose another --output."
    ) from None
  _check_same(settings, description, output)
  return manifest


def find_changes(output: epath.PathLike, survey: Survey) -> list[Finding]:
  """Returns the videos that were added, changed or taken away since the last build.

  A data set of an earlier version, which did not note its files, has none.
  """
  path = epath.Path(output) / INPUTS
  if not path.exists():
    return []
  before, now = files.read_json(path), _digests(survey)
  changes = []
  for name in sorted(before.keys() | now.keys()):
    if name not in before:
      changes.append(Finding("added", name, "since the last build"))
    elif name not in now:
      changes.append(Finding("gone", name, "since the last build"))
    elif before[name] != now[name]:
      changes.append(Finding("changed", name, "since the last build; made again"))
  return changes


def _digests(survey: Survey) -> dict[str, str]:
  return {video.name: survey.video_digest(video) for video in survey.videos}


def _check_same(
  there: Mapping[str, Any], wanted: Mapping[str, Any], output: epath.PathLike
) -> None:
  there, wanted = (without_labels(json.loads(json.dumps(x))) for x in (there, wanted))
  if there != wanted:
    differences = [
      f"{key}: {there.get(key)} there, {wanted.get(key)} wanted"
      for key in sorted(there.keys() | wanted.keys())
      if there.get(key) != wanted.get(key)
    ]
    raise BuildError(
      f"{output} contains a data set of other settings ({'; '.join(differences)}); "
      "choose another --output or delete it."
    )


@contextlib.contextmanager
def open_work(
  output: pathlib.Path, description: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
  """Yields the folder of unfinished work, to one build at a time.

  Raises:
    BuildError: a build of other settings has used it.
    LockedError: another build is using it.
  """
  work = output / "work"
  with hold_folder(output):
    work.mkdir(exist_ok=True)
    started = work / "settings.json"
    if started.is_file():
      _check_same(files.read_json(started), description, output)
    files.write_json(started, description)
    yield work


def write_report(output: pathlib.Path, findings: Iterable[Finding]) -> None:
  """Writes `report.csv`: status, name and reason of every finding."""
  with files.whole_file(output / REPORT) as path:
    # File names may contain anything, even bytes that are not text.
    escape = {"encoding": "utf-8", "errors": "backslashreplace"}
    with open(path, "w", newline="", **escape) as file:
      writer = csv.writer(file)
      writer.writerow(["status", "name", "reason"])
      for finding in sorted(findings, key=lambda f: (f.status, f.name)):
        texts = (finding.status, finding.name, finding.reason)
        writer.writerow([_CONTROL.sub(" ", text) for text in texts])


def describe_statuses(findings: Iterable[Finding]) -> str:
  """Returns the number of findings per status, as `2 broken, 1 missing`."""
  return ", ".join(f"{n} {key}" for key, n in count_statuses(findings).items())


def send(folder: pathlib.Path, output: epath.PathLike) -> None:
  """Copies a finished data set to a remote folder, and deletes it here."""
  paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
  here = ("work", LOCK, MANIFEST)
  names = [path.as_posix() for path in paths if path.parts[0] not in here]
  with needs_extra("gcs"):
    (epath.Path(output) / MANIFEST).unlink(missing_ok=True)  # of an earlier build
  files.send(folder, sorted(names), output)
  files.send(folder, [MANIFEST], output)  # last, because it marks a finished data set
  shutil.rmtree(folder)

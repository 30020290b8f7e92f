"""Builds the folder of a data set around the clips, wherever these are made.

A finished folder contains `manifest.json`, `report.csv`, `silence.json` and `shards/`.
The manifest is written last, so its presence marks a finished data set.
"""

import contextlib
import csv
import fcntl
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
)
from data_pipeline.building.settings import BuildSettings
from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra
from data_pipeline.records.silence import write_silence
from data_pipeline.sources.base import Finding, Survey

REPORT = "report.csv"
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
  """Builds a data set, unless it is finished already.

  Args:
    settings: what to build.
    output: folder of the data set.
    write_clips: makes the clips.

  Returns:
    The manifest.

  Raises:
    BuildError: the folder contains a data set of other settings, another build is
      writing it, or there are no clips.
  """
  description = settings.description()
  manifest = finished_manifest(output, description)
  if manifest is not None:
    return manifest
  survey = settings.source.survey()
  with open_work(output, description) as work:
    write_silence(output, settings.music_encoder())
    unfinished = output / "shards.unfinished"
    for folder in (unfinished, output / "shards"):
      shutil.rmtree(folder, ignore_errors=True)
    clips, findings = write_clips(survey, work, unfinished)
    write_report(output, findings)
    if not clips:
      raise BuildError(
        f"No clip could be made from {len(survey.videos)} videos "
        f"({describe_statuses(findings) or 'none found'}); see {output / REPORT}. "
        "Lower --num_frames if they are too short."
      )
    unfinished.replace(output / "shards")
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
  except (ValueError, KeyError, TypeError):
    raise BuildError(
      f"{path} is not the manifest of a data set; choose another --output."
    ) from None
  _check_same(settings, description, output)
  return manifest


def _check_same(
  there: Mapping[str, Any], wanted: Mapping[str, Any], output: epath.PathLike
) -> None:
  wanted = json.loads(json.dumps(wanted))
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
    BuildError: another build is using it, or one of other settings did.
  """
  work = output / "work"
  work.mkdir(parents=True, exist_ok=True)
  with open(work / "lock", "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise BuildError(
        f"Another build is writing {output}; wait for it or choose another --output."
      ) from None
    started = work / "settings.json"
    if started.is_file():
      _check_same(json.loads(started.read_text(encoding="utf-8")), description, output)
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
  names = [path.as_posix() for path in paths if path.parts[0] not in ("work", MANIFEST)]
  files.send(folder, sorted(names), output)
  files.send(folder, [MANIFEST], output)  # last, because it marks a finished data set
  shutil.rmtree(folder)

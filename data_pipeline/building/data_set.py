"""A data set on disk: its manifest, its report, and what guards them.

However the clips were made, a finished folder holds `manifest.json`, `report.csv` and
`shards/`; the manifest is written last, so it marks a finished one.
"""

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import json
import pathlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from data_pipeline import files
from data_pipeline.errors import UserError
from data_pipeline.files import write_json as write_json
from data_pipeline.records import clip_record
from data_pipeline.sources.base import Finding, Survey

MANIFEST = "manifest.json"
REPORT = "report.csv"
COUNTED = ("genre", "camera", "track", "dancer")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class BuildError(UserError):
  """A build that cannot go on: why, and what to do."""


@dataclasses.dataclass(frozen=True)
class ClipLine:
  """What the manifest needs to know of a clip.

  Attributes:
    split: of the clip.
    name: video and window, `NAME.0`.
    digest: of the content.
    tags: genre, camera, track, dancer.
    truth: the keys of truth that the record has.
  """

  split: str
  name: str
  digest: str
  tags: Mapping[str, str]
  truth: Sequence[str]


def clip_line(split: str, features: Mapping[str, Any]) -> ClipLine:
  """Of an encoded record with its `digest`."""
  return ClipLine(
    split=split,
    name=f"{features['name']}.{features['window']}",
    digest=features["digest"],
    tags={key: features[key] for key in COUNTED},
    truth=[key for key in clip_record.TRUTH if key in features],
  )


def check_same(found: Any, wanted: dict[str, Any], output: epath.PathLike) -> None:
  """Raises BuildError, naming every difference, if the settings differ."""
  wanted = json.loads(json.dumps(wanted))
  if found == wanted:
    return
  parts = [
    f"{key}: {found.get(key)} there, {wanted.get(key)} wanted"
    for key in sorted(found.keys() | wanted.keys())
    if found.get(key) != wanted.get(key)
  ]
  raise BuildError(
    f"{output} holds a data set of other settings ({'; '.join(parts)}); "
    "name another --output or delete it."
  )


def finished_manifest(
  output: epath.PathLike, description: dict[str, Any]
) -> dict[str, Any] | None:
  """The manifest of a finished data set; BuildError if it is another one."""
  path = epath.Path(output) / MANIFEST
  if not path.exists():
    return None
  manifest = json.loads(path.read_text(encoding="utf-8"))
  check_same(manifest["settings"], description, output)
  return manifest


@contextlib.contextmanager
def open_work(
  output: pathlib.Path, description: dict[str, Any]
) -> Iterator[pathlib.Path]:
  """The folder of unfinished work, for one build at a time.

  Raises:
    BuildError: another build works there, or one of other settings did.
  """
  work = output / "work"
  work.mkdir(parents=True, exist_ok=True)
  with open(work / "lock", "w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise BuildError(
        f"Another build is writing {output}; wait for it or name another --output."
      ) from None
    started = work / "settings.json"
    if started.is_file():
      check_same(json.loads(started.read_text(encoding="utf-8")), description, output)
    write_json(started, description)
    yield work


def send(folder: pathlib.Path, output: epath.PathLike) -> None:
  """Copies a finished data set to another machine, and deletes it here."""
  found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
  names = [path.as_posix() for path in found if path.parts[0] not in ("work", MANIFEST)]
  files.send(folder, sorted(names), output)
  files.send(folder, [MANIFEST], output)  # it marks a finished one
  shutil.rmtree(folder)


def write_report(output: pathlib.Path, findings: Iterable[Finding]) -> None:
  """Writes `report.csv`: status, name and reason of all that did not go smoothly."""
  with files.whole_file(output / REPORT) as path:
    # Names of files may hold anything, even what is no text.
    escape = {"encoding": "utf-8", "errors": "backslashreplace"}
    with open(path, "w", newline="", **escape) as file:
      writer = csv.writer(file)
      writer.writerow(["status", "name", "reason"])
      for finding in sorted(findings, key=lambda f: (f.status, f.name)):
        texts = (finding.status, finding.name, finding.reason)
        writer.writerow([_CONTROL.sub(" ", text) for text in texts])


def describe(findings: Iterable[Finding]) -> str:
  """`2 broken, 1 missing`."""
  counts = Counter(finding.status for finding in findings)
  return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))


def make_manifest(
  description: dict[str, Any],
  survey: Survey,
  clips: Iterable[ClipLine],
  findings: Sequence[Finding],
) -> dict[str, Any]:
  """What the data set is made of, counted."""
  clips = sorted(clips, key=lambda clip: (clip.split, f"{clip.name}.npz"))
  digest = hashlib.sha256()
  splits: dict[str, list[str]] = {}
  tags: dict[tuple[str, str], Counter] = {}
  for clip in clips:
    digest.update(f"{clip.split} {clip.name} {clip.digest}\n".encode())
    splits.setdefault(clip.split, []).append(clip.name)
    for key in COUNTED:
      tags.setdefault((clip.split, key), Counter())[clip.tags[key]] += 1
  counts = {
    split: {
      "clips": len(names),
      **{key: dict(sorted(tags[split, key].items())) for key in COUNTED},
    }
    for split, names in splits.items()
  }
  listed = Counter(video.split for video in survey.videos)
  statuses = Counter(finding.status for finding in findings)
  return {
    "settings": description,
    "beats": ["librosa"] + ["truth"] * ("true_beat_times" in clips[0].truth),
    "counts": counts,
    "videos": {
      split: {"found": listed[split], "listed": survey.expected.get(split)}
      for split in sorted(listed.keys() | survey.expected.keys())
    },
    "report": dict(sorted(statuses.items())),
    "too_short": sorted(f.name for f in findings if f.status == "too_short"),
    "content_sha256": digest.hexdigest(),
    "splits": splits,
  }

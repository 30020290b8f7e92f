"""Makes the manifest of a data set: its settings, its clips, and their counts."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_pipeline.music.tracked import LIBROSA
from data_pipeline.records import clip_record
from data_pipeline.sources.base import Finding, Survey

MANIFEST = "manifest.json"
COUNTED = ("genre", "camera", "track", "dancer")


@dataclasses.dataclass(frozen=True)
class ClipEntry:
  """What the manifest needs to know about a clip.

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


def clip_entry(split: str, features: Mapping[str, Any]) -> ClipEntry:
  """Returns the entry of an encoded record with its `digest`."""
  return ClipEntry(
    split=split,
    name=f"{features['name']}.{features['window']}",
    digest=features["digest"],
    tags={key: features[key] for key in COUNTED},
    truth=[key for key in clip_record.TRUTH if key in features],
  )


def count_statuses(findings: Iterable[Finding]) -> dict[str, int]:
  """Returns the number of findings per status."""
  counts = Counter(finding.status for finding in findings)
  return dict(sorted(counts.items()))


def without_labels(description: Mapping[str, Any]) -> dict[str, Any]:
  """Returns settings without the metadata, which may change as its files may."""
  source = dict(description.get("source", {}))
  source.pop("metadata_sha256", None)
  return {**description, "source": source}


def made_from(manifest: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what trainings note of their data: `source`, as flags, and `num_clips`."""
  source = manifest["settings"]["source"]
  flags = f"--source={source['name']}"
  flags += f" --preset={source['preset']}" if "preset" in source else " --videos=DIR"
  for key, default in (("split", "official"), ("ignore", "none")):
    value = source.get(key, default)
    flags += f" --{key}={value}" if value != default else ""
  flags += " --annotations=DIR" if source.get("joints") else ""
  num_clips = manifest["counts"].get("train", {"clips": 0})["clips"]
  return {"source": flags, "num_clips": num_clips}


def make_manifest(
  description: Mapping[str, Any],
  survey: Survey,
  clips: Iterable[ClipEntry],
  findings: Sequence[Finding],
) -> dict[str, Any]:
  """Makes the manifest.

  Args:
    description: of the settings.
    survey: of the source.
    clips: at least one.
    findings: of the whole build.

  Returns:
    The content of `manifest.json`; its `content_sha256` identifies the clips.
  """
  # Absent where librosa tracked, as in data sets older than the choice.
  tracker = description.get("beat_tracker", {"name": LIBROSA})["name"]
  clips = sorted(clips, key=lambda clip: (clip.split, f"{clip.name}.npz"))
  digest = hashlib.sha256()
  splits: dict[str, list[str]] = {}
  tags: dict[tuple[str, str], Counter[str]] = {}
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
  found = Counter(video.split for video in survey.videos)
  return {
    "settings": description,
    "beats": [tracker] + ["truth"] * ("true_beat_times" in clips[0].truth),
    "counts": counts,
    "videos": {
      split: {"found": found[split], "listed": survey.expected.get(split)}
      for split in sorted(found.keys() | survey.expected.keys())
    },
    "report": count_statuses(findings),
    "too_short": sorted(f.name for f in findings if f.status == "too_short"),
    "content_sha256": digest.hexdigest(),
    "splits": splits,
  }

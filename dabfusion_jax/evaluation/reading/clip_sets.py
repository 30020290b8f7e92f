"""Opens the two folders of an evaluation, and checks that their clips fit together."""

import collections
import dataclasses
import os
from collections.abc import Collection, Mapping

import tqdm

from dabfusion_jax.evaluation.reading import clip_files, clips
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading

_MAX_RATE_APART = 0.01  # 24 and 25 fps are two rates, whatever the length
_STAMP_SECONDS = 0.0021  # over a whole clip, if both rates are of rounded stamps


@dataclasses.dataclass(eq=False)
class ClipSet:
  """The clips of one folder.

  Attributes:
    features: of the readable clips, by name.
    failures: why others cannot be used, by name.
    is_lossless: whether no readable clip was coded as video.
  """

  features: dict[str, ClipFeatures]
  failures: dict[str, str]
  is_lossless: bool


def open_clip_set(
  folder: str | os.PathLike,
  part: str,
  reading: Reading,
  cache: FeatureCache,
  names: Collection[str] | None = None,
) -> ClipSet:
  """Opens a folder and reads the basic facts of each clip; see `clip_files.find_clips`.

  Args:
    folder: of clips.
    part: of an export that it may be.
    reading: how clips are read.
    cache: keeps the facts.
    names: of the clips to open, of which there may be none here; None: all.

  Raises:
    clips.ClipError: there are no clips, or none can be read (one reason is given).
  """
  features, failures, lossless = {}, {}, []
  files = clip_files.find_clips(folder, part, names)
  for name, file in tqdm.tqdm(files.items(), desc=part, unit="clip", leave=False):
    clip = ClipFeatures.of_file(file, reading, cache)
    try:
      lossless.append(bool(clip.info["lossless"]))
    except clips.ClipError as error:
      failures[name] = str(error)
      continue
    features[name] = clip
    clip.forget()
  if not features and names is None:
    reason = next(iter(failures.values()))
    raise clips.ClipError(f"No clip of {folder} can be used: {reason}")
  return ClipSet(features, failures, all(lossless))


def _has_rate(clip: ClipFeatures, rate: float) -> bool:
  """Returns whether a clip has a rate, as far as its time stamps tell.

  Those of webm are whole milliseconds, so 20 frames at 30 fps have 30.02.
  """
  apart = abs(1 / clip.fps - 1 / rate) * (int(clip.info["shape"][0]) - 1)
  return abs(clip.fps - rate) < _MAX_RATE_APART * rate and apart < _STAMP_SECONDS


def common_shape(clip_sets: Mapping[str, ClipSet]) -> tuple[int, int, int, float]:
  """Returns (frames, height, width, fps) of the clips.

  The number of frames is the most frequent one of the samples: unequal lengths only
  leave some scores undefined.

  Raises:
    clips.ClipError: rates (by more than time stamps are rounded) or sizes differ; names
      two clips for each, and the option that helps.
  """
  rates, sizes, lengths = collections.Counter(), {}, collections.Counter()
  for part, clip_set in clip_sets.items():
    for name, clip in clip_set.features.items():
      t, h, w = (int(n) for n in clip.info["shape"])
      rates[round(clip.fps, 2)] += 1
      sizes.setdefault((w, h), f"{part}/{name}")
      lengths[t] += part == "samples"
  faults = []
  rate = rates.most_common(1)[0][0]
  named = {
    f"{part}/{name}": clip
    for part, clip_set in clip_sets.items()
    for name, clip in clip_set.features.items()
  }
  others = [name for name, clip in named.items() if not _has_rate(clip, rate)]
  if others:
    like = next(name for name, clip in named.items() if round(clip.fps, 2) == rate)
    faults.append(
      f"{others[0]} has {round(named[others[0]].fps, 2)} fps, {like} has {rate}:"
      " convert them to one rate, or pass --fps=N if all clips have that one and a tag"
      " is wrong."
    )
  if len(sizes) > 1:
    (a, clip_a), (b, clip_b), *_ = sizes.items()
    faults.append(
      f"{clip_a} has {a[0]}x{a[1]} pixels, {clip_b} has {b[0]}x{b[1]}: pass"
      " --frame_size=N to resize all clips to one size."
    )
  if faults:
    raise clips.ClipError(" ".join(faults))
  ((width, height),) = sizes
  return lengths.most_common(1)[0][0], height, width, float(rate)

"""Opens the two folders of an evaluation, and checks that their clips fit together."""

import collections
import dataclasses
import os
from collections.abc import Collection, Mapping

import tqdm

from dabfusion_jax.evaluation.reading import clip_files, clips
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading


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


def common_shape(clip_sets: Mapping[str, ClipSet]) -> tuple[int, int, int, float]:
  """Returns (frames, height, width, fps) of the clips.

  The number of frames is the most frequent one of the samples: unequal lengths only
  leave some scores undefined.

  Raises:
    clips.ClipError: rates or sizes differ; names two clips for each, and the option
      that helps.
  """
  rates, sizes, lengths = {}, {}, collections.Counter()
  for part, clip_set in clip_sets.items():
    for name, clip in clip_set.features.items():
      t, h, w = (int(n) for n in clip.info["shape"])
      rates.setdefault(round(clip.fps, 2), f"{part}/{name}")
      sizes.setdefault((w, h), f"{part}/{name}")
      lengths[t] += part == "samples"
  faults = []
  if len(rates) > 1:
    (a, clip_a), (b, clip_b), *_ = rates.items()
    faults.append(
      f"{clip_a} has {a} fps, {clip_b} has {b}: convert them to one rate, or pass"
      " --fps=N if all clips have that one and a tag is wrong."
    )
  if len(sizes) > 1:
    (a, clip_a), (b, clip_b), *_ = sizes.items()
    faults.append(
      f"{clip_a} has {a[0]}x{a[1]} pixels, {clip_b} has {b[0]}x{b[1]}: pass"
      " --frame_size=N to resize all clips to one size."
    )
  if faults:
    raise clips.ClipError(" ".join(faults))
  (rate,), ((width, height),) = rates, sizes
  return lengths.most_common(1)[0][0], height, width, float(rate)

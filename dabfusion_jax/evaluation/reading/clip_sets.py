"""The two folders of an evaluation: which clips can be used, and whether they fit."""

import collections
import dataclasses
import os
from collections.abc import Mapping

import tqdm

from dabfusion_jax.evaluation.reading import clips
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.features import ClipFeatures, Reading


@dataclasses.dataclass(eq=False)
class Side:
  """The clips of one folder by name, and why others cannot be used."""

  features: dict[str, ClipFeatures]
  failures: dict[str, str]

  @property
  def is_lossless(self) -> bool:
    return all(bool(one.info["lossless"]) for one in self.features.values())


def open_side(
  folder: str | os.PathLike, part: str, reading: Reading, cache: FeatureCache
) -> Side:
  """Finds the clips of a folder and reads what is basic of each.

  Raises:
    clips.ClipError: no clips, or none of them can be read (one reason is given).
  """
  files = clips.find_clips(folder, part)
  side = Side({}, {})
  for name, file in tqdm.tqdm(files.items(), desc=part, unit="clip", leave=False):
    one = ClipFeatures(file, reading, cache)
    try:
      one.info  # noqa: B018
    except clips.ClipError as error:
      side.failures[name] = str(error)
      continue
    side.features[name] = one
    one.forget()
  if not side.features:
    raise clips.ClipError(
      f"No clip of {folder} can be used: {next(iter(side.failures.values()))}"
    )
  return side


def common_shape(sides: Mapping[str, Side]) -> tuple[int, int, int, float]:
  """(frames, height, width, fps) of the clips; of unequal lengths the commonest.

  Raises:
    clips.ClipError: rates or sizes differ; which, and the option that brings them
      together. Unequal lengths only leave some scores undefined.
  """
  rates, sizes, lengths = {}, {}, collections.Counter()
  for part, side in sides.items():
    for name, one in side.features.items():
      t, h, w = (int(n) for n in one.info["shape"])
      rates.setdefault(round(one.fps, 2), f"{part}/{name}")
      sizes.setdefault(f"{w}x{h}", f"{part}/{name}")
      lengths[t] += 1
  for found, unit, option in ((rates, "fps", "fps"), (sizes, "pixels", "frame_size")):
    if len(found) > 1:
      (a, one), (b, other) = list(found.items())[:2]
      raise clips.ClipError(
        f"{one} has {a} {unit}, {other} has {b}: pass --{option}=N if that is what all"
        " of them should be taken for."
        if unit == "fps"
        else f"{one} has {a} {unit}, {other} has {b}: pass --{option}=N to bring all to"
        " one size."
      )
  (rate,), (size,) = rates, sizes
  width, height = map(int, size.split("x"))
  return lengths.most_common(1)[0][0], height, width, float(rate)

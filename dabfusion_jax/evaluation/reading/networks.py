"""The pretrained networks that metrics read, where their weights are imported."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from dabfusion_jax.metrics.features import clip_image, i3d, lpips, wav2clip
from dabfusion_jax.pretrained import store

NAMES = {"i3d": i3d.WEIGHTS, "alex": lpips.WEIGHTS["alex"], "vgg": lpips.WEIGHTS["vgg"]}
NAMES |= {"clip": clip_image.WEIGHTS, "wav2clip": wav2clip.WEIGHTS}


@dataclasses.dataclass(frozen=True)
class Networks:
  """Variables by short name; a network whose weights are missing is absent.

  `hashes` names the weights of each, `missing` what to run for those that are not here.
  """

  hashes: Mapping[str, str]
  missing: Mapping[str, str]

  def __contains__(self, name: str) -> bool:
    return name in self.hashes

  def __getitem__(self, name: str) -> Mapping[str, Any]:
    return _load(NAMES[name])


def open_networks(wanted: tuple[str, ...]) -> Networks:
  """Looks which of the networks are imported; they are read when first used.

  Raises:
    WeightsError: a damaged or outdated file; a missing one only leaves a gap.
  """
  hashes, missing = {}, {}
  for name in wanted:
    try:
      hashes[name] = store.describe(NAMES[name])["sha256"]
    except store.MissingWeightsError as error:
      missing[name] = str(error)
  return Networks(hashes, missing)


@functools.cache
def _load(name: str) -> Mapping[str, Any]:
  return store.load(name)

"""Opens the pretrained networks that metrics read, as far as their weights are here."""

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
  """Variables of networks by short name; networks without weights are absent.

  Attributes:
    hashes: SHA-256 of the weights by name.
    missing: for each absent network, a line that says how to get its weights.
  """

  hashes: Mapping[str, str]
  missing: Mapping[str, str]

  def __contains__(self, name: str) -> bool:
    return name in self.hashes

  def __getitem__(self, name: str) -> Mapping[str, Any]:
    return _load(NAMES[name])


def open_networks(wanted: tuple[str, ...]) -> Networks:
  """Finds out which of the networks have weights; they are read when first used.

  Raises:
    WeightsError: a file is damaged or outdated. A missing file is no error.
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

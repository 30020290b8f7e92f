"""What is measured on pictures: decoded, compared and described once for every clip."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tqdm

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import fvd
from dabfusion_jax.evaluation.study.drawing import Artist, Dances
from dabfusion_jax.evaluation.study.estimates import Estimate
from dabfusion_jax.evaluation.study.subjects import Subjects
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.features import i3d, lpips

Measures = Mapping[str, np.ndarray]
PAIRED = ("psnr", "ssim", "mask_psnr", "mask_ssim", "lpips")


@dataclasses.dataclass(eq=False)
class Viewer:
  """Looks at films of `subjects`. `logits` [n, 400] are I3D's."""

  subjects: Subjects
  networks: Networks
  cache: FeatureCache

  def real(self) -> np.ndarray:
    """I3D logits of the true clips."""
    return self._logits("real", lambda record: record["frames"])

  def frozen(self) -> np.ndarray:
    """I3D logits of their first frames, kept still."""
    return self._logits("frozen", lambda record: still(record["frames"]))

  def _logits(self, name: str, frames: Callable[[Any], np.ndarray]) -> np.ndarray:
    rows = []
    pairs = zip(self.subjects.records, self.subjects.clip_names, strict=True)
    for record, clip_name in tqdm.tqdm(list(pairs), desc=f"I3D, {name}", leave=False):
      digests = [self.subjects.data, clip_name, self.networks.hashes["i3d"]]
      value = self.cache.get(
        "true_logits",
        digests,
        {"what": name, "frames": len(record["frames"])},
        lambda r=record: {"logits": self._describe(frames(r))},
      )
      rows.append(value["logits"])
    return np.stack(rows)

  def _describe(self, frames: np.ndarray) -> np.ndarray:
    return i3d.i3d_logits(self.networks["i3d"], frames[None])[0]

  def logits(self, artist: Artist, dances: Dances) -> np.ndarray:
    """I3D logits [n, 400] of dances."""
    rows = []
    for i in tqdm.trange(len(dances), desc="I3D", leave=False):
      value = self.cache.get(
        "logits",
        [dances.digests[i], self.networks.hashes["i3d"]],
        {"frames": dances.flow.shape[1]},
        lambda i=i: {"logits": self._describe(film(artist, dances, i))},
      )
      rows.append(value["logits"])
    return np.stack(rows)

  def paired(self, artist: Artist, dances: Dances) -> dict[str, np.ndarray]:
    """PSNR, SSIM and LPIPS of dances against their true clips: [n] by name."""
    rows = []
    for i, record in enumerate(self.subjects.records):
      digests = [dances.digests[i], self.subjects.data, self.subjects.clip_names[i]]
      rows.append(
        self.cache.get(
          "paired",
          [*digests, self.networks.hashes["alex"]],
          {},
          lambda i=i, r=record: compare(film(artist, dances, i), r, self.networks),
        )
      )
    return {name: np.array([float(row[name]) for row in rows]) for name in PAIRED}


def film(artist: Artist, dances: Dances, i: int) -> np.ndarray:
  """The frames of a dance."""
  return artist.decode(dances.flow[i], dances.occlusion[i], dances.z[i])


def still(frames: np.ndarray) -> np.ndarray:
  """The first frame for as long."""
  return np.repeat(frames[:1], len(frames), axis=0)


def compare(
  frames: np.ndarray, record: Mapping[str, Any], networks: Networks
) -> dict[str, np.float64]:
  """Scores of a film against a true clip, without the given frame; `PAIRED`."""
  true = record["frames"]
  whole = image.paired_scores(frames, true)
  inside = image.paired_scores(frames, true, mask=record["part_map"] > 0)
  distance = lpips.clip_lpips(networks["alex"], "alex", frames, true)[1:]
  values = (whole["psnr"], whole["ssim"], inside["psnr"], inside["ssim"])
  values = [np.nan if value is None else value for value in values]
  return {
    name: np.float64(value)
    for name, value in zip(PAIRED, [*values, distance.mean()], strict=True)
  }


def fvd_of(
  logits: np.ndarray, viewer: Viewer, rows: np.ndarray | None, seed: int
) -> dict[str, Estimate | None]:
  """FVD of dances of the viewer's subjects, or of those of `rows`.

  `found` against all true clips; `half` as many of the dances as half of the clips
  against the other half of the true ones, the mean and SD of ten splits, and `true` the
  same of true clips. `null` are the first frames kept still. The error of `found` is
  the SD of `half`, which is too large for it. None where there are too few sequences.
  """
  chosen = np.arange(len(viewer.subjects)) if rows is None else rows
  sequences = [viewer.subjects.sequences[i] for i in chosen]
  real, frozen = viewer.real()[chosen], viewer.frozen()[chosen]
  row = fvd.fvd_row(logits, real, sequences, sequences, {"frozen": frozen}, seed)
  count = len(set(sequences))
  half, true = (
    part and Estimate(part["mean"], part["sd"], part["n"], count)
    for part in (row["sample_half"], row["real_half"])
  )
  return {
    "found": Estimate(row["value"], half and half.error, row["n"], count),
    "half": half,
    "true": true,
    "null": Estimate(row["nulls"]["frozen"], None, row["n_real"], count),
  }

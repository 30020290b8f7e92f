"""Scores the frames of dances against the held-out clips, by `scoring`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.changes import FROZEN
from dabfusion_jax.evaluation.reading.clips import Clip
from dabfusion_jax.evaluation.reading.features import ClipFeatures, i3d_logits
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import fvd
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.scoring.paired import paired_scores
from dabfusion_jax.evaluation.study.cached_sampler import CachedSampler, Latents
from dabfusion_jax.evaluation.study.held_out import HeldOutClips

PAIRED = ("psnr", "ssim", "psnr_mask", "ssim_mask", "lpips_alex")


class Fvd(NamedTuple):
  """FVD of dances, with what it is compared with.

  Attributes:
    value: against all real clips. Its error is the SD of `half`, which is too large.
    half: half of the dances against the other half of the real clips, over ten splits.
    real_half: the same of real clips; None if there are too few sequences.
    frozen: of first frames held still.
  """

  value: Estimate
  half: Estimate | None
  real_half: Estimate | None
  frozen: Estimate

  @property
  def compared(self) -> tuple[Estimate, Estimate | None, Estimate, str]:
    """The value, that of real clips, the null and its name: arguments of a claim."""
    return self.value, self.real_half, self.frozen, "frozen first frame"


@dataclasses.dataclass(eq=False)
class FrameScores:
  """Scores of decoded latents of `clips`."""

  clips: HeldOutClips
  networks: Networks
  cache: FeatureCache
  seed: int  # of the splits of FVD

  @functools.cached_property
  def real(self) -> list[ClipFeatures]:
    """Features of the real clips."""
    digests = [f"{self.clips.data} {name}" for name in self.clips.names]
    frames = lambda i: self.clips.records[i]["frames"]
    return self._features(digests, frames)

  def of_latents(self, sampler: CachedSampler, latents: Latents) -> list[ClipFeatures]:
    """Returns features of latents, which are decoded only if the cache lacks them."""
    decode = functools.partial(sampler.decode, latents)
    return self._features(latents.digests, decode)

  def _features(
    self, digests: Sequence[str], frames: Callable[[int], UInt8[np.ndarray, "t h w 3"]]
  ) -> list[ClipFeatures]:
    def load(i: int) -> Clip:
      record = self.clips.records[i]
      truth = {"part_map": record["part_map"]}
      return Clip(self.clips.names[i], frames(i), self.clips.fps, None, True, truth)

    return [
      ClipFeatures(
        "", self.clips.names[i], digest, {}, functools.partial(load, i), self.cache
      )
      for i, digest in enumerate(digests)
    ]

  def paired(
    self, clips: Sequence[ClipFeatures]
  ) -> dict[str, Float64[np.ndarray, "n"]]:
    """Returns `PAIRED` scores against the real clips; NaN if undefined."""
    scores: dict[str, list[float]] = {name: [] for name in PAIRED}
    for clip, real in zip(clips, self.real, strict=True):
      pair = paired_scores(clip, real, self.networks, lpips_networks=("alex",))
      for name in PAIRED:
        value = pair[name].value
        scores[name].append(np.nan if value is None else value)
      clip.forget()
      real.forget()
    return {name: np.array(values) for name, values in scores.items()}

  def fvd(
    self, clips: Sequence[ClipFeatures], indices: Sequence[int] | None = None
  ) -> Fvd:
    """Returns FVD of some of the clips, or of all, against the real ones of these."""
    indices = range(len(clips)) if indices is None else indices
    sequences = [self.clips.sequences[i] for i in indices]
    frozen = [clip.changed(FROZEN) for clip in self.real]
    logits = lambda features: i3d_logits(
      [features[i] for i in indices], self.networks, self.clips.num_frames
    )
    real, nulls = logits(self.real), {"frozen": logits(frozen)}
    row = fvd.fvd_row(logits(clips), real, sequences, sequences, nulls, self.seed)
    return _as_estimates(row, len(set(sequences)))


def _as_estimates(row: dict[str, Any], n_sequences: int) -> Fvd:
  half, real_half = (
    part and Estimate(part["mean"], part["sd"], part["n"], n_sequences)
    for part in (row["sample_half"], row["real_half"])
  )
  value = Estimate(row["value"], half and half.error, row["n"], n_sequences)
  frozen = Estimate(row["nulls"]["frozen"], None, row["n_real"], n_sequences)
  return Fvd(value, half, real_half, frozen)

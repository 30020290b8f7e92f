"""Scores a generated clip against its real counterpart, frame by frame."""

from collections.abc import Collection

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.evaluation.reading.cache import Key
from dabfusion_jax.evaluation.reading.clips import Clip
from dabfusion_jax.evaluation.reading.features import ClipFeatures
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring.catalog import (
  IMAGE_METRICS,
  LPIPS_NETWORKS,
  PAIRED,
)
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.alignment import Score
from dabfusion_jax.metrics.features import lpips

MIN_LPIPS_SIZE = 32  # pixels that AlexNet and VGG need
_MASKED = ("psnr_mask", "ssim_mask")


def paired_scores(
  sample: ClipFeatures,
  reference: ClipFeatures,
  networks: Networks,
  *,
  lpips_networks: Collection[str] = (),
  include_first: bool = False,
) -> dict[str, Score]:
  """Returns all paired scores of one clip; undefined ones carry their reason.

  Args:
    sample: the clip; `reference.changed(FROZEN)` for the null.
    reference: the real clip.
    networks: of LPIPS, as far as their weights are there.
    lpips_networks: "alex" and "vgg" as wanted.
    include_first: whether frame 0, which the model was given, counts.
  """
  if not np.array_equal(sample.info["shape"], reference.info["shape"]):
    a, b = (clip.info["shape"] for clip in (sample, reference))
    reason = "length_differs" if a[0] != b[0] else "size_differs"
    return dict.fromkeys(PAIRED, Score(None, reason))

  def key(**settings):
    clips = [sample, reference]
    both = {"clips": [dict(clip.settings) for clip in clips]}
    return Key([clip.digest for clip in clips], both | settings)

  values = reference.cache.get(
    "paired",
    key(include_first=include_first),
    lambda: _image_scores(sample.clip.frames, reference, include_first),
  )
  scores: dict[str, Score] = {}
  for name in IMAGE_METRICS:
    value = float(values[name])
    scores[name] = Score(value) if np.isfinite(value) else Score(None, _reason(name))
  if values["n_inf"]:  # their PSNR is counted as 100 dB
    scores["psnr"] = Score(scores["psnr"].value, "identical_frames")
  if not reference.info["has_mask"]:
    scores |= dict.fromkeys(_MASKED, Score(None, "no_mask"))
  for name, network in LPIPS_NETWORKS.items():
    if network not in lpips_networks:
      scores[name] = Score(None, "not_asked")
    elif network not in networks:
      scores[name] = Score(None, "no_weights")
    elif min(reference.info["shape"][1:]) < MIN_LPIPS_SIZE:
      scores[name] = Score(None, "too_small")
    else:
      compute = lambda network=network: {
        "frames": lpips.clip_lpips(
          networks[network], network, sample.clip.frames, reference.clip.frames
        )
      }
      weights = networks.hashes[network]
      frames = reference.cache.get(name, key(weights=weights), compute)["frames"]
      frames = frames if include_first else frames[1:]
      scores[name] = (
        Score(float(frames.mean())) if len(frames) else Score(None, "one_frame")
      )
  return scores


def _reason(name: str) -> str:
  if name == "psnr_pooled":
    return "identical_or_one_frame"
  return "empty_mask" if name in _MASKED else "one_frame_or_too_small"


def _image_scores(
  frames: UInt8[np.ndarray, "t h w 3"], reference: ClipFeatures, include_first: bool
) -> dict[str, np.float64]:
  """Returns `IMAGE_METRICS` (NaN: undefined) and `n_inf`, frames that are identical."""
  real: Clip = reference.clip
  first, end = (int(row) for row in reference.info["content_rows"])
  regions = {"": {}, "_rows": {"rows": (first, end)}}
  if "part_map" in real.truth:
    regions["_mask"] = {"mask": real.truth["part_map"] > 0}
  values = dict.fromkeys(IMAGE_METRICS, np.float64(np.nan))
  values["n_inf"] = np.float64(0)
  for region, settings in regions.items():
    height = end - first if region == "_rows" else real.frames.shape[1]
    if min(height, real.frames.shape[2]) < image.WINDOW_SIZE:
      continue
    scores = image.paired_scores(
      frames, real.frames, include_first=include_first, **settings
    )
    for name in ("psnr", "ssim"):
      if scores[name] is not None:
        values[name + region] = np.float64(scores[name])
    if not region:
      values["n_inf"] = np.float64(scores["n_inf"])
      if scores["psnr_pooled"] is not None:
        values["psnr_pooled"] = np.float64(scores["psnr_pooled"])
  return values

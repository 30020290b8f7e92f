"""Scores of a generated clip against its real one, frame by frame."""

import numpy as np

from dabfusion_jax.evaluation.reading.features import ClipFeatures
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.metrics import image
from dabfusion_jax.metrics.alignment import Score
from dabfusion_jax.metrics.features import lpips

METRICS = (
  *("psnr", "psnr_pooled", "ssim", "psnr_rows", "ssim_rows", "psnr_mask", "ssim_mask"),
  *("lpips_alex", "lpips_vgg"),
)


def paired_scores(
  sample: ClipFeatures,
  reference: ClipFeatures,
  networks: Networks,
  *,
  nets: tuple[str, ...] = ("alex", "vgg"),
  frozen: bool = False,
  include_first: bool = False,
) -> dict[str, Score]:
  """All paired scores of one clip; undefined ones carry their reason.

  `frozen` scores the null instead of the sample: the real clip's first frame, kept
  still, for as long.
  """
  if not np.array_equal(sample.info["shape"], reference.info["shape"]):
    a, b = (x.info["shape"] for x in (sample, reference))
    reason = "length_differs" if a[0] != b[0] else "size_differs"
    return {name: Score(None, reason) for name in METRICS}

  def frames():
    real = reference.clip.frames
    return np.repeat(real[:1], len(real), axis=0) if frozen else sample.clip.frames

  digests = [sample.file.digest, reference.file.digest]
  settings = {"frozen": frozen, "include_first": include_first}
  # The null is of the real clip alone, also where that is cut and the sample is not.
  settings |= reference.settings if frozen else sample.settings
  if frozen:
    digests = digests[1:]
  scores: dict[str, Score] = {}
  values = reference.cache.get(
    "paired",
    digests,
    settings,
    lambda: _image_scores(frames(), reference, include_first),
  )
  for name in METRICS[:7]:
    value = float(values[name])
    scores[name] = Score(value) if np.isfinite(value) else Score(None, _reason(name))
  if values["n_inf"]:  # their PSNR is counted as 100 dB
    scores["psnr"] = Score(scores["psnr"].value, "identical_frames")
  if not reference.info["has_mask"]:
    for name in ("psnr_mask", "ssim_mask"):
      scores[name] = Score(None, "no_mask")
  for net in ("alex", "vgg"):
    name = f"lpips_{net}"
    if net not in nets:
      scores[name] = Score(None, "not_asked")
    elif net not in networks:
      scores[name] = Score(None, "no_weights")
    elif min(reference.info["shape"][1:]) < 32:
      scores[name] = Score(None, "too_small")
    else:
      found = reference.cache.get(
        name,
        digests,
        settings | {"weights": networks.hashes[net]},
        lambda net=net: {
          "frames": lpips.clip_lpips(
            networks[net], net, frames(), reference.clip.frames
          )
        },
      )["frames"]
      kept = found if include_first else found[1:]
      scores[name] = (
        Score(float(kept.mean())) if len(kept) else Score(None, "one_frame")
      )
  return scores


def _reason(name: str) -> str:
  if name == "psnr_pooled":
    return "identical_or_one_frame"
  return "empty_mask" if name.endswith("_mask") else "one_frame_or_too_small"


def _image_scores(frames, reference, include_first) -> dict[str, np.float64]:
  real = reference.clip.frames
  mask = reference.clip.truth.get("part_map")
  first, end = (int(row) for row in reference.info["rows"])
  regions = {"": {}, "_rows": {"rows": (first, end)}}
  if mask is not None:
    regions["_mask"] = {"mask": mask > 0}
  values = dict.fromkeys(METRICS[:7], np.float64(np.nan))
  values["n_inf"] = np.float64(0)
  for region, settings in regions.items():
    height = end - first if region == "_rows" else real.shape[1]
    if min(height, real.shape[2]) < image.WINDOW_SIZE:
      continue
    found = image.paired_scores(frames, real, include_first=include_first, **settings)
    for name in ("psnr", "ssim"):
      if found[name] is not None:
        values[name + region] = np.float64(found[name])
    if not region:
      values["n_inf"] = np.float64(found["n_inf"])
      if found["psnr_pooled"] is not None:
        values["psnr_pooled"] = np.float64(found["psnr_pooled"])
  return values

"""Measures whether stage 1 rebuilds the dancer, and whether its flow is true motion."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Bool, Float, Float32

from dabfusion_jax.evaluation.reading.changes import FROZEN
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.study import Study
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.true_flow import on_grid
from data_pipeline.records.surfaces import decode_surfaces
from data_pipeline.records.true_motion import true_motion

# Values of the part map, which are 1 + the place in `body_parts.PARTS`.
REGIONS = {
  "head and trunk": range(1, 10),
  "legs": range(10, 16),
  "arms": range(16, 20),
  "hands": range(20, 22),
}


def measure(study: Study) -> Part:
  """Measures rebuilt frames and end-point errors of the flow, by region."""
  clips, scores = study.clips, study.scores
  part = Part("stage1", clips.sequences)
  frozen = scores.paired([clip.changed(FROZEN) for clip in scores.real])
  rebuilt = scores.paired(scores.of_latents(study.samplers["e"], clips.latents))
  for key, title in (
    ("psnr_mask", "PSNR inside the person [dB]"),
    ("lpips_alex", "LPIPS (AlexNet)"),
  ):
    part.add(key, title, rebuilt[key], None, frozen[key], "frozen first frame")
  for key in ("psnr", "ssim", "ssim_mask"):
    part.values[key], part.values[f"{key}.frozen"] = rebuilt[key], frozen[key]
  gain = rebuilt["psnr_mask"] - frozen["psnr_mask"]
  part.add("psnr_mask_gain", "PSNR inside the person, minus frozen [dB]", gain)
  ratio = clips.ratio(rebuilt["lpips_alex"], frozen["lpips_alex"])
  part.add("lpips_ratio", "LPIPS (AlexNet), relative to frozen", ratio)
  regions: dict[str, list[tuple[float, float]]] = {}
  pairs = zip(clips.records, clips.latents.flow, strict=True)
  for record, flow in tqdm.tqdm(pairs, "flow errors", len(clips), leave=False):
    for key, both in flow_errors_by_region(record, flow).items():
      regions.setdefault(key, []).append(both)
  for key, both in regions.items():
    error, null = np.array(both).T
    title = f"end-point error of the flow, {key}"
    part.add(f"{key}.error", f"{title} [px]", error, None, null, "no motion")
    ratio = clips.ratio(error, null)
    part.add(f"{key}.error_ratio", f"{title}, relative to no motion", ratio)
  return part


def flow_errors_by_region(
  record: Mapping[str, Any], flow: Float32[np.ndarray, "t s s 2"]
) -> dict[str, tuple[float, float]]:
  """Returns `flow_errors` by region, and those of the true motion on a latent grid."""
  part_map, record = record["part_map"], decode_surfaces(record)
  body = part_map > 0
  truth = [true_motion(record, 0, driving) for driving in range(len(part_map))]
  motion, visible = (np.stack([t[k] for t in truth]) for k in ("motion", "is_visible"))
  masks = {"body": body, "body, seen in both frames": body & visible}
  masks |= {name: np.isin(part_map, values) for name, values in REGIONS.items()}
  errors = {key: flow_errors(flow, motion, mask) for key, mask in masks.items()}
  best = np.asarray(on_grid(motion, body, flow.shape[1]))
  return errors | {"true motion on the latent grid": flow_errors(best, motion, body)}


def flow_errors(
  flow: Float[np.ndarray, "t s s 2"],
  motion: Float32[np.ndarray, "t h w 2"],
  mask: Bool[np.ndarray, "t h w"],
) -> tuple[float, float]:
  """Returns the mean end-point error inside a mask: of a flow, and of no motion.

  Args:
    flow: sampling grids, resized to the frames by linear interpolation with aligned
      corners, as pictures are warped.
    motion: the true displacement into the first frame, pixels.
    mask: pixels that count; the first frame is left out.

  Returns:
    Both errors in pixels; NaN for an empty mask.
  """
  height, width = motion.shape[1:3]
  grids = np.asarray(resize_aligned(jnp.asarray(flow), height, width), np.float64)
  scale = ((width - 1) / 2, (height - 1) / 2)
  pixels = (grids - np.asarray(identity_grid(height, width))) * scale
  mask = mask.copy()
  mask[0] = False
  error, null = (
    float(np.linalg.norm(guess - motion, axis=-1)[mask].mean())
    for guess in (pixels, np.zeros_like(motion))
  )
  return error, null

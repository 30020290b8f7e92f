"""Claim 1: stage 1 rebuilds the dancer, and its flow is the body's true motion."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import tqdm

from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.study import estimates, films
from dabfusion_jax.evaluation.study.drawing import Artist
from dabfusion_jax.evaluation.study.estimates import Row
from dabfusion_jax.evaluation.study.subjects import Subjects
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.resize import interpolation_matrix, resize_aligned


def flow_errors(
  flow: np.ndarray, motion: np.ndarray, mask: np.ndarray
) -> tuple[float, float]:
  """Mean end-point error inside a mask, of a flow and of no motion, in pixels.

  Args:
    flow: sampling grids [t, s, s, 2] in [-1, 1]; brought to the frames' size by linear
      interpolation with aligned corners, as the picture is warped.
    motion: the true displacement into the first frame [t, h, w, 2], pixels.
    mask: pixels that count, bool [t, h, w]; the given frame is left out.
  """
  height, width = motion.shape[1:3]
  grids = np.asarray(resize_aligned(jnp.asarray(flow), height, width), np.float64)
  pixels = (grids - np.asarray(identity_grid(height, width))) * (
    (width - 1) / 2,
    (height - 1) / 2,
  )
  mask = mask.copy()
  mask[0] = False
  return tuple(
    float(np.linalg.norm(guess - motion, axis=-1)[mask].mean())
    for guess in (pixels, np.zeros_like(motion))
  )


def visible(motion: np.ndarray, part_map: np.ndarray) -> np.ndarray:
  """Body pixels [t, h, w] whose place in the first frame shows the same part."""
  height, width = part_map.shape[1:]
  y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
  place = np.round(motion + np.stack([x, y], -1)).astype(int)
  inside = (place >= 0).all(-1) & (place < (width, height)).all(-1)
  place = np.clip(place, 0, (width - 1, height - 1))
  return (
    inside & (part_map > 0) & (part_map[0][place[..., 1], place[..., 0]] == part_map)
  )


def on_grid(motion: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
  """The true motion as a latent flow could tell it: sampling grids [t, size, size, 2].

  Each cell takes the mean of the body around it, weighted as the cell is read.
  """
  height, width = motion.shape[1:3]
  rows, columns = (interpolation_matrix(size, side) for side in (height, width))
  spread = lambda x: np.einsum("thwc,hi,wj->tijc", x, rows, columns)
  weight = mask[..., None].astype(np.float64)
  pixels = spread(motion * weight) / np.maximum(spread(weight), 1e-6)
  grid = pixels / ((width - 1) / 2, (height - 1) / 2)
  return (grid + np.asarray(identity_grid(size, size))).astype(np.float32)


def measure(
  artist: Artist,
  subjects: Subjects,
  networks: Networks,
  motions: Any,
  regions: Mapping[str, range],
) -> dict[str, list[float]]:
  """Scores of every clip by name.

  `motions(record)` is the true displacement; `regions` are values of the part map.
  """
  scores: dict[str, list[float]] = {}
  for i, record in enumerate(tqdm.tqdm(subjects.records, desc="stage 1")):
    parts = (subjects.flow[i], subjects.occlusion[i], subjects.z[i])
    rebuilt = films.compare(artist.decode(*parts), record, networks)
    frozen = films.compare(films.still(record["frames"]), record, networks)
    found = {f"rebuilt_{k}": v for k, v in rebuilt.items()}
    found |= {f"frozen_{k}": v for k, v in frozen.items()}
    motion, body = motions(record), record["part_map"] > 0
    masks = {"body": body, "visible": visible(motion, record["part_map"])}
    masks |= {name: np.isin(record["part_map"], ids) for name, ids in regions.items()}
    for name, mask in masks.items():
      error, still = flow_errors(subjects.flow[i], motion, mask)
      found |= {f"error_{name}": error, f"still_{name}": still}
    told = on_grid(motion, body, subjects.flow.shape[2])
    found["error_grid"], found["still_grid"] = flow_errors(told, motion, body)
    for name, value in found.items():
      scores.setdefault(name, []).append(float(value))
  return scores


def rows(
  scores: Mapping[str, list[float]], subjects: Subjects, regions: Mapping[str, range]
) -> list[Row]:
  """Lines of the table."""
  values = {name: np.array(one) for name, one in scores.items()}
  sequences = subjects.sequences
  mean = lambda x: estimates.mean(x, sequences)
  frozen = "frozen first frame"
  gain = mean(values["rebuilt_mask_psnr"] - values["frozen_mask_psnr"])
  lpips = estimates.ratio(values["rebuilt_lpips"], values["frozen_lpips"], sequences)
  table = [
    Row(
      "PSNR inside the person [dB]",
      mean(values["rebuilt_mask_psnr"]),
      None,
      mean(values["frozen_mask_psnr"]),
      frozen,
    ),
    Row("gain of it [dB]", gain, asked="at least 6", met=gain.value >= 6),
    Row(
      "LPIPS (alex)",
      mean(values["rebuilt_lpips"]),
      None,
      mean(values["frozen_lpips"]),
      frozen,
    ),
    Row("ratio of it", lpips, asked="at most 0.5", met=lpips.value <= 0.5),
  ]
  for name, pixels in (("body", "body"), ("visible", "body, seen in both frames")):
    error, still = values[f"error_{name}"], values[f"still_{name}"]
    ratio = estimates.ratio(error, still, sequences)
    table += [
      Row(
        f"end-point error of the flow, {pixels} [px]",
        mean(error),
        None,
        mean(still),
        "no motion",
      ),
      Row(
        f"ratio of it, {pixels}",
        ratio,
        asked="at most 1/3" if name == "body" else "",
        met=ratio.value <= 1 / 3 if name == "body" else None,
      ),
    ]
  for name in (*regions, "grid"):
    error, still = values[f"error_{name}"], values[f"still_{name}"]
    title = "the true motion told by the latent grid" if name == "grid" else name
    ratio = estimates.ratio(error, still, sequences)
    table.append(Row(f"ratio of it, {title}", ratio))
  return table

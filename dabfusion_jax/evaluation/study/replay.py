"""Measures whether dances are replayed training clips."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.study.cached_sampler import Latents
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.study import Study
from dabfusion_jax.ops.grid import identity_grid
from data_pipeline.records import latent_record, mirrored
from data_pipeline.records.picks import even_indices

_CHUNK = 256  # training clips at a time
_NUM_TRAINING = 100  # training clips that are compared with the others


def measure(study: Study) -> Part:
  """Measures distances to the nearest training clip.

  Dances, real clips and stillness are compared with all training clips, and training
  clips with those of other videos: windows of one video count as one clip.
  """
  clips, size = study.clips, study.clips.size
  source = latent_record.open_latents(study.latents, "train")
  flows = np.stack([latent_record.decode(blob)["flow"] for blob in source])
  videos = np.array([_video_of(latent_record.name_of(blob)) for blob in source])
  known = displacements(flows, size)
  held_out = displacements(clips.latents.flow, size)
  sequences = np.asarray(clips.sequences)
  is_own = sequences[:, None] == sequences[None]
  part = Part("replay", clips.sequences)

  def measure_clips(latents: Latents) -> tuple[Float64[np.ndarray, "n"], Estimate]:
    """Returns distances to training clips, and relative to held-out ones."""
    own = displacements(latents.flow, size)
    equal = nearest_of_equal(own, known, len(held_out))
    return nearest(own, known), clips.ratio(equal, nearest(own, held_out, is_own))

  real, real_ratio = measure_clips(clips.latents)
  part.add("real.nearest_training", "nearest training clip, real clips [px]", real)
  chosen = even_indices(len(known), _NUM_TRAINING)
  others = nearest(known[chosen], known, videos[chosen][:, None] == videos[None])
  others = aggregate.estimate(others, videos[chosen].tolist())
  name = "nearest clip of another video, training clips [px]"
  part.add("training.nearest_training", name, others)
  still = aggregate.estimate(nearest(np.zeros_like(known[:1]), known), [""])
  part.add("still.nearest_training", "nearest training clip, no motion [px]", still)
  for name, dances in study.dances.items():
    distances, ratio = measure_clips(dances)
    title = f"nearest training clip, dances of {name} [px]"
    part.add(f"{name}.nearest_training", title, distances, real)
    elsewhere = nearest(displacements(dances.flow, size), held_out)
    title = f"nearest held-out clip, dances of {name} [px]"
    part.add(f"{name}.nearest_held_out", title, elsewhere)
    title = "nearest training / nearest held-out clip, sets of equal size"
    part.add(f"{name}.nearest_ratio", f"{title}, dances of {name}", ratio, real_ratio)
  return part


def _video_of(clip: str) -> str:
  """Returns the video of a clip, which is that of its mirror image as well."""
  return clip.rpartition(".")[0].removesuffix(mirrored.SUFFIX)


def displacements(
  flows: Float[np.ndarray, "n t h w 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "n d"]:
  """Turns sampling grids into displacements in pixels of a picture of `size`."""
  grid = np.asarray(identity_grid(*flows.shape[2:4]))
  scale = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2], np.float32)
  return ((flows - grid) * scale).reshape(len(flows), -1)


def nearest(
  rows: Float32[np.ndarray, "n d"],
  others: Float32[np.ndarray, "m d"],
  is_barred: Bool[np.ndarray, "n m"] | None = None,
) -> Float64[np.ndarray, "n"]:
  """Returns the root mean square distance of each row to the nearest of `others`.

  Args:
    rows: displacements.
    others: displacements.
    is_barred: pairs that do not count, such as a clip and itself.
  """
  best = np.full(len(rows), np.inf)
  norms = np.square(rows, dtype=np.float64).sum(1)
  for start in range(0, len(others), _CHUNK):
    chunk = others[start : start + _CHUNK]
    square = norms[:, None] + np.square(chunk, dtype=np.float64).sum(1)
    square -= 2.0 * (rows @ chunk.T).astype(np.float64)
    if is_barred is not None:
      square[is_barred[:, start : start + _CHUNK]] = np.inf
    best = np.minimum(best, square.min(1))
  # A distance of points: the mean over places and frames of both coordinates' squares.
  return np.sqrt(np.maximum(best, 0.0) / (rows.shape[1] / 2))


def nearest_of_equal(
  rows: Float32[np.ndarray, "n d"], known: Float32[np.ndarray, "m d"], count: int
) -> Float64[np.ndarray, "n"]:
  """Returns the mean distance to the nearest of about `count` training clips.

  `known` is split into parts of that size, to compare with the distance to the nearest
  of as many held-out clips: a calm dance is near to both, a memorised one only to
  training clips.
  """
  num_parts = max(1, len(known) // count)
  return np.mean([nearest(rows, known[i::num_parts]) for i in range(num_parts)], axis=0)

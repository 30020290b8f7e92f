"""Draws the pairs of frames that stage 1 is trained on, and makes batches of them."""

import functools
from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Float32

from data_pipeline.errors import UserError
from data_pipeline.records import loader
from data_pipeline.records.clip_record import Record
from data_pipeline.records.surfaces import decode_surfaces
from data_pipeline.records.true_motion import true_motion

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
MAX_FACTOR = 0.1  # brightness, contrast and saturation within 1 +- this
MAX_HUE = 0.1  # of a full turn


def sample_pair(rng: np.random.Generator, clip: Record, augment: bool = True) -> Record:
  """Draws a reference and a driving frame.

  Two frames are drawn with replacement, the earlier one first. They are augmented as in
  the motion models that this follows: half of the pairs are swapped in time; half of
  the others, a quarter of all, are mirrored. Then the colours of both frames are
  jittered alike.

  Args:
    rng: random generator.
    clip: `frames` of a clip; if it also has `part_map` and `part_pose`, the pair comes
      with its true motion.
    augment: whether to swap, mirror and jitter.

  Returns:
    `ref_image` and `driving_frame`, float32 [h w 3] in [0, 1], and, if it is known, the
    true motion of the driving frame (`true_motion`).
  """
  frames = clip["frames"]
  order = np.sort(rng.integers(len(frames), size=2))
  is_mirrored = False
  if augment:
    if rng.random() < 0.5:
      order = order[::-1]
    elif rng.random() < 0.5:
      is_mirrored = True
  images = frames[order].astype(np.float32) / np.float32(255)
  if is_mirrored:
    images = images[:, :, ::-1]
  if augment:
    images = jitter_colours(rng, images)
  reference, driving = np.ascontiguousarray(images)
  pair: Record = {"ref_image": reference, "driving_frame": driving}
  if "part_map" in clip:
    pair |= true_motion(clip, *order.tolist(), is_mirrored)
  return pair


def jitter_colours(
  rng: np.random.Generator, images: Float32[np.ndarray, "n h w 3"]
) -> Float32[np.ndarray, "n h w 3"]:
  """Changes brightness, contrast, saturation and hue, in random order.

  All four are applied in turn, with factors shared by all images.
  """
  brightness, contrast, saturation = rng.uniform(1 - MAX_FACTOR, 1 + MAX_FACTOR, 3)
  turn = rng.uniform(-MAX_HUE, MAX_HUE)

  def towards(anchor: np.ndarray, factor: float) -> np.ndarray:
    return np.float32(factor) * images + np.float32(1 - factor) * anchor

  for operation in rng.permutation(4):
    if operation == 0:
      images = images * np.float32(brightness)
    elif operation == 1:
      grey = (images @ _GREY).mean(axis=(1, 2), dtype=np.float32)
      images = towards(grey[:, None, None, None], contrast)
    elif operation == 2:
      images = towards((images @ _GREY)[..., None], saturation)
    else:
      images = turn_hue(images, turn)
    images = np.clip(images, 0.0, 1.0)
  return images


def turn_hue(
  images: Float32[np.ndarray, "*n 3"], turn: float
) -> Float32[np.ndarray, "*n 3"]:
  """Adds a fraction of a full turn to the hue, keeping value and saturation (HSV)."""
  red, green, blue = images[..., 0], images[..., 1], images[..., 2]
  value = np.maximum(np.maximum(red, green), blue)  # a reduction over 3 is slow
  chroma = value - np.minimum(np.minimum(red, green), blue)
  safe = np.where(chroma > 0, chroma, np.float32(1))
  hue = np.where(
    value == red,
    (green - blue) / safe,
    np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
  )
  hue = hue + np.float32(6 * turn)
  # Each channel falls from `value` as the hue (in sixths) turns away from it.
  out = np.empty_like(images)
  for channel, offset in enumerate((5, 3, 1)):
    k = np.mod(hue + np.float32(offset), np.float32(6))
    fall = np.clip(np.minimum(k, 4 - k), 0, 1)
    out[..., channel] = value - chroma * fall
  return out


def make_pairs_dataset(
  source: grain.sources.RandomAccessDataSource,
  batch_size: int,
  seed: int,
  *,
  pairs_per_clip: int = 1,
  augment: bool = True,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int | None = None,
  num_processes: int = 0,
) -> grain.IterDataset:
  """Makes the batches of stage 1: pairs of frames (`sample_pair`).

  Args:
    source: records with `frames` and `example_id`, and, if the true motion of the
      pairs is wanted, with `part_map` and `part_pose`.
    batch_size: number of pairs over all processes.
    seed: of the order and of all random draws.
    pairs_per_clip: pairs drawn each time a clip is read; more of them save decoding,
      but a batch then has fewer clips.
    augment: flip in time, mirror, and jitter the colours.
    process_index, process_count, num_threads, num_processes: see `loader.batches`.

  Returns:
    A Grain dataset of batches of what `sample_pair` returns, and `example_id`, int32
    [b], the index of the clip.

  Raises:
    UserError: the batch cannot be split evenly.
  """
  if batch_size % (pairs_per_clip * process_count):
    raise UserError(
      f"A batch of {batch_size} cannot be split over {process_count} processes and "
      f"{pairs_per_clip} pairs per clip."
    )

  return loader.batches(
    source,
    batch_size // pairs_per_clip,
    seed,
    functools.partial(_draw_pairs, pairs_per_clip, augment),
    process_index,
    process_count,
    num_threads=num_threads,
    num_processes=num_processes,
    batch_fn=_join,
  )


def _draw_pairs(
  pairs_per_clip: int, augment: bool, record: Record, rng: np.random.Generator
) -> Record:
  record = decode_surfaces(record)  # once for all pairs
  pairs = [sample_pair(rng, record, augment) for _ in range(pairs_per_clip)]
  stacked = {key: np.stack([pair[key] for pair in pairs]) for key in pairs[0]}
  example_id = np.full(pairs_per_clip, record["example_id"], np.int32)
  return stacked | {"example_id": example_id}


def _join(examples: Sequence[Record]) -> Record:
  return {key: np.concatenate([e[key] for e in examples]) for key in examples[0]}

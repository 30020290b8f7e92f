"""Draws the pairs of frames that stage 1 is trained on, and makes batches of them."""

import functools
from collections.abc import Sequence

import grain
import numpy as np

from data_pipeline.errors import UserError
from data_pipeline.records import colour_jitter, loader
from data_pipeline.records.clip_record import Record
from data_pipeline.records.surfaces import decode_surfaces
from data_pipeline.records.true_motion import true_motion


def draw_pairs(
  rng: np.random.Generator, num_pairs: int, num_frames: int, augment: bool = True
) -> Record:
  """Draws which frames make pairs, and how those are augmented.

  Two frames are drawn with replacement, the earlier one first. As in the motion models
  that this follows, half of the pairs are swapped in time; half of the others, a
  quarter of all, are mirrored. Then the colours of both frames are jittered alike.

  Returns:
    `order`, int32 [n 2], reference and driving frame; `is_mirrored`, bool [n]; and, if
    `augment`, what `colour_jitter.draw_jitter` returns.
  """
  order = np.sort(rng.integers(num_frames, size=(num_pairs, 2), dtype=np.int32))
  is_mirrored = np.zeros(num_pairs, bool)
  if not augment:
    return {"order": order, "is_mirrored": is_mirrored}
  is_swapped, is_mirrored = rng.random((2, num_pairs)) < 0.5
  order = np.where(is_swapped[:, None], order[:, ::-1], order)
  draws = {"order": order, "is_mirrored": is_mirrored & ~is_swapped}
  return draws | colour_jitter.draw_jitter(rng, num_pairs)


def make_pair(clip: Record, draw: Record) -> Record:
  """Makes one pair of what `draw_pairs` drew for it.

  Args:
    clip: `frames` of a clip; if it also has `part_map` and `part_pose`, the pair comes
      with its true motion.
    draw: one of the drawn pairs, without its axis n.

  Returns:
    `ref_image` and `driving_frame`, float32 [h w 3] in [0, 1], and, if it is known, the
    true motion of the driving frame (`true_motion`).
  """
  order, is_mirrored = draw["order"], bool(draw["is_mirrored"])
  images = clip["frames"][order].astype(np.float32) / np.float32(255)
  if is_mirrored:
    images = images[:, :, ::-1]
  if "operations" in draw:
    images = colour_jitter.jitter(images, draw)
  reference, driving = np.ascontiguousarray(images)
  pair: Record = {"ref_image": reference, "driving_frame": driving}
  if "part_map" in clip:
    pair |= true_motion(clip, *order.tolist(), is_mirrored)
  return pair


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
  num_batches: int = loader.ENDLESS,
) -> grain.IterDataset:
  """Makes the batches of stage 1: pairs of frames (`draw_pairs`).

  Args:
    source: records with `frames` and `example_id`, and, if the true motion of the
      pairs is wanted, with `part_map` and `part_pose`.
    batch_size: number of pairs over all processes.
    seed: of the order and of all random draws.
    pairs_per_clip: pairs drawn each time a clip is read; more of them save decoding,
      but a batch then has fewer clips.
    augment: flip in time, mirror, and jitter the colours.
    process_index, process_count, num_threads, num_processes, num_batches: see
      `loader.batches`.

  Returns:
    A Grain dataset of batches of what `make_pair` returns, and `example_id`, int32
    [b], the index of the clip.

  Raises:
    UserError: the batch cannot be split evenly.
  """
  if batch_size % (divisor := pairs_per_clip * process_count):
    raise UserError(
      f"batch_size must be a multiple of {divisor}, not {batch_size}: processes"
      f" ({process_count}) x data.pairs_per_clip ({pairs_per_clip})."
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
    num_batches=num_batches,
  )


def _draw_pairs(
  pairs_per_clip: int, augment: bool, record: Record, rng: np.random.Generator
) -> Record:
  record = decode_surfaces(record)  # once for all pairs
  draws = draw_pairs(rng, pairs_per_clip, len(record["frames"]), augment)
  of_pair = lambda i: {key: value[i] for key, value in draws.items()}
  pairs = [make_pair(record, of_pair(i)) for i in range(pairs_per_clip)]
  stacked = {key: np.stack([pair[key] for pair in pairs]) for key in pairs[0]}
  example_id = np.full(pairs_per_clip, record["example_id"], np.int32)
  return stacked | {"example_id": example_id}


def _join(examples: Sequence[Record]) -> Record:
  return {key: np.concatenate([e[key] for e in examples]) for key in examples[0]}

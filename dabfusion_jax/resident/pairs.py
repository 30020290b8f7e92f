"""Pairs of stage 1 from clips that stay in the memory of the device.

A GPU takes a step in less time than a host needs to make its pairs and to send them.
Here all clips are sent once; the host then draws which frames make pairs, and the
device makes them.
"""

import concurrent.futures
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from dabfusion_jax.ops.pixels import from_uint8
from dabfusion_jax.parallel import sharding
from dabfusion_jax.resident.colour_jitter import jitter
from dabfusion_jax.resident.true_motion import SurfacePair, true_motion
from data_pipeline.errors import UserError
from data_pipeline.records.clip_record import Record
from data_pipeline.records.pairs import draw_pairs
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.workers import count_cores

_OF_CLIP = ("corners",)  # without an axis of frames
_PADDED = ("corners", "points")  # a mesh of its own for each clip
_DRAWS, _ORDER = 1, 2  # what the streams of random numbers are for
_OTHERWISE = "begin a run with --config.data.on_device=False."


class ResidentPairs:
  """Endless batches of pairs; iterators know their position (`get_state`).

  They are those of `data_pipeline.records.pairs`, drawn by another generator, with one
  pair of each clip in an epoch.
  """

  def __init__(
    self,
    clips: Sequence[Record],
    batch_size: int,
    seed: int,
    mesh: jax.sharding.Mesh,
    augment: bool = True,
  ) -> None:
    """Reads all clips and places them on every device of the mesh.

    Args:
      clips: with `frames`, and, if the true motion is wanted, `part_map`, `part_pose`
        and `surfaces`.
      batch_size: over all devices.
      seed: of all draws.
      mesh: of one process.
      augment: see `draw_pairs`.

    Raises:
      UserError: there are several processes, a batch that the devices cannot share, no
        clips, clips with true motion but without surfaces, or more than the memory of
        the device holds.
    """
    if jax.process_count() > 1:
      raise UserError(f"data.on_device is for one process; {_OTHERWISE}")
    if batch_size % mesh.size:
      raise UserError(
        f"batch_size {batch_size} does not divide over {mesh.size} devices; choose a"
        f" multiple of {mesh.size}."
      )
    if not len(clips):
      raise UserError("There are no clips to make batches of.")
    arrays = read_arrays(clips)
    size = sum(array.nbytes for array in arrays.values()) / 2**30
    try:
      placed = jax.device_put(arrays, jax.NamedSharding(mesh, jax.P()))
      self._arrays = jax.block_until_ready(placed)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      raise UserError(
        f"data.on_device: the {len(clips)} clips take {size:.1f} GiB, more than the"
        f" device has; {_OTHERWISE}"
      ) from None
    logging.info("%d clips on the device, %.1f GiB.", len(clips), size)
    self._batch_size, self._seed, self._augment = batch_size, seed, augment
    self._make = jax.jit(
      jax.vmap(make_pair, in_axes=(None, 0)),
      out_shardings=sharding.batch_sharding(mesh),
    )

  def __iter__(self) -> "_Batches":
    return _Batches(self)

  def batch(self, index: int) -> dict[str, jax.Array]:
    """Returns a batch by its number."""
    num_clips, num_frames = self._arrays["frames"].shape[:2]
    rng = np.random.default_rng((self._seed, _DRAWS, index))
    draws = draw_pairs(rng, self._batch_size, num_frames, self._augment)
    place = index * self._batch_size + np.arange(self._batch_size)
    clip = np.empty(self._batch_size, np.int32)
    for epoch in np.unique(place // num_clips):
      rng = np.random.default_rng((self._seed, _ORDER, epoch))
      order = rng.permutation(num_clips)
      mine = place // num_clips == epoch
      clip[mine] = order[place[mine] % num_clips]
    return self._make(self._arrays, draws | {"clip": clip})


class _Batches:
  """An iterator over batches."""

  def __init__(self, pairs: ResidentPairs) -> None:
    self._pairs, self._next = pairs, 0

  def __iter__(self) -> "_Batches":
    return self

  def __next__(self) -> dict[str, jax.Array]:
    self._next += 1
    return self._pairs.batch(self._next - 1)

  def get_state(self) -> dict[str, int]:
    """Returns the position."""
    return {"next_index": self._next}

  def set_state(self, state: dict[str, int]) -> None:
    """Goes to a position."""
    self._next = int(state["next_index"])


def make_pair(arrays: dict[str, jax.Array], draw: dict[str, Any]) -> dict[str, Any]:
  """Returns one pair, as `data_pipeline.records.pairs.make_pair` makes it.

  Args:
    arrays: of all clips (`read_arrays`).
    draw: what `draw_pairs` drew for the pair, and `clip`, the index.
  """
  clip, order, is_mirrored = draw["clip"], draw["order"], draw["is_mirrored"]
  images = from_uint8(arrays["frames"][clip, order])
  images = jnp.where(is_mirrored, images[:, :, ::-1], images)
  if "operations" in draw:
    images = jitter(images, draw["factors"], draw["turn"], draw["operations"])
  pair = {"ref_image": images[0], "driving_frame": images[1], "example_id": clip}
  if "part_map" in arrays:
    of_frame = lambda key, frame: arrays[key][clip, frame]
    surface = SurfacePair(
      of_frame("triangle", order[1]),
      of_frame("place", order[1]),
      of_frame("depth", order[0]),
      arrays["corners"][clip],
      *(of_frame(key, order) for key in ("points", "part_map", "part_pose")),
    )
    pair |= true_motion(surface, is_mirrored)
  return pair


def read_arrays(clips: Sequence[Record]) -> dict[str, np.ndarray]:
  """Returns the arrays of all clips, stacked; meshes are padded with zeros."""

  def read(index: int) -> Record:
    clip = dict(clips[index])
    surfaces = clip.pop("surfaces", None)
    if surfaces is not None:
      clip |= Surfaces.decode(surfaces).integers()
    elif "part_map" in clip:
      raise UserError(
        "data.on_device follows the surfaces of people; this data set has the parts of"
        f" figures: {_OTHERWISE}"
      )
    clip.pop("example_id", None)
    return clip

  with concurrent.futures.ThreadPoolExecutor(count_cores()) as pool:
    records = list(pool.map(read, range(len(clips))))
  keys = list(records[0])
  if any(record.keys() != set(keys) for record in records):
    raise UserError("data.on_device: some clips have their true motion, others not.")
  return {key: _stack([record.pop(key) for record in records], key) for key in keys}


def _stack(arrays: Sequence[np.ndarray], key: str) -> np.ndarray:
  if key not in _PADDED:
    return np.stack(arrays)
  axis = 0 if key in _OF_CLIP else 1
  size = max(array.shape[axis] for array in arrays)
  shape = list(arrays[0].shape)
  shape[axis] = size
  stacked = np.zeros((len(arrays), *shape), arrays[0].dtype)
  for place, array in zip(stacked, arrays, strict=True):
    place[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
  return stacked

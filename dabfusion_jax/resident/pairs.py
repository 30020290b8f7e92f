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

from dabfusion_jax.ops.pixels import from_uint8
from dabfusion_jax.parallel import sharding
from dabfusion_jax.resident.colour_jitter import jitter
from dabfusion_jax.resident.order import (
  DRAWS,
  OTHERWISE,
  Batches,
  check_clips,
  place_once,
  shuffled,
)
from dabfusion_jax.resident.true_motion import SurfacePair, true_motion
from data_pipeline.errors import UserError
from data_pipeline.records.clip_record import Record
from data_pipeline.records.pairs import draw_pairs
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.workers import count_cores

_OF_CLIP = ("corners",)  # without an axis of frames
_PADDED = ("corners", "points")  # a mesh of its own for each clip


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
    check_clips(clips, batch_size, mesh)
    self._arrays = place_once(read_arrays(clips), mesh)
    self._batch_size, self._seed, self._augment = batch_size, seed, augment
    self._make = jax.jit(
      jax.vmap(make_pair, in_axes=(None, 0)),
      out_shardings=sharding.batch_sharding(mesh),
    )

  def __iter__(self) -> Batches:
    return Batches(self.batch)

  def batch(self, index: int) -> dict[str, jax.Array]:
    """Returns a batch by its number."""
    num_clips, num_frames = self._arrays["frames"].shape[:2]
    rng = np.random.default_rng((self._seed, DRAWS, index))
    draws = draw_pairs(rng, self._batch_size, num_frames, self._augment)
    clips = shuffled(self._seed, index, self._batch_size, num_clips)
    return self._make(self._arrays, draws | {"clip": clips})


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
        f" figures: {OTHERWISE}"
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

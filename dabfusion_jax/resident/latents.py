"""Batches of stage 2 from cached latents that stay in the memory of the device.

A host that decodes and sends them feeds fewer clips than a GPU takes in. Here they are
sent once; the host then draws which clips make a batch and at which speed, with the
music and the beats, and the device makes the batch.
"""

import concurrent.futures
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.parallel import sharding
from dabfusion_jax.resident.order import (
  DRAWS,
  Batches,
  check_clips,
  place_once,
  shuffled,
)
from data_pipeline.records import latent_record
from data_pipeline.records.slow_motion import MOVING, SlowMotion
from data_pipeline.workers import count_cores


class ResidentLatents:
  """Endless batches of cached latents; iterators know their position (`get_state`).

  They are those of `latent_record.make_latents_dataset`, drawn by another generator.
  """

  def __init__(
    self,
    source: grain.sources.RandomAccessDataSource,
    batch_size: int,
    seed: int,
    mesh: jax.sharding.Mesh,
    *,
    beats: str,
    fps: float,
    slow_motion: SlowMotion,
  ) -> None:
    """Reads all clips and places them on every device of the mesh.

    Args:
      source: encoded records (`latent_record.open_latents`).
      batch_size: over all devices.
      seed: of all draws.
      mesh: of one process.
      beats: a tracker, or "truth".
      fps: frames per second.
      slow_motion: changes the speed of some clips.

    Raises:
      UserError: there are several processes, a batch that the devices cannot share, no
        clips, clips without such beats, or more than the memory of the device holds.
    """
    check_clips(source, batch_size, mesh)
    with concurrent.futures.ThreadPoolExecutor(count_cores()) as pool:
      records = list(pool.map(latent_record.decode, source))
    examples = [latent_record.to_example(r, beats=beats, fps=fps) for r in records]
    self._times = [record[f"{beats}_beats"] for record in records]
    self._host = {
      key: np.stack([example.pop(key) for example in examples])
      for key in ("music", "beats", "beat_features")
    }
    del records  # arrays move from there to their stack: they may be gigabytes
    keys = list(examples[0])
    arrays = {key: np.stack([example.pop(key) for example in examples]) for key in keys}
    self._arrays = place_once(arrays, mesh)
    self._batch_size, self._seed, self._fps = batch_size, seed, fps
    self._slow_motion = slow_motion
    self._make = jax.jit(
      jax.vmap(make_example, in_axes=(None, 0, 0)),
      out_shardings=sharding.batch_sharding(mesh),
    )

  def __iter__(self) -> Batches:
    return Batches(self.batch)

  def batch(self, index: int) -> dict[str, Any]:
    """Returns a batch by its number."""
    clips = shuffled(self._seed, index, self._batch_size, len(self._times))
    rng = np.random.default_rng((self._seed, DRAWS, index))
    of_host = {key: values[clips] for key, values in self._host.items()}
    speeds = np.ones(len(clips), np.float32)
    for i, clip in enumerate(clips.tolist()):
      speed, is_silent = self._slow_motion.draw(rng)
      if speed == 1:
        continue
      speeds[i] = speed
      times = np.zeros(0) if is_silent else self._times[clip] / speed
      num_frames = of_host["beats"].shape[1]
      for key, value in latent_record.beats_of(times, num_frames, self._fps).items():
        of_host[key][i] = value
      if is_silent:
        of_host["music"][i] = self._slow_motion.silence
    return self._make(self._arrays, clips, speeds) | of_host


def make_example(
  arrays: dict[str, jax.Array], clip: jax.Array, speed: jax.Array
) -> dict[str, jax.Array]:
  """Returns what a batch has of one clip, as `slow_motion.slow_down` makes it."""
  example = {key: values[clip] for key, values in arrays.items()}
  for key in MOVING & set(example):
    example[key] = stretch(example[key], speed)
  return example


def stretch(frames: jax.Array, speed: jax.Array) -> jax.Array:
  """Returns frames i * `speed` for each i, interpolated linearly."""
  position = jnp.arange(len(frames)) * speed
  before = jnp.minimum(position.astype(jnp.int32), len(frames) - 2)
  weight = (position - before).reshape(-1, *[1] * (frames.ndim - 1))
  return (1 - weight) * frames[before] + weight * frames[before + 1]

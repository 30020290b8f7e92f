"""A sampler that takes no time, for tests of what is around it."""

import contextlib
import weakref

import jax.numpy as jnp
import numpy as np

from dabfusion_jax.diffusion import samplers
from dabfusion_jax.inference.sampler import BatchSampler

FRAME, LATENT = 64, 16


class ToySampler(BatchSampler):
  """Stands for `BatchSampler`: dances of noise that is joined, in two steps.

  Attributes:
    most_held: the largest number of decoded frames that were alive at once.
    begins: of each window, whether it was to begin with its picture.
  """

  devices = (None,)

  def __init__(self):
    self.most_held, self._made, self.begins = 0, [], []

  def encode(self, pictures):
    return jnp.zeros((len(pictures), LATENT, LATENT, 1))

  def draw(self, batch, keys, plan, guidance, callback, joiner):
    self.begins.append(bool(batch["begins"].all()))
    shape = (batch["beats"].shape[1], LATENT, LATENT, 3)
    carry = samplers.first_carry(keys, shape)
    if joiner is not None:
      joiner.begin(keys)
      carry = joiner.join(carry, None)
    for i in range(2):
      carry = samplers.Carry(0.5 * carry.x + 0.1, *carry[1:])
      carry = carry if joiner is None else joiner.join(carry, plan.at(i))
      if callback is not None:
        callback(i + 1, 2)
    return jnp.clip(carry.x[..., :2], -1, 1), jnp.ones_like(carry.x[..., 2:])

  def decode(self, z, flow, occlusion):
    level = np.asarray(flow).mean((2, 3, 4))[..., None, None, None]
    levels = np.uint8(np.clip(128 + 400 * level, 0, 255))
    frames = np.broadcast_to(levels, (*levels.shape[:2], FRAME, FRAME, 3)).copy()
    self._made.append(weakref.ref(frames))
    alive = [made() for made in self._made]
    held = sum(x.shape[1] for x in alive if x is not None)
    self.most_held = max(self.most_held, held)
    return frames

  read_joints = None

  def compiling(self, *unused):
    return contextlib.nullcontext()

  def rebuild(self, z):
    return np.zeros((len(z), FRAME, FRAME, 3), np.uint8)

"""Windows of a dance that is longer than a model draws, joined while they are denoised.

Windows of a fixed number of frames follow each other and overlap. They are drawn one
after the other. At every step, the frames that a window shares with the one before are
blended with what they were there at the same step: with a weight that rises smoothly
from the earlier window to the later one. The rest of the window is denoised beside
them, and so continues their motion. A step is linear in the network's prediction, so
this blends the predictions of both windows, as MultiDiffusion does (Bar-Tal et al.
2023, 2302.08113), but of the earlier window nothing is changed once it is drawn:
memory holds one window, whatever the length, and a longer dance begins as a shorter
one, up to the frames that the shorter one's last window would share.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key

from dabfusion_jax.diffusion.samplers import Carry, Plan, step_noise


@dataclasses.dataclass(frozen=True)
class Windows:
  """Overlapping windows that cover a dance.

  Attributes:
    size: frames of a window.
    overlap: frames that a window shares with the next one, at most half of them.
  """

  size: int
  overlap: int

  def __post_init__(self):
    if not 1 <= self.overlap <= self.size // 2:
      raise ValueError(f"Windows of {self.size} frames cannot overlap {self.overlap}.")

  @property
  def hop(self) -> int:
    """Frames from the start of a window to that of the next."""
    return self.size - self.overlap

  def count(self, num_frames: int) -> int:
    """Returns how many windows cover `num_frames` frames."""
    return 1 + max(0, math.ceil((num_frames - self.size) / self.hop))

  def start(self, index: int) -> int:
    """Returns the first frame of a window."""
    return index * self.hop

  def num_kept(self, index: int, num_frames: int) -> int:
    """Returns how many frames of a window are not part of the next one."""
    is_last = index + 1 == self.count(num_frames)
    return num_frames - self.start(index) if is_last else self.hop

  @property
  def weight(self) -> Float32[np.ndarray, "overlap"]:
    """Weight of the later window in the frames it shares with the one before."""
    share = np.arange(1, self.overlap + 1) / (self.overlap + 1)
    return np.sin(np.pi / 2 * share).astype(np.float32) ** 2


class Joiner:
  """Joins windows that are drawn one after the other.

  For each window call `begin`, then `join` with its state before the first step and
  with that after each step.
  """

  def __init__(self, windows: Windows) -> None:
    self._overlap, self._weight = windows.overlap, windows.weight
    self._keys: jax.Array | None = None
    self._keys_before: jax.Array | None = None
    self._states: list[Carry] = []  # of the last frames, at all steps
    self._states_before: list[Carry] = []

  def begin(self, keys: Key[Array, "b"]) -> None:
    """Begins a window.

    Args:
      keys: of its noise, as of an example of its own.
    """
    self._keys_before, self._keys = self._keys, keys
    self._states_before, self._states = self._states, []

  def join(self, carry: Carry, step: Plan | None) -> Carry:
    """Returns a state of the window, blended with that of the window before.

    Args:
      carry: the state.
      step: the step that led to it; None before the first one.
    """
    if self._states_before:
      before = self._states_before[len(self._states)]
      weight = self._weight
      if step is None:  # of noise there is one draw for each frame, not a mean of two
        weight = np.zeros_like(weight)
      elif step.sigma:
        x = _exchange_noise(carry.x, self._keys, self._keys_before, step, self._overlap)
        carry = carry._replace(x=x)
      carry = _blend(carry, before, weight)
    self._states.append(jax.tree.map(lambda x: x[:, -self._overlap :], carry))
    return carry


@jax.jit
def _blend(carry: Carry, before: Carry, weight: Float[Array, "overlap"]) -> Carry:
  """Blends the first frames of a state with the last ones of the window before."""

  def blend(x: Float[Array, "b t ..."], past: Float[Array, "b o ..."]) -> Array:
    shared = past.shape[1]
    share = weight.reshape(1, shared, *(1,) * (x.ndim - 2))
    mean = share * x[:, :shared] + (1 - share) * past
    return jnp.concatenate([mean, x[:, shared:]], axis=1)

  return jax.tree.map(blend, carry, before)


@functools.partial(jax.jit, static_argnames="overlap")
def _exchange_noise(
  x: Float[Array, "b t ..."],
  keys: Key[Array, "b"],
  keys_before: Key[Array, "b"],
  step: Plan,
  overlap: int,
) -> Float[Array, "b t ..."]:
  """Gives the first frames the noise that the window before drew for them in a step."""
  own, past = (step_noise(k, step.t, x.shape[1:]) for k in (keys, keys_before))
  change = step.sigma * (past[:, -overlap:] - own[:, :overlap])
  return x.at[:, :overlap].add(change)

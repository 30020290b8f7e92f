"""Noise schedules: tables over t in {0, ..., num_timesteps - 1}.

They are float64 on the host and rounded to float32 last: differences such as
1 - alpha_bar would otherwise lose their digits near t = 0.
"""

import dataclasses

import numpy as np
from jaxtyping import Float64


@dataclasses.dataclass(frozen=True)
class NoiseSchedule:
  """The signal left at each timestep of the forward process."""

  alpha_bar: Float64[np.ndarray, "t"]  # share of the signal's variance left at t

  @property
  def num_timesteps(self) -> int:
    """Returns T."""
    return len(self.alpha_bar)


def cosine_betas(
  num_timesteps: int = 1000, offset: float = 0.008
) -> Float64[np.ndarray, "t"]:
  """Returns the noise that each step adds.

  Nichol and Dhariwal 2021 (2102.09672), eq. 17:
  f(t) = cos^2((t/T + s) / (1 + s) pi/2); beta_t = min(1 - f(t+1) / f(t), 0.9999).
  """
  angle = (np.arange(num_timesteps + 1) / num_timesteps + offset) / (1 + offset)
  f = np.cos(angle * np.pi / 2) ** 2
  return np.minimum(1 - f[1:] / f[:-1], 0.9999)


def cosine_schedule(
  num_timesteps: int = 1000, noise_shift: float = 1.0
) -> NoiseSchedule:
  """Returns the paper's schedule (sec. 4.1): cosine, 1000 steps.

  Args:
    num_timesteps: T.
    noise_shift: factor of the ratio of noise to signal at every t, 1 in the paper.
      Neighbouring values of a flow are alike, so their mean shows the dance through a
      lot of noise, and at 1 few steps are left for what the music decides. Hoogeboom et
      al. 2023 (2301.11093) increase it with the size of images for the same reason.
  """
  alpha_bar = np.cumprod(1 - cosine_betas(num_timesteps))
  noise = (1 - alpha_bar) * noise_shift**2
  return NoiseSchedule(alpha_bar / (alpha_bar + noise))

"""Noise schedules: tables over t in {0, ..., num_timesteps - 1}.

Computed in float64 on the host and rounded to float32 only where they meet arrays;
differences such as 1 - alpha_bar would otherwise lose their digits near t = 0.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class NoiseSchedule:
  """alpha_bar[t], float64 [num_timesteps]: the share of signal variance kept at t."""

  alpha_bar: np.ndarray

  @property
  def num_timesteps(self) -> int:
    return len(self.alpha_bar)


def cosine_betas(num_timesteps: int = 1000, offset: float = 0.008) -> np.ndarray:
  """Noise added by each step, float64; Nichol and Dhariwal 2021 (2102.09672), eq. 17.

  f(t) = cos^2((t/T + s) / (1 + s) pi/2); beta_t = min(1 - f(t+1) / f(t), 0.9999).
  """
  angle = (np.arange(num_timesteps + 1) / num_timesteps + offset) / (1 + offset)
  f = np.cos(angle * np.pi / 2) ** 2
  return np.minimum(1 - f[1:] / f[:-1], 0.9999)


def cosine_schedule(
  num_timesteps: int = 1000, noise_shift: float = 1.0
) -> NoiseSchedule:
  """The paper's schedule (sec. 4.1): cosine, 1000 steps.

  `noise_shift` multiplies the ratio of noise to signal at every t. Neighbouring values
  of a flow say the same, so their mean shows the dance through much noise; at 1 (the
  paper) few steps are left for what the music decides. As in Hoogeboom et al. 2023
  (2301.11093), where it grows with the size of pictures.
  """
  alpha_bar = np.cumprod(1 - cosine_betas(num_timesteps))
  noise = (1 - alpha_bar) * noise_shift**2
  return NoiseSchedule(alpha_bar / (alpha_bar + noise))

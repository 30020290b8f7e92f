"""Samplers: from noise to x0, by a table of coefficients per step.

Each step evaluates the network once and is linear in what is then known:

  x0     = threshold(inv_signal x_t - noise_ratio eps)
  x_t    = x_t + fix_x0 x0 + fix_x0_before x0_before + fix_x0_earlier x0_earlier
  x_next = on_x0 x0 + on_x_t x_t + on_x0_before x0_before + sigma noise

Methods differ in their tables only, which are computed in float64 on the host:

- `ddpm`: the posterior of `process.posterior` (the paper; 1000 steps). With fewer
  steps, that of the respaced chain.
- `ddim`: Song et al. 2021 (2010.02502), eq. 12, with eps recomputed from the
  thresholded x0.
- `dpm_solver`: DPM-Solver++(2M), Lu et al. 2022 (2211.01095), algorithm 2;
  deterministic, of second order.
- `unipc`: UniPC-2, Zhao et al. 2023 (2302.04867), for x0 with B(h) = e^h - 1: the
  steps of `dpm_solver`, each corrected by the network's prediction at its end;
  deterministic, of third order at the same cost.

All randomness of an example comes from its own key (`process.example_keys`), so that a
sample depends neither on its batch nor on the number of devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64, Int, Key

from dabfusion_jax.diffusion.guidance import dynamic_threshold
from dabfusion_jax.diffusion.process import posterior, sample_noise
from dabfusion_jax.diffusion.schedule import NoiseSchedule

METHODS = ("ddpm", "ddim", "dpm_solver", "unipc")


class Plan(NamedTuple):
  """The coefficients of a sampler, float32 [steps], in the order of sampling.

  A single step (`at`) is a `Plan` of scalars.
  """

  t: np.ndarray  # int32; timesteps at which the network is evaluated
  inv_signal: np.ndarray
  noise_ratio: np.ndarray
  on_x0: np.ndarray
  on_x_t: np.ndarray
  on_x0_before: np.ndarray  # x0 of the previous step
  sigma: np.ndarray
  fix_x0: np.ndarray  # corrections of x_t, nonzero in `unipc` only
  fix_x0_before: np.ndarray
  fix_x0_earlier: np.ndarray  # x0 of the step before the previous one

  def at(self, index: int) -> "Plan":
    """Returns one step."""
    return Plan(*(row[index] for row in self))

  @property
  def is_stochastic(self) -> bool:
    """Returns whether any step draws noise."""
    return bool(np.any(self.sigma))


class Carry(NamedTuple):
  """The state of sampling between steps, float32 [b ...]."""

  x: Array  # x_t; after the last step the sample
  x0_before: Array
  x0_earlier: Array


def spaced_times(schedule: NoiseSchedule, num_steps: int) -> Int[np.ndarray, "steps"]:
  """Returns decreasing, evenly spaced timesteps for `ddpm` and `ddim`, ending at 0.

  They are all timesteps if `num_steps` is `num_timesteps`. Otherwise they start at the
  last t whose alpha_bar is at least 1e-4: the very last ones contain no signal, and the
  conversion to x0 would multiply the network's error by up to 6.4e4 (at t = 999), from
  which a sampler of a few large steps does not recover.

  Raises:
    ValueError: the schedule has fewer timesteps.
  """
  start = _first_time(schedule, num_steps)
  return np.round(np.linspace(start, 0, num_steps)).astype(np.int32)


def log_snr_times(schedule: NoiseSchedule, num_steps: int) -> Int[np.ndarray, "steps"]:
  """Returns timesteps as `spaced_times`, but evenly spaced in log(signal / noise).

  For the solvers, whose error is a power of the step in this quantity. Steps that are
  even in time are largest at the end: the last of 20 would be a quarter of the way.
  """
  start = _first_time(schedule, num_steps)
  level = _half_log_snr(schedule.alpha_bar[start::-1])  # increases as time decreases
  wanted = np.linspace(level[0], level[-1], num_steps)[::-1]  # from the clean end
  times = np.interp(-wanted, -level[::-1], np.arange(start + 1))
  # Near the clean end levels are more than a step apart: use no time twice.
  count = np.arange(num_steps)
  times = np.maximum.accumulate(np.round(times) - count) + count
  return np.minimum(times, start + 1 - num_steps + count)[::-1].astype(np.int32)


def _first_time(schedule: NoiseSchedule, num_steps: int) -> int:
  """Returns the timestep that sampling starts at."""
  if not 1 <= num_steps <= schedule.num_timesteps:
    raise ValueError(
      f"num_steps must lie in [1, {schedule.num_timesteps}], got {num_steps}."
    )
  start = int(np.sum(schedule.alpha_bar >= 1e-4)) - 1  # alpha_bar falls
  if num_steps > start + 1:
    start = schedule.num_timesteps - 1
  return start


def make_plan(
  schedule: NoiseSchedule, method: str, num_steps: int, eta: float = 0.0
) -> Plan:
  """Returns the table of `method` for `num_steps` evaluations of the network.

  Args:
    schedule: of the model.
    method: one of `METHODS`.
    num_steps: at most `num_timesteps`.
    eta: noise of `ddim`: 0 is deterministic, 1 as noisy as DDPM.

  Raises:
    ValueError: unknown method, or a number of steps out of range.
  """
  if method not in METHODS:
    raise ValueError(f"Unknown method {method!r}; expected one of {METHODS}.")
  is_solver = method in ("dpm_solver", "unipc")
  t = (log_snr_times if is_solver else spaced_times)(schedule, num_steps)
  now = schedule.alpha_bar[t]
  after = np.append(schedule.alpha_bar[t[1:]], 1.0)  # the last step ends clean
  zeros = np.zeros(num_steps)
  on_x0_before, sigma, fix = zeros, zeros, np.zeros((3, num_steps))
  if method == "ddpm":
    on_x0, on_x_t, variance = posterior(now, after)
    sigma = np.sqrt(variance)
  elif method == "ddim":
    sigma = eta * np.sqrt((1 - after) / (1 - now) * (1 - now / after))
    # eps = (x_t - sqrt(now) x0) / sqrt(1 - now), inserted into the update.
    on_x_t = np.sqrt((1 - after - sigma**2) / (1 - now))
    on_x0 = np.sqrt(after) - on_x_t * np.sqrt(now)
  else:
    on_x0, on_x_t, on_x0_before = _dpm_solver(now, after)
    if method == "unipc":
      fix = _unipc_corrections(now)
  inv_signal, noise_ratio = 1 / np.sqrt(now), np.sqrt(1 / now - 1)
  rows = (inv_signal, noise_ratio, on_x0, on_x_t, on_x0_before, sigma, *fix)
  return Plan(t, *(row.astype(np.float32) for row in rows))


def _dpm_solver(
  now: Float64[np.ndarray, "n"], after: Float64[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "n"], ...]:
  """Returns the weights of x0, x_t and x0_before.

  x_next = (noise' / noise) x_t + signal' (1 - e^-h) D with the step h in
  log(signal / noise), D = x0 + (x0 - x0_before) / (2 r) and r = h_before / h. D = x0 in
  the first step, which has no past, and in the last, whose h is infinite.
  """
  h = np.diff(_half_log_snr(now))
  gain = np.sqrt(after)
  gain[:-1] *= -np.expm1(-h)
  extra = np.zeros(len(now))
  extra[1:-1] = h[1:] / h[:-1] / 2
  return gain * (1 + extra), np.sqrt((1 - after) / (1 - now)), -gain * extra


def _half_log_snr(alpha_bar: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
  """Returns log(signal / noise)."""
  return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


def _unipc_corrections(now: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "3 n"]:
  """Returns UniC-2 minus UniP-2 as weights of x0, x0_before and x0_earlier.

  For the step h that led to an evaluation, with r = h_before / h, gain = signal
  (1 - e^-h) and D = (x0_before - x0_earlier) / r, both are the first-order step plus

    UniP-2: gain D / 2,    UniC-2: gain (past D + (first - past) (x0 - x0_before)),

  with `past` from the order conditions (eq. 11) with right sides `first` and `second`.
  The first evaluation has no step behind it. The second has no D: `first` is 1/2
  (UniC-1).
  """
  fix = np.zeros((3, len(now)))
  h = np.diff(_half_log_snr(now))
  gain = -np.sqrt(now[1:]) * np.expm1(-h)
  first = -1 / np.expm1(-h) - 1 / h
  second = -1 / np.expm1(-h) - 2 * first / h
  ratio = h[:-1] / h[1:]
  past = (first - second)[1:] / (1 + ratio)
  on_new, on_past = first.copy(), np.zeros(len(h))
  on_new[:1] = 0.5
  on_new[1:] -= past
  on_past[1:] = (past - 0.5) / ratio
  fix[:, 1:] = gain * np.stack([on_new, on_past - on_new, -on_past])
  return fix


def first_carry(keys: Key[Array, "b"], shape: tuple[int, ...]) -> Carry:
  """Returns the state before the first step: noise of `shape` per example, no past."""
  x = initial_noise(keys, shape)
  return Carry(x, jnp.zeros_like(x), jnp.zeros_like(x))


def initial_noise(
  keys: Key[Array, "b"], shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
  """Draws x_T. Its keys differ from those of the steps, which fold in t + 1 > 0."""
  return sample_noise(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0), shape)


def step_noise(
  keys: Key[Array, "b"], t: ArrayLike, shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
  """Draws the noise of the step at timestep t."""
  step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, t + 1)
  return sample_noise(step_keys, shape)


def sample_step(
  eps_fn: Callable[[Array, Array], Array],
  carry: Carry,
  keys: Key[Array, "b"],
  step: Plan,
  is_stochastic: bool,
  threshold: float | None = 0.9,
  bound: float = 1.0,
) -> Carry:
  """Returns the state after one step.

  Args:
    eps_fn: (x_t [b ...], t int32 [b]) -> eps [b ...], guidance included.
    carry: the state before the step, at first `first_carry`.
    keys: one per example, the same in all steps.
    step: one entry of a plan.
    is_stochastic: of the plan; if it is false, no noise is drawn.
    threshold, bound: see `guidance.dynamic_threshold`.
  """
  x_t, x0_before, x0_earlier = carry
  t = jnp.full(len(x_t), step.t, jnp.int32)
  eps = eps_fn(x_t, t).astype(jnp.float32)
  x0 = step.inv_signal * x_t - step.noise_ratio * eps
  x0 = dynamic_threshold(x0, threshold, bound)
  x_t += (
    step.fix_x0 * x0 + step.fix_x0_before * x0_before + step.fix_x0_earlier * x0_earlier
  )
  x_next = step.on_x0 * x0 + step.on_x_t * x_t + step.on_x0_before * x0_before
  if is_stochastic:
    x_next += step.sigma * step_noise(keys, step.t, x_t.shape[1:])
  return Carry(x_next, x0, x0_before)

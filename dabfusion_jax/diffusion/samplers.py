"""Samplers: from noise to x0, by a table of coefficients per step.

Each step evaluates the network once and is linear in what it then knows,

  x0     = threshold(inv_signal x_t - noise_ratio eps)
  x_t    = x_t + fix_x0 x0 + fix_x0_before x0_before + fix_x0_earlier x0_earlier
  x_next = on_x0 x0 + on_x_t x_t + on_eps eps + on_x0_before x0_before + sigma noise,

so the methods differ only in their tables, computed in float64 on the host:

- `ddpm`: the posterior of `process.posterior` (the paper; 1000 steps). With fewer
  steps, that of the respaced chain.
- `ddim`: Song et al. 2021 (2010.02502), eq. 12, with eps recomputed from the
  thresholded x0.
- `ddim_lfdm`: DDIM as LFDM's code has it, for comparison: alpha_bar of t - 1 at both
  ends of a step while x0 uses that of t, eps not recomputed, no evaluation at t = 0.
  Its own spacing of times; its tests take eta = 1.
- `dpm_solver`: DPM-Solver++(2M), Lu et al. 2022 (2211.01095), algorithm 2;
  deterministic, of second order.
- `unipc`: UniPC-2, Zhao et al. 2023 (2302.04867), of x0 with B(h) = e^h - 1: the
  steps of `dpm_solver`, each corrected by what the network says where it arrives;
  deterministic, of third order at the same cost.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dabfusion_jax.diffusion.guidance import dynamic_threshold
from dabfusion_jax.diffusion.process import posterior, sample_noise
from dabfusion_jax.diffusion.schedule import NoiseSchedule

METHODS = ("ddpm", "ddim", "ddim_lfdm", "dpm_solver", "unipc")


class Plan(NamedTuple):
  """The table of a sampler, one entry a step in the order of sampling."""

  t: np.ndarray  # int32: where the network is evaluated
  inv_signal: np.ndarray
  noise_ratio: np.ndarray
  on_x0: np.ndarray
  on_x_t: np.ndarray
  on_eps: np.ndarray
  on_x0_before: np.ndarray  # x0 of the step before
  sigma: np.ndarray
  fix_x0: np.ndarray  # corrections of x_t, 0 but in `unipc`
  fix_x0_before: np.ndarray
  fix_x0_earlier: np.ndarray  # x0 of two steps before


class Carry(NamedTuple):
  """What one step of sampling hands to the next; all float32 [b ...]."""

  x: Array  # x_t, in the end the sample
  x0_before: Array
  x0_earlier: Array


def spaced_times(schedule: NoiseSchedule, num_steps: int) -> np.ndarray:
  """Decreasing, evenly spaced evaluation times of `ddpm` and `ddim`, ending at 0.

  All of them where `num_steps` is `num_timesteps`. Otherwise from the last t whose
  alpha_bar is at least 1e-4: the very last ones hold no signal, and x0 from eps would
  multiply the network's error by up to 6.4e4 (at t = 999), which a sampler of a few
  large steps does not forget.
  """
  start = _first_time(schedule, num_steps)
  return np.round(np.linspace(start, 0, num_steps)).astype(np.int32)


def log_snr_times(schedule: NoiseSchedule, num_steps: int) -> np.ndarray:
  """As `spaced_times`, evenly spaced in log(signal / noise): of the solvers.

  Their error is a power of the step in this quantity. Steps even in time are largest
  where they end: with 20, the last would be a quarter of the way.
  """
  start = _first_time(schedule, num_steps)
  level = _half_log_snr(schedule.alpha_bar[start::-1])  # rises, over times that fall
  wanted = np.linspace(level[0], level[-1], num_steps)[::-1]  # from the clean end
  times = np.interp(-wanted, -level[::-1], np.arange(start + 1))
  # Near the clean end levels lie apart by more than a step: no time is taken twice.
  count = np.arange(num_steps)
  times = np.maximum.accumulate(np.round(times) - count) + count
  return np.minimum(times, start + 1 - num_steps + count)[::-1].astype(np.int32)


def _first_time(schedule: NoiseSchedule, num_steps: int) -> int:
  if not 1 <= num_steps <= schedule.num_timesteps:
    raise ValueError(
      f"num_steps must lie in [1, {schedule.num_timesteps}], got {num_steps}."
    )
  start = int(np.flatnonzero(schedule.alpha_bar >= 1e-4)[-1])
  if num_steps > start + 1:
    start = schedule.num_timesteps - 1
  return start


def lfdm_times(num_timesteps: int, num_steps: int) -> np.ndarray:
  """LFDM's num_steps + 1 decreasing times; the last, 0, is never evaluated."""
  if not 1 <= num_steps < num_timesteps:
    raise ValueError(f"num_steps must lie in [1, {num_timesteps}), got {num_steps}.")
  times = np.linspace(0.0, num_timesteps, num_steps + 2)[:-1].astype(np.int32)
  return times[::-1]


def make_plan(
  schedule: NoiseSchedule, method: str, num_steps: int, eta: float = 0.0
) -> Plan:
  """The table of `method` with `num_steps` network evaluations.

  `eta` scales the noise of the two DDIM forms: 0 deterministic, 1 as much as DDPM.
  Raises `ValueError` for an unknown method or an impossible number of steps.
  """
  if method not in METHODS:
    raise ValueError(f"Unknown method {method!r}; expected one of {METHODS}.")
  if method == "ddim_lfdm":
    return _plan_ddim_lfdm(schedule, num_steps, eta)
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
    sigma = _ddim_sigma(now, after, eta)
    # eps = (x_t - sqrt(now) x0) / sqrt(1 - now), put into the update.
    on_x_t = np.sqrt((1 - after - sigma**2) / (1 - now))
    on_x0 = np.sqrt(after) - on_x_t * np.sqrt(now)
  else:
    on_x0, on_x_t, on_x0_before = _dpm_solver(now, after)
    if method == "unipc":
      fix = _unipc_corrections(now)
  return _plan(t, now, on_x0, on_x_t, zeros, on_x0_before, sigma, *fix)


def _plan(t, now, *coefficients) -> Plan:
  rows = (1 / np.sqrt(now), np.sqrt(1 / now - 1), *coefficients)
  return Plan(t.astype(np.int32), *(np.asarray(row, np.float32) for row in rows))


def _ddim_sigma(now, after, eta):
  return eta * np.sqrt((1 - after) / (1 - now) * (1 - now / after))


def _plan_ddim_lfdm(schedule: NoiseSchedule, num_steps: int, eta: float) -> Plan:
  times = lfdm_times(schedule.num_timesteps, num_steps)
  t = times[:-1]
  shifted = np.append(1.0, schedule.alpha_bar[:-1])  # alpha_bar of t - 1
  after = shifted[times[1:]]
  sigma = _ddim_sigma(shifted[t], after, eta)
  on_eps = np.sqrt(1 - after - sigma**2)
  zeros = np.zeros(num_steps)
  now = schedule.alpha_bar[t]
  return _plan(t, now, np.sqrt(after), zeros, on_eps, zeros, sigma, *[zeros] * 3)


def _dpm_solver(now, after):
  """x_next = (noise' / noise) x_t + signal' (1 - e^-h) D.

  h is the step in log(signal / noise). D = x0 + (x0 - x0_before) / (2 r),
  r = h_before / h; D = x0 in the first step, which has no past, and in the last, whose
  h is infinite.
  """
  h = np.diff(_half_log_snr(now))
  gain = np.sqrt(after)
  gain[:-1] *= -np.expm1(-h)
  extra = np.zeros(len(now))
  extra[1:-1] = h[1:] / h[:-1] / 2
  return gain * (1 + extra), np.sqrt((1 - after) / (1 - now)), -gain * extra


def _half_log_snr(alpha_bar):
  return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


def _unipc_corrections(now):
  """UniC-2 less UniP-2: weights [3, steps] of x0, x0_before and x0_earlier.

  Over the step h that led to an evaluation, with r = h_before / h, gain = signal
  (1 - e^-h) and D = (x0_before - x0_earlier) / r, both are the step of first order plus

    UniP-2: gain D / 2,    UniC-2: gain (past D + (first - past) (x0 - x0_before)),

  `past` from the order conditions (eq. 11) with right sides `first` and `second`. The
  first evaluation has no step behind it. The second has no D: `first` is 1/2 (UniC-1).
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


def sample(
  eps_fn: Callable[[Array, Array], Array],
  keys: Key[Array, "b"],
  shape: tuple[int, ...],
  plan: Plan,
  threshold_percentile: float | None = 0.9,
  bound: float = 1.0,
) -> Float[Array, "b ..."]:
  """Draws x0 of `shape` for every key; to be jitted by the caller.

  All randomness of an example comes from its own key (`process.example_keys`), so a
  sample does not depend on the batch it is drawn in nor on the number of devices.

  Args:
    eps_fn: (x_t [b ...], t int32 [b]) -> eps [b ...]; guidance is its own affair.
    keys: one per example.
    shape: of one x0, e.g. (frames, h, w, 3).
    plan: from `make_plan`; stays on the host, not an argument of the jitted function.
    threshold_percentile, bound: see `guidance.dynamic_threshold`; applied at every
      step.
  """
  is_stochastic = bool(np.any(plan.sigma))  # a deterministic plan draws nothing

  def body(carry, step):
    return sample_step(
      eps_fn, carry, keys, step, is_stochastic, threshold_percentile, bound
    ), None

  return jax.lax.scan(body, first_carry(keys, shape), plan)[0].x


def first_carry(keys: Key[Array, "b"], shape: tuple[int, ...]) -> Carry:
  """What sampling begins with: noise, and no past."""
  x = initial_noise(keys, shape)
  return Carry(x, jnp.zeros_like(x), jnp.zeros_like(x))


def initial_noise(
  keys: Key[Array, "b"], shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
  """x_T. Its key differs from those of the steps, which fold in t >= 0 plus one."""
  return sample_noise(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0), shape)


def sample_step(
  eps_fn: Callable[[Array, Array], Array],
  carry: Carry,
  keys: Key[Array, "b"],
  step: Plan,
  is_stochastic: bool,
  threshold_percentile: float | None,
  bound: float,
) -> Carry:
  """One step of `sample`, `step` being one entry of the table.

  For loops on the host that report progress.
  """
  x_t, x0_before, x0_earlier = carry
  t = jnp.full(len(x_t), step.t, jnp.int32)
  eps = eps_fn(x_t, t).astype(jnp.float32)
  x0 = step.inv_signal * x_t - step.noise_ratio * eps
  x0 = dynamic_threshold(x0, threshold_percentile, bound)
  x_t += (
    step.fix_x0 * x0 + step.fix_x0_before * x0_before + step.fix_x0_earlier * x0_earlier
  )
  x_next = (
    step.on_x0 * x0
    + step.on_x_t * x_t
    + step.on_eps * eps
    + step.on_x0_before * x0_before
  )
  if is_stochastic:
    step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step.t + 1)
    x_next += step.sigma * sample_noise(step_keys, x_t.shape[1:])
  return Carry(x_next, x0, x0_before)

"""Samplers against their published steps, exact solutions and orders of convergence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.diffusion import process
from dabfusion_jax.diffusion.samplers import (
  METHODS,
  Carry,
  first_carry,
  initial_noise,
  log_snr_times,
  make_plan,
  sample_step,
  spaced_times,
)
from dabfusion_jax.diffusion.schedule import cosine_schedule

SCHEDULE = cosine_schedule()
FINE = cosine_schedule(20_000)  # timesteps enough not to be rounded away
ALPHA_BAR = SCHEDULE.alpha_bar
SHAPE = (2, 4, 4, 3)
KEYS = process.example_keys(jax.random.key(0), jnp.arange(3))
TARGET = jnp.clip(jax.random.normal(jax.random.key(1), (3, *SHAPE)), -0.9, 0.9)


def _x0_to_eps(x_t, x0, t):
  """Solves the forward process for eps."""
  signal, noise = process.signal_and_noise(SCHEDULE, t, x_t.ndim)
  return (x_t - signal * x0) / noise


def _oracle(x_t, t):
  """Returns the eps that points at TARGET."""
  return _x0_to_eps(x_t, TARGET[: len(x_t)], t)


def _wrong_oracle(x_t, t):
  return _oracle(x_t, t) + 0.05


def _gaussian_oracle(x_t, t, schedule=SCHEDULE):
  """Returns the exact eps for data ~ N(0.3, 0.5^2), whose flow has a closed form."""
  signal, noise = process.signal_and_noise(schedule, t, x_t.ndim)
  return noise * (x_t - 0.3 * signal) / (signal**2 * 0.5**2 + noise**2)


def _fine_gaussian_oracle(x_t, t):
  return _gaussian_oracle(x_t, t, FINE)


@functools.cache
def _step_fn(eps_fn, is_stochastic, threshold, bound):
  def step_fn(carry, keys, step):
    return sample_step(eps_fn, carry, keys, step, is_stochastic, threshold, bound)

  return jax.jit(step_fn)


def _draw(eps_fn, plan, threshold=None, bound=np.inf, keys=KEYS, shape=SHAPE):
  """Draws samples by a step that is compiled once for all plans."""
  step_fn = _step_fn(eps_fn, plan.is_stochastic, threshold, bound)
  carry = first_carry(keys, shape)
  for i in range(len(plan.t)):
    carry = step_fn(carry, keys, plan.at(i))
  return np.asarray(carry.x)


def _carry(x):
  return Carry(x, 0.5 * x, -x)  # with a past that the step must not use


def _gaussian_flow(schedule, x, now, after):
  """Returns the exact probability flow for that data from timestep `now` to `after`.

  It keeps the number of standard deviations from the mean.
  """
  signal, noise = np.sqrt(schedule.alpha_bar), np.sqrt(1 - schedule.alpha_bar)
  spread = np.hypot(0.5 * signal, noise)
  return 0.3 * signal[after] + spread[after] / spread[now] * (x - 0.3 * signal[now])


def test_spaced_times_avoid_the_last_timesteps():
  np.testing.assert_array_equal(spaced_times(SCHEDULE, 1000), np.arange(1000)[::-1])
  times = spaced_times(SCHEDULE, 50)
  assert len(np.unique(times)) == 50 and times[-1] == 0
  assert 985 < times[0] < 995
  np.testing.assert_array_equal(spaced_times(SCHEDULE, 1), [992])


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50, 400, 993, 994, 1000])
def test_solver_times_are_even_in_log_snr_and_never_equal(num_steps):
  times = log_snr_times(SCHEDULE, num_steps)
  assert len(times) == num_steps and (np.diff(times) < 0).all()
  assert times[0] == spaced_times(SCHEDULE, num_steps)[0]
  assert num_steps == 1 or times[-1] == 0
  if num_steps == 7:
    alpha_bar = ALPHA_BAR[times]
    step = np.diff(0.5 * np.log(alpha_bar / (1 - alpha_bar)))
    np.testing.assert_allclose(step, step.mean(), rtol=0.05)


@pytest.mark.parametrize(
  ("method", "num_steps"), [("ddpm", 0), ("ddim", 1001), ("unipc", 1001)]
)
def test_impossible_number_of_steps_is_refused(method, num_steps):
  with pytest.raises(ValueError, match="num_steps"):
    make_plan(SCHEDULE, method, num_steps)


@pytest.mark.parametrize("method", METHODS)
def test_a_schedule_of_noise_alone_is_sampled_from_its_last_timestep(method):
  for schedule in (cosine_schedule(1), cosine_schedule(2, noise_shift=100.0)):
    steps = schedule.num_timesteps
    plan = make_plan(schedule, method, steps)
    np.testing.assert_array_equal(plan.t, np.arange(steps)[::-1])
    assert all(np.isfinite(row).all() for row in plan)


def test_unknown_method_is_refused():
  with pytest.raises(ValueError, match="'euler'.*'ddpm'"):
    make_plan(SCHEDULE, "euler", 10)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_every_sampler_arrives_where_eps_points(method, eta):
  plan = make_plan(SCHEDULE, method, 12, eta)
  x0 = _draw(_oracle, plan, 0.9, 1.0)
  np.testing.assert_allclose(x0, TARGET, atol=1e-4)


def test_ddpm_step_is_the_posterior():
  plan = make_plan(SCHEDULE, "ddpm", 1000)
  x_t = 0.5 * initial_noise(KEYS, SHAPE)
  eps_fn = lambda x, t: 0.8 * x
  step = plan.at(1000 - 1 - 600)
  assert step.t == 600
  x_next, x0, _ = sample_step(eps_fn, _carry(x_t), KEYS, step, True, None, np.inf)
  expected_x0 = process.eps_to_x0(SCHEDULE, x_t, 0.8 * x_t, jnp.full(3, 600))
  np.testing.assert_allclose(x0, expected_x0, atol=1e-5)
  on_x0, on_x_t, variance = process.posterior(ALPHA_BAR[600:601], ALPHA_BAR[599:600])
  noise = np.asarray(x_next) - (on_x0 * np.asarray(x0) + on_x_t * np.asarray(x_t))
  assert abs(np.std(noise) / np.sqrt(variance) - 1) < 0.1
  assert (plan.t[-1], plan.sigma[-1]) == (0, 0.0)  # no noise at t = 0


def test_ddim_step_recomputes_eps_from_the_thresholded_x0():
  plan = make_plan(SCHEDULE, "ddim", 10)
  x_t = 3 * initial_noise(KEYS, SHAPE)
  step = plan.at(4)
  times = jnp.full(3, step.t)
  x_next, x0, _ = sample_step(
    lambda x, t: 0.1 * x, _carry(x_t), KEYS, step, False, 0.9, 1.0
  )
  assert np.abs(x0).max() <= 1
  eps = _x0_to_eps(x_t, x0, times)
  expected = process.add_noise(SCHEDULE, x0, eps, jnp.full(3, plan.t[5]))
  np.testing.assert_allclose(x_next, expected, atol=1e-5)


def test_dpm_solver_step_is_the_second_order_formula():
  plan = make_plan(SCHEDULE, "dpm_solver", 10)
  signal, noise = np.sqrt(ALPHA_BAR[plan.t]), np.sqrt(1 - ALPHA_BAR[plan.t])
  h = np.diff(np.log(signal / noise))
  x_t, x0, x0_before = 0.7, 0.2, -0.4
  step = lambda i: (
    plan.on_x0[i] * x0 + plan.on_x_t[i] * x_t + plan.on_x0_before[i] * x0_before
  )
  ratio = h[3] / h[4]
  slope = x0 + (x0 - x0_before) / (2 * ratio)
  expected = noise[5] / noise[4] * x_t - signal[5] * np.expm1(-h[4]) * slope
  np.testing.assert_allclose(step(4), expected, rtol=1e-5)
  first = noise[1] / noise[0] * x_t - signal[1] * np.expm1(-h[0]) * x0
  np.testing.assert_allclose(step(0), first, rtol=1e-5)
  np.testing.assert_allclose(step(9), x0, rtol=1e-6)


def test_unipc_predicts_as_dpm_solver_and_corrects_by_its_order_conditions():
  """UniC-2 is exact for an x0 that is quadratic in the log signal-to-noise ratio."""
  plan = make_plan(SCHEDULE, "unipc", 10)
  other = make_plan(SCHEDULE, "dpm_solver", 10)
  for name in ("t", "on_x0", "on_x_t", "on_x0_before", "sigma"):
    np.testing.assert_array_equal(getattr(plan, name), getattr(other, name))
  assert not np.any([other.fix_x0, other.fix_x0_before, other.fix_x0_earlier])

  signal, noise = np.sqrt(ALPHA_BAR[plan.t]), np.sqrt(1 - ALPHA_BAR[plan.t])
  level = np.log(signal / noise)
  at = lambda u: 0.3 - 0.2 * u + 0.4 * u**2
  i, x_t = 5, 0.7
  past, before, now = at(level[i - 2 : i + 1])
  step = lambda row, j: getattr(plan, row)[j]
  predicted = (
    step("on_x0", i - 1) * before
    + step("on_x_t", i - 1) * x_t
    + step("on_x0_before", i - 1) * past
  )
  corrected = (
    predicted
    + step("fix_x0", i) * now
    + step("fix_x0_before", i) * before
    + step("fix_x0_earlier", i) * past
  )
  # x' / noise' - x / noise = the integral of e^u x0(u), by Lu et al., eq. 9.
  u = np.linspace(level[i - 1], level[i], 20_001)
  exact = noise[i] * (x_t / noise[i - 1] + np.trapezoid(np.exp(u) * at(u), u))
  np.testing.assert_allclose(corrected, exact, rtol=1e-5)
  assert abs(predicted - exact) > 1e-3
  # The first corrections lack a past: first none, then UniC-1.
  assert plan.fix_x0_earlier[1] == 0 and plan.fix_x0[0] == 0
  half = -signal[1] * np.expm1(level[0] - level[1]) / 2
  np.testing.assert_allclose([plan.fix_x0[1], -plan.fix_x0_before[1]], half, rtol=1e-5)


@pytest.mark.parametrize(
  ("method", "order"), [("ddim", 1), ("dpm_solver", 2), ("unipc", 3)]
)
def test_order_of_convergence_to_the_exact_flow(method, order):
  """With an eighth of the step, the error halfway is 8^order times smaller."""
  noise = np.asarray(initial_noise(KEYS, SHAPE), np.float64)
  errors = []
  for half in (10, 80):
    plan = make_plan(FINE, method, 2 * half + 1)
    exact = _gaussian_flow(FINE, noise, plan.t[0], plan.t[half])
    first_half = jax.tree.map(lambda row, n=half: row[:n], plan)
    x = _draw(_fine_gaussian_oracle, first_half)
    errors.append(np.abs(x - exact).max())
  assert abs(np.log2(errors[0] / errors[1]) / 3 - order) < 0.4, errors


def test_deterministic_samplers_agree_with_the_exact_flow_given_many_steps():
  worst = {"ddim": 0.02, "dpm_solver": 2e-3, "unipc": 2e-3}
  for method, tolerance in worst.items():
    plan = make_plan(SCHEDULE, method, 250)
    x = _draw(_gaussian_oracle, plan)
    exact = _gaussian_flow(SCHEDULE, initial_noise(KEYS, SHAPE), plan.t[0], 0)
    np.testing.assert_allclose(x, exact, atol=tolerance, err_msg=method)


def test_few_steps_of_a_higher_order_are_closer():
  """With six evaluations, each method is better than the previous one."""
  errors = []
  for method in ("ddim", "dpm_solver", "unipc"):
    plan = make_plan(SCHEDULE, method, 6)
    x = _draw(_gaussian_oracle, plan)
    exact = _gaussian_flow(SCHEDULE, initial_noise(KEYS, SHAPE), plan.t[0], 0)
    errors.append(np.abs(x - exact).max())
  assert errors[0] > 3 * errors[1] > 9 * errors[2], errors


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_few_steps_arrive_where_eps_points(method, num_steps):
  plan = make_plan(SCHEDULE, method, num_steps)
  assert len(plan.t) == num_steps
  assert all(np.isfinite(row).all() for row in plan)
  x0 = _draw(_oracle, plan, 0.9, 1.0)
  np.testing.assert_allclose(x0, TARGET, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_an_error_at_the_last_timesteps_is_not_amplified(method):
  """At t = 999 the error of x0 is 6.4e4 times that of eps; short plans avoid it."""
  x0 = _draw(_wrong_oracle, make_plan(SCHEDULE, method, 20))
  assert np.abs(x0 - TARGET).max() < 0.5


def test_ddpm_reproduces_mean_and_spread_of_its_data():
  plan = make_plan(SCHEDULE, "ddpm", 200)
  x = _draw(_gaussian_oracle, plan, shape=(40, 8, 8, 3))
  np.testing.assert_allclose([np.mean(x), np.std(x)], [0.3, 0.5], atol=0.02)


@pytest.mark.parametrize("method", ["ddpm", "ddim", "unipc"])
def test_sample_does_not_depend_on_its_batch(method):
  plan = make_plan(SCHEDULE, method, 6, eta=1.0)
  together = _draw(_gaussian_oracle, plan, 0.9, 1.0)
  alone = _draw(_gaussian_oracle, plan, 0.9, 1.0, keys=KEYS[1:2])
  np.testing.assert_allclose(together[1], alone[0], atol=1e-6)
  assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize(("method", "eta"), [("ddpm", 0.0), ("ddim", 1.0)])
def test_a_stochastic_plan_draws_other_noise_at_each_step(method, eta):
  plan = make_plan(SCHEDULE, method, 6, eta)
  assert plan.is_stochastic and not make_plan(SCHEDULE, "ddim", 6).is_stochastic
  x = jnp.zeros((3, *SHAPE))
  quiet, first, second = (
    sample_step(lambda x, t: x, Carry(x, x, x), KEYS, plan.at(i), is_stochastic)[0]
    for i, is_stochastic in ((1, False), (1, True), (2, True))
  )
  np.testing.assert_array_equal(quiet, 0.0)
  first, second = first / plan.sigma[1], second / plan.sigma[2]
  assert abs(np.std(first) - 1) < 0.1 and np.abs(first - second).max() > 1

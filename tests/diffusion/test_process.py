"""The forward process and its inverses, and the encoding of flow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.diffusion import process
from dabfusion_jax.diffusion.schedule import cosine_betas, cosine_schedule
from dabfusion_jax.ops.grid import identity_grid

SCHEDULE = cosine_schedule()

# As programs: single operations would be compiled one by one.
add_noise, eps_to_x0, eps_to_v, v_to_eps = (
  jax.jit(functools.partial(convert, SCHEDULE))
  for convert in (
    process.add_noise,
    process.eps_to_x0,
    process.eps_to_v,
    process.v_to_eps,
  )
)
flow_to_latent = jax.jit(process.flow_to_latent, static_argnums=(2, 3))
latent_to_flow = jax.jit(process.latent_to_flow, static_argnums=(1, 2))


def _pair(seed=0):
  rng = np.random.default_rng(seed)
  x0, eps = rng.standard_normal((2, 3, 2, 4, 4, 3)).astype(np.float32)
  return jnp.asarray(x0.clip(-1, 1)), jnp.asarray(eps)


def test_last_timestep_is_pure_noise():
  x0, eps = _pair()
  x_t = add_noise(x0, eps, jnp.full(3, 999))
  np.testing.assert_allclose(x_t, eps, atol=2e-5)


@pytest.mark.parametrize("t", [0, 1, 500, 990])
def test_eps_to_x0_inverts_add_noise(t):
  x0, eps = _pair()
  times = jnp.full(3, t)
  x_t = add_noise(x0, eps, times)
  recovered = eps_to_x0(x_t, eps, times)
  np.testing.assert_allclose(recovered, x0, atol=2e-4)


def test_each_example_has_its_own_timestep():
  x0, eps = _pair()
  together = process.add_noise(SCHEDULE, x0, eps, jnp.array([5, 400, 900]))
  for i, t in enumerate([5, 400, 900]):
    alone = process.add_noise(SCHEDULE, x0[i : i + 1], eps[i : i + 1], jnp.array([t]))
    np.testing.assert_array_equal(together[i : i + 1], alone)


def test_posterior_of_neighbours_is_that_of_ddpm():
  before = np.append(1.0, SCHEDULE.alpha_bar[:-1])
  on_x0, on_x_t, variance = process.posterior(SCHEDULE.alpha_bar, before)
  beta, rest = cosine_betas(), 1 - SCHEDULE.alpha_bar
  np.testing.assert_allclose(on_x0, beta * np.sqrt(before) / rest, rtol=1e-9)
  np.testing.assert_allclose(on_x_t, (1 - before) * np.sqrt(1 - beta) / rest, rtol=1e-9)
  np.testing.assert_allclose(variance, beta * (1 - before) / rest, rtol=1e-9)
  np.testing.assert_allclose([on_x0[0], on_x_t[0], variance[0]], [1, 0, 0], atol=1e-12)


def test_posterior_of_a_respaced_chain_keeps_the_marginal():
  """Drawing x_t by (1), then x_s from the posterior, has the moments of (1) at s."""
  now, after = SCHEDULE.alpha_bar[[700]], SCHEDULE.alpha_bar[[300]]
  on_x0, on_x_t, variance = process.posterior(now, after)
  np.testing.assert_allclose(on_x0 + on_x_t * np.sqrt(now), np.sqrt(after), rtol=1e-9)
  np.testing.assert_allclose(on_x_t**2 * (1 - now) + variance, 1 - after, rtol=1e-9)


@pytest.mark.parametrize(("mode", "scale"), [("absolute", 1.0), ("residual", 7.5)])
def test_latent_to_flow_inverts_flow_to_latent(mode, scale):
  keys = jax.random.split(jax.random.key(0))
  flow = jax.random.normal(keys[0], (2, 3, 4, 5, 2))
  occlusion = jax.random.uniform(keys[1], (2, 3, 4, 5, 1))
  latent = flow_to_latent(flow, occlusion, mode, scale)
  assert latent.shape == (2, 3, 4, 5, 3)
  back = latent_to_flow(latent, mode, scale)
  np.testing.assert_allclose(back[0], flow, atol=1e-6)
  np.testing.assert_allclose(back[1], occlusion, atol=1e-6)


def test_absolute_latent_is_the_grid_and_centred_occlusion():
  flow = identity_grid(4, 5)
  latent = flow_to_latent(flow, jnp.full((4, 5, 1), 0.75))
  np.testing.assert_array_equal(latent[..., :2], flow)
  np.testing.assert_array_equal(latent[..., 2], np.full((4, 5), 0.5))


def test_residual_latent_of_no_motion_is_zero():
  flow = identity_grid(4, 5)
  latent = flow_to_latent(flow, jnp.ones((4, 5, 1)), "residual", 20.0)
  np.testing.assert_array_equal(latent[..., :2], 0.0)


def test_unknown_flow_param_is_refused():
  with pytest.raises(ValueError, match="'absolute', 'residual'"):
    process.flow_to_latent(identity_grid(2, 2), jnp.ones((2, 2, 1)), "relative")


def test_noise_of_an_example_does_not_depend_on_its_batch():
  key = jax.random.key(3)
  draw = lambda ids: process.sample_noise(
    process.example_keys(key, jnp.array(ids)), (2, 4)
  )
  full, part = draw([4, 9, 2]), draw([9])
  np.testing.assert_array_equal(full[1], part[0])
  assert not np.allclose(full[0], full[1])


def test_timesteps_cover_their_range():
  keys = process.example_keys(jax.random.key(0), jnp.arange(200))
  t = process.sample_timestep(keys, 5)
  assert set(np.unique(t)) == set(range(5))


@pytest.mark.parametrize("t", [0, 300, 990])
def test_noise_and_signal_are_recovered_from_v(t):
  x0, eps = jax.random.normal(jax.random.key(5), (2, 3, 2, 4, 4, 3))
  time = jnp.full(3, t, jnp.int32)
  x_t = add_noise(x0, eps, time)
  v = eps_to_v(x0, eps, time)
  recovered = v_to_eps(x_t, v, time)
  np.testing.assert_allclose(recovered, eps, atol=1e-5)
  np.testing.assert_allclose(eps_to_x0(x_t, recovered, time), x0, atol=1e-3)

"""The forward process and what is diffused.

  x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps,  eps ~ N(0, 1)        (1)

(paper eq. 3, whose alpha_t is our alpha_bar_t). Conversions solve (1) for one of its
terms. x0 is a clip's latent flow: flow and occlusion of every frame, channels last.
All in float32: at t = 999 x0 from eps multiplies by 6.4e4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dabfusion_jax.diffusion.schedule import NoiseSchedule
from dabfusion_jax.ops.grid import identity_grid

FLOW_PARAMS = ("absolute", "residual")


def flow_to_latent(
  flow: Float[Array, "*b h w 2"],
  occlusion: Float[Array, "*b h w 1"],
  flow_param: str = "absolute",
  flow_scale: float = 1.0,
) -> Float[Array, "*b h w 3"]:
  """Encodes flow and occlusion as x0, roughly within [-1, 1].

  `absolute`: the sampling grid as it is, as LFDM has it. `residual` (a departure):
  minus the identity grid, times `flow_scale`; large motion then exceeds 1, so sampling
  needs another bound than 1 (`guidance.dynamic_threshold`).
  Occlusion in [0, 1] becomes 2 m - 1.
  """
  flow = flow_scale * (flow - _origin(flow, flow_param))
  return jnp.concatenate([flow, 2.0 * occlusion - 1.0], axis=-1)


def latent_to_flow(
  latent: Float[Array, "*b h w 3"],
  flow_param: str = "absolute",
  flow_scale: float = 1.0,
) -> tuple[Float[Array, "*b h w 2"], Float[Array, "*b h w 1"]]:
  """Inverse of `flow_to_latent`: (flow, occlusion)."""
  flow, occlusion = latent[..., :2], latent[..., 2:]
  flow = flow / flow_scale + _origin(flow, flow_param)
  return flow, (occlusion + 1.0) / 2.0


def _origin(flow: Array, flow_param: str) -> Array:
  height, width = flow.shape[-3:-1]
  shape = (1,) * (flow.ndim - 3) + (height, width, 2)
  if flow_param == "absolute":
    return jnp.zeros(shape, flow.dtype)
  if flow_param == "residual":
    return identity_grid(height, width).reshape(shape)
  raise ValueError(f"Unknown flow_param {flow_param!r}; expected one of {FLOW_PARAMS}.")


def example_keys(key: Key[Array, ""], example_id: Int[Array, "b"]) -> Key[Array, "b"]:
  """One key per example, the same in whatever batch and on whatever device it is."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, example_id)


def sample_noise(
  keys: Key[Array, "b"], shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
  """Standard normal noise of `shape` for every example, from its own key."""
  return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def sample_timestep(keys: Key[Array, "b"], num_timesteps: int) -> Int[Array, "b"]:
  """Uniform timestep in {0, ..., num_timesteps - 1} for every example."""
  return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_timesteps))(keys)


def add_noise(
  schedule: NoiseSchedule,
  x0: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """x_t by (1)."""
  signal, noise = signal_and_noise(schedule, t, x0.ndim)
  return signal * x0 + noise * eps


def eps_to_x0(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """(1) solved for x0. Unreliable near t = T - 1, where x_t holds no signal."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return (x_t - noise * eps) / signal


def x0_to_eps(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  x0: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """(1) solved for eps."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return (x_t - signal * x0) / noise


def eps_to_v(
  schedule: NoiseSchedule,
  x0: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0.

  Salimans and Ho 2022 (2202.00512), sec. 4: a prediction target whose error reaches x0
  undiminished by noise but never amplified, so a short training samples better.
  """
  signal, noise = signal_and_noise(schedule, t, x0.ndim)
  return signal * eps - noise * x0


def v_to_eps(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  v: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """The noise in x_t by a prediction of v."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return signal * v + noise * x_t


def signal_and_noise(
  schedule: NoiseSchedule, t: Int[Array, "b"], ndim: int
) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
  """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), shaped to multiply [b ...]."""
  table = np.sqrt([schedule.alpha_bar, 1 - schedule.alpha_bar])
  rates = jnp.asarray(table, jnp.float32)[:, t]
  signal, noise = rates.reshape(2, -1, *(1,) * (ndim - 1))
  return signal, noise


def posterior(
  alpha_bar: np.ndarray, alpha_bar_next: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """q(x_s | x_t, x0) for s < t: weights of x0 and x_t in the mean, and the variance.

  Ho et al. 2020 (2006.11239), eq. 6-7, for any pair of noise levels: `alpha_bar` at t,
  `alpha_bar_next` at s (1 where s is the clean end). Host tables, float64.
  """
  alpha = alpha_bar / alpha_bar_next
  beta = 1 - alpha
  weight_x0 = np.sqrt(alpha_bar_next) * beta / (1 - alpha_bar)
  weight_x_t = np.sqrt(alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)
  variance = beta * (1 - alpha_bar_next) / (1 - alpha_bar)
  return weight_x0, weight_x_t, variance

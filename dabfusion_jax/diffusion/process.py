"""The forward process, and the latent flow that it diffuses.

  x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps,  eps ~ N(0, 1)        (1)

is the paper's eq. 3, with alpha_bar_t for its alpha_t. x0 is a clip's latent flow: flow
and occlusion of every frame, channels last. Everything is float32: at t = 999 the
conversion of eps to x0 multiplies by 6.4e4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Key

from dabfusion_jax.diffusion.schedule import NoiseSchedule
from dabfusion_jax.ops.grid import identity_grid

FLOW_PARAMS = ("absolute", "residual")


def flow_to_latent(
  flow: Float[Array, "*b h w 2"],
  occlusion: Float[Array, "*b h w 1"],
  flow_param: str = "absolute",
  flow_scale: float = 1.0,
) -> Float[Array, "*b h w 3"]:
  """Returns x0 for flow and occlusion, roughly in [-1, 1].

  Args:
    flow: sampling grids in [-1, 1].
    occlusion: in [0, 1]; becomes 2 m - 1.
    flow_param: "absolute" keeps the sampling grid, as in LFDM. "residual" (a departure)
      subtracts the identity grid and multiplies by `flow_scale`. Large motion then
      exceeds 1, so sampling needs a larger bound (`guidance.dynamic_threshold`).
    flow_scale: factor of the flow.
  """
  flow = flow_scale * (flow - _origin(flow, flow_param))
  return jnp.concatenate([flow, 2.0 * occlusion - 1.0], axis=-1)


def latent_to_flow(
  latent: Float[Array, "*b h w 3"],
  flow_param: str = "absolute",
  flow_scale: float = 1.0,
) -> tuple[Float[Array, "*b h w 2"], Float[Array, "*b h w 1"]]:
  """Returns (flow, occlusion) for x0; inverts `flow_to_latent`."""
  flow, occlusion = latent[..., :2], latent[..., 2:]
  flow = flow / flow_scale + _origin(flow, flow_param)
  return flow, (occlusion + 1.0) / 2.0


def _origin(
  flow: Float[Array, "*b h w 2"], flow_param: str
) -> Float[Array, "... h w 2"]:
  """Returns the grid that is encoded as zero, with axes of 1 for `*b`."""
  height, width = flow.shape[-3:-1]
  shape = (1,) * (flow.ndim - 3) + (height, width, 2)
  if flow_param == "absolute":
    return jnp.zeros(shape, flow.dtype)
  if flow_param == "residual":
    return identity_grid(height, width).reshape(shape)
  raise ValueError(f"Unknown flow_param {flow_param!r}; expected one of {FLOW_PARAMS}.")


def example_keys(key: Key[Array, ""], example_id: Int[Array, "b"]) -> Key[Array, "b"]:
  """Returns a key per example that depends on neither its batch nor its device."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, example_id)


def sample_noise(
  keys: Key[Array, "b"], shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
  """Draws standard normal noise of `shape` for each example from its own key."""
  return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def sample_timestep(keys: Key[Array, "b"], num_timesteps: int) -> Int[Array, "b"]:
  """Draws a timestep in {0, ..., num_timesteps - 1} uniformly for each example."""
  return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_timesteps))(keys)


def add_noise(
  schedule: NoiseSchedule,
  x0: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """Returns x_t by (1)."""
  signal, noise = signal_and_noise(schedule, t, x0.ndim)
  return signal * x0 + noise * eps


def eps_to_x0(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """Solves (1) for x0; unreliable near t = T - 1, where x_t contains no signal."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return (x_t - noise * eps) / signal


def x0_to_eps(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  x0: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """Solves (1) for the noise; unreliable near t = 0, where x_t contains none."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return (x_t - signal * x0) / noise


def eps_to_v(
  schedule: NoiseSchedule,
  x0: Float[Array, "b ..."],
  eps: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """Returns the prediction target v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0.

  Salimans and Ho 2022 (2202.00512), sec. 4. Unlike an error of eps, an error of v is
  never amplified in x0, so that models sample better after a short training.
  """
  signal, noise = signal_and_noise(schedule, t, x0.ndim)
  return signal * eps - noise * x0


def v_to_eps(
  schedule: NoiseSchedule,
  x_t: Float[Array, "b ..."],
  v: Float[Array, "b ..."],
  t: Int[Array, "b"],
) -> Float[Array, "b ..."]:
  """Returns the noise in x_t for a prediction of v."""
  signal, noise = signal_and_noise(schedule, t, x_t.ndim)
  return signal * v + noise * x_t


def signal_and_noise(
  schedule: NoiseSchedule, t: Int[Array, "b"], ndim: int
) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
  """Returns sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), shaped to multiply [b ...]."""
  table = np.sqrt([schedule.alpha_bar, 1 - schedule.alpha_bar])
  rates = jnp.asarray(table, jnp.float32)[:, t]
  signal, noise = rates.reshape(2, -1, *(1,) * (ndim - 1))
  return signal, noise


def posterior(
  alpha_bar: Float64[np.ndarray, "n"], alpha_bar_next: Float64[np.ndarray, "n"]
) -> tuple[
  Float64[np.ndarray, "n"], Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]
]:
  """Returns q(x_s | x_t, x0), s < t: weights of x0 and x_t in its mean, its variance.

  Ho et al. 2020 (2006.11239), eq. 6-7, for any pair of noise levels.

  Args:
    alpha_bar: at t.
    alpha_bar_next: at s; 1 if s is the clean end.
  """
  alpha = alpha_bar / alpha_bar_next
  beta = 1 - alpha
  weight_x0 = np.sqrt(alpha_bar_next) * beta / (1 - alpha_bar)
  weight_x_t = np.sqrt(alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)
  variance = beta * (1 - alpha_bar_next) / (1 - alpha_bar)
  return weight_x0, weight_x_t, variance

"""The diffusion model of latent flow: what it predicts, and how samples are drawn."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.guidance import dynamic_threshold, guided_eps
from dabfusion_jax.diffusion.schedule import NoiseSchedule
from dabfusion_jax.models.conditioning import drop_condition, make_condition
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.stages.base import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentDiffusion:
  """A U-Net that denoises latent flow, and the sampling from it (paper sec. 3.3).

  Batch: that of `DiffusionStage`. Sampling needs neither `flow` nor `occlusion`, and
  takes `begins`, bool [b], if `begins_anywhere`: whose first frame is the picture.
  """

  unet: UNet3D
  schedule: NoiseSchedule
  music_scale: float  # factor of the unit-norm embedding
  prediction: str  # what the U-Net predicts: "eps" (the paper) or "v"
  flow_param: str  # see `process.flow_to_latent`
  flow_scale: float
  threshold: float | None  # quantile of `guidance.dynamic_threshold`; None: plain clip
  latent_bound: float  # largest |x0| of a sample
  # Whether the pictures of the training clips were any of their frames. Samples that
  # are to begin with the picture then have to be told so.
  begins_anywhere: bool = False

  def latent_image(self, z: Float[Array, "b s s c"]) -> Float[Array, "b s s d"]:
    """Returns z without the picture that it may carry for the decoder."""
    return z[..., : self.unet.z_channels]

  def z_term(
    self, params: PyTree, z: Float[Array | np.ndarray, "b h w c"]
  ) -> Float[Array, "b 1 s s base"]:
    """Returns what pictures add to the first layer (`UNet3D.z_term`)."""
    return self.unet.z_term(params, self.latent_image(z))

  def latent(self, batch: Batch) -> Float[Array, "b t s s 3"]:
    """Returns x0 of a batch."""
    return process.flow_to_latent(
      batch["flow"], batch["occlusion"], self.flow_param, self.flow_scale
    )

  def condition(
    self, batch: Batch
  ) -> tuple[Float[Array, "b e"], Float[Array, "b t f"] | None]:
    """Returns (condition, frame_condition) of a batch."""
    return make_condition(
      batch["music"],
      batch["beats"],
      batch["beat_features"],
      self.unet.beat_mode,
      self.music_scale,
    )

  def sample(
    self,
    params: PyTree,
    batch: Batch,
    keys: Key[Array, "b"],
    plan: samplers.Plan,
    guidance_scale: float = 1.0,
  ) -> tuple[Float[Array, "b t s s 2"], Float[Array, "b t s s 1"]]:
    """Draws (flow, occlusion) for the pictures, music and beats of a batch.

    `beats` decides the number of frames. Pure: jit it with the plan as a constant.
    """
    z_term = self.z_term(params, batch["z"])

    def body(carry: samplers.Carry, step: samplers.Plan) -> tuple[samplers.Carry, None]:
      carry = self.sample_step(
        params, step, batch, z_term, keys, carry, guidance_scale, plan.is_stochastic
      )
      return carry, None

    carry, _ = jax.lax.scan(body, self.first_carry(batch, keys), plan)
    return self.to_flow(carry.x)

  def first_carry(self, batch: Batch, keys: Key[Array, "b"]) -> samplers.Carry:
    """Returns the state of sampling before the first step."""
    size = batch["z"].shape[1] // self.unet.z_pool
    return samplers.first_carry(keys, (batch["beats"].shape[1], size, size, 3))

  def sample_step(
    self,
    params: PyTree,
    step: samplers.Plan,
    batch: Batch,
    z_term: Float[Array, "b 1 s s base"],
    keys: Key[Array, "b"],
    carry: samplers.Carry,
    guidance_scale: float,
    is_stochastic: bool,
  ) -> samplers.Carry:
    """Returns the state of sampling after one step; pure.

    Args:
      params: of the U-Net.
      step: one entry of the plan.
      batch: pictures, music and beats.
      z_term: `z_term` of the pictures.
      keys: one per example, the same in all steps.
      carry: the state before the step.
      guidance_scale: see `guidance.guided_eps`.
      is_stochastic: of the plan.
    """

    def eps_fn(x_t: Array, t: Array) -> Array:
      return self.eps(params, batch, z_term, x_t, t, guidance_scale)

    return samplers.sample_step(
      eps_fn, carry, keys, step, is_stochastic, self.threshold, self.latent_bound
    )

  def denoise_once(
    self, params: PyTree, batch: Batch, keys: Key[Array, "b"]
  ) -> tuple[Float[Array, "b t s s 2"], Float[Array, "b t s s 1"]]:
    """Returns (flow, occlusion) of x0, predicted at once from half-noised true flow."""
    x0 = self.latent(batch)
    t = jnp.full(len(x0), self.schedule.num_timesteps // 2, jnp.int32)
    noise = process.sample_noise(keys, x0.shape[1:])
    x_t = process.add_noise(self.schedule, x0, noise, t)
    z_term = self.z_term(params, batch["z"])
    eps = self.eps(params, batch, z_term, x_t, t, guidance_scale=1.0)
    x0 = process.eps_to_x0(self.schedule, x_t, eps, t)
    return self.to_flow(dynamic_threshold(x0, self.threshold, self.latent_bound))

  def eps(
    self,
    params: PyTree,
    batch: Batch,
    z_term: Float[Array, "b 1 s s base"],
    x_t: Float[Array, "b t s s 3"],
    t: Int[Array, "b"],
    guidance_scale: float,
  ) -> Float[Array, "b t s s 3"]:
    """Returns the guided noise prediction for pictures with this `z_term`."""
    condition = self.condition(batch)
    null_condition = drop_condition(*condition, jnp.zeros(x_t.shape[0], bool))

    def predict(x_t: Array, t: Array, condition: PyTree) -> Array:
      variables = {"params": params}
      out = self.unet.apply(variables, x_t, t, None, *condition, z_term=z_term)
      if self.prediction == "v":
        out = process.v_to_eps(self.schedule, x_t, out, t)
      return out

    eps = guided_eps(predict, x_t, t, condition, null_condition, guidance_scale)
    if self.begins_anywhere and "begins" in batch:
      eps = self._begin_with_picture(x_t, eps, t, batch["begins"])
    return eps

  def _begin_with_picture(
    self,
    x_t: Float[Array, "b t s s 3"],
    eps: Float[Array, "b t s s 3"],
    t: Int[Array, "b"],
    begins: Bool[Array, "b"],
  ) -> Float[Array, "b t s s 3"]:
    """Replaces the prediction for the first frames by that of no motion."""
    size = x_t.shape[2]
    still = jnp.broadcast_to(identity_grid(size, size), (*x_t[:, :1].shape[:-1], 2))
    seen = jnp.ones((*still.shape[:-1], 1))
    x0 = process.flow_to_latent(still, seen, self.flow_param, self.flow_scale)
    first = process.x0_to_eps(self.schedule, x_t[:, :1], x0, t)
    first = jnp.where(begins[:, None, None, None, None], first, eps[:, :1])
    return jnp.concatenate([first, eps[:, 1:]], axis=1)

  def to_flow(
    self, latent: Float[Array, "b t s s 3"]
  ) -> tuple[Float[Array, "b t s s 2"], Float[Array, "b t s s 1"]]:
    """Returns (flow, occlusion in [0, 1]) of a sampled x0."""
    flow, occlusion = process.latent_to_flow(latent, self.flow_param, self.flow_scale)
    return flow, jnp.clip(occlusion, 0.0, 1.0)

"""Stage 2: noise prediction on cached latent flow (paper sec. 3.3), and sampling."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.guidance import dynamic_threshold, guided_eps
from dabfusion_jax.diffusion.schedule import NoiseSchedule
from dabfusion_jax.models.conditioning import (
  drop_condition,
  make_condition,
  sample_keep,
)
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.unet3d import UNet3D


@dataclass(frozen=True, eq=False)
class DiffusionStage:
  """The paper's stage 2 around a frozen stage 1.

  Batch, float32: `flow` [b, t, s, s, 2] (absolute grid), `occlusion` [b, t, s, s, 1],
  `z` [b, s, s, c], `music` [b, d], `beats` [b, t], `beat_features` [b, t, 5].
  """

  unet: UNet3D
  schedule: NoiseSchedule
  uses_beats: bool  # False: the paper's DabFusion_b
  music_scale: float
  drop_probability: float
  prediction: str  # what the U-Net predicts: "eps" (the paper) or "v"
  velocity_weight: float  # of the error in x0's change from frame to frame; eps: 0
  flow_param: str
  flow_scale: float
  threshold_percentile: float | None
  latent_bound: float  # largest |x0| a sample may have
  plan: samplers.Plan  # of the pictures
  autoencoder: FlowAutoencoder  # frozen; only the pictures need it
  autoencoder_variables: Mapping[str, Any]

  def __post_init__(self):
    if self.prediction not in ("eps", "v"):
      raise ValueError(f"Unknown prediction {self.prediction!r}; known: eps, v.")
    if self.prediction == "eps" and self.velocity_weight:
      raise ValueError("velocity_weight needs prediction v: eps is no motion.")

  def init(self, key: jax.Array, batch: Any) -> tuple[Any, Any]:
    """Fresh (params, {}): the U-Net has no running statistics."""
    x = self.latent(batch)
    t = jnp.zeros(x.shape[:1], jnp.int32)
    condition = self.condition(batch)
    return self.unet.init(key, x, t, batch["z"], *condition)["params"], {}

  def loss(self, params: Any, batch_stats: Any, batch: Any, key: jax.Array):
    """Mean squared error of the prediction (paper Eq. 6): (loss, ({}, metrics)).

    A departure where `velocity_weight` is set: the error of x0's velocity beside it.
    The best prediction is the same, the mean; but when a dancer moves, which is what
    beats decide, is little of the error in where he is.
    """
    x0 = self.latent(batch)
    index = jnp.arange(x0.shape[0], dtype=jnp.int32)
    time_keys, noise_keys, keep_keys = (
      process.example_keys(k, index) for k in jax.random.split(key, 3)
    )
    t = process.sample_timestep(time_keys, self.schedule.num_timesteps)
    eps = process.sample_noise(noise_keys, x0.shape[1:])
    x_t = process.add_noise(self.schedule, x0, eps, t)
    keep = sample_keep(keep_keys, self.drop_probability)
    condition = drop_condition(*self.condition(batch), keep)
    predicted = self.unet.apply({"params": params}, x_t, t, batch["z"], *condition)
    target = eps
    if self.prediction == "v":
      target = process.eps_to_v(self.schedule, x0, eps, t)
    error = predicted - target
    squared = jnp.square(error)
    metrics = {
      "flow_error": squared[..., :2].mean(),
      "occlusion_error": squared[..., 2].mean(),
    }
    loss = squared.mean()
    if self.velocity_weight:
      # The error of x0 is sigma times that of v.
      variance = 1 - jnp.asarray(self.schedule.alpha_bar, jnp.float32)[t]
      change = jnp.square(jnp.diff(error, axis=1)).mean((1, 2, 3, 4))
      metrics["velocity_error"] = (variance * change).mean()
      loss += self.velocity_weight * metrics["velocity_error"]
    return loss, (batch_stats, metrics)

  def latent(self, batch: Any) -> jax.Array:
    """x0 of a batch: [b, t, s, s, 3]."""
    return process.flow_to_latent(
      batch["flow"], batch["occlusion"], self.flow_param, self.flow_scale
    )

  def condition(self, batch: Any) -> tuple[jax.Array, jax.Array | None]:
    """(condition, frame_condition) of a batch."""
    return make_condition(
      batch["music"],
      batch["beats"] if self.uses_beats else None,
      batch["beat_features"] if self.uses_beats else None,
      self.unet.beat_mode,
      self.music_scale,
    )

  def sample(
    self,
    params: Any,
    batch: Any,
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float = 1.0,
  ) -> tuple[jax.Array, jax.Array]:
    """Draws (flow, occlusion) for the `z`, music and beats of a batch.

    `beats` [b, t] decides the number of frames; one key an example. Pure: jit it.
    """
    z_term = self.unet.z_term(params, batch["z"])

    def eps_fn(x_t, t):
      return self.eps(params, batch, z_term, x_t, t, guidance_scale)

    return self.to_flow(
      samplers.sample(eps_fn, keys, self.latent_shape(batch), plan, *self.threshold)
    )

  def denoise_once(
    self, params: Any, batch: Any, keys: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """(flow, occlusion) of x0 by one evaluation on the truth, noised half the way."""
    x0 = self.latent(batch)
    t = jnp.full(len(x0), self.schedule.num_timesteps // 2, jnp.int32)
    noise = process.sample_noise(keys, x0.shape[1:])
    x_t = process.add_noise(self.schedule, x0, noise, t)
    z_term = self.unet.z_term(params, batch["z"])
    eps = self.eps(params, batch, z_term, x_t, t, guidance_scale=1.0)
    x0 = process.eps_to_x0(self.schedule, x_t, eps, t)
    return self.to_flow(dynamic_threshold(x0, *self.threshold))

  def eps(
    self,
    params: Any,
    batch: Any,
    z_term: jax.Array,
    x_t: jax.Array,
    t: jax.Array,
    guidance_scale: float,
  ) -> jax.Array:
    """Guided noise prediction; `z_term` is `unet.z_term` of the pictures."""
    condition = self.condition(batch)
    null_condition = drop_condition(*condition, jnp.zeros(x_t.shape[0], bool))

    def predict(x_t, t, condition):
      variables = {"params": params}
      out = self.unet.apply(variables, x_t, t, None, *condition, z_term=z_term)
      if self.prediction == "v":
        out = process.v_to_eps(self.schedule, x_t, out, t)
      return out

    return guided_eps(predict, x_t, t, condition, null_condition, guidance_scale)

  def latent_shape(self, batch: Any) -> tuple[int, ...]:
    """Of one x0: (t, s, s, 3)."""
    size = batch["z"].shape[1]
    return batch["beats"].shape[1], size, size, 3

  def to_flow(self, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A sampled x0 -> (flow, occlusion in [0, 1])."""
    flow, occlusion = process.latent_to_flow(latent, self.flow_param, self.flow_scale)
    return flow, jnp.clip(occlusion, 0.0, 1.0)

  @property
  def threshold(self) -> tuple[float | None, float]:
    """(percentile, bound) of `guidance.dynamic_threshold`."""
    return self.threshold_percentile, self.latent_bound

  def decode(self, z: Any, flow: Any, occlusion: Any) -> jax.Array:
    """[b, s, s, c], [b, t, s, s, 2], [b, t, s, s, 1] -> frames [b, t, h, w, 3]."""

    def clip(inputs):
      z, flow, occlusion = inputs
      z = jnp.broadcast_to(z, (flow.shape[0], *z.shape))
      return self.autoencoder.apply(
        self.autoencoder_variables, z, flow, occlusion, method="decode"
      )

    return jax.lax.map(clip, (z, flow, occlusion))  # one clip at a time in memory

  def pictures(
    self, params: Any, batch_stats: Any, batch: Any, key: jax.Array
  ) -> dict[str, np.ndarray]:
    """Up to three clips, every fifth frame: truth, one step, sample; all decoded.

    The step takes the truth half noised back to x0. It looks good long before samples
    do (LFDM: after a fraction of the epochs): where it does not either, the U-Net has
    learnt nothing yet.
    """
    del batch_stats
    rows = min(3, batch["z"].shape[0])
    batch = {name: value[:rows] for name, value in batch.items()}

    @jax.jit
    def draw(params, batch):
      keys = process.example_keys(key, jnp.arange(rows, dtype=jnp.int32))
      motions = [
        (batch["flow"], batch["occlusion"]),
        self.denoise_once(params, batch, keys),
        self.sample(params, batch, keys, self.plan),
      ]
      return [self.decode(batch["z"], *motion)[:, ::5] for motion in motions]

    sheet = np.stack(draw(params, batch), axis=1)  # rows, 3, t, h, w, 3
    sheet = np.moveaxis(sheet, 2, 3)  # rows, 3, h, t, w, 3
    shape = sheet.shape
    sheet = sheet.reshape(rows * 3 * shape[2], shape[3] * shape[4], 3)
    return {"dance": np.uint8(np.clip(sheet, 0, 1) * 255 + 0.5)}

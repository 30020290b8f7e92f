"""Stage 2: noise prediction on cached latent flow (paper sec. 3.3), and sampling."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.guidance import dynamic_threshold, guided_eps
from dabfusion_jax.diffusion.schedule import NoiseSchedule
from dabfusion_jax.losses import joints as losses
from dabfusion_jax.models.conditioning import (
  drop_condition,
  make_condition,
  sample_keep,
)
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.pixels import to_uint8
from dabfusion_jax.stages.base import Batch

READER = "joint_reader"  # its parameters lie beside the modules of the U-Net


@dataclass(frozen=True, eq=False)
class DiffusionStage:
  """The paper's stage 2 around a frozen stage 1.

  Batch, float32: `flow` [b t s s 2] (absolute grid), `occlusion` [b t s s 1], `z`
  [b s s c], `music` [b d], `beats` [b t], `beat_features` [b t 5]. Sampling needs
  neither `flow` nor `occlusion`, and takes `begins`, bool [b], if `begins_anywhere`:
  whose first frame is the picture. A `joint_reader` is trained with `joints` [b t 13 2]
  and `picture_joints` [b 13 2], in the coordinates of the flow.
  """

  unet: UNet3D
  schedule: NoiseSchedule
  music_scale: float  # factor of the unit-norm embedding
  drop_probability: float  # of the null condition in training
  prediction: str  # what the U-Net predicts: "eps" (the paper) or "v"
  velocity_weight: float  # of the error in x0's change from frame to frame; eps: 0
  flow_param: str  # see `process.flow_to_latent`
  flow_scale: float
  threshold: float | None  # quantile of `guidance.dynamic_threshold`; None: plain clip
  latent_bound: float  # largest |x0| of a sample
  plan: samplers.Plan  # for the pictures
  autoencoder: FlowAutoencoder  # frozen; used by the pictures only
  autoencoder_variables: PyTree
  # Whether the pictures of the training clips were any of their frames. Samples that
  # are to begin with the picture then have to be told so.
  begins_anywhere: bool = False
  joint_reader: JointReader | None = None  # trained beside the U-Net
  joint_weight: float = 0.0  # of its error

  def __post_init__(self):
    if self.prediction not in ("eps", "v"):
      raise ValueError(f"Unknown prediction {self.prediction!r}; known: eps, v.")
    if self.prediction == "eps" and self.velocity_weight:
      raise ValueError("velocity_weight needs prediction v: eps has no velocity.")

  def init(self, key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
    """Returns initial (params, {}): there are no running statistics."""
    x = self.latent(batch)
    t = jnp.zeros(x.shape[:1], jnp.int32)
    condition = self.condition(batch)
    z = self._latent_image(batch["z"])
    params = self.unet.init(key, x, t, z, *condition)["params"]
    if self.joint_reader is not None:
      flow, occlusion = batch["flow"][:, 0], batch["occlusion"][:, 0]
      inputs = flow, occlusion, batch["picture_joints"]
      key = jax.random.fold_in(key, 1)
      params = params | {READER: self.joint_reader.init(key, *inputs)["params"]}
    return params, {}

  def loss(
    self,
    params: PyTree,
    batch_stats: PyTree,
    batch: Batch,
    key: jax.Array,
    train: bool = True,
  ) -> tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]]:
    """Returns the mean squared error of the prediction (paper Eq. 6); see `Stage.loss`.

    If `velocity_weight` is set, the error of x0's velocity is added (a departure). The
    best prediction remains the mean, but position errors hardly reflect the timing of
    the motion, which is what beats determine.
    """
    x0 = self.latent(batch)
    index = jnp.arange(x0.shape[0], dtype=jnp.int32)
    *keys, joint_key = jax.random.split(key, 4)
    time_keys, noise_keys, keep_keys = (process.example_keys(k, index) for k in keys)
    t = process.sample_timestep(time_keys, self.schedule.num_timesteps)
    eps = process.sample_noise(noise_keys, x0.shape[1:])
    x_t = process.add_noise(self.schedule, x0, eps, t)
    condition = self.condition(batch)
    if train:
      keep = sample_keep(keep_keys, self.drop_probability)
      condition = drop_condition(*condition, keep)
    z = self._latent_image(batch["z"])
    predicted = self.unet.apply({"params": params}, x_t, t, z, *condition)
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
      # The error of x0 is sqrt(1 - alpha_bar_t) times that of v.
      variance = 1 - jnp.asarray(self.schedule.alpha_bar, jnp.float32)[t]
      change = jnp.square(jnp.diff(error, axis=1)).mean((1, 2, 3, 4))
      metrics["velocity_error"] = (variance * change).mean()
      loss += self.velocity_weight * metrics["velocity_error"]
    if self.joint_reader is not None:
      metrics["joint_error"] = self._joint_error(params, batch, joint_key, train)
      loss += self.joint_weight * metrics["joint_error"]
    return loss, (batch_stats, metrics)

  def _joint_error(
    self, params: PyTree, batch: Batch, key: jax.Array, train: bool
  ) -> Float[Array, ""]:
    """Returns the error of the joints that are read from some frames of each clip."""
    index = jnp.arange(len(batch["joints"]), dtype=jnp.int32)
    pick_keys, noise_keys = (
      process.example_keys(k, index) for k in jax.random.split(key)
    )
    flow, occlusion, true, still = losses.pick_frames(
      pick_keys, *(batch[k] for k in ("flow", "occlusion", "joints", "picture_joints"))
    )
    shown = flow, occlusion, still
    if train:
      shown = losses.add_noise(noise_keys, *shown)
    flat = (x.reshape(-1, *x.shape[2:]) for x in shown)
    read = self.read_joints(params, *flat).reshape(true.shape)
    return losses.joint_error(read, true, still)

  def read_joints(
    self,
    params: PyTree,
    flow: Float[Array | np.ndarray, "b s s 2"],
    occlusion: Float[Array | np.ndarray, "b s s 1"],
    picture_joints: Float[Array | np.ndarray, "b j 2"],
  ) -> Float[Array, "b j 2"]:
    """Returns where a flow moves the joints of a picture, in its coordinates.

    Raises:
      ValueError: the stage has no reader.
    """
    if self.joint_reader is None:
      raise ValueError("This stage was trained without a joint reader.")
    variables = {"params": params[READER]}
    return self.joint_reader.apply(variables, flow, occlusion, picture_joints)

  def _latent_image(self, z: Float[Array, "b s s c"]) -> Float[Array, "b s s d"]:
    """Returns z without the picture that it may carry for the decoder."""
    return z[..., : self.unet.z_channels]

  def z_term(
    self, params: PyTree, z: Float[Array | np.ndarray, "b s s c"]
  ) -> Float[Array, "b 1 s s base"]:
    """Returns what pictures add to the first layer (`UNet3D.z_term`)."""
    return self.unet.z_term(params, self._latent_image(z))

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

  def decode(
    self,
    z: Float[Array | np.ndarray, "b s s c"],
    flow: Float[Array | np.ndarray, "b t s s 2"],
    occlusion: Float[Array | np.ndarray, "b t s s 1"],
  ) -> Float[Array, "b t h w 3"]:
    """Returns the frames in [0, 1]."""

    def decode_clip(inputs: tuple[Array, Array, Array]) -> Array:
      z, flow, occlusion = inputs
      z = jnp.broadcast_to(z, (flow.shape[0], *z.shape))
      return self.autoencoder.apply(
        self.autoencoder_variables, z, flow, occlusion, method="decode"
      )

    # A loop, so that memory holds one clip at a time.
    return jax.lax.map(decode_clip, (z, flow, occlusion))

  def pictures(
    self, params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array
  ) -> dict[str, np.ndarray]:
    """Draws every fifth frame of up to three clips: true, from one step, and sampled.

    All are decoded. The step is `denoise_once`, which looks good long before samples do
    (LFDM: after a fraction of the epochs). As long as it does not, the U-Net has learnt
    nothing.
    """
    del batch_stats
    batch = {name: value[:3] for name, value in batch.items()}
    num_clips = len(batch["z"])

    @jax.jit
    def draw(params: PyTree, batch: Batch) -> list[Array]:
      keys = process.example_keys(key, jnp.arange(num_clips, dtype=jnp.int32))
      motions = [
        (batch["flow"], batch["occlusion"]),
        self.denoise_once(params, batch, keys),
        self.sample(params, batch, keys, self.plan),
      ]
      return [self.decode(batch["z"], *motion)[:, ::5] for motion in motions]

    sheet = np.stack(draw(params, batch), axis=1)  # [clips 3 t h w 3]
    sheet = np.moveaxis(sheet, 2, 3)  # [clips 3 h t w 3]
    _, _, height, num_frames, width, _ = sheet.shape
    sheet = sheet.reshape(num_clips * 3 * height, num_frames * width, 3)
    return {"dance": to_uint8(sheet)}

"""Stage 2: trains the diffusion model on cached latent flow (paper sec. 3.3)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.losses import joints as losses
from dabfusion_jax.models.conditioning import drop_condition, sample_keep
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.ops.pixels import to_uint8
from dabfusion_jax.ops.platform import forms
from dabfusion_jax.stages.base import Batch
from dabfusion_jax.stages.latent_diffusion import LatentDiffusion

# Frames whose feature maps fit the cache of a CPU: of 40 at once, convolutions at the
# paper's size take half as long again.
_CACHED_FRAMES = 8
READER = "joint_reader"  # its parameters lie beside the modules of the U-Net


@dataclass(frozen=True, eq=False, kw_only=True)
class DiffusionStage(LatentDiffusion):
  """The paper's stage 2 around a frozen stage 1.

  Batch, float32: `flow` [b t s s 2] (absolute grid), `occlusion` [b t s s 1], `z`
  [b s s c], `music` [b d], `beats` [b t], `beat_features` [b t 5]. A `joint_reader` is
  trained with `joints` [b t 13 2] and `picture_joints` [b 13 2], in the coordinates of
  the flow.
  """

  drop_probability: float  # of the null condition in training
  velocity_weight: float  # of the error in x0's change from frame to frame; eps: 0
  plan: samplers.Plan  # for the pictures
  autoencoder: FlowAutoencoder  # not used by the loss
  # JAX names functions by the text of what they belong to: 0.1 s with all weights.
  autoencoder_variables: PyTree = field(repr=False)
  joint_reader: JointReader | None = None  # trained beside the U-Net
  joint_weight: float = 0.0  # of its error
  frozen: ClassVar[PyTree] = {}  # the loss uses no other weights

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
    z = self.latent_image(batch["z"])
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
    frozen: PyTree,
    batch: Batch,
    key: jax.Array,
    train: bool = True,
  ) -> tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]]:
    """Returns the mean squared error of the prediction (paper Eq. 6); see `Stage.loss`.

    If `velocity_weight` is set, the error of x0's velocity is added (a departure). The
    best prediction remains the mean, but position errors hardly reflect the timing of
    the motion, which is what beats determine.
    """
    del frozen
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
    z = self.latent_image(batch["z"])
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

  def encode(
    self, variables: PyTree, images: Float[Array | np.ndarray, "b h w 3"]
  ) -> Float[Array, "b s s c"]:
    """Returns z of pictures in [0, 1].

    The variables are `autoencoder_variables`, as an argument of the program: constants
    of this size would be compiled and kept with it.
    """
    return self.autoencoder.apply(variables, images, method="encode")

  def decode(
    self,
    variables: PyTree,
    z: Float[Array | np.ndarray, "b s s c"],
    flow: Float[Array | np.ndarray, "b t s s 2"],
    occlusion: Float[Array | np.ndarray, "b t s s 1"],
  ) -> Float[Array, "b t h w 3"]:
    """Returns the frames in [0, 1]; the variables are those of `encode`."""

    def draw(z: Array, *motion: Array) -> Array:
      z = jnp.broadcast_to(z, (len(motion[0]), *z.shape))
      return self.autoencoder.apply(variables, z, *motion, method="decode")

    def draw_in_parts(z: Array, *motion: Array) -> Array:
      draw_one = lambda one: draw(z, *(x[None] for x in one))[0]
      return jax.lax.map(draw_one, motion, batch_size=_CACHED_FRAMES)

    draw_clip = forms(cpu=draw_in_parts)(draw)
    # A loop, so that memory holds one clip at a time.
    return jax.lax.map(lambda inputs: draw_clip(*inputs), (z, flow, occlusion))

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
    frames = self._draw_rows(params, self.autoencoder_variables, batch, key)
    sheet = np.stack(frames, axis=1)  # [clips 3 t h w 3]
    sheet = np.moveaxis(sheet, 2, 3)  # [clips 3 h t w 3]
    _, _, height, num_frames, width, _ = sheet.shape
    sheet = sheet.reshape(num_clips * 3 * height, num_frames * width, 3)
    return {"dance": to_uint8(sheet)}

  @functools.cached_property
  def _draw_rows(self) -> Callable:
    """(params, those of stage 1, batch, key) -> frames [b t h w 3] of each row."""

    @jax.jit
    def draw(params: PyTree, stage1: PyTree, batch: Batch, key: Array) -> list[Array]:
      ids = jnp.arange(len(batch["z"]), dtype=jnp.int32)
      keys = process.example_keys(key, ids)
      motions = [
        (batch["flow"], batch["occlusion"]),
        self.denoise_once(params, batch, keys),
        self.sample(params, batch, keys, self.plan),
      ]
      return [self.decode(stage1, batch["z"], *motion)[:, ::5] for motion in motions]

    return draw

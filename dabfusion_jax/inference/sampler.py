"""Both stages of a trained model on batches: pictures in, latents, frames out."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.windows import Joiner
from dabfusion_jax.inference.batch import make_batch
from dabfusion_jax.inference.song import Condition
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.joints import JOINTS
from dabfusion_jax.ops.pixels import from_uint8, to_uint8
from dabfusion_jax.parallel.compiled import options_for_inference
from dabfusion_jax.parallel.row_parallel import RowParallel
from dabfusion_jax.stages.diffusion import READER, DiffusionStage
from dabfusion_jax.storage.saved_stage import weights_that_fit
from data_pipeline.errors import UserError

# (flow [t s s 2], occlusion [t s s 1], joints of the picture [j 2]) -> joints [t j 2],
# all in the coordinates of the flow (`DiffusionStage.read_joints`).
ReadJoints = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class BatchSampler:
  """Compiled once for a model, not for every dance.

  `devices` share the examples of a batch, which must divide by their number.
  """

  stage: DiffusionStage
  params: Any
  devices: tuple[jax.Device, ...]

  def generate(
    self,
    batch: dict[str, Any],
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [b, t, h, w, 3] and flow [b, t, s, s, 2] of a batch."""
    flow, occlusion = self.draw(batch, keys, plan, guidance_scale)
    return self.decode(batch["z"], flow, occlusion), np.asarray(flow)

  def draw(
    self,
    batch: dict[str, Any],
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float,
    callback: Callable[[int, int], None] | None = None,
    joiner: Joiner | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Flow [b, t, s, s, 2] and occlusion [b, t, s, s, 1] of a batch.

    Steps on the host, so that progress can be shown; the numbers are those of
    `DiffusionStage.sample`. With a joiner, the batch is the next window of longer
    dances.
    """
    stage, params = self.stage, self._shared_params
    z_term = self._z_term(params, batch["z"])
    step_fn = self._step_fn(guidance_scale, plan.is_stochastic)
    carry = self._rows.split(stage.first_carry(batch, keys))
    if joiner is not None:
      joiner.begin(keys)
      carry = joiner.join(carry, None)
    for i in range(len(plan.t)):
      step = plan.at(i)
      carry = step_fn(params, step, batch, z_term, keys, carry)
      if joiner is not None:
        carry = joiner.join(carry, step)
      if callback is not None:
        jax.block_until_ready(carry)
        callback(i + 1, len(plan.t))
    return stage.to_flow(carry.x)

  @contextlib.contextmanager
  def compiling(
    self,
    num_rows: int,
    frame_size: int,
    num_frames: int,
    music_size: int,
    plan: samplers.Plan,
    guidance_scale: float,
    decodes: bool,
  ) -> Iterator[None]:
    """Compiles the programs of a dance while the block does something else.

    Afterwards `encode`, `draw` and, if `decodes`, `rebuild` and `decode` of a batch of
    these sizes find them, else `read_joints`. What fails here, fails there again with
    its own error.
    """
    key = (
      num_rows,
      frame_size,
      num_frames,
      guidance_scale,
      plan.is_stochastic,
      decodes,
    )
    if key in self._compiled or len(self.devices) > 1:
      yield
      return
    self._compiled.add(key)
    # Made here, by one thread: the others share them.
    stage, rows = self.stage, self._rows
    params, z_term = self._shared_params, self._z_term
    stage1, encode, decode = self._shared_stage1, self._encode, self._decode
    picture = jax.ShapeDtypeStruct((num_rows, frame_size, frame_size, 3), np.float32)
    z = rows.split(np.zeros(jax.eval_shape(encode, stage1, picture).shape, np.float32))
    silence = Condition(np.zeros(music_size, np.float32), np.zeros(0))
    batch = make_batch(z, [silence] * num_rows, num_frames, 1.0)
    keys = process.example_keys(jax.random.key(0), jnp.zeros(num_rows, jnp.int32))

    def compile_step() -> None:
      step_fn = self._step_fn(guidance_scale, plan.is_stochastic)
      shapes = (
        jax.eval_shape(z_term, params, z),
        jax.eval_shape(stage.first_carry, batch, keys),
      )
      of_z, carry = map(rows.like_output, shapes)
      step_fn.lower(params, plan.at(0), batch, of_z, keys, carry).compile()

    def compile_others() -> None:
      encode.lower(stage1, picture).compile()
      z_term.lower(params, z).compile()
      # Many small programs, which are compiled as they run.
      motion = stage.to_flow(rows.split(stage.first_carry(batch, keys)).x)
      if decodes:
        decode.lower(stage1, z, *_still(z)).compile()
        decode.lower(stage1, z, *motion).compile()
      elif self.read_joints is not None:
        flow, occlusion = (np.zeros(x.shape[1:], np.float32) for x in motion)
        joints = np.zeros((num_frames, len(JOINTS), 2), np.float32)
        self._read_joints.lower(self.params, flow, occlusion, joints).compile()

    with concurrent.futures.ThreadPoolExecutor() as pool:
      compiled = [pool.submit(work) for work in (compile_step, compile_others)]
      yield
    for future in compiled:
      future.result()  # raises what went wrong

  def encode(self, ref_images: Sequence[np.ndarray]) -> jax.Array:
    """Pictures uint8 [h, w, 3] -> z [b, s, s, c]."""
    return self._encode(self._shared_stage1, from_uint8(np.stack(ref_images)))

  def decode(self, z: Any, flow: Any, occlusion: Any) -> np.ndarray:
    """Latents of a batch -> frames uint8 [b, t, h, w, 3]."""
    return to_uint8(self._decode(self._shared_stage1, z, flow, occlusion))

  def rebuild(self, z: Any) -> np.ndarray:
    """What the codec makes of pictures without motion: uint8 [b, h, w, 3]."""
    return self.decode(z, *_still(z))[:, 0]

  @functools.cached_property
  def read_joints(self) -> ReadJoints | None:
    """Tells where flow moves joints; None if the model has not learnt it."""
    params, read = self.params, self._read_joints
    if self.stage.joint_reader is None:
      return None
    if READER not in params:
      raise UserError(
        "The weights hold no joint reader, but the config.json beside them has one; get"
        " the folder again."
      )

    def read_joints(flow, occlusion, picture_joints):
      joints = np.broadcast_to(picture_joints, (len(flow), *picture_joints.shape))
      return np.asarray(read(params, flow, occlusion, joints.astype(np.float32)))

    return read_joints

  @functools.cached_property
  def _read_joints(self) -> Callable:
    options = options_for_inference(self.devices[0])
    read = weights_that_fit()(self.stage.read_joints)
    return jax.jit(read, compiler_options=options)

  @functools.cached_property
  def _compiled(self) -> set[tuple]:
    return set()

  @functools.cached_property
  def _rows(self) -> RowParallel:
    return RowParallel(self.devices)

  def _compile(
    self, function: Callable, num_shared: int = 0, samples: bool = False
  ) -> Callable:
    function = weights_that_fit()(function)
    return self._rows.compile(function, num_shared, samples=samples)

  @functools.cached_property
  def _shared_params(self) -> Any:
    return self._rows.share(self.params)

  @functools.cached_property
  def _shared_stage1(self) -> Any:
    return self._rows.share(self.stage.autoencoder_variables)

  @functools.cached_property
  def _z_term(self) -> Callable:
    return self._compile(self.stage.z_term, num_shared=1)

  @functools.cached_property
  def _decode(self) -> Callable:
    return self._compile(self.stage.decode, num_shared=1)

  @functools.cached_property
  def _encode(self) -> Callable:
    return self._compile(self.stage.encode, num_shared=1)

  @functools.cached_property
  def _step_fn(self) -> Callable:
    """(guidance scale, is stochastic) -> one sampling step."""

    @functools.lru_cache(maxsize=8)
    def compiled(guidance_scale: float, is_stochastic: bool) -> Callable:
      step_fn = functools.partial(
        self.stage.sample_step,
        guidance_scale=guidance_scale,
        is_stochastic=is_stochastic,
      )
      return self._compile(step_fn, num_shared=2, samples=True)

    return compiled


def _still(z: Any) -> tuple[np.ndarray, np.ndarray]:
  """Returns flow [b, 1, s, s, 2] and occlusion of pictures with latents like `z`."""
  count, *size = z.shape[:3]
  still = np.broadcast_to(np.asarray(identity_grid(*size)), (count, 1, *size, 2))
  return still, np.ones((count, 1, *size, 1), np.float32)

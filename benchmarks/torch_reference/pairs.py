"""The same computations in JAX and in PyTorch, on a CPU in float32, ready to be timed.

PyTorch runs channels last. Numbers are those of `program_times.fill`, and random ones
in PyTorch: time does not depend on them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from benchmarks.accelerator_tasks import GUIDANCE, first_device_mesh, read_settings
from benchmarks.program_times import fill, is_training
from benchmarks.torch_reference.autoencoder_loss import stage1_loss
from benchmarks.torch_reference.flow_autoencoder import FlowAutoencoder
from benchmarks.torch_reference.grids import warp
from benchmarks.torch_reference.training import MUSIC_FEATURES
from benchmarks.torch_reference.unet3d import UNet3D
from dabfusion_jax.models.unet3d import UNet3D as FlaxUNet3D
from dabfusion_jax.ops import warp as ops_warp
from dabfusion_jax.ops.platform import compile_for
from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.parallel.compiled import options_for_inference
from dabfusion_jax.pretrained.converters import kernel_shapes
from launch import programs
from launch.programs import Program

_PRODUCT = 2048
_STAGE1_BATCH = {"paper": 4, "smoke": 2}
_CONTROL_POINTS = 25  # of the equivariance loss
_QUANTILE = 0.9  # of the dynamic threshold


@dataclasses.dataclass(frozen=True)
class Pair:
  """One computation, twice; each call returns when its result is there."""

  name: str
  ours: Callable[[], Any]
  torch: Callable[[], Any]
  gflop: float = 0.0  # of ours, in the form without loops; 0: not counted


class Pairs:
  """Makes each pair at the size of a variant; a method returns one."""

  def __init__(self, variant: str) -> None:
    settings = read_settings(variant, "float32", GUIDANCE)
    self.stage1, self.stage2 = settings["autoencoder"], settings["diffusion"]
    self.frames, model = self.stage2.data.num_frames, self.stage1.model
    self.flow_size = model.flow_size(self.stage1.data.frame_size)
    self.z_size = self.flow_size * 2**model.motion_down
    self.sizes = dict(
      base_channels=self.stage2.unet.base_channels,
      channel_multipliers=tuple(self.stage2.unet.channel_multipliers),
      z_channels=model.z_channels,
      num_heads=self.stage2.unet.num_heads,
      head_dim=self.stage2.unet.head_dim,
    )
    self.batch_size = _STAGE1_BATCH[variant]
    self.mesh = first_device_mesh()
    compile_for("rocm")  # where operations are counted (`_gflop`)

  def product(self) -> Pair:
    side = jax.random.normal(jax.random.key(0), (_PRODUCT, _PRODUCT))
    torch_side = torch.rand(_PRODUCT, _PRODUCT)
    product = jax.jit(jnp.matmul)
    return Pair(
      f"product of matrices, {_PRODUCT}",
      lambda: jax.block_until_ready(product(side, side)),
      lambda: _without_gradient(torch.matmul, torch_side, torch_side),
      2e-9 * _PRODUCT**3,
    )

  def unet_forward(self) -> Pair:
    flax, params, inputs = self._flax_unet()
    options = options_for_inference(jax.local_devices()[0], samples=True)
    apply = jax.jit(flax.apply, compiler_options=options)
    unet, inputs_of_torch = self._unet, self._unet_inputs(1)
    return Pair(
      "U-Net forward",
      lambda: jax.block_until_ready(apply(params, *inputs)),
      lambda: _without_gradient(unet, *inputs_of_torch),
      _gflop(flax.apply, params, *inputs),
    )

  def unet_backward(self) -> Pair:
    flax, params, inputs = self._flax_unet()
    gradient = jax.jit(jax.grad(lambda p, *x: jnp.square(flax.apply(p, *x)).mean()))
    unet, inputs_of_torch = self._unet, self._unet_inputs(1)
    return Pair(
      "U-Net forward and backward",
      lambda: jax.block_until_ready(gradient(params, *inputs)),
      lambda: _backward(unet, unet(*inputs_of_torch).square().mean()),
      _gflop(gradient, params, *inputs),
    )

  def guided_step(self) -> Pair:
    unet, inputs = self._unet, self._unet_inputs(2)
    program = programs.make_sampler_program(self.stage2, self.stage1, self.mesh, 1)
    theirs = lambda: _guided_step(unet, *inputs)
    return Pair("guided sampling step", *_with_gflop(program, self.mesh, theirs))

  def stage1_step(self) -> Pair:
    return self._stage1_step(self.mesh, "")

  def stage1_step_over_devices(self) -> Pair | None:
    """Returns the step as in a training; None if there is one device, or none fit."""
    devices = jax.local_devices()
    if len(devices) == 1 or self.batch_size % len(devices):
      return None
    mesh = sharding.mesh_of(devices, (("data", len(devices)), ("fsdp", 1)))
    return self._stage1_step(mesh, f", over {len(devices)} devices")

  def decoding(self) -> Pair:
    model, frames, size = self.stage1.model, self.frames, self.z_size
    drawing = _channels_last(FlowAutoencoder(model)).eval()
    z = torch.rand(1, size, size, model.z_channels).expand(frames, -1, -1, -1)
    cells = self.flow_size
    motion = [2 * torch.rand(frames, cells, cells, n) - 1 for n in (2, 1)]
    return Pair(
      f"decoding {frames} frames",
      *_with_gflop(
        programs.make_decoder_program(self.stage2, self.stage1, self.mesh, 1),
        self.mesh,
        lambda: _without_gradient(drawing.decode, z, *motion),
      ),
    )

  def warp(self) -> Pair:
    size = self.z_size
    images = torch.rand(self.frames, self.stage1.model.z_channels, size, size)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    grids = (2 * torch.rand(self.frames, size, size, 2) - 1).requires_grad_()
    as_jax = lambda x: jnp.asarray(x.detach().contiguous().numpy())
    sources, points = as_jax(images.permute(0, 2, 3, 1)), as_jax(grids)
    slopes = jax.jit(
      jax.grad(lambda *x: jax.vmap(ops_warp.warp)(*x).sum(), argnums=(0, 1))
    )
    return Pair(
      "warp of z with gradient",
      lambda: jax.block_until_ready(slopes(sources, points)),
      lambda: torch.autograd.grad(warp(images, grids).sum(), (images, grids)),
    )

  def _stage1_step(self, mesh: jax.sharding.Mesh, where: str) -> Pair:
    settings, batch = self.stage1, self.batch_size
    network = _channels_last(FlowAutoencoder(settings.model))
    adam = torch.optim.Adam(
      network.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True
    )
    trunk = {}
    if settings.loss.network != "none":
      for name, (*size, before, after) in kernel_shapes(settings.loss.network).items():
        trunk[name] = (0.05 * torch.randn(after, before, *size), torch.zeros(after))
    side = settings.data.frame_size
    pair = {n: torch.rand(batch, side, side, 3) for n in ("ref_image", "driving_frame")}
    theta = torch.eye(2, 3).expand(batch, -1, -1)
    coefficients = 0.005 * torch.randn(batch, _CONTROL_POINTS)

    def train() -> None:
      loss = stage1_loss(network, trunk, settings, pair, theta, coefficients)
      loss.backward()
      adam.step()
      adam.zero_grad(set_to_none=True)

    program = programs.make_step_program(settings, None, mesh, batch)
    name = f"stage-1 step, batch {batch}{where}"
    return Pair(name, *_with_gflop(program, mesh, train))

  @functools.cached_property
  def _unet(self) -> UNet3D:
    return _channels_last(
      UNet3D(MUSIC_FEATURES + self.frames, self.frames, **self.sizes)
    )

  def _unet_inputs(self, batch: int) -> tuple[Tensor, ...]:
    size, frames = self.flow_size, self.frames
    return (
      torch.rand(batch, frames, size, size, 3),
      torch.full((batch,), 500),
      torch.rand(batch, size, size, self.stage1.model.z_channels),
      torch.rand(batch, MUSIC_FEATURES + frames),
    )

  def _flax_unet(self) -> tuple[FlaxUNet3D, Any, list[jax.Array]]:
    """Returns the U-Net in Flax, its parameters, and inputs."""
    network = FlaxUNet3D(**self.sizes, beat_mode="global_concat")
    inputs = [jnp.asarray(x.numpy()) for x in self._unet_inputs(1)]
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    replicated = jax.NamedSharding(self.mesh, jax.P())
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)
    return network, fill(jax.tree.map(place, shapes)), inputs


def _ready(program: Program, mesh: jax.sharding.Mesh) -> Callable[[], Any]:
  """Returns a call of a program; a training step goes on from its last state."""
  trains, device = is_training(program), mesh.devices.flat[0]
  samples = program.repeats > 1  # steps of a sample
  options = None if trains else options_for_inference(device, samples=samples)
  with jax.set_mesh(mesh):
    lowered = program.function.lower(*program.arguments)
    compiled = lowered.compile(compiler_options=options)
    arguments = list(fill(program.arguments))

  def call() -> None:
    with jax.set_mesh(mesh):
      result = jax.block_until_ready(compiled(*arguments))
    if trains:
      arguments[0] = result[0]

  return call


def _with_gflop(
  program: Program, mesh: jax.sharding.Mesh, theirs: Callable[[], Any]
) -> tuple[Callable[[], Any], Callable[[], Any], float]:
  """Returns a call of a program, `theirs`, and the operations of the program."""
  with jax.set_mesh(mesh):
    gflop = _gflop(program.function, *program.arguments)
  return _ready(program, mesh), theirs, gflop


def _gflop(function: Callable, *arguments: Any) -> float:
  """Returns the operations of a jitted function as a platform without forms runs it.

  Forms for CPUs have loops, whose bodies count once; kernels count as nothing.
  """
  lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("rocm",))
  return 1e-9 * hardware.program_flops(lowered)


def _channels_last(network: torch.nn.Module) -> torch.nn.Module:
  return network.to(memory_format=torch.channels_last)


def _without_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
  with torch.no_grad():
    return function(*inputs)


def _backward(network: torch.nn.Module, loss: Tensor) -> None:
  loss.backward()
  network.zero_grad(set_to_none=True)


def _guided_step(
  network: UNet3D, x_t: Tensor, t: Tensor, z: Tensor, condition: Tensor
) -> Tensor:
  """Takes one DDIM step from both predictions, with the dynamic threshold."""
  eps, null = _without_gradient(network, x_t, t, z, condition).chunk(2)
  eps = null + GUIDANCE * (eps - null)
  alpha_bar, before = 0.5, 0.6
  x0 = (x_t[:1] - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
  bound = torch.quantile(x0.abs().flatten(), _QUANTILE).clamp(min=1.0)
  x0 = x0.clamp(-bound, bound) / bound
  return before**0.5 * x0 + (1 - before) ** 0.5 * eps

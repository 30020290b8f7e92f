"""The same computations in JAX and in PyTorch, on a CPU in float32, ready to be timed.

PyTorch runs channels last. Numbers are those of `program_times.fill`, and random ones
in PyTorch: time does not depend on them.
"""

import dataclasses
from collections.abc import Callable, Iterator
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
from dabfusion_jax.parallel import hardware, sharding
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


def make_pairs(variant: str) -> Iterator[Pair]:
  """Yields what is compared, at the size of a variant; each when it is asked for."""
  settings = read_settings(variant, "float32", GUIDANCE)
  stage1, stage2 = settings["autoencoder"], settings["diffusion"]
  frames, model = stage2.data.num_frames, stage1.model
  flow_size = model.flow_size(stage1.data.frame_size)
  sizes = dict(
    base_channels=stage2.unet.base_channels,
    channel_multipliers=tuple(stage2.unet.channel_multipliers),
    z_channels=model.z_channels,
    num_heads=stage2.unet.num_heads,
    head_dim=stage2.unet.head_dim,
  )
  mesh = first_device_mesh()
  rand = torch.rand
  unet = _channels_last(UNet3D(MUSIC_FEATURES + frames, frames, **sizes))
  inputs = lambda b: (
    rand(b, frames, flow_size, flow_size, 3),
    torch.full((b,), 500),
    rand(b, flow_size, flow_size, model.z_channels),
    rand(b, MUSIC_FEATURES + frames),
  )

  flax = FlaxUNet3D(**sizes, beat_mode="global_concat")
  arrays = [jnp.asarray(x.numpy()) for x in inputs(1)]
  params = jax.eval_shape(flax.init, jax.random.key(0), *arrays)
  replicated = jax.NamedSharding(mesh, jax.P())
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)
  params = fill(jax.tree.map(place, params))
  side = jax.random.normal(jax.random.key(0), (_PRODUCT, _PRODUCT))
  torch_side = rand(_PRODUCT, _PRODUCT)
  product = jax.jit(jnp.matmul)
  yield Pair(
    f"product of matrices, {_PRODUCT}",
    lambda: jax.block_until_ready(product(side, side)),
    lambda: _without_gradient(torch.matmul, torch_side, torch_side),
    2e-9 * _PRODUCT**3,
  )
  apply = jax.jit(flax.apply)
  gradient = jax.jit(jax.grad(lambda p, *x: jnp.square(flax.apply(p, *x)).mean()))
  one, two = inputs(1), inputs(2)
  yield Pair(
    "U-Net forward",
    lambda: jax.block_until_ready(apply(params, *arrays)),
    lambda: _without_gradient(unet, *one),
    _gflop(apply, params, *arrays),
  )
  yield Pair(
    "U-Net forward and backward",
    lambda: jax.block_until_ready(gradient(params, *arrays)),
    lambda: _backward(unet, unet(*one).square().mean()),
    _gflop(gradient, params, *arrays),
  )
  yield Pair(
    "guided sampling step",
    *_with_gflop(
      programs.make_sampler_program(stage2, stage1, mesh, 1),
      mesh,
      lambda: _guided_step(unet, *two),
    ),
  )

  batch_size = _STAGE1_BATCH[variant]
  network = _channels_last(FlowAutoencoder(model))
  adam = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True)
  trunk = {}
  if stage1.loss.network != "none":
    for name, (*size, before, after) in kernel_shapes(stage1.loss.network).items():
      trunk[name] = (0.05 * torch.randn(after, before, *size), torch.zeros(after))
  size = stage1.data.frame_size
  pair = {n: rand(batch_size, size, size, 3) for n in ("ref_image", "driving_frame")}
  theta = torch.eye(2, 3).expand(batch_size, -1, -1)
  coefficients = 0.005 * torch.randn(batch_size, _CONTROL_POINTS)

  def train() -> None:
    loss = stage1_loss(network, trunk, stage1, pair, theta, coefficients)
    loss.backward()
    adam.step()
    adam.zero_grad(set_to_none=True)

  meshes = {"": mesh}
  devices = jax.local_devices()
  if len(devices) > 1 and batch_size % len(devices) == 0:  # as in a training
    split = sharding.mesh_of(devices, (("data", len(devices)), ("fsdp", 1)))
    meshes[f", over {len(devices)} devices"] = split
  for where, mesh_of_step in meshes.items():
    yield Pair(
      f"stage-1 step, batch {batch_size}{where}",
      *_with_gflop(
        programs.make_step_program(stage1, None, mesh_of_step, batch_size),
        mesh_of_step,
        train,
      ),
    )

  z_size = flow_size * 2**model.motion_down
  drawing = _channels_last(FlowAutoencoder(model)).eval()
  z = rand(1, z_size, z_size, model.z_channels).expand(frames, -1, -1, -1)
  motion = [2 * rand(frames, flow_size, flow_size, n) - 1 for n in (2, 1)]
  yield Pair(
    f"decoding {frames} frames",
    *_with_gflop(
      programs.make_decoder_program(stage2, stage1, mesh, 1),
      mesh,
      lambda: _without_gradient(drawing.decode, z, *motion),
    ),
  )

  images = rand(frames, model.z_channels, z_size, z_size).requires_grad_()
  images = images.to(memory_format=torch.channels_last).detach().requires_grad_()
  grids = (2 * rand(frames, z_size, z_size, 2) - 1).requires_grad_()
  as_jax = lambda x: jnp.asarray(x.detach().contiguous().numpy())
  sources, points = as_jax(images.permute(0, 2, 3, 1)), as_jax(grids)
  slopes = jax.jit(
    jax.grad(lambda *x: jax.vmap(ops_warp.warp)(*x).sum(), argnums=(0, 1))
  )
  yield Pair(
    "warp of z with gradient",
    lambda: jax.block_until_ready(slopes(sources, points)),
    lambda: torch.autograd.grad(warp(images, grids).sum(), (images, grids)),
  )


def _ready(program: Program, mesh: jax.sharding.Mesh) -> Callable[[], Any]:
  """Returns a call of a program; a training step goes on from its last state."""
  with jax.set_mesh(mesh):
    compiled = program.function.lower(*program.arguments).compile()
    arguments = list(fill(program.arguments))

  def call() -> None:
    with jax.set_mesh(mesh):
      result = jax.block_until_ready(compiled(*arguments))
    if is_training(program):
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
  """Returns the operations of a jitted function as other platforms run it.

  Forms for CPUs have loops, whose bodies count once.
  """
  lowered = function.trace(*arguments).lower(lowering_platforms=("cuda",))
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

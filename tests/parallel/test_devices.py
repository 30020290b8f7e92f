"""The real stages give the same result on 1, 2, 4 and 8 devices.

What runs here are the programs of `launch.programs`, at smoke size and with every
parameter sharded. Only the order of float32 sums differs between meshes. A loss is a
mean over some thousand values, so rounding (6e-8) leaves it the same to about 1e-6;
Adam divides a gradient by its own size, which magnifies rounding where a gradient is
near zero, so a step later 1e-4 is what can be asked. A BatchNorm over one device's
share instead of the batch, or noise drawn per device, would show in the first digits.
"""

import dataclasses
import math
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_weights import draw_leaf

from dabfusion_jax.config import make_sampling_plan
from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.parallel import sharding
from dabfusion_jax.settings.config_files import load_config
from launch import programs
from launch.collectives import find_collectives

MESHES = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (2, 4)}  # devices -> (data, fsdp)
# Compiling takes all the time. On two and four devices the sampler runs.
TRAINED_ON = {"autoencoder": (1, 8), "diffusion": (1, 8)}
BATCH = 8


def _settings(name):
  path = pathlib.Path(__file__).parents[2] / "configs" / f"{name}.py"
  return dataclasses.replace(load_config(path, "smoke"), fsdp_min_bytes=0)


def _mesh(number):
  data, fsdp = MESHES[number]
  return sharding.make_mesh((("data", data), ("fsdp", fsdp)))


def _value(path, leaf):
  """Something a training could hold: new weights, random batches."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    keys = jax.random.split(jax.random.key(3), max(1, math.prod(leaf.shape)))
    return keys.reshape(leaf.shape) if leaf.shape else keys[0]
  name = jax.tree_util.keystr(path, simple=True, separator="/")
  if leaf.dtype == jnp.int32 or "opt_state" in name:
    return np.zeros(leaf.shape, leaf.dtype)
  if name.startswith("0/"):  # the state or, of the sampler, the parameters
    return draw_leaf(path, leaf)
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return rng.random(leaf.shape, np.float32)


def _compile(program, mesh):
  with jax.set_mesh(mesh):
    compiled = program.function.lower(*program.arguments).compile()
  values = jax.tree_util.tree_map_with_path(_value, program.arguments)
  placed = jax.tree.map(
    lambda x, spec: jax.device_put(x, spec.sharding), values, program.arguments
  )
  return compiled, placed


def _train(stage, number):
  """Losses of three steps, and the compiled step."""
  mesh = _mesh(number)
  stage1 = _settings("autoencoder")
  settings = _settings(stage)
  if stage == "diffusion":  # one level compiles in half the time; samples have both
    unet = dataclasses.replace(settings.unet, channel_multipliers=(1,))
    settings = dataclasses.replace(settings, unet=unet)
  program = programs.make_step_program(settings, stage1, mesh, BATCH)
  step, (state, *rest) = _compile(program, mesh)
  losses = []
  for _ in range(3):
    state, metrics = step(state, *rest)
    losses.append(float(metrics["loss"]))
  kernel = max(jax.tree.leaves(state.params), key=lambda x: x.size)
  assert len(kernel.addressable_shards) == number
  assert kernel.addressable_shards[0].data.size == kernel.size // MESHES[number][1]
  return losses, step, state


@pytest.fixture(scope="module", params=["autoencoder", "diffusion"])
def trained(request):
  """Number of devices -> `_train` of a stage."""
  return {number: _train(request.param, number) for number in TRAINED_ON[request.param]}


@pytest.mark.slow
def test_losses_are_the_same_on_any_number_of_devices(trained):
  losses = {number: result[0] for number, result in trained.items()}
  assert len(set(losses[1])) == 3  # it moves
  for number in losses:
    np.testing.assert_allclose(losses[number][0], losses[1][0], rtol=2e-6)
    np.testing.assert_allclose(losses[number], losses[1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["diffusion"], indirect=True)
def test_no_gather_exceeds_the_largest_weight(trained):
  """A larger one would be activations of the whole batch, on every device."""
  _, step, state = trained[8]
  largest = max(leaf.nbytes for leaf in jax.tree.leaves(state.params))
  gathers = [
    c.size for c in find_collectives(step.as_text(), 8) if c.kind == "all-gather"
  ]
  assert gathers and max(gathers) <= largest


@pytest.mark.slow
def test_samples_are_the_same_on_any_number_of_devices():
  settings = _settings("diffusion")
  plan = make_sampling_plan(settings.diffusion, settings.sampling)
  noise, samples = {}, {}
  for number in MESHES:
    mesh = _mesh(number)
    program = programs.make_sampler_program(
      settings, _settings("autoencoder"), mesh, BATCH
    )
    step_fn, (params, _, batch, z_term, _, _) = _compile(program, mesh)
    split = sharding.batch_sharding(mesh)
    index = jax.device_put(np.arange(BATCH, dtype=np.int32), split)
    keys = jax.jit(process.example_keys, out_shardings=split)(jax.random.key(1), index)
    carry = jax.jit(
      lambda keys: samplers.first_carry(keys, (8, 8, 8, 3)), out_shardings=split
    )(keys)
    noise[number] = carry.x
    for i in range(len(plan.t)):
      carry = step_fn(params, plan.at(i), batch, z_term, keys, carry)
    samples[number] = carry.x
  assert float(np.std(noise[1])) == pytest.approx(1, abs=0.02)
  assert float(np.std(samples[1])) > 0.1
  for number in MESHES:
    np.testing.assert_array_equal(noise[number], noise[1])
    np.testing.assert_allclose(samples[number], samples[1], atol=1e-5)

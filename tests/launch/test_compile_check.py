"""The compile check: parsing, roofline, search, a program for chips not here."""

import dataclasses
import importlib.util
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from dabfusion_jax.parallel import sharding
from dabfusion_jax.parallel.hardware import CHIPS
from dabfusion_jax.settings.config_files import load_config
from launch import compile_check, scaling_table
from launch.chips import TopologyError, find_chip, make_topology_mesh
from launch.collectives import Collective, find_collectives, summarise
from launch.compile_check import Result, find_largest_batch, roofline
from launch.programs import Program, make_step_program

# One line of each notation that XLA prints.
TEXT = """
  %all-reduce = f32[512,512]{1,0:T(8,128)} all-reduce(%fusion), channel_id=1, replica_groups=mesh['axis_0'=16,'axis_1'=4] {'axis_0'}, to_apply=%add
  %r = (f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%a, %b), replica_groups={{0,1},{2,3}}, to_apply=%add
  %ag = (f32[1,8]{1,0}, f32[4,8]{1,0}) all-gather-start(%p), replica_groups=[4,4]<=[16], dimensions={0}
  %agd = f32[4,8]{1,0} all-gather-done(%ag)
  %cp = (f32[16]{0}, f32[16]{0}, u32[], u32[]) collective-permute-start(%q), source_target_pairs={{0,1}}
  %rs = f32[2,8]{1,0} reduce-scatter(%x), replica_groups=[2,8]<=[16], dimensions={0}
  %alone = f32[9]{0} all-reduce(%y), replica_groups={{0},{1}}, to_apply=%add
  %other = f32[9]{0} add(%all-reduce, %y)
"""  # noqa: E501


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ("configs/diffusion.py:big", "Unknown variant 'big'; known: paper, people"),
    ("nothing.py", "nothing.py: no such config file"),
  ],
)
def test_a_wrong_config_is_one_line(config, message):
  command = [sys.executable, "-m", "launch.compile_check", f"--config={config}"]
  done = subprocess.run(
    [*command, "--topology=v5e:2x2"], capture_output=True, text=True, check=False
  )
  (line,) = done.stderr.splitlines()
  assert done.returncode and line.startswith(f"compile_check: {message}")


def test_collectives_are_read_from_a_programs_text():
  found = find_collectives(TEXT, 16)
  assert found == [
    Collective("all-reduce", 512 * 512 * 4, 16),
    Collective("all-reduce", 8 * 4 + 8 * 2, 2),
    Collective("all-gather", 4 * 8 * 4, 4),
    Collective("collective-permute", 16 * 4, 2),
    Collective("reduce-scatter", 2 * 8 * 4, 8),
  ]
  assert summarise(found)["all-reduce"] == (2, 512 * 512 * 4 + 48)


@pytest.mark.parametrize(
  ("kind", "sent"),
  [
    ("all-gather", 750),
    ("all-reduce", 1500),
    ("reduce-scatter", 3000),
    ("collective-permute", 1000),
  ],
)
def test_bytes_sent_are_those_of_a_ring_of_four(kind, sent):
  assert Collective(kind, 1000, 4).sent == sent


def test_roofline_takes_the_slower_of_arithmetic_and_memory_and_adds_the_network():
  chip = CHIPS["v5e"]
  assert roofline(chip, 197e12, 0.0, 0.0) == 1
  assert roofline(chip, 197e12, 2 * 819e9, 0.0) == 2
  assert roofline(chip, 197e12, 2 * 819e9, 200e9) == 3


def _result(batch_size, hbm, of=16.0):
  return Result(
    program="step",
    topology="v5e:4x4",
    num_devices=16,
    mesh="data 16 x fsdp 1",
    batch_size=batch_size,
    fits=hbm <= of,
    hbm=hbm,
    hbm_of_chip=of,
    flops=1e12,
    bytes=1e9,
    collectives={},
    sent=0.0,
    seconds=1.0,
    xla_seconds=1.0,
    compile_seconds=1.0,
  )


@pytest.mark.parametrize(("fixed", "each"), [(1.0, 0.5), (3.0, 0.011), (0.0, 9.0)])
@pytest.mark.parametrize("bend", [0.0, 0.02])
def test_search_finds_the_largest_batch_in_few_compilations(fixed, each, bend):
  tried = []

  def compile_batch(batch_size):
    units = batch_size // 16
    tried.append(units)
    return _result(batch_size, fixed + each * units * (1 + bend * (units % 3)))

  best = find_largest_batch(compile_batch, unit=16, first=32)
  assert best.fits
  true = max(n for n in range(1, 2000) if fixed + each * n * (1 + 2 * bend) <= 16.0)
  assert best.batch_size / 16 >= true - max(1, true / 12)
  assert len(tried) <= 9 and len(set(tried)) == len(tried)


def test_search_says_when_nothing_fits():
  with pytest.raises(ValueError, match="Not even a batch of 16 fits"):
    find_largest_batch(lambda n: _result(n, 17.0 * n / 16), unit=16, first=64)


def test_report_holds_verdict_formula_and_both_predictions():
  text = compile_check.describe(_result(32, 8.0 * 2**30, 16.0 * 2**30))
  assert text.startswith("FITS: step, batch 32 on 16 chips of v5e:4x4")
  assert "8.00 of 16.00 GiB" in text and compile_check.FORMULA in text
  assert "optimal_seconds" in text
  worse = dataclasses.replace(_result(32, 1.0), fits=False)
  assert compile_check.describe(worse).startswith("DOES NOT FIT")


def test_stage_1_that_learns_from_the_true_motion_can_be_checked():
  settings = load_config("configs/autoencoder.py", "smoke")
  model = dataclasses.replace(settings.model, num_keypoints=21)
  loss = dataclasses.replace(
    settings.loss, flow_weight=1.0, parts_weight=1.0, rebuild_by_truth=True
  )
  settings = dataclasses.replace(settings, model=model, loss=loss)
  mesh = sharding.mesh_of(jax.local_devices()[:1], (("data", 1), ("fsdp", 1)))
  program = make_step_program(settings, None, mesh, 2)
  with jax.set_mesh(mesh):
    _, metrics = jax.eval_shape(program.function, *program.arguments)
  assert "flow_error_ratio" in metrics and "part_regions" in metrics


@pytest.mark.parametrize("topology", ["v9:4x4", "v5e", "4x4"])
def test_unknown_topologies_name_the_known(topology):
  with pytest.raises(TopologyError, match="known are v4, v5e, v5p, v6e"):
    find_chip(topology)


needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="libtpu (extra tpu) not installed"
)


@needs_libtpu
def test_a_program_for_chips_that_are_not_here_is_compiled_and_judged():
  mesh = make_topology_mesh("v5e:2x2", 1, (("data", -1), ("fsdp", 1)))
  assert mesh.size == 4
  split = jax.NamedSharding(mesh, jax.P(("data", "fsdp")))
  whole = jax.NamedSharding(mesh, jax.P())

  def program(rows):
    step = lambda w, x: jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w) ** 2))(w)
    arguments = (
      jax.ShapeDtypeStruct((512, 512), jnp.float32, sharding=whole),
      jax.ShapeDtypeStruct((rows, 512), jnp.float32, sharding=split),
    )
    return Program("toy", jax.jit(step, out_shardings=whole), arguments, rows, 1)

  result = compile_check.compile_program(program(4096), "v5e:2x2", mesh)
  assert result.fits
  assert result.flops == pytest.approx(2 * 2 * 1024 * 512 * 512, rel=0.1)
  assert result.collectives["all-reduce"] == (1, 512 * 512 * 4)
  too_large = compile_check.compile_program(program(4 * 10**7), "v5e:2x2", mesh)
  assert not too_large.fits and too_large.hbm > too_large.hbm_of_chip


@needs_libtpu
def test_slices_are_joined_along_data():
  mesh = make_topology_mesh("v5e:2x2", 2, (("data", 2), ("fsdp", 4)))
  assert [{d.slice_index for d in row} for row in mesh.devices] == [{0}, {1}]
  with pytest.raises(ValueError, match="does not divide over 2 slices"):
    make_topology_mesh("v5e:2x2", 2, (("data", 1), ("fsdp", 8)))


def test_table_has_a_row_for_what_fits_and_for_what_does_not():
  fits = dataclasses.asdict(_result(32, 8.0 * 2**30, 16.0 * 2**30))
  fits["collectives"] = {"all-reduce": (2, 3_000_000), "collective-permute": (5, 40)}
  fails = dataclasses.asdict(_result(64, 20.0 * 2**30, 16.0 * 2**30))
  lines = scaling_table.table([fits, fails]).splitlines()
  assert len({line.count("|") for line in lines}) == 1
  assert "| 8.00 of 16.00 | 1,000 | 1.0 | reduce 2 (3.0) | 1,000.0 |" in lines[2]
  assert "20.00 of 16.00 **does not fit** | - |" in lines[3]

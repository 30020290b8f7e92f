"""Profiles of training steps: instructions, kinds of kernels, and a real profile."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from benchmarks import accelerator_groups, accelerator_report
from benchmarks.accelerator_profile import ProfileTask
from benchmarks.accelerator_rows import Profile
from benchmarks.accelerator_tasks import ProgramTask, make_step
from benchmarks.hlo_names import HloNames
from benchmarks.kernel_events import Event, busy, read_events
from benchmarks.kernel_times import KernelTime, add_up, family
from benchmarks.network_kinds import UNKNOWN, is_backward, kind_of
from benchmarks.program_times import trace_program
from launch.programs import Program

_BLOCK = "jit(step)/jvp(UNet3D)/down_0/block_0/conv_0/conv_general_dilated"
_TEMPORAL = "jit(step)/transpose(jvp(UNet3D))/down_0/temporal/dot_general"
_TEXT = f"""\
HloModule jit_step, is_scheduled=true

%fused_add (p.1: f32[8]) -> f32[8] {{
  %p.1 = f32[8]{{0}} parameter(0), metadata={{op_name="state.params[\\'a\\']"}}
  %mul.9 = f32[8]{{0}} multiply(%p.1, %p.1), metadata={{op_name="jit(step)/mul"}}
  ROOT %add.9 = f32[8]{{0}} add(%mul.9, %p.1), metadata={{op_name="{_TEMPORAL}"}}
}}

%command_buffer (p.2: f32[8]) -> f32[8] {{
  %p.2 = f32[8]{{0}} parameter(0)
  %wrapped_mul.3 = f32[8]{{0}} multiply(%p.2), metadata={{op_name="jit(step)/mul"}}
  %copy.7 = f32[8]{{0}} copy(%wrapped_mul.3)
  %cudnn-conv.5 = (f32[8]{{0}}, /*index=1*/u8[0]{{0}}) custom-call(%copy.7), \
custom_call_target="__cudnn$convForward", metadata={{op_name="{_BLOCK}"}}
  ROOT %loop_add_fusion.1 = f32[8]{{0}} fusion(%p.2), kind=kLoop, calls=%fused_add
}}

ENTRY %main.4 (x.1: f32[8]) -> f32[8] {{
  %x.1 = f32[8]{{0}} parameter(0), metadata={{op_name="state.params[\\'a\\']"}}
  ROOT %call.4 = f32[8]{{0}} call(%x.1), to_apply=%command_buffer
}}
"""


def _event(name, start, duration, hlo_op="", line="Stream #7(Compute)"):
  return Event(name, hlo_op, line, 1e6 * start, 1e6 * duration)


@pytest.mark.parametrize(
  "hlo_op, kernel, name",
  [
    ("loop_add_fusion.1", "anything", "loop_add_fusion.1"),
    ("", "loop_add_fusion_1", "loop_add_fusion.1"),
    ("", "fused_add", "loop_add_fusion.1"),
    ("call.4", "wrapped_mul_3", "wrapped_mul.3"),  # of a whole command buffer
    ("call.4", "call.4", "call.4"),  # on a CPU, around what it calls
    ("cudnn-conv.5", "sm90_xmma_fprop", "cudnn-conv.5"),
  ],
)
def test_a_kernel_is_found_by_its_instruction_or_else_by_its_own_name(
  hlo_op, kernel, name
):
  assert HloNames(_TEXT).find(hlo_op, kernel).name == name


def test_a_fusion_has_the_operation_of_its_root_and_a_copy_that_of_its_user():
  names = HloNames(_TEXT)
  assert names.find("loop_add_fusion.1", "").op_name == _TEMPORAL
  copy = names.find("copy.7", "")
  assert (copy.op_name, copy.is_guess) == (_BLOCK, True)
  assert names.find("", "add_9") is None  # inside of a fusion: no kernel
  assert names.find("", "sm90_xmma_fprop") is None


@pytest.mark.parametrize(
  "op_name, kind",
  [
    (_BLOCK, "residual block, convolutions"),
    ("jit(step)/jvp(UNet3D)/mid_block_1/norm_0/mul", "residual block, norm and SiLU"),
    ("jit(step)/jvp(UNet3D)/up_1/block_0/add", "residual block, rest"),
    (
      "jit(step)/jvp(UNet3D)/flow_head/block/conv_1/add",
      "residual block, convolutions",
    ),
    ("jit(step)/jvp(UNet3D)/flow_head/conv/dot_general", "convolutions outside"),
    ("jit(step)/transpose(jvp(UNet3D))/downsample_0/add", "convolutions outside"),
    (_TEMPORAL, "temporal attention"),
    ("jit(step)/jvp(UNet3D)/mid_temporal/cond/branch_0_fun/mul", "temporal attention"),
    ("jit(step)/jvp(UNet3D)/up_0/spatial/reduce_max", "linear attention"),
    ("jit(step)/jvp(UNet3D)/mid_spatial/mul", "spatial attention"),
    ("jit(step)/jvp(UNet3D)/time/erfc", "embeddings"),
    ("jit(step)/jvp(UNet3D)/concatenate", "U-Net, rest"),
    ("jit(step)/transpose(jvp(perceptual))/max", "perceptual network"),
    (
      "jit(step)/jvp(FlowAutoencoder.detect)/detector/hourglass/add",
      "keypoint detector",
    ),
    ("jit(step)/jvp(FlowAutoencoder.decode)/decoder/up_0/conv/add", "decoder"),
    ("jit(step)/jvp(FlowAutoencoder.decode)/gather", "stage 1, rest (warps)"),
    ("jit(step)/jvp()/sub", "loss and noise"),
    ("jit(step)/mul", "optimizer and averages"),
    ("", UNKNOWN),
  ],
)
def test_an_operation_is_of_the_module_in_its_name(op_name, kind):
  assert kind_of(op_name) == kind


def test_what_is_recomputed_is_of_the_backward_pass():
  assert is_backward(_TEMPORAL)
  assert is_backward("jit(step)/jvp(UNet3D)/checkpoint/rematted_computation/add")
  assert not is_backward("jit(step)/jvp(UNet3D)/up_0/spatial/transpose")


def test_kernels_add_up_by_kind_per_step():
  # Two calls; the library's kernels have neither an instruction nor its name.
  events = [
    _event(name, 100 * i + start, duration, hlo_op)
    for i in range(2)
    for name, start, duration, hlo_op in (
      ("sm80_first<int>", 0, 1, ""),
      ("wrapped_mul_3", 10, 2, "command_buffer"),
      ("sm90_xmma_fprop", 12, 4, "command_buffer"),
      ("loop_add_fusion_1", 15, 8, ""),
    )
  ]
  # A compilation beside it tries kernels; only the program's streams count.
  events.append(_event("sm90_tried", 300, 50, line="Stream #9(Compute)"))
  times = add_up(events, HloNames(_TEXT), num_calls=2)
  rows = {row.kind: row for row in times.kinds}
  block, temporal = rows["residual block, convolutions"], rows["temporal attention"]
  assert (block.forward_milliseconds, block.backward_milliseconds) == (4, 0)
  assert (temporal.forward_milliseconds, temporal.backward_milliseconds) == (0, 8)
  assert (temporal.num_kernels, temporal.share) == (1, 8 / 15)
  assert times.kinds[0] is temporal
  # Both calls' first kernel: the second comes after a fusion with no call behind it.
  assert times.unknown == [KernelTime("sm80_first", "", 1)]
  assert times.longest[0] == KernelTime("loop_add_fusion.1", _TEMPORAL, 8)
  assert (times.num_kernels, times.guessed_milliseconds) == (4, 4)
  assert times.kernel_milliseconds == 15
  assert times.busy_milliseconds == 1 + 13  # the last two overlap by 1


def test_time_is_busy_once_however_many_kernels_run():
  events = [
    _event("a", 0, 10),
    _event("b", 2, 3),
    _event("c", 8, 4),
    _event("d", 20, 1),
  ]
  assert busy(events) == 13e6


def test_a_family_of_kernels_has_neither_numbers_nor_template_arguments():
  assert family("void cutlass::Kernel<float, 8>(int)") == "void cutlass::Kernel"
  assert family("loop_add_fusion_12_3") == "loop_add_fusion"


def test_a_folder_without_a_profile_says_so(tmp_path):
  with pytest.raises(RuntimeError, match="no file"):
    read_events(tmp_path, "gpu")


def test_kernels_of_a_gpu_are_read_once_from_its_streams(tmp_path):
  event = "events { metadata_id: 1 offset_ps: 2000000 duration_ps: 3000000 %s }"
  text = f"""
    planes {{ name: "/host:CPU" lines {{ name: "python" }} }}
    planes {{
      name: "/device:GPU:0"
      event_metadata {{ key: 1 value {{ id: 1 name: "loop_add_fusion_1" }} }}
      stat_metadata {{ key: 1 value {{ id: 1 name: "hlo_op" }} }}
      stat_metadata {{ key: 2 value {{ id: 2 name: "loop_add_fusion.1" }} }}
      lines {{ name: "XLA Ops" timestamp_ns: 1000 {event % ""} }}
      lines {{
        name: "Stream #7(Compute)" timestamp_ns: 1000
        {event % "stats { metadata_id: 1 ref_value: 2 }"}
      }}
    }}
  """
  write = lambda text: (tmp_path / "vm.xplane.pb").write_bytes(
    jax.profiler.ProfileData.text_proto_to_serialized_xspace(text)
  )
  write(text)
  (found,) = read_events(tmp_path, "gpu")
  assert found == Event("loop_add_fusion_1", "loop_add_fusion.1", found.line, 3e3, 3e3)
  assert found.line == "Stream #7(Compute)"
  write('planes { name: "/device:GPU:0" }')
  with pytest.raises(RuntimeError, match="no kernels, only the planes /device:GPU:0"):
    read_events(tmp_path, "gpu")


class UNet3D(nn.Module):
  """Has a part with the name of an attention."""

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(64, name="conv_0")(x)
    return nn.Dense(64, name="input_temporal")(nn.silu(x))


class _Toy(ProgramTask):
  """A training step of two layers."""

  def trace_anew(self):
    network, x = UNet3D(), jnp.ones((32, 64))
    params = network.init(jax.random.key(0), x)

    def step(params, x):
      loss = lambda params: (network.apply(params, x) ** 2).mean()
      value, grads = jax.value_and_grad(loss)(params)
      params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
      return params, {"loss": value}

    where = jax.NamedSharding(self.mesh, jax.P())
    place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    arguments = jax.tree.map(place, (params, x))
    function = jax.jit(step, donate_argnums=0)
    program = Program("toy step", function, arguments, 32, 1)
    return program, trace_program(program, self.mesh)


def test_a_real_profile_has_forward_backward_and_optimizer(tmp_path):
  step = _Toy(make_step, "diffusion", "float32", 32)
  step.trace()
  step.compile()
  profile = ProfileTask(step)
  with pytest.raises(RuntimeError, match="not timed"):
    next(profile.measure(1, "", ""))
  (row,) = step.measure(1, "", "")
  (found,) = profile.measure(2, "", "compiling 1")
  kinds = {kind.kind: kind for kind in found.kernels.kinds}
  assert kinds["temporal attention"].forward_milliseconds > 0
  assert kinds["temporal attention"].backward_milliseconds > 0
  assert kinds["optimizer and averages"].forward_milliseconds > 0
  assert sum(kind.share for kind in found.kernels.kinds) == pytest.approx(1)
  assert 0 < found.kernels.busy_milliseconds <= found.recorded_milliseconds
  report = accelerator_report.Report(tmp_path / "report.json", {})
  report.add(row)
  report.add(found)
  text = (tmp_path / "report.json").read_text()
  assert '"profiles"' in text and '"temporal attention"' in text


def test_a_profile_is_printed_as_a_table():
  times = add_up([_event("loop_add_fusion_1", 0, 3)], HloNames(_TEXT), 1)
  row = Profile("toy step", "bf16", 8, 1, 5.0, 6.0, 1.0, times, "")
  lines = accelerator_report.profile_lines(row).splitlines()
  assert "5.00 ms per step, kernels run in 3.00 ms of it, 2.00 ms without" in lines[1]
  assert lines[5] == (
    "| toy step, bf16, batch 8 | temporal attention | 0.000 | 3.000 | 1 | 100.0 % |"
  )


@pytest.mark.parametrize("smoke", [False, True])
def test_every_task_comes_after_what_it_needs_and_profiles_after_their_step(smoke):
  groups = accelerator_groups.make_groups(smoke)
  tasks = [task for group in groups for task in group]
  for i, task in enumerate(tasks):
    assert all(needed in tasks[:i] for needed in task.needs)
    if isinstance(task, ProfileTask):
      assert tasks[i - 1] is task.task
  profiled = [task.task for task in tasks if isinstance(task, ProfileTask)]
  assert [task.stage for task in profiled] == ["diffusion", "autoencoder"]
  assert tasks[0] is profiled[0]

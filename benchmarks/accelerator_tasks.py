"""What the accelerator benchmark measures: programs, and a second device."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from benchmarks import program_times
from benchmarks.accelerator_rows import DanceTimes, Difference, Profile
from benchmarks.program_times import ProgramTimes, Traced, fill
from dabfusion_jax.parallel import sharding
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.settings.diffusion import DiffusionSettings
from launch import programs
from launch.programs import Program

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
# Name -> (dtype of activations, precision of products of float32). On TPUs JAX takes
# "tensorfloat32" as three passes of bf16.
PRECISIONS = {
  "float32": ("float32", "highest"),
  "tf32": ("float32", "tensorfloat32"),
  "bf16": ("bfloat16", "default"),
}
DANCE_STEPS = (25, 10)  # of DDIM
GUIDANCE = 2.0  # two predictions per step, as the bundled weights sample

Settings = AutoencoderSettings | DiffusionSettings
MakeProgram = Callable[..., Program]


Row = ProgramTimes | DanceTimes | Difference | Profile


class Task(abc.ABC):
  """Something to trace, to compile beside other compilations, and then to measure."""

  name: str
  needs: tuple["Task", ...] = ()  # earlier ones, to be compiled before
  compiles: bool = True  # False: it is quick, and may begin near the end of the time

  @abc.abstractmethod
  def trace(self) -> None:
    """Traces what `compile` takes; runs in the thread that traces all tasks."""

  @abc.abstractmethod
  def compile(self) -> None:
    """Compiles; runs in a thread of its own."""

  @abc.abstractmethod
  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    """Yields what was measured, as soon as it is."""


class ProgramTask(Task):
  """One program of the paper's (or the smoke variant's) size at one precision."""

  def __init__(
    self,
    make: MakeProgram,
    stage: str,
    precision: str,
    batch_size: int,
    variant: str = "paper",
    guidance: float = GUIDANCE,
  ):
    kind = make.__name__.removeprefix("make_").removesuffix("_program")
    self.name = f"{kind} of {stage}, {precision}, batch {batch_size}"
    self.make, self.stage, self.precision = make, stage, precision
    self.batch_size, self.variant, self.guidance = batch_size, variant, guidance
    self.mesh = first_device_mesh()
    self.row: ProgramTimes | None = None  # the latest

  def trace(self) -> None:
    self.program, self.traced = self.trace_anew()

  def trace_anew(self) -> tuple[Program, Traced]:
    """Returns the program over shapes, traced."""
    settings = read_settings(self.variant, self.precision, self.guidance)
    stage1 = settings["autoencoder"]
    program = self.make(settings[self.stage], stage1, self.mesh, self.batch_size)
    if self.make is programs.make_sampler_program:
      name = f"sampler step, guidance {self.guidance:g}"
      # Not "... step": it carries no state of an optimizer.
      program = dataclasses.replace(program, name=name)
    with jax.default_matmul_precision(PRECISIONS[self.precision][1]):
      return program, program_times.trace_program(program, self.mesh)

  def compile(self) -> None:
    self.compiled = program_times.compile_program(self.traced, self.mesh)

  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    row = program_times.time_program(
      self.program,
      self.traced,
      self.compiled,
      self.precision,
      self.mesh,
      num_calls,
      timed_beside,
    )
    self.row = dataclasses.replace(row, compiled_beside=compiled_beside)
    yield self.row


class CachedTask(Task):
  """The program of another task, compiled again: XLA's part is read from the cache."""

  def __init__(self, task: ProgramTask):
    self.task, self.needs = task, (task,)
    self.name = f"{task.name}, from the cache"

  def trace(self) -> None:
    _, self.traced = self.task.trace_anew()

  def compile(self) -> None:
    compiled = program_times.compile_program(self.traced, self.task.mesh)
    self.seconds = compiled.seconds

  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    yield dataclasses.replace(self.task.row, cached_compile_seconds=self.seconds)


class CompareTask(Task):
  """One program at smoke size in float32, on this device and on the CPU."""

  def __init__(self, make: MakeProgram, stage: str, cpu: jax.Device):
    self.make, self.stage = make, stage
    self.meshes = (first_device_mesh(), _mesh(cpu))
    self.name = f"comparison with the CPU: {make.__name__} of {stage}"

  def trace(self) -> None:
    settings = read_settings("smoke", "float32", GUIDANCE)
    self.programs = []
    with jax.default_matmul_precision("highest"):
      for mesh in self.meshes:
        program = self.make(settings[self.stage], settings["autoencoder"], mesh, 2)
        traced = program_times.trace_program(program, mesh)
        self.programs.append((program, traced, mesh))

  def compile(self) -> None:
    results = []
    for program, traced, mesh in self.programs:
      compiled = program_times.compile_program(traced, mesh)
      with jax.set_mesh(mesh):
        result = jax.device_get(compiled.call(*fill(program.arguments)))
      if program_times.is_training(program):
        result = result[1]["loss"]  # Adam divides small gradients by their own size
      results.append(result)
    self.difference = Difference(program.name, difference(*results))

  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    yield self.difference


def make_step(
  settings: Settings,
  stage1: AutoencoderSettings,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Program:
  """Returns the training step of either stage."""
  return programs.make_step_program(settings, stage1, mesh, batch_size)


def read_settings(variant: str, precision: str, guidance: float) -> dict[str, Settings]:
  """Returns the settings of both stages, by name, at a precision."""
  dtype = PRECISIONS[precision][0]
  stage1 = load_config(_CONFIGS / "autoencoder.py", variant)
  stage2 = load_config(_CONFIGS / "diffusion.py", variant)
  replace = dataclasses.replace
  sampling = replace(
    stage2.sampling,
    method="ddim",
    num_inference_steps=DANCE_STEPS[0],
    guidance_scale=guidance,
  )
  # The loop's accumulation would hide the largest batch.
  stage1 = replace(
    stage1, gradient_accumulation=1, model=replace(stage1.model, dtype=dtype)
  )
  stage2 = replace(
    stage2,
    gradient_accumulation=1,
    unet=replace(stage2.unet, dtype=dtype),
    sampling=sampling,
  )
  return {"autoencoder": stage1, "diffusion": stage2}


def difference(ours: Sequence, theirs: Sequence) -> float:
  """Returns the largest difference of two trees, relative to the largest value."""
  pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
  return max(
    float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30)) for a, b in pairs
  )


def first_device_mesh() -> jax.sharding.Mesh:
  """Returns a mesh of the first device alone."""
  return _mesh(jax.local_devices()[0])


def _mesh(device: jax.Device) -> jax.sharding.Mesh:
  return sharding.mesh_of([device], (("data", 1), ("fsdp", 1)))

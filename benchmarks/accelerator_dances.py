"""Whole dances, for the accelerator benchmark."""

import statistics
import time
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks import program_times
from benchmarks.accelerator_rows import DanceTimes
from benchmarks.accelerator_tasks import (
  DANCE_STEPS,
  ProgramTask,
  Row,
  Task,
  read_settings,
)
from benchmarks.program_times import fill
from dabfusion_jax.diffusion.samplers import make_plan
from dabfusion_jax.parallel import sharding
from launch import programs

FPS = 10.0  # of the clips, for seconds of dance


class DanceTask(Task):
  """Whole dances with the compiled sampler step and decoder of two other tasks."""

  def __init__(self, sampler: ProgramTask, decoder: ProgramTask):
    self.sampler, self.decoder, self.needs = sampler, decoder, (sampler, decoder)
    self.name = f"dance, {sampler.precision}, batch {sampler.batch_size}"

  def trace(self) -> None:
    sampler = self.sampler
    settings = read_settings(sampler.variant, sampler.precision, sampler.guidance)
    self.settings = settings["diffusion"]
    stage = programs.make_abstract_diffusion(self.settings, settings["autoencoder"])
    self.stage = stage
    params, _, batch, z_term, keys, carry = sampler.program.arguments
    split = sharding.batch_sharding(sampler.mesh)

    def begin(params, batch, keys):
      return stage.z_term(params, batch["z"]), stage.first_carry(batch, keys)

    begin, end = (jax.jit(f, out_shardings=split) for f in (begin, stage.to_flow))
    with program_times.HOST.tracing(), jax.set_mesh(sampler.mesh):
      self.traced = begin.lower(params, batch, keys), end.lower(carry.x)

  def compile(self) -> None:
    with jax.set_mesh(self.sampler.mesh):
      self.begin, self.end = (lowered.compile() for lowered in self.traced)

  def measure(
    self, num_calls: int, compiled_beside: str, timed_beside: str
  ) -> Iterator[Row]:
    sampler, schedule = self.sampler, self.stage.schedule
    dance_seconds = sampler.batch_size * self.settings.data.num_frames / FPS
    with program_times.HOST.timing(), jax.set_mesh(sampler.mesh):
      params, _, batch, _, keys, _ = fill(sampler.program.arguments)
      variables = fill(self.decoder.program.arguments[0])

      def dance(plan) -> np.ndarray:
        z_term, carry = self.begin(params, batch, keys)
        for i in range(len(plan.t)):
          step = plan.at(i)
          carry = sampler.compiled.call(params, step, batch, z_term, keys, carry)
        flow, occlusion = self.end(carry.x)
        frames = self.decoder.compiled.call(variables, batch["z"], flow, occlusion)
        return np.asarray(frames)

      for num_steps in DANCE_STEPS:
        plan = make_plan(schedule, "ddim", num_steps)
        times = []
        for _ in range(min(num_calls, 5) + 1):
          started = time.perf_counter()
          dance(plan)
          times.append(time.perf_counter() - started)
        yield DanceTimes(
          sampler.batch_size,
          num_steps,
          sampler.precision,
          statistics.median(times[1:]),
          dance_seconds,
          timed_beside,
        )

"""Which tasks the accelerator benchmark runs, and in which order."""

import jax

from benchmarks.accelerator_tasks import (
  CachedTask,
  CompareTask,
  DanceTask,
  ProgramTask,
  Task,
  make_step,
)
from launch import programs


def make_groups(smoke: bool) -> list[list[Task]]:
  """Returns groups of tasks, the most telling first; a group is compiled at once."""
  step, stage1, stage2 = make_step, "autoencoder", "diffusion"
  sampler, decoder = programs.make_sampler_program, programs.make_decoder_program
  if smoke:
    task = lambda *names, **options: ProgramTask(*names, variant="smoke", **options)
    small = task(sampler, stage2, "float32", 1), task(decoder, stage2, "float32", 1)
    first = task(step, stage2, "float32", 2)
    return [[first], [*small, DanceTask(*small), CachedTask(first)]]
  task = ProgramTask
  one = task(sampler, stage2, "bf16", 1), task(decoder, stage2, "bf16", 1)
  four = task(sampler, stage2, "bf16", 4), task(decoder, stage2, "bf16", 4)
  first = task(step, stage2, "bf16", 2)
  # Small groups: what is timed beside compilations is timed again at a group's end.
  groups = [
    [first],
    [one[0], one[1], task(step, stage2, "bf16", 8), DanceTask(*one)],
    [
      task(step, stage2, "bf16", 32),
      task(step, stage1, "bf16", 16),
      task(step, stage1, "bf16", 100),
      four[0],
      four[1],
      DanceTask(*four),
      CachedTask(first),
    ],
    [
      task(step, stage2, "tf32", 8),
      task(step, stage2, "float32", 8),
      task(step, stage1, "tf32", 16),
      task(step, stage1, "float32", 16),
      task(sampler, stage2, "bf16", 1, guidance=1.0),
    ],
  ]
  if (cpu := cpu_beside()) is not None:
    pairs = ((step, stage2), (sampler, stage2), (decoder, stage2), (step, stage1))
    groups.append([CompareTask(make, stage, cpu) for make, stage in pairs])
  return groups


def cpu_beside() -> jax.Device | None:
  """Returns a CPU to compare with; None if there is nothing else here."""
  if jax.local_devices()[0].platform == "cpu":
    return None
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:
    return None

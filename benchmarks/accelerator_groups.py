"""Which tasks the accelerator benchmark runs, and in which order."""

import jax

from benchmarks.accelerator_dances import DanceTask
from benchmarks.accelerator_profile import ProfileTask
from benchmarks.accelerator_tasks import (
  CachedTask,
  CompareTask,
  ProgramTask,
  Task,
  make_step,
)
from launch import programs


def make_groups(smoke: bool) -> list[list[Task]]:
  """Returns groups of tasks, the least known first; a group is compiled at once."""
  step, stage1, stage2 = make_step, "autoencoder", "diffusion"
  sampler, decoder = programs.make_sampler_program, programs.make_decoder_program
  if smoke:
    task = lambda *names, **options: ProgramTask(*names, variant="smoke", **options)
    small = task(sampler, stage2, "float32", 1), task(decoder, stage2, "float32", 1)
    first, second = (task(step, stage, "float32", 2) for stage in (stage2, stage1))
    return [
      [first, ProfileTask(first)],
      [second, ProfileTask(second)],
      [*small, DanceTask(*small), CachedTask(first)],
    ]
  task = ProgramTask
  first, second = task(step, stage2, "bf16", 8), task(step, stage1, "bf16", 100)
  one = task(sampler, stage2, "bf16", 1), task(decoder, stage2, "bf16", 1)
  four = task(sampler, stage2, "bf16", 4), task(decoder, stage2, "bf16", 4)
  # In the order of what is least known. On an H100 the step of stage 2 compiles for
  # more than two minutes alone, and for more than four beside two others and a build of
  # data, so it begins alone; batch 32 takes longer still (`--seconds`). Each profile
  # needs the step before it and compiles nothing. Then the precisions that nobody
  # trains in; what was measured in earlier runs comes last, each dance after its
  # sampler and decoder.
  # Small groups: what is timed beside compilations is timed again at a group's end.
  groups = [
    [first, ProfileTask(first)],
    [task(step, stage2, "bf16", 32)],
    [second, ProfileTask(second)],
    [
      task(step, stage2, "tf32", 8),
      task(step, stage2, "float32", 8),
      task(step, stage1, "tf32", 100),
    ],
    [*one, DanceTask(*one), CachedTask(first)],
    [
      *four,
      DanceTask(*four),
      task(step, stage2, "bf16", 2),
      task(step, stage1, "bf16", 16),
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

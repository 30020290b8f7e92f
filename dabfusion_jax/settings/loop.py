"""Settings that both stages share: the training loop and the optimizer."""

import dataclasses
import math
from typing import Any

from dabfusion_jax.settings.checks import check_ranges
from dabfusion_jax.settings.mapping import resolved
from data_pipeline import cli
from data_pipeline.errors import UserError

MAX_STEPS = 2**31 - 1  # they are counted in 32 bits


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
  """Adam and its learning-rate schedule, see `training.optimizer`."""

  learning_rate: float  # at its highest
  b1: float  # decay of the first moment
  b2: float  # decay of the second moment
  milestones: tuple[int, ...]  # steps from which the rate is a tenth of what it was
  warmup_steps: int  # length of the linear rise; 0: none
  clip_norm: float | None  # largest global gradient norm; None: no clipping

  def __post_init__(self):
    if self.learning_rate <= 0:
      raise UserError(f"learning_rate must be positive, got {self.learning_rate}.")
    ranges = {"warmup_steps": (0, MAX_STEPS), "milestones": (1, MAX_STEPS)}
    check_ranges(self, "optimizer", ranges)
    steps = list(self.milestones)
    if steps != sorted(set(steps)):
      raise UserError(f"milestones must be in rising order, got {self.milestones}.")
    if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1):
      raise UserError(f"b1 and b2 must lie in [0, 1), got {self.b1} and {self.b2}.")
    if self.clip_norm is not None and self.clip_norm <= 0:
      raise UserError(f"clip_norm must be positive or None, got {self.clip_norm}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings:
  """Settings of the training loop; the `*_every` count in steps."""

  stage: str  # "autoencoder" or "diffusion"
  variant: str  # of the config file
  seed: int  # of parameters, noise and data order
  num_steps: int
  batch_size: int  # global
  log_every: int
  picture_every: int  # and after the last step; 0: never
  eval_every: int = 0  # loss on held-out data; 0: never
  eval_batches: int = 8  # batches that loss is a mean over
  checkpoint_every: int
  keep_checkpoints: int  # how many of the newest stay
  keep_best_checkpoints: int  # how many of those with the lowest loss stay as well
  ema_decay: float  # reached after a warm-up; 0: no moving average
  gradient_accumulation: int  # parts a batch is taken in, one after the other
  mesh: tuple[tuple[str, int], ...]  # e.g. (("data", -1), ("fsdp", 1))
  fsdp_min_bytes: int  # smaller arrays are replicated
  # Consecutive bad steps that are skipped; one more ends the run. 0: the first does.
  max_skipped_steps: int
  spike_grad_norm: float | None  # a step beyond it is bad; None: any finite one is good
  # Seconds without a step after which the run ends and names who hangs; 0: never.
  stall_seconds: float
  init_from: str  # workdir or published folder to take parameters from; "": none
  init_parts: tuple[str, ...]  # top-level modules to take from it; (): all
  optimizer: OptimizerSettings
  # Top-level modules that keep their parameters and statistics; latents stay valid if
  # the decoder alone is trained on.
  frozen_parts: tuple[str, ...] = ()
  # Runs whose parameters this one started from, oldest first: command, step, digest.
  history: tuple[dict[str, Any], ...] = resolved(())

  def __post_init__(self):
    counts = ("num_steps", "batch_size", "log_every", "checkpoint_every")
    counts += ("keep_checkpoints", "eval_batches")
    ranges = dict.fromkeys((*counts, "gradient_accumulation"), (1, MAX_STEPS))
    ranges["batch_size"] = (1, 2**20)
    naturals = ("max_skipped_steps", "eval_every", "picture_every")
    naturals += ("keep_best_checkpoints", "fsdp_min_bytes")
    ranges |= dict.fromkeys(naturals, (0, MAX_STEPS))
    ranges |= {"stall_seconds": (0, math.inf), "seed": (0, cli.MAX_SEED)}
    check_ranges(self, "", ranges)
    if not 0 <= self.ema_decay < 1:
      raise UserError(f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
    if self.spike_grad_norm is not None and self.spike_grad_norm <= 0:
      raise UserError(
        f"spike_grad_norm must be positive or None, got {self.spike_grad_norm}."
      )

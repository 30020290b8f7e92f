"""Settings of the training loop that both stages begin with."""

import ml_collections
from ml_collections import config_dict

VARIANTS = ("paper", "people", "medium", "demo", "smoke")


def get_loop(stage: str, variant: str) -> ml_collections.ConfigDict:
  """Returns the loop's defaults; steps, batch size and optimizer are the stage's.

  Raises:
    ValueError: `variant` is not one of `VARIANTS`.
  """
  if variant not in VARIANTS:
    raise ValueError(f"Unknown variant {variant!r}; known: {', '.join(VARIANTS)}.")
  c = ml_collections.ConfigDict()
  c.stage = stage
  c.variant = variant
  c.seed = 0
  c.log_every = 50
  c.picture_every = 1_000
  c.eval_every = 1_000  # loss on the test split; 0: never
  c.eval_batches = 8
  c.checkpoint_every = 1_000
  c.keep_checkpoints = 3
  c.keep_best_checkpoints = 1  # lowest held-out loss, else lowest training loss
  c.gradient_accumulation = 1  # parts a batch is taken in, to save memory
  c.mesh = (("data", -1), ("fsdp", 1))
  c.fsdp_min_bytes = 2**20  # smaller parameters are replicated
  c.max_skipped_steps = (
    0  # consecutive bad steps that are skipped; 0: the first ends it
  )
  c.spike_grad_norm = config_dict.placeholder(float)  # a step beyond it is bad
  c.stall_seconds = 0.0  # without a step until the run ends, naming who hangs; 0: never
  c.init_from = ""  # workdir or published folder that lends a new run its parameters
  c.init_parts = ()  # the top-level modules it lends; empty: all
  c.frozen_parts = ()  # top-level modules that keep their weights
  c.optimizer = ml_collections.ConfigDict()
  c.optimizer.warmup_steps = 0
  c.optimizer.clip_norm = config_dict.placeholder(float)
  return c

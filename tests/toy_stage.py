"""A stage, data and settings small enough to train in a test."""

import dataclasses
import json

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.settings.loop import LoopSettings, OptimizerSettings
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.loop import train
from dabfusion_jax.training.optimizer import make_optimizer
from dabfusion_jax.training.progress import SPEED


class Net(nn.Module):
  """Conv, BatchNorm, dense: [b, 4, 4, 3] -> [b, 1]."""

  @nn.compact
  def __call__(self, x, use_running_average=False):
    # No bias before a BatchNorm: its gradient is rounding noise, which Adam scales up.
    x = nn.Conv(8, (3, 3), use_bias=False, name="conv")(x)
    x = nn.BatchNorm(use_running_average, momentum=0.9, name="norm")(x)
    x = nn.silu(x).reshape(x.shape[0], -1)
    return nn.Dense(1, name="out")(x)


@jax.jit
def _predict(variables, image):
  return Net().apply(variables, image, True)


class ToyStage:
  """Regresses the mean of an image; its input is noised by the step's key."""

  frozen = {"scale": np.float32(1)}

  def init(self, key, batch):
    variables = Net().init(key, batch["image"])
    return variables["params"], variables["batch_stats"]

  def loss(self, params, batch_stats, frozen, batch, key, train=True):
    noise = 0.1 * jax.random.normal(key, batch["image"].shape)
    predicted, updated = Net().apply(
      {"params": params, "batch_stats": batch_stats},
      batch["image"] + noise,
      not train,
      mutable=["batch_stats"],
    )
    target = batch["image"].mean((1, 2, 3))[:, None]
    loss = frozen["scale"] * jnp.mean((predicted - target) ** 2)
    return loss, (updated["batch_stats"], {"predicted": predicted.mean()})

  def pictures(self, params, batch_stats, batch, key):
    variables = {"params": params, "batch_stats": batch_stats}
    predicted = _predict(variables, batch["image"])
    assert len(predicted.devices()) == 1
    shade = np.uint8(np.clip(np.asarray(predicted[0, 0]), 0, 1) * 255)
    return {"shade": np.full((4, 6, 3), shade, np.uint8)}


def _jitter(example, rng):
  return {"image": np.float32(example["image"] + 0.1 * rng.standard_normal((4, 4, 3)))}


def toy_dataset(batch_size=8, num_examples=20):
  """Shuffled, randomly perturbed, endless; read by threads ahead of its use."""
  images = np.random.default_rng(0).random((num_examples, 4, 4, 3), np.float32)
  examples = [{"image": image} for image in images]
  return (
    grain.MapDataset.source(examples)
    .seed(5)
    .shuffle()
    .repeat()
    .random_map(_jitter)
    .batch(batch_size)
    .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
  )


OPTIMIZER = OptimizerSettings(
  learning_rate=1e-2, b1=0.9, b2=0.99, milestones=(3,), warmup_steps=0, clip_norm=None
)
LOOP = LoopSettings(
  stage="toy",
  variant="toy",
  seed=0,
  num_steps=4,
  batch_size=8,
  log_every=1,
  picture_every=2,
  checkpoint_every=2,
  keep_checkpoints=3,
  keep_best_checkpoints=0,
  ema_decay=0.999,
  gradient_accumulation=1,
  mesh=(("data", 1), ("fsdp", 1)),
  fsdp_min_bytes=0,
  max_skipped_steps=0,
  spike_grad_norm=None,
  stall_seconds=0.0,
  init_from="",
  init_parts=(),
  optimizer=OPTIMIZER,
)


def toy_optimizer():
  return make_optimizer(OPTIMIZER)


def toy_train(
  workdir,
  stage=None,
  dataset=None,
  eval_dataset=None,
  on_begin=lambda: None,
  **changes,
):
  """Trains the toy in `workdir`; further keywords change `LOOP`."""
  return train(
    stage or ToyStage(),
    dataset or toy_dataset(),
    dataclasses.replace(LOOP, **changes),
    RunFolder(workdir),
    eval_dataset=eval_dataset,
    on_begin=on_begin,
  )


def assert_trees_equal(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def read_history(workdir):
  """Returns the lines of metrics.jsonl without what depends on the machine."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [{k: v for k, v in json.loads(x).items() if k not in SPEED} for x in lines]

"""The loss on held-out data: what it measures, and which checkpoint it keeps."""

import os

import jax.numpy as jnp
import numpy as np
from toy_stage import LOOP, ToyStage, read_history, toy_dataset, toy_train

from dabfusion_jax.storage.checkpoint_files import latest_step


def test_held_out_loss_is_logged_with_fixed_noise_and_chooses_the_best(tmp_path):
  changes = {"eval_every": 2, "eval_batches": 2, "keep_best_checkpoints": 1}
  toy_train(tmp_path, eval_dataset=toy_dataset(), checkpoint_every=1, **changes)
  measured = {h["step"]: h for h in read_history(tmp_path) if "eval/loss" in h}
  assert sorted(measured) == [2, 4] and "eval/predicted" in measured[2]
  # The state after a step, measured on its own: neither noise nor batches change.
  again = tmp_path / "again"
  toy_train(again, eval_dataset=toy_dataset(), num_steps=2, **changes)
  assert read_history(again)[-1]["eval/loss"] == measured[2]["eval/loss"]


def test_a_run_without_held_out_data_says_that_it_measures_no_loss(tmp_path, caplog):
  toy_train(tmp_path, num_steps=1, eval_every=2)
  assert "There is no test split" in caplog.text


def test_checkpoints_that_are_seldom_measured_are_told(tmp_path, caplog):
  changes = {"checkpoint_every": 2, "keep_best_checkpoints": 1, "num_steps": 1}
  for folder, every in ((tmp_path / "a", 4), (tmp_path / "b", 5)):
    data = toy_dataset()
    toy_train(folder, eval_dataset=data, eval_every=every, eval_batches=1, **changes)
    told = "Only checkpoints of every 10 steps have a held-out loss" in caplog.text
    assert told == (every == 5)


def test_held_out_loss_is_that_of_the_averaged_parameters(tmp_path):
  class Plain(ToyStage):
    """Its held-out loss is a parameter."""

    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      loss, aux = super().loss(params, batch_stats, frozen, batch, key, train)
      return (loss if train else params["out"]["bias"][0]), aux

  state = toy_train(
    tmp_path, stage=Plain(), eval_dataset=toy_dataset(), eval_every=4, eval_batches=1
  )
  measured = read_history(tmp_path)[-1]["eval/loss"]
  averaged, raw = (p["out"]["bias"][0] for p in (state.ema_params, state.params))
  np.testing.assert_allclose(measured, averaged, rtol=1e-6)
  assert abs(averaged - raw) > 0.01 * abs(raw)


def test_a_checkpoint_of_the_lowest_held_out_loss_is_kept(tmp_path):
  class Rising(ToyStage):
    """Its held-out loss grows with the bias, which begins at zero."""

    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      loss, aux = super().loss(params, batch_stats, frozen, batch, key, train)
      return (loss if train else jnp.abs(params["out"]["bias"][0])), aux

  changes = {"keep_checkpoints": 1, "keep_best_checkpoints": 1, "checkpoint_every": 1}
  toy_train(
    tmp_path,
    stage=Rising(),
    eval_dataset=toy_dataset(),
    eval_every=1,
    num_steps=6,
    **changes,
  )
  history = [h for h in read_history(tmp_path) if "eval/loss" in h]
  best = min(history, key=lambda line: line["eval/loss"])["step"]
  kept = sorted(int(name) for name in os.listdir(tmp_path / "checkpoints"))
  assert best != 6 and kept == [best, 6]


def test_a_held_out_loss_that_is_not_finite_is_told(tmp_path, caplog):
  class Spoilt(ToyStage):
    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      loss, aux = super().loss(params, batch_stats, frozen, batch, key, train)
      return (loss if train else jnp.nan * loss), aux

  changes = {"eval_every": 2, "eval_batches": 1, "num_steps": 2}
  toy_train(tmp_path, stage=Spoilt(), eval_dataset=toy_dataset(), **changes)
  assert "held-out loss is nan at step 2" in caplog.text and latest_step(tmp_path) == 2


def test_a_batch_that_is_trained_on_in_parts_is_measured_in_parts(tmp_path):
  sizes = []

  class Seeing(ToyStage):
    def loss(self, params, batch_stats, frozen, batch, key, train=True):
      if not train:
        sizes.append(len(batch["image"]))
      return super().loss(params, batch_stats, frozen, batch, key, train)

  changes = {"eval_dataset": toy_dataset(), "eval_every": 1, "eval_batches": 1}
  toy_train(tmp_path, stage=Seeing(), num_steps=1, gradient_accumulation=2, **changes)
  assert set(sizes) == {LOOP.batch_size // 2}

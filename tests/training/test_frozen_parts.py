"""Modules that keep their weights while the others are trained."""

import jax
import pytest
from toy_stage import assert_trees_equal, toy_train

from data_pipeline.errors import UserError


def test_frozen_modules_keep_weights_and_statistics_and_the_others_learn(tmp_path):
  one = jax.device_get(toy_train(tmp_path, num_steps=1, frozen_parts=("conv", "norm")))
  two = jax.device_get(toy_train(tmp_path, num_steps=3, frozen_parts=("conv", "norm")))
  for part in ("conv", "norm"):
    assert_trees_equal(two.params[part], one.params[part])
    assert_trees_equal(two.ema_params[part], one.params[part])
  assert_trees_equal(two.batch_stats, one.batch_stats)
  assert (two.params["out"]["kernel"] != one.params["out"]["kernel"]).any()


@pytest.mark.parametrize(
  ("parts", "message"),
  [(("cnov",), "no part.*'cnov'.*conv"), (("conv", "norm", "out"), "nothing to train")],
)
def test_unknown_modules_and_all_of_them_are_refused(tmp_path, parts, message):
  with pytest.raises(UserError, match=message):
    toy_train(tmp_path, frozen_parts=parts)

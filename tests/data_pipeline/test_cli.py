"""An error meant for the user is one line; a bug keeps its traceback."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.parallel.sharding import fsdp_axis, global_batch_spec, make_mesh
from dabfusion_jax.training.optimizer import make_schedule
from data_pipeline.cli import one_line_errors


def _wrong_setting():
  make_schedule(learning_rate=-1.0, milestones=(), warmup_steps=0)


def _wrong_setting_while_tracing():
  mesh = make_mesh((("data", 8), ("fsdp", 1)))
  jax.jit(lambda x: global_batch_spec({"x": x}, mesh))(jnp.zeros((3, 2)))


def _missing_file():
  open("/nowhere/at/all")


@pytest.mark.parametrize(
  ("fail", "message"),
  [
    (_wrong_setting, "learning_rate must be positive"),
    (_wrong_setting_while_tracing, "does not divide over 8 devices"),
    (_missing_file, "/nowhere/at/all"),
  ],
)
def test_what_the_user_can_mend_is_one_line(fail, message):
  with pytest.raises(SystemExit) as stopped, one_line_errors("train"):
    fail()
  text = str(stopped.value)
  assert text.startswith("train: ") and message in text and "\n" not in text


@pytest.mark.parametrize(
  ("fail", "error"),
  [
    (lambda: jnp.zeros(3) + jnp.zeros(4), TypeError),
    (lambda: np.zeros(3).reshape(2, 2), ValueError),
    (lambda: fsdp_axis((2,), 0), ZeroDivisionError),  # in our own code
    (lambda: {}["key"], KeyError),
    (lambda: jax.jit(lambda x: x.reshape(2, 2))(jnp.zeros(3)), TypeError),
  ],
)
def test_a_bug_keeps_its_traceback(fail, error):
  with pytest.raises(error), one_line_errors("train"):
    fail()

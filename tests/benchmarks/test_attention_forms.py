"""The candidates equal the plain forms; kernels are interpreted."""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import attention_forms, linear_attention_triton
from benchmarks.accelerator_tasks import difference
from benchmarks.attention_candidates import LINEAR, TEMPORAL
from benchmarks.attention_forms import Layer, gradient_of
from dabfusion_jax.ops import attention_triton

LAYERS = {
  "temporal": Layer("temporal", TEMPORAL, (2, 6, 5, 16), (4, 8), True),
  "linear": Layer("linear", LINEAR, (2, 3, 8, 16), (4, 8), False),
}
CASES = [
  (kind, name)
  for kind, layer in LAYERS.items()
  for name in layer.forms
  # Recomputing changes no value, and the plain form is what they are compared with.
  if "kept" not in name and name != "plain"
]


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
  """Runs kernels on this machine, several sequences in each of several blocks."""
  call = functools.partial(attention_triton.pl.pallas_call, interpret=True)
  monkeypatch.setattr(attention_triton.pl, "pallas_call", call)
  monkeypatch.setattr(attention_triton, "_PROGRAMS", 16)
  monkeypatch.setattr(linear_attention_triton, "_ROWS", 4)


@functools.cache
def _expected(kind, dtype):
  """Returns the plain form's results in float32 for arguments of `dtype`."""
  wide = jax.tree.map(lambda a: a.astype(jnp.float32), LAYERS[kind].arguments(dtype))
  return jax.jit(gradient_of(LAYERS[kind].forms["plain"]))(*wide)


def _found(kind, name, dtype):
  layer = LAYERS[kind]
  return jax.jit(gradient_of(layer.forms[name]))(*layer.arguments(dtype))


def _differences(found, expected):
  """Returns the difference of the result and of each gradient."""
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
  return [difference(a, b) for a, b in pairs]


@functools.cache
def _limit(kind):
  plain = _found(kind, "plain", "bfloat16")
  return sum(_differences(plain, _expected(kind, "bfloat16")))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_candidate_equals_the_plain_form_with_its_gradients(kind, name):
  found = _found(kind, name, "float32")
  assert difference(found, _expected(kind, "float32")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_candidate_of_bfloat16_is_about_as_near_to_float32_as_the_plain_form(
  kind, name
):
  found = _found(kind, name, "bfloat16")
  assert sum(_differences(found, _expected(kind, "bfloat16"))) < 1.5 * _limit(kind)


def test_what_fails_has_a_row_and_the_others_go_on(tmp_path, monkeypatch, capsys):
  def broken(x, weights):
    raise ValueError("no such | form")

  monkeypatch.setattr(attention_forms, "_MAX_SECONDS", 0.0)
  forms = {"broken": broken, "plain": LINEAR["plain"]}
  layer = Layer("linear", forms, (1, 2, 4, 8), (2, 4), False)
  trial = attention_forms.Trial(60.0, tmp_path / "forms.json")
  trial.run([(layer, name) for name in forms])
  rows = {row["form"]: row for row in json.loads(_read(tmp_path))["rows"]}
  assert rows["broken"]["failed"] == "ValueError: no such | form"
  assert rows["plain"]["gradient_ms"] > 0 and 0 < rows["plain"]["difference"] < 0.1
  assert "| linear | broken | failed: ValueError: no such / form |" in (
    capsys.readouterr().out
  )


def test_a_trial_without_time_ends(tmp_path):
  layer = LAYERS["linear"]
  trial = attention_forms.Trial(0.0, tmp_path / "forms.json")
  assert not trial.run([(layer, "plain")])
  assert not trial.rows


def test_a_trial_that_ends_while_it_compiles_ends_the_process(tmp_path):
  code = """
import threading
from benchmarks import attention_forms
attention_forms._LAST_WAIT = 0
attention_forms.Trial._compile = lambda self, waiting: threading.Event().wait()
attention_forms.threading._shutdown = lambda: print("shut down")
attention_forms.main()
"""
  found = subprocess.run(
    [sys.executable, "-c", code, f"--output={tmp_path}/forms.json", "--smoke"]
    + ["--seconds=0.1"],
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0 and "| layer |" in found.stdout, found.stderr
  assert "shut down" not in found.stdout


def test_the_layers_of_which_least_is_known_come_first():
  names = [layer.name for layer in attention_forms.layers(is_smoke=False)]
  assert names[:2] == ["linear, 32 cells", "temporal, 16 cells"]
  assert len(set(names)) == 8 and next(iter(LINEAR)) == "plain"


def _read(folder):
  return (folder / "forms.json").read_text()

"""An error that the user can fix is one line; a bug keeps its traceback."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from data_pipeline import aist
from data_pipeline.cli import (
  at_least,
  comma_separated,
  delay,
  finite,
  local_path,
  make_parser,
  one_line_errors,
  path,
  paths,
  seed,
)
from data_pipeline.music.beats import beat_vector


def _wrong_setting():
  aist.tempo_bpm("mXX0")


def _wrong_setting_while_tracing():
  jax.jit(lambda x: x / aist.tempo_bpm("mXX0"))(jnp.zeros(3))


def _full_disk_below_a_library():
  raise RuntimeError("page 1\nwrite() failed: No space left on device\npage 2")


def _missing_file():
  open("/nowhere/at/all")


@pytest.mark.parametrize(
  ("fail", "message"),
  [
    (_full_disk_below_a_library, "page 2); free space and run the same command"),
    (_wrong_setting, "'mXX0' is not an AIST track"),
    (_wrong_setting_while_tracing, "'mXX0' is not an AIST track"),
    (_missing_file, "/nowhere/at/all"),
    (lambda: epath.Path("http://b/x"), "'http://' begins no address"),
  ],
)
def test_an_error_that_the_user_can_fix_is_one_line(fail, message):
  with pytest.raises(SystemExit) as stopped, one_line_errors("train"):
    fail()
  text = str(stopped.value)
  assert text.startswith("train: ") and message in text and "\n" not in text


@pytest.mark.parametrize(
  ("fail", "error"),
  [
    (lambda: jnp.zeros(3) + jnp.zeros(4), TypeError),
    (lambda: np.zeros(3).reshape(2, 2), ValueError),
    (lambda: beat_vector(np.zeros(1), 0.0, 1, 0.0), ZeroDivisionError),  # our own code
    (lambda: {}["key"], KeyError),
    (lambda: jax.jit(lambda x: x.reshape(2, 2))(jnp.zeros(3)), TypeError),
  ],
)
def test_a_bug_keeps_its_traceback(fail, error):
  with pytest.raises(error), one_line_errors("train"):
    fail()


def test_names_separated_by_commas_must_be_known():
  parse = comma_separated(("a", "b", "c"))
  assert parse("a,c") == ("a", "c")
  for text in ("a,d", ""):
    with pytest.raises(argparse.ArgumentTypeError, match="known: a, b, c"):
      parse(text)
  assert comma_separated()("x,y") == ("x", "y")


@pytest.mark.parametrize(
  ("parse", "good", "wrong"),
  [
    (path, ("a b", "[x]", "ä", "gs://a/b", "."), ("", " ")),
    (local_path, ("a b",), ("", "gs://a")),
    (paths, ("a,b",), ("", ",")),
    (seed, ("0", "4294967295"), ("-1", "4294967296", "1.5", "")),
    (finite, ("-1.5", "1e9"), ("nan", "inf", "1e999", "soon", "")),
  ],
)
def test_an_odd_argument_is_refused_and_a_plausible_one_is_not(parse, good, wrong):
  for text in good:
    parse(text)
  for text in wrong:
    with pytest.raises(argparse.ArgumentTypeError):
      parse(text)


def test_a_wrong_argument_is_one_line(capsys):
  parser = make_parser("some.program", "Does something.")
  parser.add_argument("--number", type=at_least(1))
  for argument, said in (
    ("--number=0", "argument --number: must be at least 1, not 0 (see --help)"),
    ("--nmber=1", "unrecognized arguments: --nmber=1 (see --help)"),
  ):
    with pytest.raises(SystemExit) as stopped:
      parser.parse_args([argument])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"python -m some.program: error: {said}\n"


def test_integers_below_the_least_are_refused():
  assert at_least(4)("4") == 4
  with pytest.raises(argparse.ArgumentTypeError, match="at least 4, not 3"):
    at_least(4)("3")
  with pytest.raises(argparse.ArgumentTypeError, match="at most 9"):
    at_least(4, 9)("10")
  assert delay("-2.5") == -2.5
  with pytest.raises(argparse.ArgumentTypeError, match="from -3600 to 3600"):
    delay("1e30")

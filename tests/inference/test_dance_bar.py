"""How much of several dances is made, and how long the rest takes."""

import io

import pytest

from dabfusion_jax.inference import progress
from data_pipeline import interrupts


def left(bar):
  """Returns what the bar says is left, in seconds."""
  text = str(bar).split(", ")[-1]
  minutes, seconds = text.removesuffix(" left").split(":")
  return 60 * int(minutes) + int(seconds)


def test_what_is_left_is_told_by_the_steps_alone():
  now = [100.0]
  with progress.DanceBar(2, file=io.StringIO()) as bar:
    bar._time = lambda: now[0]
    bar.begin()
    assert "dance 1 of 2: getting ready, ? left" in str(bar)
    now[0] += 60  # of reading and compiling
    bar.show(1, 10)
    for step in range(2, 6):
      now[0] += 1
      bar.show(step, 10)
    assert "25%" in str(bar) and "dance 1 of 2," in str(bar)
    assert left(bar) == 15
    bar.begin()
    assert "50%" in str(bar) and "dance 2 of 2: getting ready" in str(bar)


def test_dances_that_are_kept_tell_nothing_of_the_rest():
  now = [100.0]
  with progress.DanceBar(4, file=io.StringIO()) as bar:
    bar._time = lambda: now[0]
    bar.begin()
    bar.begin()
    bar.begin()
    bar.show(1, 4)
    now[0] += 3
    bar.show(2, 4)
    assert left(bar) == 18


def test_a_dance_ends_at_the_next_step_if_it_was_asked_to(monkeypatch):
  def check():
    raise KeyboardInterrupt

  monkeypatch.setattr(interrupts, "check", check)
  with progress.DanceBar(1, file=io.StringIO()) as bar:
    bar.begin()
    with pytest.raises(KeyboardInterrupt):
      bar.show(1, 2)

"""Traces of training steps."""

import jax

from dabfusion_jax.training.trace import Trace


def test_trace_covers_the_steps_asked_for(monkeypatch, tmp_path):
  calls = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(folder))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
  trace = Trace(tmp_path, first_step=13, num_steps=2)
  for step in range(11, 18):  # as in the loop: one step is computed while one starts
    with trace.around_step(step):
      calls.append(step)
    calls.append(f"{step - 1} done")
    trace.after_step(step - 1, {})
  before, after = calls.index(str(tmp_path / "profile")), calls.index("stop")
  assert calls[before + 1] == 13 and calls[after - 1] == "14 done"
  assert calls.count("stop") == 1


def test_a_run_that_ends_inside_the_trace_keeps_it(tmp_path):
  for run in ("first", "second"):  # a trace left open would end the second
    with Trace(tmp_path / run, first_step=1, num_steps=10) as trace:
      for step in range(1, 4):
        with trace.around_step(step):
          jax.block_until_ready(jax.numpy.ones(3) + step)
        trace.after_step(step, {})
    assert list((tmp_path / run / "profile").rglob("*.xplane.pb"))


def test_no_steps_asked_for_are_no_trace(monkeypatch, tmp_path):
  started = []
  monkeypatch.setattr(jax.profiler, "start_trace", started.append)
  trace = Trace(tmp_path, first_step=1, num_steps=0)
  for step in range(1, 4):
    with trace.around_step(step):
      pass
  assert not started

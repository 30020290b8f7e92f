"""Traces of training steps."""

import jax

from dabfusion_jax.training.trace import Trace


def test_trace_covers_the_steps_asked_for(monkeypatch, tmp_path):
  calls = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(folder))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
  trace = Trace(tmp_path, first_step=13, num_steps=2)
  for step in range(11, 17):
    with trace.around_step(step):
      calls.append(step)
  assert calls == [11, 12, str(tmp_path / "profile"), 13, 14, "stop", 15, 16]


def test_a_run_that_ends_inside_the_trace_keeps_it(tmp_path):
  for run in ("first", "second"):  # a trace left open would end the second
    with Trace(tmp_path / run, first_step=1, num_steps=10) as trace:
      for step in range(1, 4):
        with trace.around_step(step):
          jax.block_until_ready(jax.numpy.ones(3) + step)
    assert list((tmp_path / run / "profile").rglob("*.xplane.pb"))


def test_no_steps_asked_for_are_no_trace(monkeypatch, tmp_path):
  started = []
  monkeypatch.setattr(jax.profiler, "start_trace", started.append)
  trace = Trace(tmp_path, first_step=1, num_steps=0)
  for step in range(1, 4):
    with trace.around_step(step):
      pass
  assert not started

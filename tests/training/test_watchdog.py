"""A run without progress ends, and names the process that holds it up."""

import json
import threading
import time

from toy_stage import toy_train

from dabfusion_jax.storage.checkpointing import Checkpoints
from dabfusion_jax.training.watchdog import Watchdog, find_stragglers


def test_stall_is_noticed_with_the_process_named(tmp_path, caplog):
  stalled = threading.Event()
  with Watchdog(tmp_path, 0.2, on_stall=stalled.set) as watchdog:
    watchdog.after_step(7, {})
    assert stalled.wait(30)
  assert "process 0 of 1 waits after step 7" in caplog.text
  assert "The oldest is that of process 0" in caplog.text


def test_a_run_that_hangs_where_it_resumed_names_that_step(tmp_path, caplog):
  stalled = threading.Event()
  with Watchdog(tmp_path, 0.2, 100, on_stall=stalled.set):
    assert stalled.wait(30)
  assert "process 0 of 1 waits after step 100" in caplog.text
  assert "ago after step 100" in caplog.text


def test_a_run_is_left_alone_until_it_hangs(tmp_path, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  stalls = []
  watchdog = Watchdog(tmp_path, 10.0, on_stall=lambda: stalls.append(now[0]))
  steps = iter([1, 2, 3, None, None])  # then it hangs

  def wait(seconds):  # time passes
    now[0] += 9.0
    step = next(steps)
    if step is not None:
      watchdog.after_step(step, {})
    return False

  monkeypatch.setattr(watchdog._done, "wait", wait)
  (tmp_path / "heartbeats").mkdir()
  watchdog._watch()
  assert stalls == [5 * 9.0]  # not before the second wait without a step


def test_without_a_limit_nothing_is_watched_or_written(tmp_path):
  with Watchdog(tmp_path, 0.0) as watchdog:
    watchdog.after_step(1, {})
  assert not list(tmp_path.iterdir())


def test_stragglers_have_no_heartbeat_or_the_oldest(tmp_path):
  for index, (step, age) in enumerate([(9, 1.0), (4, 70.0)]):
    beat = {"step": step, "time": time.time() - age, "host": f"host-{index}"}
    (tmp_path / f"{index}.json").write_text(json.dumps(beat))
  (tmp_path / "3.json").write_text('{"step": 5, "ti')  # cut off
  line = find_stragglers(tmp_path, 4)
  assert "No heartbeat from process 2, 3." in line
  assert "process 1 on host-1, from 70 s ago after step 4" in line


def test_the_last_save_is_watched(tmp_path, monkeypatch):
  order = []
  for kind, name in ((Checkpoints, "wait"), (Watchdog, "__exit__")):
    method = getattr(kind, name)
    monkeypatch.setattr(
      kind, name, lambda *a, m=method, n=name: (order.append(n), m(*a))[1]
    )
  toy_train(tmp_path, num_steps=1)
  assert order[:2] == ["wait", "__exit__"]

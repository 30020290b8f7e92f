"""Speed, time left and how well a chip is used."""

import pytest

from dabfusion_jax.training import progress


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(0.4, "0s"), (59.0, "59s"), (249.0, "4m09s"), (3.9e3, "1h05m"), (183.6e3, "2d03h")],
)
def test_durations_read_easily(seconds, text):
  assert progress.format_duration(seconds) == text


def test_progress_leaves_out_the_first_step(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  watch = progress.Progress(num_steps=100, batch_size=4, num_devices=2)
  with watch.waiting("data"):
    now[0] += 50.0
  watch.start(1)  # after however long the first step took
  with watch.waiting("data"):
    now[0] += 2.5
  with watch.waiting("device"):
    now[0] += 5.0
  now[0] += 2.5
  found = watch.report(21, 21)
  assert set(found) < set(progress.SPEED)
  assert found["steps_per_second"] == 2.0
  assert found["examples_per_second"] == 8.0
  assert found["examples_per_second_per_device"] == 4.0
  assert found["data_wait_share"] == 0.25
  assert found["host_share"] == 0.25
  assert found["host_memory_gib"] > 0.05
  assert "flop_utilisation" not in found  # nobody publishes the peak of this CPU
  now[0] += 10.0
  assert watch.report(60, 61)["steps_per_second"] == 4.0


def test_flop_utilisation_is_flops_by_steps_by_published_peak(monkeypatch, caplog):
  now = [0.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  chip = progress.hardware.CHIPS["v5e"]
  monkeypatch.setattr(progress.hardware, "chip_of", lambda device: chip)
  caplog.set_level("INFO", logger="absl")
  watch = progress.Progress(num_steps=100, batch_size=4, num_devices=2, flops=1e12)
  watch.start(1)
  now[0] += 10.0
  # 20 steps of 1 TFLOP in 10 s are 2 of the 197 TFLOP/s of a v5e chip.
  assert watch.report(21, 21)["flop_utilisation"] == 2 / 197
  assert "1.0 % of peak (1e+12 FLOP x 2 /s / 1.97e+14 FLOP/s)" in caplog.text

"""The comparison with PyTorch: who is timed when, and which goal belongs to a row."""

import time

import pytest

from benchmarks.against_torch import line, ratio_at_product, time_in_turn


def test_both_sides_take_turns_and_the_last_call_of_each_turn_counts():
  calls = []

  def call(name, seconds):
    is_last = calls[-2:] == [name] * 2
    calls.append(name)
    time.sleep(seconds if is_last else 0.1)

  found = time_in_turn(lambda: call("ours", 0.02), lambda: call("torch", 0.01), 2)
  assert calls == (["ours"] * 3 + ["torch"] * 3) * 2
  assert 20 <= found["ours_ms"] < 100
  assert 10 <= found["torch_ms"] < 100
  assert found["ratio"] == found["ours_ms"] / found["torch_ms"]


def test_every_row_shows_its_own_goal():
  numbers = dict.fromkeys(("ours_ms", "torch_ms", "ours_cpu_ms", "torch_cpu_ms"), 1.0)
  numbers |= {"ratio": 1.0, "cpu_ratio": 1.0, "ratio_at_product": 0.0}
  goals = {
    name: line({"name": name} | numbers).split("|")[5].strip()
    for name in (
      "U-Net forward",
      "U-Net forward and backward",
      "stage-1 step, batch 4",
      "decoding 40 frames",
    )
  }
  assert list(goals.values()) == ["0.45", "0.7", "0.9", "0.8"]


def test_the_ratio_that_a_processor_allows_is_that_of_the_faster_product():
  product = {"gflop": 16.0, "ours_ms": 100.0, "torch_ms": 80.0}  # 200 GFLOP per second
  row = {"gflop": 100.0, "torch_ms": 1000.0}  # 500 ms at that rate
  assert ratio_at_product(row, product) == pytest.approx(0.5)

"""How fast a training is, what limits it, and how long it will take."""

import contextlib
import time
from collections.abc import Iterator

import jax
from absl import logging

from dabfusion_jax.parallel import hardware

# What `Progress` measures: it depends on the machine, not on what is learned.
SPEED = (
  "steps_per_second",
  "examples_per_second",
  "examples_per_second_per_device",
  "data_wait_share",
  "host_share",
  "flop_utilisation",
  "device_memory_gib",
  "host_memory_gib",
)


class Progress:
  """Measures speed since the last report, what limits it, and the time left."""

  def __init__(
    self, num_steps: int, batch_size: int, num_devices: int, flops: float = 0.0
  ):
    """Takes the global batch size and FLOPs per step and device, 0 if unknown."""
    self._num_steps = num_steps
    self._batch_size = batch_size
    self._num_devices, self._flops = num_devices, flops
    self._since: tuple[int, float] | None = None
    self._waited = _no_waiting()

  def start(self, step: int) -> None:
    """Starts the clock, once: after the first step, which is a warm-up."""
    if self._since is None:
      self._since, self._waited = (step, time.monotonic()), _no_waiting()

  @contextlib.contextmanager
  def waiting(self, what: str) -> Iterator[None]:
    """Measures the time spent in the block as waiting for "data" or the "device"."""
    started = time.monotonic()
    yield
    self._waited[what] += time.monotonic() - started

  def report(self, step: int, done: int) -> dict[str, float]:
    """Logs one line, and returns the values of `SPEED` that are known.

    `done` is the last step whose work is done by now: `step`, or one started since.

    host_share is the time spent neither waiting for data nor for the device: calls from
    Python, transfers, hooks, checkpoints. If it is large on an accelerator, the host
    limits the training: threads that read data may hold the interpreter's lock.
    flop_utilisation = FLOPs of the compiled step on one device x steps per second
    / published bf16 peak of the device. Only for devices in `hardware.CHIPS`.
    """
    self.start(done)
    since, started = self._since
    now = time.monotonic()
    if done == since or now == started:
      logging.info("step %d/%d", step, self._num_steps)
      return {}
    speed = (done - since) / (now - started)
    shares = {name: waited / (now - started) for name, waited in self._waited.items()}
    found = {
      "steps_per_second": speed,
      "examples_per_second": speed * self._batch_size,
      "examples_per_second_per_device": speed * self._batch_size / self._num_devices,
      "data_wait_share": shares["data"],
      "host_share": max(0.0, 1.0 - sum(shares.values())),
    }
    chip = hardware.chip_of(jax.local_devices()[0])
    used = ""
    if chip is not None and self._flops:
      found["flop_utilisation"] = self._flops * speed / chip.bf16_flops
      used = (
        f", {100 * found['flop_utilisation']:.1f} % of peak ({self._flops:.4g} FLOP x"
        f" {speed:.3g} /s / {chip.bf16_flops:.4g} FLOP/s)"
      )
    name, found_memory = hardware.peak_memory()
    found[name] = found_memory
    self._since, self._waited = (done, now), _no_waiting()
    logging.info(
      "step %d/%d (%.1f %%), %.3g steps/s, %.3g examples/s, data wait %.0f %%,"
      " host %.0f %%, %.2f GiB%s, %s left",
      step,
      self._num_steps,
      100 * step / self._num_steps,
      speed,
      speed * self._batch_size,
      100 * found["data_wait_share"],
      100 * found["host_share"],
      found_memory,
      used,
      format_duration((self._num_steps - step) / speed),
    )
    return found


def _no_waiting() -> dict[str, float]:
  return {"data": 0.0, "device": 0.0}


def format_duration(seconds: float) -> str:
  """Returns a duration as '2d03h', '3h05m', '4m09s' or '7s'."""
  seconds = round(seconds)
  for size, unit, part_size, part in (
    (86400, "d", 3600, "h"),
    (3600, "h", 60, "m"),
    (60, "m", 1, "s"),
  ):
    if seconds >= size:
      return f"{seconds // size}{unit}{seconds % size // part_size:02d}{part}"
  return f"{seconds}s"

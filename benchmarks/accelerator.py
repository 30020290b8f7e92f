r"""How fast both stages train, sample and decode on the device that is here.

  python -m benchmarks.accelerator --output=accelerator.json [--seconds=220 --torch]
  python -m benchmarks.accelerator --smoke --output=smoke.json    # tiny, for a CPU

Measures on the first device, from the numbers of `program_times.fill`: neither data nor
weights are needed, and time does not depend on them. Programs compile several at once,
the least known first, and are timed one at a time. After a training step of either
stage its kernels are recorded, and added up by part of the network. A row is printed as
soon as it is measured, and the file rewritten, so a run that is killed leaves what it
has; after `--seconds` the program ends by itself. Whatever was not measured is listed
with the reason. `--torch` trains the same U-Net in PyTorch on the same device, in a
process of its own (`benchmarks.torch_reference.measure`). The share of peak is

  operations of the program as written / (median seconds x bf16 peak of the device)

for every precision, and is not computed for devices missing in `hardware.CHIPS`. The
same losses, samples and frames are computed on the CPU at smoke size, in float32, and
the largest difference relative to the largest value is compared with a tolerance.
"""

import argparse
import os
import platform
import sys
import threading
from collections.abc import Sequence

import jax

from benchmarks import accelerator_groups, accelerator_report, program_times
from benchmarks.accelerator_report import Report
from benchmarks.compile_pool import Clock, CompilePool, Neighbour
from benchmarks.torch_process import TorchProcess
from dabfusion_jax.parallel import hardware
from data_pipeline import cli, files


def run(args: argparse.Namespace) -> int:
  """Measures, prints, writes the JSON; returns the exit status."""
  clock = Clock(args.seconds)
  if args.torch:  # both frameworks must fit into the device
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  hardware.check_backend()
  files.check_writable(args.output, is_folder=False)
  report = Report(args.output, _about())
  print(f"{jax.local_devices()[0].device_kind}, jax {jax.__version__}\n", flush=True)
  print(accelerator_report.HEAD, flush=True)
  neighbour = Neighbour()
  if args.torch:
    add_row = lambda row: report.add_torch(row | {"timed_beside": pool.compiling()})
    neighbour = TorchProcess(args.smoke, add_row, report.add_missed)
  pool = CompilePool(
    clock, args.threads, args.calls, report.add, report.add_missed, neighbour
  )

  def end(timed_out: bool) -> None:
    if timed_out:
      for task in pool.unfinished():
        report.add_missed(f"{task.name}: out of time")
    neighbour.end()
    if accelerator_groups.cpu_beside() is None:
      report.add_missed("difference from the CPU: there is nothing beside it here")
    report.add_missed("shards and latents read from a disk: see benchmarks.loader")
    report.set("seconds", clock.elapsed())
    print(f"- {clock.elapsed():.0f} s in all", flush=True)

  def end_now() -> None:
    end(timed_out=True)
    # Compilations cannot be interrupted, and would delay any other exit.
    os._exit(_status(report))

  timer = threading.Timer(clock.left(), end_now)
  timer.daemon = True
  timer.start()
  with program_times.empty_cache():
    pool.run(accelerator_groups.make_groups(args.smoke))
  timer.cancel()
  end(timed_out=False)
  return _status(report)


def _about() -> dict[str, object]:
  device = jax.local_devices()[0]
  names = ("XLA_FLAGS", "XLA_PYTHON_CLIENT_MEM_FRACTION")
  return {
    "device": device.device_kind,
    "jax": jax.__version__,
    "python": platform.python_version(),
    "cpus": os.cpu_count(),
    "load": os.getloadavg()[0],  # what other programs keep busy
    "environment": {name: os.environ[name] for name in names if name in os.environ},
    "arguments": sys.argv[1:],
  }


def _status(report: Report) -> int:
  if report.agrees():
    return 0
  message = "accelerator: the results differ from those of the CPU; see above."
  print(message, file=sys.stderr, flush=True)
  return 1


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement; exit status 1 if the CPU gives something else."""
  parser = cli.make_parser("benchmarks.accelerator", __doc__)
  add = parser.add_argument
  add("--smoke", action="store_true", help="tiny networks and batches")
  add("--seconds", type=cli.positive_float, default=220, help="then it ends")
  add("--calls", type=cli.positive_int, default=10, help="of a program, timed")
  add("--threads", type=cli.positive_int, default=6, help="compilations at once")
  add("--torch", action="store_true", help="PyTorch beside it")
  add("--output", type=cli.local_path, required=True, help="JSON")
  args = parser.parse_args(argv)
  with cli.one_line_errors("accelerator"):
    status = run(args)
  if status:
    sys.exit(status)


if __name__ == "__main__":
  main()

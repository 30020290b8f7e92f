r"""Makes many dances in one process, from two threads, and watches its memory.

  python tests/soak/dances.py --output=DIR [--minutes=30] [--dances=N] [--threads=2]

Writes OUTPUT/memory.csv, a line per dance: seconds, resident memory [MiB]. Ends with
status 1 if the memory of the last quarter is more than 5 % above that of the second.
"""

import argparse
import csv
import pathlib
import sys
import threading
import time

import numpy as np
from jobs import open_output

from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline.synthdance import generate

CLIP = "gLO_sBM_c01_d15_mLO2_ch02"
GROWTH = 1.05


def resident_mib() -> float:
  """Returns the memory of this process that is in use."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * 4096 / 2**20


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--minutes", type=float, default=30.0)
  parser.add_argument("--dances", type=int, help="stop after so many")
  parser.add_argument("--threads", type=int, default=2)
  args = parser.parse_args()
  open_output(args.output)
  generate.main([f"--name={CLIP}", f"--output={args.output}"])
  pipeline = DancePipeline.from_pretrained(saved_stage.shipped())
  image, music = args.output / f"{CLIP}.png", args.output / f"{CLIP}.wav"
  started, lines, lock = time.monotonic(), [], threading.Lock()

  def work(thread: int) -> None:
    seed = 0
    while time.monotonic() - started < 60 * args.minutes:
      if args.dances is not None and len(lines) >= args.dances:
        break
      dance = pipeline(image, music, num_inference_steps=5, seed=seed)
      dance.save(args.output / f"dance{thread}.mp4")
      seed += 1
      with lock:
        lines.append((round(time.monotonic() - started, 1), round(resident_mib(), 1)))

  threads = [threading.Thread(target=work, args=(i,)) for i in range(args.threads)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  with open(args.output / "memory.csv", "w", newline="") as file:
    csv.writer(file).writerows([("seconds", "mib"), *lines])
  memory = np.asarray(lines)[:, 1]
  quarter = max(len(memory) // 4, 1)
  before, after = memory[quarter : 2 * quarter].mean(), memory[-quarter:].mean()
  print(
    f"{len(memory)} dances; {before:.0f} MiB in the second quarter, {after:.0f} last"
  )
  sys.exit(after > GROWTH * before)


if __name__ == "__main__":
  main()

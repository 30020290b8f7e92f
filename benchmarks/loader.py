r"""How fast clips are read from shards, by coding of the frames and number of workers.

  python -m benchmarks.loader --data=data/synthdance_demo [--clips=200 --seconds=3]

Takes clips of a data set, stores their frames in several codings in ArrayRecord shards
(as the loader reads them: group size 1), and reads each back through its own Grain
chain, shuffled, decoded to uint8 frames. Prints kB per clip, milliseconds to code and
to decode, clips per second by threads and by processes, and what a lossy coding loses.
The lock is Python's: milliseconds until another thread, such as a training loop, has it
back after a call that gave it away, while readers work. Compare within one run only:
other programs on the machine change all figures.
"""

import argparse
import io
import pathlib
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence

import av
import grain
import numpy as np
import PIL.Image
from array_record.python import array_record_module

from data_pipeline.media.writer import write_video
from data_pipeline.records import loader
from data_pipeline.records.clip_record import decode_video, encode_video


def raw_code(frames: np.ndarray) -> bytes:
  return np.asarray(frames.shape, "<u4").tobytes() + frames.tobytes()


def raw_decode(blob: bytes) -> np.ndarray:
  shape = np.frombuffer(blob[:16], "<u4")
  return np.frombuffer(bytearray(blob[16:]), np.uint8).reshape(shape)


def change_code(frames: np.ndarray) -> bytes:
  return encode_video(frames).tobytes()


def change_decode(blob: bytes) -> np.ndarray:
  return decode_video(np.frombuffer(blob, np.uint8))


def zlib_code(frames: np.ndarray) -> bytes:
  return zlib.compress(change_code(frames), 6)


def zlib_decode(blob: bytes) -> np.ndarray:
  return change_decode(zlib.decompress(blob))


def jpeg_code(frames: np.ndarray) -> bytes:
  """Codes all frames as one tall picture."""
  strip = frames.reshape(-1, *frames.shape[2:])
  buffer = io.BytesIO()
  PIL.Image.fromarray(strip).save(buffer, "jpeg", quality=95, subsampling=0)
  return len(frames).to_bytes(4, "little") + buffer.getvalue()


def jpeg_decode(blob: bytes) -> np.ndarray:
  with PIL.Image.open(io.BytesIO(blob[4:])) as image:
    strip = np.asarray(image)
  num = int.from_bytes(blob[:4], "little")
  return strip.reshape(num, -1, *strip.shape[1:])


def h264_code(frames: np.ndarray) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "clip.mp4"
    write_video(path, frames, 10, None, 22_050)
    return path.read_bytes()


def h264_decode(blob: bytes) -> np.ndarray:
  with av.open(io.BytesIO(blob)) as container:
    container.streams.video[0].codec_context.thread_count = 1
    return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


CODINGS: dict[str, tuple[Callable, Callable]] = {
  "raw": (raw_code, raw_decode),
  "differences (the loader's)": (change_code, change_decode),
  "differences, zlib": (zlib_code, zlib_decode),
  "jpeg q95, one strip": (jpeg_code, jpeg_decode),
  "h264 crf 18": (h264_code, h264_decode),
}


class Blobs:
  """A random-access source of coded clips, opened in the process that uses it."""

  def __init__(self, path: str) -> None:
    self._path = path
    self._source: grain.sources.ArrayRecordDataSource | None = None

  def _open(self) -> grain.sources.ArrayRecordDataSource:
    if self._source is None:
      self._source = grain.sources.ArrayRecordDataSource([self._path])
    return self._source

  def __reduce__(self) -> tuple[type, tuple[str]]:
    return Blobs, (self._path,)

  def __len__(self) -> int:
    return len(self._open())

  def __getitem__(self, index: int) -> bytes:
    return self._open()[index]


class Decode:
  """Decodes a clip, as the transform of the chain; picklable for worker processes."""

  def __init__(self, coding: str) -> None:
    self._coding = coding

  def __call__(self, blob: bytes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    del rng
    return {"frames": CODINGS[self._coding][1](blob)}


def read(
  path: str, coding: str, threads: int, processes: int, seconds: float
) -> tuple[float, float]:
  """Returns clips per second, and the mean milliseconds until the lock is back."""
  chain = loader.batches(
    Blobs(path),
    8,
    seed=0,
    transform=Decode(coding),
    num_threads=max(threads, 1),
    num_processes=processes,
  )
  batches = iter(chain)
  for _ in range(4):  # start-up and first reads
    next(batches)
  count, is_over = 0, threading.Event()

  def drain() -> None:
    nonlocal count
    while not is_over.is_set():
      count += len(next(batches)["frames"])

  reader = threading.Thread(target=drain)
  started = time.perf_counter()
  reader.start()
  calls, waited = 0, 0.0
  while time.perf_counter() - started < seconds:
    time.sleep(0.001)
    before = time.perf_counter()
    time.sleep(0)  # gives the lock away and takes it back
    waited += time.perf_counter() - before
    calls += 1
  is_over.set()
  reader.join()
  return count / (time.perf_counter() - started), 1e3 * waited / calls


def measure(clips: Sequence[np.ndarray], coding: str, seconds: float) -> str:
  """Returns one row of the table."""
  encode, decode = CODINGS[coding]
  started = time.monotonic()
  blobs = [encode(frames) for frames in clips]
  coded = (time.monotonic() - started) / len(clips)
  started = time.monotonic()
  decoded = [decode(blob) for blob in blobs]
  took = (time.monotonic() - started) / len(clips)
  error = np.mean(
    [np.square(a.astype(float) - b).mean() for a, b in zip(clips, decoded, strict=True)]
  )
  quality = "exact" if error == 0 else f"{10 * np.log10(255**2 / error):.1f} dB"
  with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/clips.array_record"
    writer = array_record_module.ArrayRecordWriter(path, "group_size:1")
    for blob in blobs:
      writer.write(blob)
    writer.close()
    size = pathlib.Path(path).stat().st_size / len(clips) / 1e3
    rates = [
      read(path, coding, threads, processes, seconds)
      for threads, processes in ((1, 0), (2, 0), (4, 0), (0, 4))
    ]
  cells = [coding, f"{size:.0f}", f"{1e3 * coded:.1f}", f"{1e3 * took:.1f}"]
  cells += [f"{speed:.0f}" for speed, _ in rates]
  cells += [f"{wait:.2f}" for _, wait in rates[2:]] + [quality]
  return f"| {' | '.join(cells)} |"


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.loader")
  parser.add_argument("--data", required=True, help="output of data_pipeline.build")
  parser.add_argument("--split", default="train")
  parser.add_argument("--clips", type=int, default=200)
  parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
  args = parser.parse_args()
  source = loader.open_clips(args.data, args.split, fields=("frames",))
  clips = [source[i]["frames"] for i in range(min(args.clips, len(source)))]
  print(f"{len(clips)} clips of {clips[0].shape}")
  print(
    "| coding | kB/clip | code ms | decode ms | 1 thread | 2 | 4 | 4 processes"
    " | lock ms, 4 threads | lock ms, 4 processes | loss |"
  )
  print("|---" * 11 + "|")
  for coding in CODINGS:
    print(measure(clips, coding, args.seconds), flush=True)


if __name__ == "__main__":
  main()

r"""Builds a data set: videos -> per-video results -> shards and a manifest.

  python -m data_pipeline.build --source=synthdance --preset=demo --output=data/demo

The output folder:

  manifest.json  what the data set is; written last, so it marks a finished one
  shards/        TFDS folder of clip records, read by `data_pipeline.loader`
  work/          per-song beats and per-video records, kept as they are finished

Interrupted at any moment, the same command goes on from `work/`, which may be deleted
once the manifest is there. Clips start at random places of their video, in every split.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tqdm

from data_pipeline import clip_record, ingest
from data_pipeline.beats import track_beats
from data_pipeline.ingest import ClipFormat
from data_pipeline.music_encoders import make_encoder
from data_pipeline.sources import Source, SourceVideo, SynthDance
from data_pipeline.synthdance.presets import PRESETS

MANIFEST = "manifest.json"
FRAME_SIZES = {"smoke": 64, "demo": 64, "full": 128}
TRAIN_WINDOWS = {"smoke": 1, "demo": 2, "full": 1}  # of 8-s videos in `demo`


class BuildError(ValueError):
  """A build that cannot go on: why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a data set is made of; any difference makes it another one.

  Attributes:
    source: where the videos come from.
    form: what clips look like.
    encoder: name of the music encoder.
    train_windows: clips of every training video; all others give one.
  """

  source: Source
  form: ClipFormat
  encoder: str = "spectral"
  train_windows: int = 1

  def description(self) -> dict[str, Any]:
    """As kept in the manifest."""
    encoder = make_encoder(self.encoder)
    return {
      "schema_version": clip_record.SCHEMA_VERSION,
      "source": dataclasses.asdict(self.source),
      **dataclasses.asdict(self.form),
      "encoder": {
        "name": encoder.name, "version": encoder.version, "size": encoder.size
      },
      "train_windows": self.train_windows,
    }  # fmt: skip

  def num_windows(self, video: SourceVideo) -> int:
    return self.train_windows if video.split == "train" else 1


def build(settings: Settings, output: pathlib.Path, num_workers: int) -> dict[str, Any]:
  """Builds the data set, or what is missing of it.

  Args:
    settings: what to build.
    output: folder of the data set.
    num_workers: processes.

  Returns:
    The manifest.

  Raises:
    BuildError: the folder holds a data set of other settings.
    MediaError: a video that cannot be used.
  """
  description = settings.description()
  manifest = output / MANIFEST
  if manifest.is_file():
    finished = json.loads(manifest.read_text(encoding="utf-8"))
    _check_same(finished["settings"], description, output)
    return finished
  work = output / "work"
  for folder in (work / "songs", work / "clips"):
    folder.mkdir(parents=True, exist_ok=True)
  started = work / "settings.json"
  if started.is_file():
    _check_same(json.loads(started.read_text(encoding="utf-8")), description, output)
  _write_json(started, description)

  videos = settings.source.videos()
  songs = sorted({video.song for video in videos})
  with _pool(num_workers) as pool:
    _run(pool, _find_beats, [(settings.source, song, work) for song in songs], "songs")
    _run(pool, _cut_video, [(settings, video, work) for video in videos], "videos")
  return _finish(settings, videos, output)


def _check_same(found: Any, wanted: dict[str, Any], output: pathlib.Path) -> None:
  wanted = json.loads(json.dumps(wanted))
  if found == wanted:
    return
  parts = [
    f"{key}: {found.get(key)} there, {wanted.get(key)} wanted"
    for key in sorted(found.keys() | wanted.keys())
    if found.get(key) != wanted.get(key)
  ]
  raise BuildError(
    f"{output} holds a data set of other settings ({'; '.join(parts)}); "
    "name another --output or delete it."
  )


def _write_json(path: pathlib.Path, content: Any) -> None:
  temporary = path.with_name(f".{path.name}.part")
  temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
  temporary.replace(path)


# --- Work of the processes ---------------------------------------------------------


def _pool(num_workers: int) -> concurrent.futures.ProcessPoolExecutor:
  # One process a core: the matrix library must not start threads of its own.
  for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
  return concurrent.futures.ProcessPoolExecutor(
    num_workers,
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_die_with_parent,
  )


def _die_with_parent() -> None:
  """Ends a worker whose parent was killed; it would wait for work for ever."""
  parent = multiprocessing.parent_process()

  def watch() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _run(
  pool: concurrent.futures.Executor,
  function: Callable[..., None],
  arguments: Iterable[tuple[Any, ...]],
  unit: str,
) -> None:
  futures = [pool.submit(function, *args) for args in arguments]
  try:
    finished = concurrent.futures.as_completed(futures)
    for future in tqdm.tqdm(finished, total=len(futures), desc=unit, unit=""):
      future.result()
  except BaseException:
    pool.shutdown(wait=False, cancel_futures=True)
    raise


def _song_file(song: str, work: pathlib.Path) -> pathlib.Path:
  return work / "songs" / f"{song}.npy"


def _find_beats(source: Source, song: str, work: pathlib.Path) -> None:
  path = _song_file(song, work)
  if path.is_file():
    return
  times = track_beats(*source.song_audio(song))
  temporary = path.with_name(f".{path.name}.part")
  with open(temporary, "wb") as file:
    np.save(file, times)
  temporary.replace(path)


def _clip_files(
  settings: Settings, video: SourceVideo, work: pathlib.Path
) -> list[pathlib.Path]:
  windows = range(settings.num_windows(video))
  return [work / "clips" / f"{video.name}.{window}.npz" for window in windows]


def _short_file(video: SourceVideo, work: pathlib.Path) -> pathlib.Path:
  """Exists for a video that is too short for a clip."""
  return work / "clips" / f"{video.name}.short"


def _cut_video(settings: Settings, video: SourceVideo, work: pathlib.Path) -> None:
  files = _clip_files(settings, video, work)
  short = _short_file(video, work)
  if short.is_file() or all(file.is_file() for file in files):
    return
  beats = np.load(_song_file(video.song, work), allow_pickle=False)
  with tempfile.TemporaryDirectory(prefix="video-", dir=work) as folder:
    path, truth = settings.source.video_file(video.name, pathlib.Path(folder))
    records = ingest.records_of(
      video, path, truth, beats, settings.form, make_encoder(settings.encoder),
      len(files),
    )  # fmt: skip
    written = 0
    for file, record in zip(files, records, strict=False):
      ingest.save_result(file, record)
      written += 1
    if not written:
      short.touch()


# --- Shards ------------------------------------------------------------------------


def _finish(
  settings: Settings, videos: Sequence[SourceVideo], output: pathlib.Path
) -> dict[str, Any]:
  """Writes shards and manifest from the results."""
  work = output / "work"
  splits: dict[str, list[pathlib.Path]] = {}
  too_short = []
  for video in videos:
    if _short_file(video, work).is_file():
      too_short.append(video.name)
    else:
      splits.setdefault(video.split, []).extend(_clip_files(settings, video, work))
  if not splits:
    raise BuildError(
      f"All {len(too_short)} videos are shorter than {settings.form.seconds} s; "
      "lower --num_frames."
    )
  for folder in work.glob("video-*"):  # left behind by a killed worker
    shutil.rmtree(folder, ignore_errors=True)
  unfinished = output / "shards.unfinished"
  for folder in (unfinished, output / "shards"):
    shutil.rmtree(folder, ignore_errors=True)
  progress = tqdm.tqdm(total=sum(map(len, splits.values())), desc="shards", unit="")
  digest = hashlib.sha256()

  def load(path: pathlib.Path) -> dict[str, Any]:
    features = ingest.load_result(path)
    del features["digest"]
    progress.update()
    return features

  counts = {}
  for split, files in sorted(splits.items()):
    genres, cameras = Counter(), Counter()
    for file in sorted(files):
      features = ingest.load_result(file)
      digest.update(f"{split} {file.stem} {features['digest']}\n".encode())
      genres[features["genre"]] += 1
      cameras[features["camera"]] += 1
    counts[split] = {
      "clips": len(files),
      "genre": dict(sorted(genres.items())),
      "camera": dict(sorted(cameras.items())),
    }
  # Imported here: the workers have no need of it.
  from data_pipeline.tfds_builder.dance_clips import write_shards

  write_shards(unfinished, splits, load)
  progress.close()
  unfinished.replace(output / "shards")
  has_truth = "true_beat_times" in features
  manifest = {
    "settings": settings.description(),
    "beats": ["librosa", "truth"] if has_truth else ["librosa"],
    "counts": counts,
    "too_short": too_short,
    "content_sha256": digest.hexdigest(),
    "splits": {split: [f.stem for f in files] for split, files in splits.items()},
  }
  _write_json(output / MANIFEST, manifest)
  return manifest


# --- Command line ------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m data_pipeline.build",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--source", choices=["synthdance"], required=True)
  parser.add_argument("--preset", choices=PRESETS, required=True)
  parser.add_argument("--output", type=pathlib.Path, required=True, help="folder")
  parser.add_argument(
    "--split", default="official", help="test tracks: official, index1, index2, a file"
  )
  parser.add_argument("--frame_size", type=int, help="pixels; 64, preset full: 128")
  parser.add_argument("--num_frames", type=int, default=40)
  parser.add_argument("--fps", type=int, default=10)
  parser.add_argument("--framing", choices=["letterbox", "crop"], default="letterbox")
  parser.add_argument("--encoder", default="spectral", help="of the music")
  parser.add_argument(
    "--windows_per_video",
    type=int,
    help="clips of a training video; 1, preset demo: 2. Other splits: always 1",
  )
  parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    settings = Settings(
      source=SynthDance(args.preset, args.split),
      form=ClipFormat(
        num_frames=args.num_frames,
        fps=args.fps,
        frame_size=args.frame_size or FRAME_SIZES[args.preset],
        framing=args.framing,
      ),
      encoder=args.encoder,
      train_windows=args.windows_per_video or TRAIN_WINDOWS[args.preset],
    )
    was_there = (args.output / MANIFEST).is_file()
    manifest = build(settings, args.output, max(1, args.workers))
  except KeyboardInterrupt:
    sys.exit("Interrupted; the same command goes on from here.")
  except (ValueError, OSError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
  counts = ", ".join(f"{n['clips']} {split}" for split, n in manifest["counts"].items())
  state = "was complete already" if was_there else "is complete"
  print(f"{args.output} {state}: {counts} clips.")


if __name__ == "__main__":
  main()

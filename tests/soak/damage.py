r"""Feeds damaged and odd files to every program, and counts what comes of it.

  python tests/soak/damage.py --output=DIR [--kinds=pictures,sounds,...]

Each file must be used or refused in one line: no traceback, no hang, no memory without
bound, nothing half written. The networks are replaced by stubs where only their inputs
matter. Prints a table, writes OUTPUT/report.json, and ends with status 1 if anything
went wrong.
"""

import argparse
import contextlib
import json
import math
import pathlib
import resource
import sys
import tempfile
from typing import Any
from unittest import mock

import damaged_files
import numpy as np
from jobs import open_output
from outcomes import SECONDS, Outcomes
from stubs import Inline, still_networks, still_pipeline

from dabfusion_jax import evaluate, export, publish, sample
from dabfusion_jax.parallel import hardware
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings import config_files, mapping
from dabfusion_jax.settings.stages import read_settings
from dabfusion_jax.storage import saved_stage
from data_pipeline import build, inspect
from data_pipeline.building import local_build


def write_whole(place: pathlib.Path) -> None:
  """Writes a whole picture and song, beside which damaged ones are tried."""
  (place / "whole.png").write_bytes(damaged_files.picture("png"))
  damaged_files.write_media(place / "whole.wav", None, "pcm_s16le")


def dance(place: pathlib.Path, **changed: Any) -> None:
  """Runs `sample` on whole inputs, with some replaced."""
  given = {"image": place / "whole.png", "music": place / "whole.wav"}
  given |= {"drawing": "decoder"} | changed
  command = [f"--{key}={value}" for key, value in given.items() if value is not None]
  sample.main([*command, f"--output={place}/out/a.mp4", "--num_inference_steps=1"])


def check_whole() -> None:
  """Makes a dance of whole inputs, which must be used.

  It compiles what librosa needs, which takes minutes on a loaded machine: without it
  the first case that is used would seem to hang.
  """
  with tempfile.TemporaryDirectory(prefix="dabfusion-") as folder:
    place = pathlib.Path(folder)
    write_whole(place)
    with still_pipeline():
      dance(place)


def run_pictures(outcomes: Outcomes, place: pathlib.Path) -> None:
  rng = np.random.default_rng(1)
  files = dict(damaged_files.odd_pictures())
  for suffix in damaged_files.PICTURES:
    for name, data in damaged_files.damages(damaged_files.picture(suffix), rng):
      files[f"{name}.{suffix}"] = data
  with still_pipeline():
    for name, data in files.items():
      path = place / name
      path.write_bytes(data)
      # Looked at by the networks that find people, if they are here. Nobody is in these
      # pictures, so that asking for layers would refuse them all.
      call = lambda path=path: dance(place, image=path, drawing=None)
      outcomes.run("pictures", name, call, place / "out")


def run_sounds(outcomes: Outcomes, place: pathlib.Path) -> None:
  rng = np.random.default_rng(2)
  with still_pipeline():
    for suffix, codec in damaged_files.SOUNDS.items():
      path = place / f"song.{suffix}"
      damaged_files.write_media(path, None, codec)
      for name, data in damaged_files.damages(path.read_bytes(), rng):
        path.write_bytes(data)
        call = lambda path=path: dance(place, music=path)
        outcomes.run("sounds", f"{name}.{suffix}", call, place / "out")


def run_beats(outcomes: Outcomes, place: pathlib.Path) -> None:
  with still_pipeline():
    for name, data in damaged_files.BEATS.items():
      path = place / "beats.txt"
      path.write_bytes(data)
      call = lambda path=path: dance(place, beats=path)
      outcomes.run("beats", name, call, place / "out")


def damaged_videos(place: pathlib.Path) -> dict[str, bytes]:
  """Returns damaged copies of a video in every container, by file name."""
  rng = np.random.default_rng(3)
  videos = {}
  for suffix, codecs in damaged_files.VIDEOS.items():
    whole = place / f"whole.{suffix}"
    damaged_files.write_media(whole, *codecs)
    for name, data in damaged_files.damages(whole.read_bytes(), rng):
      videos[f"{name}.{suffix}"] = data
  return videos


def run_videos(outcomes: Outcomes, place: pathlib.Path) -> None:
  (place / "one").mkdir()
  command = [f"--samples={place}/one", "--metrics=motion", f"--output={place}/scores"]
  for name, data in damaged_videos(place).items():
    path = place / "one" / name
    path.write_bytes(data)
    outcomes.run("videos: evaluate", name, lambda: evaluate.main(command))
    path.unlink()


def run_builds(outcomes: Outcomes, place: pathlib.Path) -> None:
  (place / "videos").mkdir()
  for name, data in damaged_videos(place).items():
    (place / "videos" / name).write_bytes(data)
  command = ["--source=folder", f"--videos={place}/videos", f"--output={place}/set"]
  command += ["--num_frames=10", "--frame_size=32", "--train_windows=spread:1"]
  with mock.patch.object(local_build, "LocalPool", Inline):
    call = lambda: build.main(command)
    outcomes.run("videos: build of all", "", call, seconds=20 * SECONDS)


def run_models(outcomes: Outcomes, place: pathlib.Path) -> None:
  def digest_of(flat):
    params = {k[7:]: v for k, v in flat.items() if k.startswith("params/")}
    rest = {k[12:]: v for k, v in flat.items() if k.startswith("batch_stats/")}
    return saved_stage.digest_of(params, rest)

  model = saved_stage.shipped()
  for folder in damaged_files.damaged_models(model, place, digest_of):
    load = lambda f=folder: dance(place, checkpoint=f)
    with still_networks():
      outcomes.run("models: sample", folder.name, load, place / "out")
    command = [f"--checkpoint={folder}", f"--output={place}/published_{folder.name}"]
    outcomes.run("models: publish", folder.name, lambda c=command: publish.main(c))


def run_settings(outcomes: Outcomes, place: pathlib.Path) -> None:
  configs = pathlib.Path(__file__).parents[2] / "configs"
  values = (None, "x", -1, 0, 0.5, math.nan, [], {}, 10**30, True, ["a", 1])
  for stage in ("autoencoder", "diffusion"):
    whole = mapping.to_mapping(
      config_files.load_config(configs / f"{stage}.py", "smoke")
    )
    for name in mapping.flatten(whole):
      for value in values:
        changed = json.loads(json.dumps(whole))
        *groups, key = name.split(".")
        inner = changed
        for group in groups:
          inner = inner[group]
        inner[key] = value
        call = lambda c=changed: read_settings(c, strict=False)
        outcomes.run("settings", f"{name}={value}", call)


def run_flags(outcomes: Outcomes, place: pathlib.Path) -> None:
  """Gives programs odd values of their flags, one at a time."""
  values = (
    "0",
    "-1",
    "0.5",
    "1e30",
    "9" * 30,
    "nan",
    "inf",
    "",
    " ",
    "x",
    "[x] ä",
    "~",
  )
  with still_pipeline():
    for flag in ("image", "music", "encoder", *damaged_files.DANCE_FLAGS):
      for value in values:
        call = lambda f=flag, v=value: dance(place, **{f: v})
        outcomes.run("flags: sample", f"--{flag}={value}", call, place / "out")
  (place / "one").mkdir()
  damaged_files.write_media(place / "one" / "a.mp4", "libx264", "aac")
  given = {"samples": place / "one", "metrics": "motion", "output": place / "scores"}
  for flag in damaged_files.EVALUATE_FLAGS:
    for value in values:
      changed = given | {flag: value}
      command = [f"--{key}={value}" for key, value in changed.items()]
      call = lambda c=command: evaluate.main(c)
      outcomes.run("flags: evaluate", f"--{flag}={value}", call, place / "scores")
  given = {"checkpoint": saved_stage.shipped(), "output": place / "published"}
  for flag in ("checkpoint", "figures", "sample"):
    for value in values:
      command = [f"--{key}={value}" for key, value in (given | {flag: value}).items()]
      call = lambda c=command: publish.main(c)
      outcomes.run("flags: publish", f"--{flag}={value}", call)


def run_data(outcomes: Outcomes, place: pathlib.Path) -> None:
  """Damages the files of a data set, and gives it to what reads data sets."""
  rng = np.random.default_rng(4)
  videos = place / "videos"
  videos.mkdir()
  for name in "ab":
    damaged_files.write_media(videos / f"{name}.mp4", "libx264", "aac")
  command = ["--source=folder", f"--videos={videos}", f"--output={place}/set"]
  with mock.patch.object(local_build, "LocalPool", Inline):
    build.main([*command, "--frame_size=64"])
  paths = sorted((place / "set").glob("*.json"))
  paths += sorted(p for p in (place / "set" / "shards").rglob("*.*") if p.is_file())
  for path in paths:
    whole = path.read_bytes()
    for name, data in damaged_files.damages(whole, rng):
      path.write_bytes(data)
      case = f"{path.name} {name}"
      look = [str(place / "set"), f"--output={place}/look"]
      outcomes.run("data: inspect", case, lambda c=look: inspect.main(c))
      shipped = saved_stage.shipped()
      more = [f"--checkpoint={shipped}", f"--data={place}/set", "--num_clips=1"]
      more += [f"--output={place}/export", "--split=train"]
      with (
        mock.patch.object(DancePipeline, "sample_records", lambda *unused: iter(())),
        mock.patch.object(hardware, "use_cpu_cores"),  # once in a process
      ):
        outcomes.run("data: export", case, lambda c=more: export.main(c))
    path.write_bytes(whole)


KINDS = {
  "pictures": run_pictures,
  "sounds": run_sounds,
  "beats": run_beats,
  "videos": run_videos,
  "builds": run_builds,
  "models": run_models,
  "settings": run_settings,
  "flags": run_flags,
  "data": run_data,
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--kinds", default=",".join(KINDS))
  args = parser.parse_args()
  open_output(args.output)
  outcomes = Outcomes()
  check_whole()
  for kind in args.kinds.split(","):
    with tempfile.TemporaryDirectory(prefix="dabfusion-") as folder:
      place = pathlib.Path(folder)
      write_whole(place)
      with contextlib.chdir(place):  # where relative paths lead
        KINDS[kind](outcomes, place)
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{kind} done; peak memory so far {gib:.2f} GiB", flush=True)
  print("| kind | tried | used | refused | failed |\n|---|---|---|---|---|")
  for kind, counts in outcomes.counts.items():
    good = counts["used"] + counts["refused"]
    row = (
      kind,
      counts.total(),
      counts["used"],
      counts["refused"],
      counts.total() - good,
    )
    print("| " + " | ".join(map(str, row)) + " |")
  report = {
    "counts": outcomes.counts,
    "failures": outcomes.failures,
    "refused": outcomes.refused,
  }
  (args.output / "report.json").write_text(json.dumps(report, indent=2))
  sys.exit(bool(outcomes.failures))


if __name__ == "__main__":
  main()

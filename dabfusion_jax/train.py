r"""Trains either stage; the same command resumes.

python -m dabfusion_jax.train --config=configs/autoencoder.py:demo
python -m dabfusion_jax.train --config=configs/diffusion.py:demo --workdir=DIR
"""

import contextlib
import dataclasses
import functools
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from dabfusion_jax import config
from dabfusion_jax.parallel import hardware, sharding, share
from dabfusion_jax.parallel.compiled import keep_compiled
from dabfusion_jax.resident.latents import ResidentLatents
from dabfusion_jax.resident.pairs import ResidentPairs
from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.config_flag import config_of, parse_flags
from dabfusion_jax.settings.diffusion import DiffusionSettings
from dabfusion_jax.settings.stages import Settings, read_settings
from dabfusion_jax.stages.autoencoder import check_self_flow
from dabfusion_jax.storage import agreement, checkpoint_files, saved_stage
from dabfusion_jax.storage.checkpointing import CheckpointError
from dabfusion_jax.storage.run_config import check_config, keep_origin, read_config
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.loop import TERMINATED, train
from dabfusion_jax.training.warm_start import history_of, make_warm_start
from data_pipeline.building.manifest import made_from
from data_pipeline.cli import one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.locks import hold_folder
from data_pipeline.records import latent_record, loader, pairs
from data_pipeline.records.body_parts import PARTS
from data_pipeline.records.slow_motion import SlowMotion

_CONFIG = config_flags.DEFINE_config_file("config", None, "FILE.py or FILE.py:VARIANT.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: runs/VARIANT_STAGE.")
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "Join the other processes of a pod or cluster."
)
_TRACE_STEPS = flags.DEFINE_integer(
  "profiler_steps", 0, "Steps to record for XProf in WORKDIR/profile.", lower_bound=0
)
_TRACE_SKIP = flags.DEFINE_integer(
  "skip_first_n_steps_for_profiler", 10, "Steps of this run before them.", lower_bound=0
)


FOLDERS = ("data.folder", "data.latents", "data.autoencoder", "init_from")  # settings


class NotReadyError(UserError):
  """Something must be made first; the message gives the commands that make it."""


def train_autoencoder(settings: AutoencoderSettings, run: RunFolder) -> None:
  """Trains stage 1 on pairs of frames.

  Raises:
    NotReadyError: the data set is not there.
  """
  data, num_keypoints = settings.data, settings.model.num_keypoints
  if settings.loss.parts_weight and num_keypoints != len(PARTS):
    raise UserError(
      f"loss.parts_weight needs a keypoint for each of {len(PARTS)} body parts, but"
      f" model.num_keypoints is {num_keypoints}."
    )
  if not (epath.Path(data.folder) / loader.MANIFEST).exists():
    raise NotReadyError(
      f"{data.folder} holds no shards. Make them with: {build_command(settings)}."
      " Without any data, this runs everything in miniature: make miniature"
    )
  manifest = loader.read_manifest(data.folder)
  # A run is bound to the clips it began with, wherever they lie.
  content = {"content_sha256": manifest["content_sha256"]} | made_from(manifest)
  data = dataclasses.replace(data, **content)
  settings = dataclasses.replace(settings, data=data)
  expect = {
    "frame_size": data.frame_size,
    "num_frames": data.num_frames,
    "fps": data.fps,
    "encoder": data.encoder,
  }

  fields = ("frames", "example_id")
  if settings.loss.needs_truth:
    fields += ("part_map", "part_pose", "surfaces")

  num_processes = data.reading_processes
  if num_processes is None:
    # Each process would keep clips of its own in memory.
    num_processes = 0 if data.cache_in_memory else hardware.choose_reading_processes()

  def open_clips(split, cache_in_memory=False):
    options = dict(expect=expect, fields=fields, cache_in_memory=cache_in_memory)
    return loader.open_clips(data.folder, split, **options)

  def open_pairs(clips, augment, **options):
    return pairs.make_pairs_dataset(
      clips,
      settings.batch_size,
      settings.seed,
      pairs_per_clip=1 if data.on_device else data.pairs_per_clip,
      augment=augment,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      **options,
    )

  stage = config.make_autoencoder_stage(settings)
  check_config(run, settings)  # before gigabytes are read
  if data.on_device:
    place = settings.batch_size, settings.seed, sharding.make_mesh(settings.mesh)
    dataset = ResidentPairs(open_clips("train"), *place, data.augment)
  else:
    clips = open_clips("train", data.cache_in_memory)
    dataset = open_pairs(clips, data.augment, num_processes=num_processes)
  held_out, num_batches = None, settings.eval_batches
  if "test" in manifest["counts"]:
    held_out = open_pairs(open_clips("test"), False, num_batches=num_batches)
  start(stage, dataset, held_out, settings, run)


def train_diffusion(settings: DiffusionSettings, run: RunFolder) -> None:
  """Trains stage 2 on cached latents; keeps a copy of its stage 1 in the workdir.

  Raises:
    NotReadyError: the latents or the stage 1 that makes them are not there.
  """
  data = settings.data
  if not (epath.Path(data.latents) / latent_record.MANIFEST).exists():
    raise NotReadyError(
      f"{data.latents} holds no cached latents. Make them with: python -m"
      f" dabfusion_jax.train --config=configs/autoencoder.py:{settings.variant}"
      f" --workdir={data.autoencoder}; then: python -m dabfusion_jax.latents"
      f" --checkpoint={data.autoencoder} --data=CLIPS --output={data.latents}."
      " Without any data, this runs everything in miniature: make miniature"
    )
  stage1 = saved_stage.load_stage(data.autoencoder, "autoencoder")
  manifest = latent_record.read_manifest(data.latents)
  settings = config.resolve_diffusion(settings, stage1, manifest)
  check_config(run, settings)
  keep_stage1 = stage1_keeper(stage1, run)

  def open_latents(split, slow_motion, **options):
    return latent_record.make_latents_dataset(
      latent_record.open_latents(data.latents, split),
      batch_size=settings.batch_size,
      seed=settings.seed,
      beats=data.beats,
      fps=float(manifest["fps"]),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      slow_motion=slow_motion,
      **options,
    )

  silence = np.asarray(manifest["silence"], np.float32)
  stage = config.make_diffusion_stage(settings, stage1)
  check_self_flow(stage.autoencoder, stage1.variables, stage1.settings.data.frame_size)
  slow_motion = SlowMotion(data.slow, data.silent, silence)
  if data.on_device:
    dataset = ResidentLatents(
      latent_record.open_latents(data.latents, "train"),
      settings.batch_size,
      settings.seed,
      sharding.make_mesh(settings.mesh),
      beats=data.beats,
      fps=float(manifest["fps"]),
      slow_motion=slow_motion,
    )
  else:
    dataset = open_latents("train", slow_motion)
  held_out, num_batches = None, settings.eval_batches
  if manifest["shards"].get("test"):
    held_out = open_latents("test", None, num_batches=num_batches)
  start(stage, dataset, held_out, settings, run, on_begin=keep_stage1)


def stage1_keeper(stage1: saved_stage.SavedStage, run: RunFolder) -> Callable[[], None]:
  """Returns a function that copies stage 1 into a run that has a config.json.

  Raises:
    SavedStageError: there are other weights in its place, and no run has begun here.
  """
  copy = run.local / saved_stage.AUTOENCODER
  is_begun = read_config(run, DiffusionSettings) is not None
  if copy.exists() and not is_begun:
    saved_stage.save_stage(stage1, copy)  # writes nothing, or is refused

  def keep() -> None:
    if jax.process_index() != 0:
      return
    is_published = (run.local / saved_stage.MODEL).exists()
    is_new = not is_published and checkpoint_files.latest_step(run.path) is None
    if is_begun and is_new:
      shutil.rmtree(copy, ignore_errors=True)  # perhaps of another stage 1
    saved_stage.save_stage(stage1, copy)

  return keep


def start(
  stage, dataset, held_out, settings: Settings, run: RunFolder, **options: Any
) -> None:
  """Runs the loop with what the command line and the settings ask for beside it."""
  if checkpoint_files.latest_step(run.path) is not None:
    settings = keep_origin(run, settings)
  elif settings.init_from:
    settings, options["initialise"] = warm_start(settings)
  train(
    stage,
    dataset,
    settings,
    run,
    eval_dataset=held_out,
    trace_skip=_TRACE_SKIP.value,
    trace_steps=_TRACE_STEPS.value,
    **options,
  )


def warm_start(settings: Settings) -> tuple[Settings, Callable]:
  """Returns settings with the history of `init_from`, and `initialise` of `train`."""
  saved = saved_stage.load_stage(settings.init_from, settings.stage)
  initialise = make_warm_start(saved, settings.init_parts, settings.init_from)
  return dataclasses.replace(settings, history=history_of(saved)), initialise


def build_command(settings: AutoencoderSettings) -> str:
  """Returns the command that makes the data set of a stage 1."""
  data = settings.data
  sizes = ("frame_size", "num_frames", "fps", "encoder")
  return " ".join(
    ["python -m data_pipeline.build", data.build, f"--output={data.folder}"]
    + [f"--{name}={getattr(data, name)}" for name in sizes]
  )


def _expand_paths(config: dict[str, Any]) -> dict[str, Any]:
  """Returns a config with `~` expanded in its folders."""
  for name in FOLDERS:
    group, _, key = name.rpartition(".")
    place = config.get(group, {}) if group else config
    if isinstance(place.get(key), str):
      place[key] = os.path.expanduser(place[key])
  return config


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  try:
    run_program()
  except SystemExit as exit:
    if isinstance(exit.__context__, CheckpointError):
      # After some failures to save, threads of orbax wait for ever.
      print(exit.code, file=sys.stderr, flush=True)
      sys.stdout.flush()
      os._exit(1)
    raise


def run_program() -> None:
  """Trains what the flags name."""
  with share.ended_at_once(TERMINATED), one_line_errors("train"):
    settings = read_settings(_expand_paths(config_of(_CONFIG)), strict=True)
    if _DISTRIBUTED.value:
      own = share.join()
      counts = own.index, own.count, jax.local_device_count(), jax.device_count()
      logging.info("Process %d of %d with %d of %d devices.", *counts)
    else:
      hardware.use_cpu_cores(settings.batch_size // settings.gradient_accumulation)
      hardware.check_backend()
    workdir = _WORKDIR.value or f"runs/{settings.variant}_{settings.stage}"
    workdir = os.path.expanduser(workdir)
    logging.info("Training %s in %s.", settings.stage, workdir)
    run = RunFolder(workdir)
    # A restarted machine of a pod has an empty disk, but the workdir is still there.
    is_cpu = jax.default_backend() == "cpu"
    keep_compiled(None if is_cpu else run.path / "compilation_cache")
    programs = {"autoencoder": train_autoencoder, "diffusion": train_diffusion}
    with contextlib.ExitStack() as stack:
      if jax.process_index() == 0:
        stack.enter_context(hold_folder(run.path))
      agreement.check_shared(run.path)
      programs[settings.stage](settings, run)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config"])
  logging.set_verbosity(logging.INFO)
  app.run(main, flags_parser=functools.partial(parse_flags, "train"))

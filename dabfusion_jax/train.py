r"""Trains either stage; the same command resumes.

python -m dabfusion_jax.train --config=configs/autoencoder.py:demo
python -m dabfusion_jax.train --config=configs/diffusion.py:demo --workdir=DIR
"""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from dabfusion_jax.config import (
  make_autoencoder_stage,
  make_diffusion_stage,
  make_loop,
  make_optimizer_of,
  resolve_diffusion,
)
from dabfusion_jax.parallel import hardware
from dabfusion_jax.stages.autoencoder import check_self_flow
from dabfusion_jax.storage import checkpoint_files, run_config, saved_stage
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.loop import train
from dabfusion_jax.training.warm_start import make_warm_start
from dabfusion_jax.training.writers import Trace
from data_pipeline.cli import one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.records import latent_record, loader, pairs
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


class NotReadyError(UserError):
  """Something that has to be made first is missing; the message says how."""


def train_autoencoder(config: Mapping[str, Any], folder: RunFolder) -> None:
  """Stage 1, on pairs of frames; SynthDance is generated where it is not there."""
  data = config["data"]
  if not (epath.Path(data["folder"]) / loader.MANIFEST).exists():
    videos = f"--preset={data['preset']}" if data["preset"] else "--videos=DIR"
    build = [
      "data_pipeline.build",
      f"--source={data['source']}",
      videos,
      f"--output={data['folder']}",
      f"--frame_size={data['frame_size']}",
      f"--num_frames={data['num_frames']}",
      f"--fps={data['fps']}",
      f"--encoder={data['encoder']}",
    ]
    if data["source"] != "synthdance" or jax.process_count() > 1:
      raise NotReadyError(
        f"{data['folder']} holds no shards. Make them with: python -m"
        f" {' '.join(build)}. Without any data, this runs: python -m"
        " dabfusion_jax.train --config=configs/autoencoder.py:demo"
      )
    run(build)
  # A run goes on with the clips it began with, wherever they lie.
  digest = loader.read_manifest(data["folder"])["content_sha256"]
  config = {**config, "data": {**data, "content_sha256": digest}}
  expect = {key: data[key] for key in ("frame_size", "num_frames", "fps", "encoder")}
  dataset = pairs.make_pairs_dataset(
    loader.open_clips(
      data["folder"],
      "train",
      expect=expect,
      fields=("frames", "example_id"),
      cache_in_memory=data["cache_in_memory"],
    ),
    config["batch_size"],
    config["seed"],
    pairs_per_clip=data["pairs_per_clip"],
    augment=data["augment"],
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  stage = make_autoencoder_stage(config)
  optimizer = make_optimizer_of(config)
  run_training(stage, optimizer, dataset, folder, config)


def train_diffusion(config: Mapping[str, Any], folder: RunFolder) -> None:
  """Stage 2, on cached latents; keeps a copy of its stage 1 in the workdir."""
  prepare_latents(config)
  data = config["data"]
  autoencoder = saved_stage.load_trained(data["autoencoder"], "autoencoder")
  manifest = latent_record.read_manifest(data["latents"])
  config = resolve_diffusion(config, autoencoder, manifest)
  run_config.check_config(folder, config)
  if jax.process_index() == 0:
    saved_stage.publish(autoencoder, folder.local / saved_stage.AUTOENCODER)
  dataset = latent_record.make_latents_dataset(
    latent_record.open_latents(data["latents"], "train"),
    batch_size=config["batch_size"],
    seed=config["seed"],
    beats=data["beats"],
    fps=manifest["fps"],
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    slow_motion=SlowMotion(
      data["slow"], data["silent"], np.asarray(manifest["silence"], np.float32)
    ),
  )
  stage = make_diffusion_stage(config, autoencoder)
  check_self_flow(
    stage.autoencoder, autoencoder.variables, autoencoder.config["data"]["frame_size"]
  )
  optimizer = make_optimizer_of(config)
  run_training(stage, optimizer, dataset, folder, config)


def run_training(stage, optimizer, dataset, folder, config) -> None:
  """The loop, with what the command line and the config hang on it."""
  options = {}
  if config["init_from"]:
    options["initialise"] = make_warm_start(
      config["init_from"], config["stage"], config["init_parts"]
    )
  train(
    stage,
    optimizer,
    dataset,
    make_loop(config),
    folder,
    config,
    trace=Trace(_TRACE_SKIP.value, _TRACE_STEPS.value),
    **options,
  )


def keep_compiled(folder: RunFolder) -> None:
  """Compiled programs stay in the workdir: a restart need not compile again."""
  if jax.default_backend() != "cpu":  # where XLA warns of other machines' programs
    cache = folder.path / "compilation_cache"
    jax.config.update("jax_compilation_cache_dir", str(cache))


def prepare_latents(config: Mapping[str, Any]) -> None:
  """Makes what stage 2 trains from where the config says how; else says what to do."""
  data = config["data"]
  folder = data["latents"]
  if (epath.Path(folder) / latent_record.MANIFEST).exists():
    return
  recipe, stage1 = data["autoencoder_config"], data["autoencoder"]
  if recipe and jax.process_count() == 1:
    # In their own processes: each gives its memory back, and resumes by itself.
    run(["dabfusion_jax.train", f"--config={recipe}", f"--workdir={stage1}"])
    clips = saved_stage.load_trained(stage1, "autoencoder").config["data"]["folder"]
    run(
      [
        "dabfusion_jax.latents",
        f"--checkpoint={stage1}",
        f"--data={clips}",
        f"--output={folder}",
      ]
    )
    return
  steps = []
  if checkpoint_files.latest_step(stage1) is None:
    steps.append(
      "python -m dabfusion_jax.train --config=configs/autoencoder.py"
      f" --workdir={stage1}"
    )
  steps.append(
    f"python -m dabfusion_jax.latents --checkpoint={stage1} --data=CLIPS"
    f" --output={folder}"
  )
  raise NotReadyError(
    f"{folder} holds no cached latents. Make them with: {'; then: '.join(steps)}."
    " Without any data, this runs: python -m dabfusion_jax.train"
    " --config=configs/diffusion.py:demo"
  )


def run(module_and_flags: list[str]) -> None:
  """Runs one of the project's programs and stops where it stops."""
  logging.info("Running: python -m %s", " ".join(module_and_flags))
  done = subprocess.run([sys.executable, "-m", *module_and_flags], check=False)
  if done.returncode:
    raise SystemExit(done.returncode)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  config = _CONFIG.value.to_dict()
  if _DISTRIBUTED.value:
    jax.distributed.initialize()
    logging.info(
      "Process %d of %d with %d of %d devices.",
      jax.process_index(),
      jax.process_count(),
      jax.local_device_count(),
      jax.device_count(),
    )
  else:
    parts = max(1, config["gradient_accumulation"])
    hardware.use_cpu_cores(config["batch_size"] // parts)
  stage = config["stage"]
  workdir = _WORKDIR.value or f"runs/{config['variant']}_{stage}"
  logging.info("Training %s in %s.", stage, workdir)
  programs = {"autoencoder": train_autoencoder, "diffusion": train_diffusion}
  with one_line_errors("train"):
    folder = RunFolder(workdir)
    keep_compiled(folder)
    programs[stage](config, folder)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config"])
  logging.set_verbosity(logging.INFO)
  app.run(main)

r"""Checkpoint -> a folder to give away: safetensors, config, model card.

  python -m dabfusion_jax.publish --checkpoint=runs/demo_diffusion --output=DIR
  python -m dabfusion_jax.publish --checkpoint=RUN --output=DIR --float16 \
    --figures=result.json

Every program that takes `--checkpoint` takes the folder as well, and training starts
from it with `--config.init_from=DIR`. Several stage 2 of one stage 1 store it once:

  python -m dabfusion_jax.publish --checkpoint=RUN_1 --output=ALL/one --share_stage1
  python -m dabfusion_jax.publish --checkpoint=RUN_2 --output=ALL/two --share_stage1
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dabfusion_jax.storage import saved_stage
from dabfusion_jax.storage.model_card import PURPOSE, model_card
from dabfusion_jax.storage.run_config import MAY_MOVE
from data_pipeline.cli import one_line_errors


def publish(
  checkpoint: str | pathlib.Path,
  output: str | pathlib.Path,
  float16: bool,
  share_stage1: bool = False,
  figures: str | pathlib.Path | None = None,
) -> pathlib.Path:
  """Writes `output` with model.safetensors, config.json and README.md; returns it.

  A stage 2 carries its stage 1 in `autoencoder/`, or with `share_stage1` beside it.
  `figures`, a file of measured figures, is put in and named by the model card.

  Raises:
    TrainedError: `checkpoint` holds no trained stage, or `output` other weights.
    CheckpointError: no readable checkpoint.
  """
  checkpoint, output = pathlib.Path(checkpoint), pathlib.Path(output).absolute()
  stage = stage_of(checkpoint)
  if figures is not None and not pathlib.Path(figures).is_file():
    raise saved_stage.TrainedError(f"{figures} is no file of figures.")
  part = saved_stage.load_trained(checkpoint, stage)
  parts = {output: dataclasses.replace(part, config=without_paths(part.config))}
  if stage == "diffusion":
    place = (output.parent if share_stage1 else output) / saved_stage.AUTOENCODER
    stage1 = saved_stage.load_autoencoder_of(checkpoint)
    parts[place] = dataclasses.replace(stage1, config=without_paths(stage1.config))
    if part.config["latents"]["autoencoder"] != stage1.digest:
      raise saved_stage.TrainedError(
        f"The stage 1 of {checkpoint} is not the one that stage 2 was trained with."
      )
  elif share_stage1:
    raise saved_stage.TrainedError(
      f"{checkpoint} is a stage 1; only a stage 2 shares one."
    )
  if float16:
    parts = {folder: round_weights(part) for folder, part in parts.items()}
    if stage == "diffusion":  # it names its stage 1 by hash
      config = dict(parts[output].config)
      config["latents"] = {**config["latents"], "autoencoder": parts[place].digest}
      parts[output] = dataclasses.replace(parts[output], config=config)
  # A shared stage 1 first: where another one lies there, nothing is written.
  folders = list(parts)[:: -1 if share_stage1 else 1]
  for folder in folders:
    saved_stage.publish(parts[folder], folder, np.float16 if float16 else None)
  name = None
  if figures is not None:
    name = f"figures{pathlib.Path(figures).suffix}"
    shutil.copyfile(figures, output / name)
  files = {
    os.path.relpath(folder / "model.safetensors", output): folder / "model.safetensors"
    for folder in parts
  }
  dtype = "float16" if float16 else "float32"
  (output / "README.md").write_text(model_card([*parts.values()], files, dtype, name))
  return output


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
  """The settings of a run, without where its files lay on one machine."""
  config = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
  for name in (*MAY_MOVE, "init_from"):
    section, _, key = name.rpartition(".")
    place = config[section] if section else config
    if isinstance(place.get(key), str) and os.path.isabs(place[key]):
      place[key] = os.path.basename(place[key])
  return config


def round_weights(part: saved_stage.Trained) -> saved_stage.Trained:
  """The same in float16 precision, under a digest of its own.

  Raises:
    TrainedError: a value beyond the range of float16.
  """
  with np.errstate(over="ignore"):
    params, batch_stats = jax.tree.map(
      lambda x: np.asarray(x, np.float16).astype(np.float32),
      (part.params, part.batch_stats),
    )
  if not all(np.isfinite(x).all() for x in jax.tree.leaves((params, batch_stats))):
    raise saved_stage.TrainedError("A weight does not fit float16; publish float32.")
  digest = saved_stage.digest_of(params, batch_stats)
  return dataclasses.replace(
    part, params=params, batch_stats=batch_stats, digest=digest
  )


def stage_of(folder: pathlib.Path) -> str:
  """ "autoencoder" or "diffusion"; raises `TrainedError` where neither is there."""
  try:
    stage = json.loads((folder / "config.json").read_text())["stage"]
  except (OSError, ValueError, KeyError, TypeError):
    raise saved_stage.TrainedError(
      f"{folder} is neither the workdir of a training nor a published folder."
    ) from None
  if stage not in PURPOSE:
    raise saved_stage.TrainedError(f"{folder} holds the unknown stage {stage!r}.")
  return stage


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.publish",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--checkpoint", required=True, help="workdir or published folder")
  add("--output", required=True, help="folder to make")
  add("--float16", action="store_true", help="half the size; weights are rounded")
  add(
    "--share_stage1",
    action="store_true",
    help="put the stage 1 of a stage 2 beside OUTPUT, for others to share",
  )
  add("--figures", help="file of measured figures to put in and name")
  args = parser.parse_args(argv)
  with one_line_errors("publish"):
    publish(args.checkpoint, args.output, args.float16, args.share_stage1, args.figures)
    print(args.output)


if __name__ == "__main__":
  main()

r"""Checkpoint -> a folder to give away: safetensors, config, model card.

  python -m dabfusion_jax.publish --checkpoint=runs/demo_diffusion --output=DIR
  python -m dabfusion_jax.publish --checkpoint=RUN --output=DIR --dtype=float16 \
    --figures=result.json --sample=dance.gif

Every program that takes `--checkpoint` takes the folder as well, and training starts
from it with `--config.init_from=DIR`. Several stages 2 with the same stage 1 store it
once:

  python -m dabfusion_jax.publish --checkpoint=RUN_1 --output=ALL/one --share_stage1
  python -m dabfusion_jax.publish --checkpoint=RUN_2 --output=ALL/two --share_stage1

A stage 1 whose encoder was frozen (`frozen_parts`) goes with the stages 2 that were
trained on the true motion before: --stage1=STAGE1.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageSequence
import safetensors.numpy

from dabfusion_jax.settings.mapping import to_mapping
from dabfusion_jax.settings.stages import Settings, read_settings
from dabfusion_jax.storage import rounding, saved_stage
from dabfusion_jax.storage.model_card import model_card
from dabfusion_jax.storage.model_file import flatten
from dabfusion_jax.storage.run_config import MAY_MOVE
from dabfusion_jax.storage.saved_stage import SavedStage, SavedStageError
from data_pipeline import cli, files

SAMPLE = "sample.webp"
Frames = tuple[list[PIL.Image.Image], int]  # and milliseconds of each
_MAX_SIDE, _MAX_FRAMES = 512, 100  # of a sample
_MILLISECONDS = 100  # of a frame that does not tell
_QUALITY = 50  # of WebP: 23 kB for 40 frames of 128 px


def publish(
  checkpoint: str | pathlib.Path,
  output: str | pathlib.Path,
  dtype: str,
  share_stage1: bool = False,
  figures: str | pathlib.Path | None = None,
  sample: str | pathlib.Path | None = None,
  stage1: str | pathlib.Path | None = None,
) -> pathlib.Path:
  """Writes a published folder and returns its path.

  Args:
    checkpoint: workdir or published folder of either stage.
    output: the folder; a stage 2 puts its stage 1 into `autoencoder/` inside it.
    dtype: of the weights, one of `rounding.DTYPES`.
    share_stage1: whether to put the stage 1 of a stage 2 beside `output` instead.
    figures: file of measured figures to copy in; the model card names it.
    sample: GIF or WebP of a dance of the model, which the model card shows.
    stage1: to publish with a stage 2 in place of its own, if its latents are the same
      (`check_same_latents`).

  Raises:
    SavedStageError: `checkpoint` holds no trained stage, or `output` other weights;
      no figures, or no moving sample.
    CheckpointError: no readable checkpoint.
  """
  output = pathlib.Path(output).absolute()
  files.check_writable(output.parent, is_folder=True)
  stage = stage_of(checkpoint)
  if figures is not None and not pathlib.Path(figures).is_file():
    raise SavedStageError(f"{figures} is no file of figures.")
  frames = None if sample is None else read_sample(sample)
  stages = {output: without_paths(saved_stage.load_stage(checkpoint, stage))}
  if stage == "diffusion":
    place = (output.parent if share_stage1 else output) / saved_stage.AUTOENCODER
    stages[place] = without_paths(saved_stage.load_autoencoder_of(checkpoint))
    if stages[output].settings.latents.autoencoder != stages[place].digest:
      raise SavedStageError(
        f"The stage 1 of {checkpoint} is not the one that stage 2 was trained with."
      )
    if stage1 is not None:
      other = without_paths(saved_stage.load_stage(stage1, "autoencoder"))
      settings = stages[output].settings
      of_true_motion = settings.latents.true_motion
      if of_true_motion is None:  # but joints come with it only
        of_true_motion = settings.joints.weight > 0
      check_same_latents(stages[place], other, stage1, of_true_motion)
      stages[place] = other
      stages[output] = bind_stage1(stages[output], other)
  elif stage1 is not None:
    raise SavedStageError(f"{checkpoint} is a stage 1; --stage1 goes with a stage 2.")
  elif share_stage1:
    raise SavedStageError(f"{checkpoint} is a stage 1; only a stage 2 shares one.")
  if dtype != rounding.FLOAT32:
    rounded = lambda saved: saved_stage.round_weights(saved, dtype)
    stages = {folder: rounded(saved) for folder, saved in stages.items()}
    if stage == "diffusion":
      stages[output] = bind_stage1(stages[output], stages[place])
  # A shared stage 1 first: if another one lies there, nothing is written.
  for folder in list(stages)[:: -1 if share_stage1 else 1]:
    saved_stage.save_stage(stages[folder], folder, dtype)
    _check_type(stages[folder], folder, dtype)
  name = None
  if figures is not None:
    name = f"figures{pathlib.Path(figures).suffix}"
    with files.whole_file(output / name) as copy:
      shutil.copyfile(figures, copy)
  if frames is not None:
    write_sample(frames, output / SAMPLE)
  models = (folder / saved_stage.MODEL for folder in stages)
  weight_files = {os.path.relpath(model, output): model for model in models}
  shown = None if frames is None else SAMPLE
  card = model_card([*stages.values()], weight_files, dtype, name, shown)
  files.write_text(output / "README.md", card)
  return output


def _check_type(saved: SavedStage, folder: pathlib.Path, dtype: str) -> None:
  """Refuses a folder that held the same weights already, in another type."""
  path = folder / saved_stage.MODEL  # which a workdir has not
  found = safetensors.numpy.load_file(path) if path.is_file() else {}
  packed = rounding.pack(flatten(saved.params, saved.batch_stats), dtype)
  types = lambda arrays: {name: array.dtype for name, array in arrays.items()}
  if types(found) != types(packed):
    raise SavedStageError(
      f"{folder} holds weights, but not as {dtype}; choose another folder."
    )


def bind_stage1(stage2: SavedStage, stage1: SavedStage) -> SavedStage:
  """Returns a stage 2 whose settings name `stage1` by its hash."""
  latents = dataclasses.replace(stage2.settings.latents, autoencoder=stage1.digest)
  settings = dataclasses.replace(stage2.settings, latents=latents)
  return dataclasses.replace(stage2, settings=settings)


def check_same_latents(
  stage1: SavedStage,
  other: SavedStage,
  folder: str | pathlib.Path,
  of_true_motion: bool,
) -> None:
  """Checks that two stages 1 make the same latents.

  They do if all but the decoder is equal, and of the true motion (`latents
  --true_motion`) if the encoder is.

  Args:
    stage1, other: the stages.
    folder: of the other one, for the message.
    of_true_motion: whether the latents are of the true motion.

  Raises:
    SavedStageError: they do not.
  """
  parts = ("encoder",)
  if not of_true_motion:
    parts += ("detector", "dense_motion", "matching", "fusion")

  def leaves(saved: SavedStage) -> dict[str, np.ndarray]:
    flat = flatten(saved.params, saved.batch_stats)
    return {name: flat[name] for name in flat if name.split("/")[1] in parts}

  ours, theirs = leaves(stage1), leaves(other)
  if ours.keys() != theirs.keys() or any(
    not np.array_equal(ours[name], theirs[name]) for name in ours
  ):
    more = "its encoder" if of_true_motion else "more than its decoder"
    raise SavedStageError(
      f"The stage 1 in {folder} differs in {more} from the one that stage 2 was"
      " trained with: its latents are others."
    )


def read_sample(path: str | pathlib.Path) -> Frames:
  """Reads the frames of a GIF or WebP, and how long they are shown.

  Raises:
    SavedStageError: it is no moving picture, or a large one.
  """
  try:
    with PIL.Image.open(path) as moving:
      side, count = max(moving.size), getattr(moving, "n_frames", 1)
      if side > _MAX_SIDE or not 1 < count <= _MAX_FRAMES:
        raise SavedStageError(
          f"{path} has {count} frames of {side} pixels; a sample has from 2 to"
          f" {_MAX_FRAMES}, of {_MAX_SIDE} pixels at most: make a shorter or smaller"
          " dance."
        )
      frames = [frame.convert("RGB") for frame in PIL.ImageSequence.Iterator(moving)]
      return frames, int(moving.info.get("duration", _MILLISECONDS))
  except SavedStageError:
    raise
  except (PIL.Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
    raise SavedStageError(
      f"{path} is no GIF or WebP that can be read; make one with"
      " `python -m dabfusion_jax.sample --output=dance.gif`."
    ) from error


def write_sample(moving: Frames, path: pathlib.Path) -> None:
  """Writes frames as a small WebP that repeats, whole or not at all."""
  (first, *others), milliseconds = moving
  with files.whole_file(path) as file:
    first.save(
      file,
      "WEBP",
      save_all=True,
      append_images=others,
      duration=milliseconds,
      loop=0,
      quality=_QUALITY,
      method=6,
    )


def without_paths(saved: SavedStage) -> SavedStage:
  """Returns the stage without the folders its run used on one machine."""
  mapping = to_mapping(saved.settings)
  for name in (*MAY_MOVE, "init_from"):
    group, _, key = name.rpartition(".")
    place = mapping[group] if group else mapping
    if isinstance(place.get(key), str) and os.path.isabs(place[key]):
      place[key] = os.path.basename(place[key])
  mapping["history"] = [
    dict(run, command=_without_folders(run["command"])) for run in mapping["history"]
  ]
  settings: Settings = read_settings(mapping, strict=False)
  return dataclasses.replace(saved, settings=settings)


def _without_folders(command: str) -> str:
  """Returns a command whose flags name the ends of absolute paths."""
  words = (word.partition("=") for word in shlex.split(command))
  return shlex.join(
    name + sep + (os.path.basename(value) if os.path.isabs(value) else value)
    for name, sep, value in words
  )


def stage_of(checkpoint: str | pathlib.Path) -> str:
  """Returns which stage a checkpoint holds: "autoencoder" or "diffusion".

  Raises:
    SavedStageError: neither.
  """
  folder, _ = saved_stage.locate(checkpoint)
  try:
    stage = json.loads((folder / saved_stage.CONFIG).read_text())["stage"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise SavedStageError(
      f"{folder} is neither the workdir of a training nor a published folder."
    ) from None
  if stage not in ("autoencoder", "diffusion"):
    raise SavedStageError(f"{folder} holds the unknown stage {stage!r}.")
  return stage


def main(argv: Sequence[str] | None = None) -> None:
  parser = cli.make_parser("dabfusion_jax.publish", __doc__)
  add = parser.add_argument
  add("--checkpoint", type=cli.path, required=True, help="workdir or published folder")
  add("--output", type=cli.local_path, required=True, help="folder to make")
  add(
    "--dtype",
    choices=rounding.DTYPES,
    default=rounding.FLOAT32,
    help="of the weights; float16 is half the size, int8 a quarter",
  )
  add(
    "--share_stage1",
    action="store_true",
    help="put the stage 1 of a stage 2 beside OUTPUT, for others to share",
  )
  add(
    "--figures", type=cli.local_path, help="file of measured figures to put in and name"
  )
  add("--sample", type=cli.local_path, help="GIF or WebP of a dance to show")
  add(
    "--stage1",
    type=cli.path,
    help="stage 1 in place of that of a stage 2, if its latents are the same",
  )
  args = parser.parse_args(argv)
  with cli.one_line_errors("publish"):
    publish(
      args.checkpoint,
      args.output,
      args.dtype,
      args.share_stage1,
      args.figures,
      args.sample,
      args.stage1,
    )
    print(args.output)


if __name__ == "__main__":
  main()

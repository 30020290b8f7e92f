"""The README.md of a published folder: what a model is, how it was made, its limits."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence

import jax

from dabfusion_jax.settings.autoencoder import AutoencoderSettings
from dabfusion_jax.settings.config_files import find_config, load_config
from dabfusion_jax.settings.mapping import flatten, to_mapping
from dabfusion_jax.settings.stages import Settings
from dabfusion_jax.storage.run_config import MAY_CHANGE, MAY_MOVE, ONLY_WORDS
from dabfusion_jax.storage.saved_stage import SavedStage
from data_pipeline import files

_PURPOSE = {
  "autoencoder": "Stage 1 (latent flow auto-encoder): a reference frame and a driving"
  " frame become flow, occlusion and the rebuilt driving frame.",
  "diffusion": "Stage 2 (diffusion of latent flow) with its frozen stage 1: a still"
  " picture and music become a dance video.",
}
_USE = {
  "autoencoder": "python -m dabfusion_jax.latents --checkpoint=THIS_FOLDER"
  " --data=CLIPS --output=LATENTS",
  "diffusion": "python -m dabfusion_jax.sample --checkpoint=THIS_FOLDER"
  " --image=person.jpg --music=song.mp3 --output=dance.mp4",
}
_GROUPS = ("model", "loss", "condition", "unet", "joints", "diffusion", "sampling")
_GROUPS += ("optimizer",)
# Settings that a command need not repeat: filled in by the data, or without effect on
# the result.
_LEFT_OUT = ("data.content_sha256", "diffusion.flow_scale", "diffusion.latent_bound")
_LEFT_OUT += ONLY_WORDS
_LEFT_OUT += tuple(set(MAY_CHANGE) - {"num_steps", "init_from", "init_parts"})


def model_card(
  stages: Sequence[SavedStage],
  weight_files: Mapping[str, pathlib.Path],
  dtype: str,
  figures: str | None,
  sample: str | None = None,
) -> str:
  """Returns the card as Markdown.

  Args:
    stages: the stage of the folder, and after a stage 2 its stage 1.
    weight_files: files of weights, by the names the card lists their hashes under.
    dtype: of the weights.
    figures: name of a file of measured figures in the folder, if there is one.
    sample: name of a moving picture in the folder, if there is one.
  """
  saved = stages[0]
  settings = saved.settings
  groups = to_mapping(settings)
  counts = [sum(x.size for x in jax.tree.leaves(stage.params)) for stage in stages]
  runs = [(run["command"], run["step"]) for run in settings.history]
  runs.append((training_command(settings), saved.step))
  average = " (moving average)" if settings.ema_decay else ""
  lines = [
    f"# {settings.stage}, {settings.variant}",
    "",
    _PURPOSE[settings.stage],
    "",
    *([f"![A dance by this model]({sample})", ""] if sample else []),
    f"- **Size:** {' + '.join(f'{n:,}' for n in counts)} parameters, {dtype}",
    f"- **Steps:** {saved.step} of {settings.num_steps}, batch"
    f" {settings.batch_size}{average}",
    f"- **Training data:** {training_data(stages)}",
    f"- **Digest:** `{saved.digest}`",
    f"- **Figures:** {f'`{figures}` in this folder' if figures else 'none given'}",
    f"- **Use:** `{_USE[settings.stage]}`",
    "",
    "## Made by",
    "",
    *(f"{i}. `{line}`, step {step}" for i, (line, step) in enumerate(runs, 1)),
    "",
    "## Settings",
    "",
    *(
      f"- **{name}:** `{json.dumps(groups[name], sort_keys=True)}`"
      for name in _GROUPS
      if name in groups
    ),
    "",
    "All others are in `config.json`.",
    "",
    "## Limits",
    "",
    "Trained on the data named above and nothing else: other bodies, clothes, cameras"
    " or music may come out distorted, and what the picture does not show is"
    " invented. Only animate pictures of people who agree to it, and say that the video"
    " is generated.",
    "",
    "## Files",
    "",
    *(
      f"- `{name}`: sha256 `{files.file_sha256(path)}`"
      for name, path in weight_files.items()
    ),
  ]
  return "\n".join(lines) + "\n"


def training_data(stages: Sequence[SavedStage]) -> str:
  """Returns what a stage was trained on; for a stage 2, by way of its stage 1."""
  stage1: AutoencoderSettings = stages[-1].settings
  data = stage1.data
  # Perhaps not that of the config, all that runs of earlier versions tell.
  source = data.source or data.build
  if set(source.split()) <= set(data.build.split()):
    source = data.build
  line = (
    f"{_clips(data.num_clips)} of {data.num_frames} frames at {data.fps} fps,"
    f" {data.frame_size} px, made by `python -m data_pipeline.build {source}`"
  )
  if data.content_sha256:
    line += f", content `{data.content_sha256[:12]}`"
  if len(stages) == 1:
    return line
  settings = stages[0].settings
  latents = settings.latents
  if latents.source and latents.data != data.content_sha256:
    line += (
      f" (stage 1); {_clips(latents.num_clips)} made by `python -m"
      f" data_pipeline.build {latents.source}` (stage 2)"
    )
  return (
    f"{line}; as {settings.data.num_frames} latent frames (data"
    f" `{latents.data[:12]}`), music features `{json.dumps(latents.encoder)}`"
    + ", true motion" * bool(latents.true_motion)
    + ", each also in a mirror" * bool(latents.mirrored)
    + f", {latents.elsewhere:.0%} with another frame as picture"
    * bool(latents.elsewhere)
  )


def _clips(count: int | None) -> str:
  return "clips" if count is None else f"{count:,} clips"


def training_command(settings: Settings) -> str:
  """Returns the command that trains this, with a flag per changed setting.

  Changes are relative to `configs/STAGE.py` in the current directory or the package;
  without that file, or a variant it knows, they are not named.
  """
  stage, variant = settings.stage, settings.variant
  words = ["python -m dabfusion_jax.train", f"--config=configs/{stage}.py:{variant}"]
  path = find_config(f"configs/{stage}.py")
  if not path.is_file():
    return " ".join(words)
  try:
    plain = load_config(path, variant)
  except ValueError:  # an unknown variant
    return " ".join(words)
  now = flatten(to_mapping(settings))
  for name, value in flatten(to_mapping(plain)).items():
    if name in MAY_MOVE or name in _LEFT_OUT:
      continue
    if name in now and now[name] != value:
      found = now[name]
      found = tuple(found) if isinstance(found, list) else found
      words.append(shlex.quote(f"--config.{name}={found}"))
  return " ".join(words)

"""The README.md of a published folder: what it is, of what, and what not to expect."""

import json
import pathlib
import runpy
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from dabfusion_jax.storage.run_config import MAY_MOVE, flatten
from dabfusion_jax.storage.saved_stage import Trained

PURPOSE = {
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
_SETTINGS = ("model", "loss", "condition", "unet", "diffusion", "sampling", "optimizer")
_RESOLVED = ("diffusion.flow_scale", "diffusion.latent_bound")  # by the data


def model_card(
  parts: Sequence[Trained],
  files: Mapping[str, pathlib.Path],
  dtype: str,
  figures: str | None,
) -> str:
  """Markdown.

  Args:
    parts: the stage of the folder, and after a stage 2 its stage 1.
    files: of weights, by the names the card lists their hashes under.
    dtype: of the weights.
    figures: file of measured figures in the folder; None: there is none.
  """
  part = parts[0]
  config = part.config
  average = " (moving average)" if config["ema_decay"] else ""
  sums = "\n".join(
    f"- `{name}`: sha256 `{files.file_sha256(path)}`" for name, path in files.items()
  )
  settings = "\n".join(
    f"- **{name}:** `{json.dumps(config[name], sort_keys=True)}`"
    for name in _SETTINGS
    if config.get(name)
  )
  measured = f"`{figures}` in this folder" if figures else "`docs/results.md`, if any"
  return f"""# {config["stage"]}, {config["variant"]}

{PURPOSE[config["stage"]]}

- **Size:** {" + ".join(f"{count(p):,}" for p in parts)} parameters, {dtype}
- **Steps:** {part.step} of {config["num_steps"]}, batch {config["batch_size"]}{average}
- **Training data:** {data_line(parts)}
- **Made by:** `{command(config)}`
- **Digest:** `{part.digest}`
- **Figures:** {measured}
- **Use:** `{_USE[config["stage"]]}`

## Settings

{settings}

All others are in `config.json`.

## Limits

Trained on the data named above and nothing else: other bodies, clothes, cameras or
music may come out distorted, and what the one picture does not show is invented. Only
animate pictures of people who agree to it, and say that the video is made.

## Files

{sums}
"""


def count(part: Trained) -> int:
  """Parameters, without running statistics."""
  return sum(x.size for x in jax.tree.leaves(part.params))


def data_line(parts: Sequence[Trained]) -> str:
  """What a stage was trained on, in a few words; a stage 2 is told by its stage 1."""
  data = parts[-1].config["data"]
  preset = f", preset {data['preset']}" if data["preset"] else ""
  line = (
    f"{data['source']}{preset}; clips of {data['num_frames']} frames at {data['fps']}"
    f" fps, {data['frame_size']} px"
  )
  if data.get("content_sha256"):
    line += f", content `{data['content_sha256'][:12]}`"
  if len(parts) == 1:
    return line
  latents = parts[0].config["latents"]
  return (
    f"{line}; as {parts[0].config['data']['num_frames']} latent frames at"
    f" {latents['fps']} fps (data `{latents['data'][:12]}`), music features"
    f" `{json.dumps(latents['encoder'])}`"
  )


def command(config: Mapping[str, Any]) -> str:
  """The command that trains this, with every setting changed on its command line.

  Changes are told from `configs/STAGE.py` under the current directory; where that file
  or its variant is not there, they are not named.
  """
  stage, variant = config["stage"], config["variant"]
  words = ["python -m dabfusion_jax.train", f"--config=configs/{stage}.py:{variant}"]
  path = pathlib.Path("configs") / f"{stage}.py"
  module = runpy.run_path(str(path)) if path.is_file() else {"VARIANTS": ()}
  if variant in module["VARIANTS"]:
    plain = module["get_config"](variant).to_dict()
    now = flatten(json.loads(json.dumps(config)))
    for name, value in flatten(json.loads(json.dumps(plain))).items():
      if name in MAY_MOVE or (name in _RESOLVED and not value):
        continue
      if name in now and now[name] != value:
        found = now[name]
        found = tuple(found) if isinstance(found, list) else found
        words.append(shlex.quote(f"--config.{name}={found}"))
  return " ".join(words)

r"""Checkpoint -> a folder to give away: safetensors, config, model card.

  python -m dabfusion_jax.publish --checkpoint=runs/demo_diffusion --output=DIR
  python -m dabfusion_jax.publish --checkpoint=RUN --output=DIR --float16

Every program that takes `--checkpoint` takes the folder as well, and training starts
from it with `--config.init_from=DIR`.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dabfusion_jax import trained

_PURPOSE = {
  "autoencoder": "Stage 1 (latent flow auto-encoder): a reference frame and a driving"
  " frame become flow, occlusion and the rebuilt driving frame.",
  "diffusion": "Stage 2 (diffusion of latent flow) with its frozen stage 1: a still"
  " picture and music become a dance video.",
}


def publish(
  checkpoint: str | pathlib.Path, output: str | pathlib.Path, float16: bool
) -> pathlib.Path:
  """Writes `output` with model.safetensors, config.json and README.md; returns it.

  A stage 2 carries its stage 1 in `autoencoder/`.

  Raises:
    TrainedError: `checkpoint` holds no trained stage, or `output` other weights.
    CheckpointError: no readable checkpoint.
  """
  checkpoint, output = pathlib.Path(checkpoint), pathlib.Path(output)
  stage = stage_of(checkpoint)
  parts = {output: trained.load_trained(checkpoint, stage)}
  if stage == "diffusion":
    parts[output / trained.AUTOENCODER] = trained.load_autoencoder_of(checkpoint)
  if float16:
    parts = {folder: round_weights(part) for folder, part in parts.items()}
    if stage == "diffusion":  # it names its stage 1 by hash
      stage1 = parts[output / trained.AUTOENCODER].digest
      config = dict(parts[output].config)
      config["latents"] = {**config["latents"], "autoencoder": stage1}
      parts[output] = dataclasses.replace(parts[output], config=config)
  for folder, part in parts.items():
    trained.publish(part, folder, np.float16 if float16 else None)
  card = model_card(parts[output], output, stage, "float16" if float16 else "float32")
  (output / "README.md").write_text(card)
  return output


def round_weights(part: trained.Trained) -> trained.Trained:
  """The same in float16 precision, under a digest of its own."""
  params, batch_stats = jax.tree.map(
    lambda x: np.asarray(x, np.float16).astype(np.float32),
    (part.params, part.batch_stats),
  )
  digest = trained.digest_of(params, batch_stats)
  return dataclasses.replace(
    part, params=params, batch_stats=batch_stats, digest=digest
  )


def stage_of(folder: pathlib.Path) -> str:
  """ "autoencoder" or "diffusion"; raises `TrainedError` where neither is there."""
  try:
    stage = json.loads((folder / "config.json").read_text())["stage"]
  except (OSError, ValueError, KeyError, TypeError):
    raise trained.TrainedError(
      f"{folder} is neither the workdir of a training nor a published folder."
    ) from None
  if stage not in _PURPOSE:
    raise trained.TrainedError(f"{folder} holds the unknown stage {stage!r}.")
  return stage


def model_card(
  part: trained.Trained, folder: pathlib.Path, stage: str, dtype: str
) -> str:
  """The README.md of a published folder."""
  config = part.config
  command = (
    "python -m dabfusion_jax.train"
    f" --config=configs/{config['stage']}.py:{config['variant']}"
  )
  files = sorted(folder.rglob("*.safetensors"))
  sums = "\n".join(
    f"- `{path.relative_to(folder)}`: sha256 `{sha256(path)}`" for path in files
  )
  return f"""# {config["stage"]}, {config["variant"]}

{_PURPOSE[stage]}

- **Steps:** {part.step} of {config["num_steps"]}, batch {config["batch_size"]}
- **Weights:** {dtype}{", moving average" if config["ema_decay"] else ""}; digest
  `{part.digest}`
- **Training data:** {data_line(config)}
- **Made by:** `{command}`; all settings: `config.json`
- **Use:** `python -m dabfusion_jax.sample --checkpoint=THIS_FOLDER --image=person.jpg
  --music=song.mp3 --output=dance.mp4` (a stage 2)

## Limits

Trained on the data named above and nothing else: other bodies, clothes, cameras or
music may come out distorted, and what the one picture does not show is invented. Only
animate pictures of people who agree to it, and say that the video is made.

## Files

{sums}
"""


def data_line(config: Mapping[str, Any]) -> str:
  """What a run was trained on, in a few words."""
  data = config["data"]
  if config["stage"] == "autoencoder":
    preset = f", preset {data['preset']}" if data["preset"] else ""
    return (
      f"{data['source']}{preset}; {data['num_frames']} frames at {data['fps']} fps,"
      f" {data['frame_size']} px"
    )
  latents = config["latents"]
  return (
    f"{data['num_frames']} latent frames at {latents['fps']} fps by the stage 1 in"
    f" `autoencoder/` (see its `config.json`), data `{latents['data'][:12]}`, music"
    f" features {json.dumps(latents['encoder'])}"
  )


def sha256(path: pathlib.Path) -> str:
  """Of a file's bytes, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.publish",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--checkpoint", required=True, help="workdir or published folder")
  parser.add_argument("--output", required=True, help="folder to make")
  parser.add_argument(
    "--float16", action="store_true", help="half the size; weights are rounded"
  )
  args = parser.parse_args(argv)
  try:
    print(publish(args.checkpoint, args.output, args.float16))
  except (ValueError, OSError, RuntimeError) as error:
    sys.exit(f"publish: {error}")


if __name__ == "__main__":
  main()

r"""Measures a trained model on the test clips of a data set, all beside their nulls.

  python -m dabfusion_jax.evaluate --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --output=runs/demo_evaluation

Stage 1: frames rebuilt from the first one, against that frame kept still. Stage 2: how
much and when the generated dancers move, against the real clips and against no motion.
"""

import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags

from dabfusion_jax.diffusion import process
from dabfusion_jax.metrics import alignment, image, motion
from dabfusion_jax.pipeline import DancePipeline, Music
from data_pipeline import loader

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Stage 2, as for sample.")
_DATA = flags.DEFINE_string("data", None, "Folder made by data_pipeline.build.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for evaluation.json.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", None, "Test clips; all by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the generated clips.")

Scores = dict[str, list[float | None]]


def evaluate(
  pipeline: DancePipeline,
  clips: Sequence[Mapping[str, Any]],
  seed: int,
  batch_size: int = 8,
) -> Scores:
  """Scores of every clip, by name; None where a clip has no value.

  Clips are records of `data_pipeline.loader` with their truth.
  """
  analyse = jax.jit(
    lambda frames: pipeline.stage.autoencoder.apply(
      pipeline.stage.autoencoder_variables, frames, method="analyse_clip"
    )
  )
  decode = jax.jit(pipeline.stage.decode)
  plan, guidance = pipeline.stage.plan, pipeline.config["sampling"]["guidance_scale"]
  scores: Scores = {}

  def add(**values: float | None) -> None:
    for name, value in values.items():
      scores.setdefault(name, []).append(value)

  with tqdm.tqdm(total=len(clips), desc="evaluate", unit="clip") as bar:
    for first in range(0, len(clips), batch_size):
      chosen = [clips[i] for i in range(first, min(first + batch_size, len(clips)))]
      heard = [
        Music(np.zeros((0, 2), np.float32), c["music"], c["beat_times"]) for c in chosen
      ]
      batch = pipeline.make_batch(
        [c["frames"][0] for c in chosen], heard, len(chosen[0]["frames"])
      )
      ids = jnp.asarray([c["example_id"] for c in chosen], jnp.int32)
      keys = process.example_keys(jax.random.key(seed), ids)
      _, flows = pipeline.generate(batch, keys, plan, guidance)
      for clip, flow in zip(chosen, flows, strict=True):
        frames = clip["frames"]
        moved, z = analyse(jnp.asarray(frames, jnp.float32) / 255.0)
        rebuilt = decode(z[None], moved.flow[None], moved.occlusion[None])[0]
        rebuilt = np.uint8(np.clip(np.asarray(rebuilt), 0, 1) * 255 + 0.5)
        add(**reconstruction(rebuilt, clip, "rebuilt"))
        add(**reconstruction(np.repeat(frames[:1], len(frames), 0), clip, "frozen"))
        size = frames.shape[1:3]
        add(**dance(np.asarray(moved.flow), clip, size, pipeline.fps, "real"))
        add(**dance(flow, clip, size, pipeline.fps, "generated"))
        bar.update()
  return scores


def reconstruction(
  frames: np.ndarray, clip: Mapping[str, Any], name: str
) -> dict[str, float | None]:
  """PSNR and SSIM, whole frame and inside the person's true mask."""
  whole = image.paired_scores(frames, clip["frames"])
  found = {f"{name}_psnr": whole["psnr"], f"{name}_ssim": whole["ssim"]}
  if "part_map" in clip:
    inside = image.paired_scores(frames, clip["frames"], mask=clip["part_map"] > 0)
    found |= {f"{name}_mask_psnr": inside["psnr"], f"{name}_mask_ssim": inside["ssim"]}
  return found


def dance(
  flow: np.ndarray,
  clip: Mapping[str, Any],
  size: tuple[int, int],
  fps: float,
  name: str,
) -> dict[str, float | None]:
  """How fast and how jerkily the flow changes, and when it pauses.

  Alignment of the pauses with the beats (sigma 50 ms) stands beside that with the beats
  shifted by half a period, which is the null.
  """
  speed = motion.grid_speed(flow, size)
  beats = clip.get("true_beat_times", clip["beat_times"])
  pauses = motion.kinematic_beats(speed, fps)
  shift = np.median(np.diff(beats)) / 2 if len(beats) > 1 else 0.0
  sigma = alignment.SIGMA_SECONDS
  return {
    f"{name}_speed": float(speed.mean()),
    f"{name}_jitter": float(motion.grid_jitter(flow, size).mean()),
    f"{name}_align": alignment.beat_alignment(pauses, beats, sigma).value,
    f"{name}_align_shifted": alignment.beat_alignment(
      pauses, beats + shift, sigma
    ).value,
  }


def summarise(
  scores: Scores, sequences: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
  """Mean, n, undefined count and standard error over sequences of every score.

  Cameras of one sequence share its motion: they are averaged first.
  """
  summary = {}
  for name, values in scores.items():
    groups: dict[str, list[float]] = {}
    for value, sequence in zip(values, sequences, strict=True):
      if value is not None and np.isfinite(value):
        groups.setdefault(sequence, []).append(value)
    means = [float(np.mean(group)) for group in groups.values()]
    defined = sum(len(group) for group in groups.values())
    error = float(np.std(means, ddof=1) / len(means) ** 0.5) if len(means) > 1 else None
    summary[name] = {
      "mean": float(np.mean(means)) if means else None,
      "standard_error": error,
      "n": defined,
      "n_sequences": len(means),
      "n_undefined": len(values) - defined,
    }
  return summary


_TABLE = (
  ("stage 1, PSNR, whole frame [dB]", "rebuilt_psnr", "frozen_psnr", "frozen frame"),
  ("stage 1, PSNR, inside the person [dB]", "rebuilt_mask_psnr", "frozen_mask_psnr",
   "frozen frame"),
  ("stage 1, SSIM, whole frame", "rebuilt_ssim", "frozen_ssim", "frozen frame"),
  ("stage 1, SSIM, inside the person", "rebuilt_mask_ssim", "frozen_mask_ssim",
   "frozen frame"),
  ("stage 2, flow speed [px/frame]", "generated_speed", "real_speed", "real clips"),
  ("stage 2, flow jitter [px/frame^2]", "generated_jitter", "real_jitter",
   "real clips"),
  ("stage 2, beat alignment", "generated_align", "generated_align_shifted",
   "beats shifted by half"),
  ("real clips, beat alignment", "real_align", "real_align_shifted",
   "beats shifted by half"),
)  # fmt: skip


def table(summary: Mapping[str, Mapping[str, Any]]) -> str:
  """The figures as text: value, standard error, n, and what to compare with."""

  def show(name: str) -> str:
    entry = summary[name]
    if entry["mean"] is None:
      return "undefined"
    error = entry["standard_error"]
    return f"{entry['mean']:.3f} +- {error:.3f}" if error else f"{entry['mean']:.3f}"

  lines = []
  for title, name, other, what in _TABLE:
    if name in summary:
      n = summary[name]["n"]
      lines.append(f"{title:40} {show(name):>17} (n {n}); {what}: {show(other)}")
  return "\n".join(lines)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  try:
    run()
  except (ValueError, OSError, RuntimeError) as error:
    sys.exit(f"evaluate: {error}")


def run() -> None:
  """Evaluates what the flags name, prints the table, writes evaluation.json."""
  pipeline = DancePipeline.from_pretrained(_CHECKPOINT.value)
  latents = pipeline.config["latents"]
  expect = {
    "fps": latents["fps"],
    "encoder": latents["encoder"],
    "frame_size": pipeline.frame_size,
    "num_frames": pipeline.config["data"]["num_frames"],
  }
  clips = loader.open_clips(
    _DATA.value, "test", expect=expect, beats=pipeline.config["data"]["beats"]
  )
  count = min(len(clips), _NUM_CLIPS.value or len(clips))
  # Evenly over the split, so that a few clips still see all genres.
  chosen = [clips[int(i)] for i in np.linspace(0, len(clips) - 1, count)]
  scores = evaluate(pipeline, chosen, _SEED.value)
  sequences = [re.sub(r"_c\d\d_", "_cAll_", c["name"]) for c in chosen]
  summary = summarise(scores, sequences)
  print(table(summary))
  _write_result(
    pathlib.Path(_OUTPUT.value),
    {
      "checkpoint": str(_CHECKPOINT.value),
      "weights": pipeline.digests,
      "data": str(_DATA.value),
      "split": "test",
      "clips": [f"{c['name']}.{c['window']}" for c in chosen],
      "seed": _SEED.value,
      "sampling": dict(pipeline.config["sampling"]),
      "jax": jax.__version__,
      "summary": summary,
      "scores": scores,
    },
  )


def _write_result(folder: pathlib.Path, result: Mapping[str, Any]) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "evaluation.json"
  temporary = path.with_suffix(".part")
  temporary.write_text(json.dumps(result, indent=2) + "\n")
  temporary.replace(path)
  print(path)


if __name__ == "__main__":
  flags.mark_flags_as_required(["checkpoint", "data", "output"])
  app.run(main)

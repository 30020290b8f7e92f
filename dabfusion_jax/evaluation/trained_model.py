"""Both stages of a trained model on real clips, all beside their nulls.

Stage 1: frames rebuilt from the first one, against that frame kept still. Stage 2: how
much and when the generated dancers move, against the real clips and against no motion.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from dabfusion_jax.diffusion import process
from dabfusion_jax.inference.inputs import Music
from dabfusion_jax.metrics import alignment, image, motion
from dabfusion_jax.pipeline import DancePipeline

Scores = dict[str, list[float | None]]


def evaluate(
  pipeline: DancePipeline,
  clips: Sequence[Mapping[str, Any]],
  seed: int,
  batch_size: int = 8,
) -> Scores:
  """Scores of every clip, by name; None where a clip has no value.

  Clips are records of `data_pipeline.records.loader` with their truth.
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
      _, flows = pipeline.sampler.generate(batch, keys, plan, guidance)
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


def evaluate_model(
  pipeline: DancePipeline, clips: Sequence[Mapping[str, Any]], seed: int
) -> tuple[str, dict[str, Any]]:
  """The figures as text, and as a result with `clips`, `summary` and `scores`."""
  scores = evaluate(pipeline, clips, seed)
  sequences = [re.sub(r"_c\d\d_", "_cAll_", clip["name"]) for clip in clips]
  summary = summarise(scores, sequences)
  return table(summary), {
    "weights": dict(pipeline.digests),
    "clips": [f"{clip['name']}.{clip['window']}" for clip in clips],
    "seed": seed,
    "sampling": dict(pipeline.config["sampling"]),
    "jax": jax.__version__,
    "summary": summary,
    "scores": scores,
  }

"""Measures how few sampling steps are enough, by quality, alignment and speed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dabfusion_jax.evaluation.reporting import chart
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.study import latent_motion
from dabfusion_jax.evaluation.study.cached_sampler import CachedSampler
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.frame_scores import FrameScores, Fvd
from dabfusion_jax.evaluation.study.held_out import HeldOutClips
from dabfusion_jax.evaluation.study.study import Study
from data_pipeline.records.picks import even_indices

FEW = (5, 10, 20, 50)
LONG_METHODS = ("ddim", "ddpm")
NUM_CLIPS_OF_LONG = 16
PANELS = {
  "fvd": "FVD",
  "fraction": "strict alignment, fraction of the gap",
  "speed": "flow speed / real",
  "jitter": "flow jitter / real",
}
_NOISE = 2.0  # standard errors within which a loss counts as none
_CRITERIA = ("fvd", "alignment", "speed")


@dataclasses.dataclass(frozen=True)
class Setting:
  """A sampler with a number of steps, measured.

  Attributes:
    method: of `diffusion.samplers`.
    num_steps: network evaluations.
    fvd: of its dances.
    alignment: strict beat alignment of each clip.
    ratios: `fraction` of the gap from chance to real clips; `speed` and `jitter`
      relative to those of real clips.
  """

  method: str
  num_steps: int
  fvd: Fvd
  alignment: Float64[np.ndarray, "n"]
  ratios: Mapping[str, Estimate]

  @property
  def speed_error(self) -> float:
    """How far the speed is from that of real clips, as a share of it."""
    return abs(self.ratios["speed"].mean - 1)

  def as_plain(self) -> dict[str, Any]:
    """Returns plain values."""
    figures = self.fvd._asdict() | dict(self.ratios)
    return {
      "method": self.method,
      "num_steps": self.num_steps,
      **{key: value and dataclasses.asdict(value) for key, value in figures.items()},
    }


def measure(study: Study) -> Part:
  """Measures few steps of every method on all clips, and long runs on fewer."""
  model, scores, clips = study.samplers["e"], study.scores, study.clips
  settings = [
    measure_setting(scores, model, method, number)
    for number in FEW
    for method in study.methods
  ]
  chosen, losses = choose(settings, clips)
  few_clips = clips.take(even_indices(len(clips), NUM_CLIPS_OF_LONG))
  few_scores = dataclasses.replace(scores, clips=few_clips)
  long_settings = [
    measure_setting(few_scores, model, method, number)
    for number in (FEW[-1], *study.long_steps)
    for method in LONG_METHODS
  ]
  part = Part("steps", clips.sequences)
  for setting in settings:
    add_setting(part, setting)
  for setting in long_settings:
    add_setting(part, setting, f", {len(few_clips)} clips")
  part.extra = {
    "settings": [setting.as_plain() for setting in settings],
    "long_settings": [setting.as_plain() for setting in long_settings],
    "losses": losses,
    "chosen": {"method": chosen.method, "num_steps": chosen.num_steps},
  }
  part.charts = {"steps.svg": draw(settings)}
  return part


def measure_setting(
  scores: FrameScores, model: CachedSampler, method: str, num_steps: int
) -> Setting:
  """Draws a dance for each clip, and measures them."""
  clips = scores.clips
  sampling = dataclasses.replace(
    model.sampling, method=method, num_inference_steps=num_steps
  )
  dances = clips.draw(model, sampling=sampling)
  motion = clips.motion(dances)
  alignment = motion.alignment(clips.true_beats)
  jitter = lambda latents: latent_motion.jitter(latents.flow, clips.size)
  ratios = {
    "fraction": clips.fraction_of_gap(alignment, clips.chance, clips.real_alignment),
    "speed": clips.ratio(motion.speed, clips.real_motion.speed),
    "jitter": clips.ratio(jitter(dances), jitter(clips.latents)),
  }
  fvd = scores.fvd(scores.of_latents(model, dances))
  return Setting(method, num_steps, fvd, alignment, ratios)


def choose(
  settings: Sequence[Setting], clips: HeldOutClips
) -> tuple[Setting, list[dict[str, Any]]]:
  """Chooses the fewest steps that lose nothing beyond twice the noise.

  Among samplers with as few steps, the one with the lowest FVD is chosen. If different
  settings are best by each criterion and none is good by all, FVD decides.

  Returns:
    The setting that is chosen, and the losses of each.
  """
  by_fvd = min(settings, key=lambda setting: setting.fvd.half.mean)
  by_alignment = max(settings, key=lambda setting: setting.alignment.mean())
  by_speed = min(settings, key=lambda setting: setting.speed_error)
  # To be on the beat more than real clips are is no better.
  excess = max(0.0, by_alignment.alignment.mean() - clips.real_alignment.mean())
  losses = []
  for setting in settings:
    gap = by_alignment.alignment - setting.alignment - excess
    gap = aggregate.estimate(gap, clips.sequences)
    speeds = setting.ratios["speed"], by_speed.ratios["speed"]
    losses.append(
      {
        "fvd": setting.fvd.half.mean - by_fvd.fvd.half.mean,
        "fvd_noise": float(np.hypot(setting.fvd.half.error, by_fvd.fvd.half.error)),
        "alignment": gap.mean,
        "alignment_noise": gap.error,
        "speed": setting.speed_error - by_speed.speed_error,
        "speed_noise": float(np.hypot(*(speed.error for speed in speeds))),
      }
    )
  good = [
    setting
    for setting, loss in zip(settings, losses, strict=True)
    if all(loss[key] <= _NOISE * loss[f"{key}_noise"] for key in _CRITERIA)
  ]
  good = good or [by_fvd]
  fewest = min(setting.num_steps for setting in good)
  good = [setting for setting in good if setting.num_steps == fewest]
  return min(good, key=lambda setting: setting.fvd.half.mean), losses


def add_setting(part: Part, setting: Setting, note: str = "") -> None:
  """Adds the claims about a setting."""
  key = f"{setting.method}_{setting.num_steps}{'_few_clips' if note else ''}"
  name = f"{setting.method}, {setting.num_steps} steps{note}"
  part.values[f"{key}.alignment"] = setting.alignment
  part.add(f"{key}.fvd", f"FVD of {name}", *setting.fvd.compared)
  for ratio, title in (
    ("fraction", "strict beat alignment, fraction of the gap from chance to real"),
    ("speed", "latent flow speed, relative to real clips"),
    ("jitter", "latent flow jitter, relative to real clips"),
  ):
    part.add(f"{key}.{ratio}", f"{title}, {name}", setting.ratios[ratio])


def draw(settings: Sequence[Setting]) -> str:
  """Draws all figures against the number of steps."""
  panels: dict[str, dict[str, list[tuple[int, Estimate]]]] = {}
  for key, title in PANELS.items():
    for setting in settings:
      value = setting.fvd.value if key == "fvd" else setting.ratios[key]
      curves = panels.setdefault(title, {})
      curves.setdefault(setting.method, []).append((setting.num_steps, value))
  return chart.curves("figures against sampling steps", panels)

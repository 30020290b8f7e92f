"""Measures whether dances rest on the beat, and how much they move."""

import dataclasses

import numpy as np

from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.latent_motion import STRICT, TITLES, jitter
from dabfusion_jax.evaluation.study.study import CHANCE, Study


def measure(study: Study) -> Part:
  """Measures beat alignment by both rules, each beside its nulls, and motion."""
  clips, chance = study.clips, study.clips.chance
  tracks = [labels.track for labels in clips.labels]
  motions = {"real": clips.real_motion, **study.motions}
  part = Part("beats", clips.sequences)
  for rule, title in TITLES.items():
    real_motion = clips.real_motion
    real = real_motion.alignment(clips.true_beats, rule)
    real_later = real_motion.alignment_half_beat_later(clips.true_beats, rule)
    real_others = real_motion.alignment_shuffled(
      clips.true_beats, tracks, study.seed, rule
    )
    for name, motion in motions.items():
      key, words = f"{name}.{rule}", f"{title} of {_words(name)}"
      own = motion.alignment(clips.true_beats, rule)
      part.add(key, words, own, real, chance, CHANCE)
      later = motion.alignment_half_beat_later(clips.true_beats, rule)
      title_of_null = f"{words}, beats half an interval later"
      part.add(f"{key}.half_beat", title_of_null, later, real_later, chance, CHANCE)
      others = motion.alignment_shuffled(clips.true_beats, tracks, study.seed, rule)
      if others is not None:
        title_of_null = f"{words}, beats of other tracks"
        part.add(f"{key}.shuffled", title_of_null, others, real_others, chance, CHANCE)
    for name in study.motions:
      fraction = clips.fraction_of_gap(part.values[f"{name}.{rule}"], chance, real)
      words = f"{title} of {name}, fraction of the gap from chance to real"
      part.add(f"{name}.{rule}.fraction", words, fraction)
    if study.has_both:
      gap = part.values[f"e.{rule}"] - part.values[f"b.{rule}"]
      part.add(f"{rule}.e_minus_b", f"{title}, e minus b, paired", gap)
      gap = part.claims[-1].value
      in_errors = dataclasses.replace(
        gap, mean=gap.mean / gap.error if gap.error else 0.0, error=None
      )
      words = f"{title}, e minus b, in standard errors"
      part.add(f"{rule}.e_minus_b_in_errors", words, in_errors)
  if "b" in study.motions:
    above = part.values[f"b.{STRICT}"] - chance
    part.add(f"b.{STRICT}.above_chance", f"{TITLES[STRICT]} of b minus chance", above)
  num_beats = lambda motion: np.array([float(len(beats)) for beats in motion.beats()])
  for name, motion in study.motions.items():
    pairs = {
      "speed": (motion.speed, clips.real_motion.speed),
      "jitter": [
        jitter(latents.flow, clips.size)
        for latents in (study.dances[name], clips.latents)
      ],
      "num_beats": (num_beats(motion), num_beats(clips.real_motion)),
    }
    for key, title in (
      ("speed", "latent flow speed [px/frame]"),
      ("jitter", "latent flow jitter [px/frame^2]"),
      ("num_beats", "strict motion beats per clip"),
    ):
      part.add(f"{name}.{key}", f"{title} of {name}", *pairs[key])
  return part


def _words(name: str) -> str:
  return "real clips" if name == "real" else name

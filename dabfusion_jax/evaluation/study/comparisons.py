"""Repeats the paper's comparisons in miniature: models, cameras, genres, styles."""

import dataclasses

import numpy as np

from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.catalog import METRICS
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.frame_scores import PAIRED
from dabfusion_jax.evaluation.study.latent_motion import STRICT, TITLES
from dabfusion_jax.evaluation.study.study import CHANCE, Study
from data_pipeline.records.style_vectors import style_vectors

MIN_CLIPS_OF_FVD = 10
_ALIGNMENT = TITLES[STRICT]
_SHOWN = {
  key: METRICS[key].title_with_unit for key in PAIRED if not key.endswith("_mask")
}


def models(study: Study) -> Part:
  """Compares both models on the same clips from the same noise (Tables 1 and 3)."""
  part, fvds = Part("models", study.clips.sequences), {}
  for name, dances in study.dances.items():
    features = study.scores.of_latents(study.samplers[name], dances)
    fvds[name] = study.scores.fvd(features)
    part.add(f"{name}.fvd", f"FVD of {name}", *fvds[name].compared)
    paired = study.scores.paired(features)
    for key, title in _SHOWN.items():
      part.add(f"{name}.{key}", f"{title} of {name}", paired[key])
  if study.has_both:
    for key, title in _SHOWN.items():
      gap = part.values[f"e.{key}"] - part.values[f"b.{key}"]
      part.add(f"{key}.e_minus_b", f"{title}, e minus b", gap)
    e, b = fvds["e"].value, fvds["b"].value
    noise = float(np.hypot(e.error or 0.0, b.error or 0.0)) or None
    gap = dataclasses.replace(e, mean=e.mean - b.mean, error=noise)
    part.add("fvd.e_minus_b", "FVD, e minus b", gap)
  return part


def trackers(study: Study) -> Part:
  """Compares dances to tracked beats with dances to true beats."""
  clips, part = study.clips, Part("trackers", study.clips.sequences)
  against = clips.real_alignment, clips.chance, CHANCE
  for kind, words in (("truth", "true beats"), ("librosa", "tracked beats")):
    given = dataclasses.replace(clips, beat_kind=kind)
    motion = clips.motion(given.draw(study.samplers["e"]))
    name = f"{_ALIGNMENT} of e with the true beats, given {words}"
    part.add(kind, name, motion.alignment(clips.true_beats), *against)
  gap = part.values["librosa"] - part.values["truth"]
  part.add("tracked_minus_true", "tracked minus true beats, paired", gap)
  return part


def groups(study: Study) -> Part:
  """Compares cameras and genres (Tables 2 and 4)."""
  clips, scores = study.clips, study.scores
  part = Part("groups", clips.sequences)
  features = {
    name: scores.of_latents(study.samplers[name], dances)
    for name, dances in study.dances.items()
  }
  for name, motion in study.motions.items():
    part.values[f"{name}.alignment"] = motion.alignment(clips.true_beats)
    part.values |= {f"{name}.{k}": v for k, v in scores.paired(features[name]).items()}
  for by in ("camera", "genre"):
    labels = np.array([getattr(label, by) for label in clips.labels])
    for group in sorted(set(labels.tolist())):
      indices = np.flatnonzero(labels == group).tolist()
      for name in features:
        _add_group(part, study, name, by, group, indices)
        if by == "camera" and len(indices) >= MIN_CLIPS_OF_FVD:
          fvd = scores.fvd(features[name], indices)
          title = f"FVD of {name}, {by} {group}"
          part.add(f"{by}_{group}.{name}.fvd", title, *fvd.compared)
  return part


def _add_group(
  part: Part, study: Study, name: str, by: str, group: str, indices: list[int]
) -> None:
  """Adds means over the clips `indices` of dances of the model `name`."""
  sequences = [study.clips.sequences[i] for i in indices]
  estimate = lambda values: aggregate.estimate(values[indices], sequences)
  key, words = f"{by}_{group}.{name}", f"{by} {group}"
  own, real, chance = map(
    estimate,
    (part.values[f"{name}.alignment"], study.clips.real_alignment, study.clips.chance),
  )
  title = f"{words}: {_ALIGNMENT} of {name}"
  part.add(f"{key}.alignment", title, own, real, chance, CHANCE)
  if by == "camera":
    for metric, title in _SHOWN.items():
      value = estimate(part.values[f"{name}.{metric}"])
      part.add(f"{key}.{metric}", f"{words}: {title} of {name}", value)


def styles(study: Study) -> Part:
  """Compares a genre's mean embedding with the music's own (Table 6, without text).

  Beats are given as before to the model that follows them.
  """
  clips, scores = study.clips, study.scores
  part = Part("styles", clips.sequences)
  vectors = style_vectors(study.data)
  conditions = clips.conditions(None, [vectors[label.genre] for label in clips.labels])
  for name, model in study.samplers.items():
    styled = clips.draw(model, conditions)
    own = clips.motion(styled).alignment(clips.true_beats)
    against = clips.real_alignment, clips.chance, CHANCE
    title = f"{_ALIGNMENT} of {name}, style vector"
    part.add(f"{name}.style", title, own, *against)
    gap = own - study.motions[name].alignment(clips.true_beats)
    part.add(f"{name}.style_minus_music", f"{title} minus music", gap)
    for words, latents in (("style vector", styled), ("music", study.dances[name])):
      fvd = scores.fvd(scores.of_latents(model, latents))
      key = f"{name}.{words.split()[0]}.fvd"
      part.add(key, f"FVD of {name}, {words}", *fvd.compared)
  return part

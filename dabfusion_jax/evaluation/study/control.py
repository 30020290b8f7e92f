"""Measures whether dances follow beats that are moved, slower, faster, or silent.

The music stays the clip's own if only the beats change.
"""

import numpy as np
from jaxtyping import Float64

from dabfusion_jax.evaluation.scoring import baselines
from dabfusion_jax.evaluation.study import beat_grids, latent_motion
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.held_out import HeldOutClips
from dabfusion_jax.evaluation.study.latent_motion import (
  STRICT,
  TITLES,
  BeatTimes,
  LatentMotion,
)
from dabfusion_jax.evaluation.study.study import CHANCE, Study
from data_pipeline.cutting import ingest
from data_pipeline.records import slow_motion

TEMPI = (0.5, 0.8, 1.25, 2.0)  # 0.8 and 1.25 stay among the tempi of the songs
_FRACTION = "fraction of the gap from chance to"


def measure(study: Study) -> Part:
  """Measures what the model `e` makes of other beats than the clip's own."""
  clips, part = study.clips, Part("control", study.clips.sequences)
  later = [baselines.half_beat_later(beats) for beats in clips.true_beats]
  _add_followed(part, study, "half_beat", "beats half an interval later", later)
  for tempo in TEMPI:
    key, words = f"tempo_{tempo:g}", f"tempo x {tempo:g}"
    beats = [beat_grids.at_tempo(beats, tempo) for beats in clips.true_beats]
    _add_followed(part, study, key, words, beats)
    if tempo < 1:
      _add_slowed(part, clips, key, words, tempo)
  _add_silence(part, study)
  return part


def _add_followed(
  part: Part, study: Study, key: str, words: str, beats: BeatTimes
) -> None:
  """Adds how dances follow the beats given, and the clip's own."""
  clips, title = study.clips, TITLES[STRICT]
  motion = clips.motion(clips.draw(study.samplers["e"], clips.conditions(beats)))
  given, own = motion.alignment(beats), motion.alignment(clips.true_beats)
  chance, own_chance = latent_motion.chance(beats), clips.chance
  # As far above chance as real clips are, at the tempo that is given.
  share = (clips.real_alignment - own_chance) / (1 - own_chance)
  real = chance + (1 - chance) * share
  name = f"{words}: {title} with the given beats"
  part.add(f"{key}.alignment", name, given, real, chance, CHANCE)
  fraction = clips.fraction_of_gap(given, chance, real)
  part.add(f"{key}.fraction", f"{words}: {_FRACTION} real", fraction)
  name = f"{words}: {title} with the clip's own beats"
  part.add(f"{key}.own", name, own, clips.real_alignment, own_chance, CHANCE)
  part.add(f"{key}.own_above_chance", f"{name}, minus chance", own - own_chance)
  rate = _motion_beats_per_beat(clips, motion, beats)
  real_rate = _motion_beats_per_beat(clips, clips.real_motion, clips.true_beats)
  part.add(f"{key}.beats", f"{words}: motion beats per given beat", rate, real_rate)


def _motion_beats_per_beat(
  clips: HeldOutClips, motion: LatentMotion, beats: BeatTimes
) -> Float64[np.ndarray, "n"]:
  """Returns motion beats per beat; frames at the ends cannot have any."""
  seconds = (clips.num_frames - 2) / clips.fps
  counts = np.array([len(times) for times in motion.beats()])
  return counts * np.array(list(map(baselines.period_seconds, beats))) / seconds


def _add_slowed(
  part: Part, clips: HeldOutClips, key: str, words: str, tempo: float
) -> None:
  """Adds what real clips score that are shown as slow as the beats given.

  A slow pause is long, and a dancer who was early is early by more: real clips score
  less, so less can be expected of dances.
  """
  flows = [slow_motion.stretch(flow, tempo) for flow in clips.latents.flow]
  motion = latent_motion.motion_of(np.stack(flows), clips.size, clips.fps)
  beats = [beats / tempo for beats in clips.true_beats]
  real, chance = motion.alignment(beats), latent_motion.chance(beats)
  name = f"{words}: {TITLES[STRICT]} of real clips shown as slow"
  part.add(f"{key}.real_slowed", name, real, None, chance, CHANCE)
  fraction = clips.fraction_of_gap(part.values[f"{key}.alignment"], chance, real)
  part.add(f"{key}.slowed_fraction", f"{words}: {_FRACTION} these", fraction)


def _add_silence(part: Part, study: Study) -> None:
  """Adds how much dances move, and when, in silence and without beats."""
  clips, model = study.clips, study.samplers["e"]
  num_samples = round(clips.num_frames / clips.fps * ingest.SAMPLE_RATE)
  silence = np.zeros(num_samples, np.float32)
  embedding = model.pipeline.encoder(silence, ingest.SAMPLE_RATE)
  no_beats = [np.zeros(0)] * len(clips)
  conditions = clips.conditions(no_beats, [embedding] * len(clips))
  motion = clips.motion(clips.draw(model, conditions))
  with_music, real = study.motions["e"].speed, clips.real_motion.speed
  name, null_name = "silence: latent flow speed [px/frame]", "the same model with music"
  part.add("silence.speed", name, motion.speed, real, with_music, null_name)
  name = f"silence: {TITLES[STRICT]} with the clip's beats"
  own, against = (
    motion.alignment(clips.true_beats),
    (clips.real_alignment, clips.chance),
  )
  part.add("silence.own", name, own, *against, CHANCE)
  ratio = clips.ratio(motion.speed, with_music)
  part.add("silence.speed_ratio", "silence: speed relative to that with music", ratio)

"""Compares longer dances: drawn at once, and chained (Tables 5 and 7)."""

import numpy as np

from dabfusion_jax.evaluation.study import beat_grids
from dabfusion_jax.evaluation.study.cached_sampler import Latents
from dabfusion_jax.evaluation.study.claim import Part
from dabfusion_jax.evaluation.study.latent_motion import (
  STRICT,
  TITLES,
  BeatTimes,
  LatentMotion,
)
from dabfusion_jax.evaluation.study.study import CHANCE, Study

NUM_SEGMENTS = 4  # of a chained dance
_OTHER_NOISE = 2**20  # what a segment adds to the example numbers


def measure(study: Study) -> Part:
  """Measures dances of twice the length drawn at once, and chained ones.

  For 80 frames at once the paper trains another model; here it is the same one, which
  never saw as many. The music of longer dances is the clip's. Its true beats are
  continued and given: tracked ones, continued for 12 s by a period that is 1 % off,
  would not be on the beat.
  """
  clips, model, num_frames = study.clips, study.samplers["e"], study.clips.num_frames
  part, title = Part("lengths", clips.sequences), TITLES[STRICT]
  against = clips.real_alignment, clips.chance, CHANCE
  seconds = (NUM_SEGMENTS * num_frames + 1) / clips.fps
  beats = [beat_grids.continued(times, seconds) for times in clips.true_beats]
  single = clips.draw(model, clips.conditions(beats))
  double = clips.motion(clips.draw(model, clips.conditions(beats), 2 * num_frames))
  own = clips.motion(single).alignment(beats), double.alignment(beats)
  part.add("single", f"{title}, {num_frames} frames", own[0], *against)
  part.add("double", f"{title}, {2 * num_frames} frames at once", own[1], *against)
  name = f"{title}, {2 * num_frames} minus {num_frames} frames"
  part.add("double_minus_single", name, own[1] - own[0])
  real_speed = clips.real_motion.speed
  name = f"latent flow speed, {2 * num_frames} frames at once [px/frame]"
  part.add("double.speed", name, double.speed, real_speed)
  segments = chain(study, single, beats)
  motions = [clips.motion(segment) for segment in segments]
  for count, segment in enumerate(segments, 1):
    key, end = f"chain_{count}", count * (num_frames - 1) + 1
    # One film: a segment begins with the frame that the one before ended with.
    speeds = np.concatenate([motion.speeds for motion in motions[:count]], axis=1)
    own = LatentMotion(speeds, clips.fps).alignment(beats)
    part.add(key, f"{title}, {end} frames chained", own, *against)
    frames = f"frames {end - num_frames} to {end} of a chain"
    name = f"latent flow speed, {frames} [px/frame]"
    part.add(f"{key}.speed", name, motions[count - 1].speed, real_speed)
    fvd = study.scores.fvd(study.scores.of_latents(model, segment))
    part.add(f"{key}.fvd", f"FVD of {frames}", *fvd.compared)
  return part


def chain(study: Study, first: Latents, beats: BeatTimes) -> list[Latents]:
  """Draws `NUM_SEGMENTS` dances per clip, each from the last frame of the one before.

  Args:
    study: whose model `e` draws.
    first: the first segments.
    beats: of the whole chains.
  """
  clips, model, num_frames = study.clips, study.samplers["e"], study.clips.num_frames
  segments = [first]
  for index in range(1, NUM_SEGMENTS):
    last = segments[-1]
    ends = Latents(last.flow[:, -1:], last.occlusion[:, -1:], last.z, last.digests)
    pictures = [model.decode(ends, i)[0] for i in range(len(ends))]
    # The repeated frame is dropped, so a segment takes one frame less.
    start = index * (num_frames - 1) / clips.fps
    own_beats = [beat_grids.from_start(times, start) for times in beats]
    ids = [number + index * _OTHER_NOISE for number in clips.example_ids]
    conditions = clips.conditions(own_beats)
    segments.append(model.draw(pictures, conditions, ids, num_frames))
  return segments

"""Collects what a clip's motion is compared with: beats, onsets and an embedding."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from dabfusion_jax.evaluation.reading import music_events
from dabfusion_jax.evaluation.reading.features import ClipFeatures
from dabfusion_jax.evaluation.reading.labels import Labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import baselines
from data_pipeline.music.onsets import LATE_SECONDS


@dataclasses.dataclass(frozen=True)
class Events:
  """The music of a clip.

  Beats may be known for a clip without sound: then `onsets` and `embedding` are None.

  Attributes:
    beats: in seconds; may hold one beat beyond either edge.
    onsets: in seconds.
    source: where the beats come from.
    track: name of the piece of music, "" if unknown.
    period: of these beats in seconds, their median interval; the track's if unknown.
    reason: why there is no music at all; None if there is.
    embedding: of the sound by Wav2CLIP; None without its weights.
  """

  beats: Float64[np.ndarray, "n"]
  onsets: Float64[np.ndarray, "m"] | None
  source: str
  track: str
  period: float | None
  reason: str | None = None
  embedding: Float32[np.ndarray, "512"] | None = None


def collect_events(
  sample: ClipFeatures,
  reference: ClipFeatures | None,
  labels: Labels,
  networks: Networks,
  beats_late_seconds: float = LATE_SECONDS,
) -> Events:
  """Collects the music events of a clip.

  Beats are the true ones if known, else those tracked in the whole song, else those
  tracked in the clip; the real clip's come before the sample's. Onsets and embedding
  come from the sample's own sound, or from the real clip's if it has none.

  Args:
    sample: the clip.
    reference: the real clip of the same name.
    labels: of the clip.
    networks: among them Wav2CLIP, if its weights are there.
    beats_late_seconds: how late tracked beats are, which is subtracted from them. The
      paper does not correct its beats, which is 0.
  """
  clips = [clip for clip in (sample, reference) if clip is not None]
  source_clip = next((clip for clip in clips if clip.info["has_sound"]), None)
  # The trackers have subtracted their own default already.
  correction = LATE_SECONDS - beats_late_seconds
  candidates = [
    (clip.truth[key] + shift, source)
    for key, shift, source in (
      ("true_beat_times", 0.0, "known"),
      ("beat_times", correction, "tracked in song"),
    )
    for clip in reversed(clips)
    if key in clip.truth
  ]
  if source_clip is not None:
    seconds = sample.info["shape"][0] / sample.fps
    tracked = source_clip.sound["beats"] + correction
    continued = music_events.continue_beats(tracked, seconds)
    candidates.append((continued, "tracked in clip, continued"))
  beats, source = candidates[0] if candidates else (np.zeros(0), "none")
  beats = np.asarray(beats, np.float64)
  has_embedding = source_clip is not None and "wav2clip" in networks
  period = baselines.period_seconds(beats)
  if labels.bpm and not np.isfinite(period):
    period = 60 / labels.bpm
  return Events(
    beats=beats,
    onsets=None if source_clip is None else source_clip.sound["onsets"],
    source=source,
    track=labels.track,
    period=period if np.isfinite(period) else None,
    reason=None if candidates else "no_sound",
    embedding=source_clip.clip_sound(networks) if has_embedding else None,
  )

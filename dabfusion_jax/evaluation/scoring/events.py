"""Collects what a clip's motion is compared with: beats, onsets and an embedding."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from dabfusion_jax.evaluation.reading import music_events
from dabfusion_jax.evaluation.reading.changes import heard_until
from dabfusion_jax.evaluation.reading.clips import without_seam_time
from dabfusion_jax.evaluation.reading.features import ClipFeatures
from dabfusion_jax.evaluation.reading.labels import Labels
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import baselines
from data_pipeline.music.onsets import LATE_SECONDS
from data_pipeline.music.tracked import LIBROSA


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
    no_onsets: why there are no onsets, if there are none.
    embedding: of the sound by Wav2CLIP; None without its weights.
    strength: of onsets at each hop of the sound, if there are onsets.
  """

  beats: Float64[np.ndarray, "n"]
  onsets: Float64[np.ndarray, "m"] | None
  source: str
  track: str
  period: float | None
  reason: str | None = None
  no_onsets: str = "no_sound"
  embedding: Float32[np.ndarray, "512"] | None = None
  strength: Float32[np.ndarray, "hops"] | None = None


def collect_events(
  clip: ClipFeatures,
  other: ClipFeatures | None,
  labels: Labels,
  networks: Networks,
  beats_late_seconds: float = LATE_SECONDS,
) -> Events:
  """Collects the music events of a clip.

  Beats are the true ones if known, else those tracked in the whole song, else those
  tracked in the clip; a real clip's come before a generated one's. Onsets and
  embedding come from the clip's own sound or, if it has none, from as much of the
  other's; they are not known if that is shorter.

  Args:
    clip: the generated clip or the real one.
    other: the other one of the same name; None: it is not asked.
    labels: of both.
    networks: among them Wav2CLIP, if its weights are there.
    beats_late_seconds: how late beats tracked by librosa are, which is subtracted from
      them. The paper does not correct its beats, which is 0.
  """
  pair = [one for one in (clip, other) if one is not None]
  heard = next((one for one in pair if one.info["has_sound"]), None)
  seconds, is_whole = _seconds(clip), True
  if heard is not None and heard is not clip:
    excess = _seconds(heard) - seconds
    is_whole = excess > -0.5 / clip.fps
    if excess > 0.5 / clip.fps:
      heard = heard.changed(heard_until(seconds))
  segment = clip.settings.get("segment_frames")

  def known(one, key):
    """Returns beats; those of the other clip on the time line of the clip."""
    times = one.truth[key]
    if one.settings.get("segment_frames") == segment:
      return times
    return without_seam_time(times, segment, clip.fps)

  # The tracker has subtracted its default already.
  correction = LATE_SECONDS - beats_late_seconds
  by_trust = sorted(pair, key=lambda one: one.part != "references")
  candidates = [
    (known(one, "true_beat_times"), "known")
    for one in by_trust
    if "true_beat_times" in one.truth
  ]
  for one in by_trust:
    if "beat_times" in one.truth:
      tracker = str(one.truth.get("beat_tracker", LIBROSA))
      is_late = tracker == LIBROSA
      source = "tracked in song" if is_late else f"tracked in song by {tracker}"
      shift = correction if is_late else 0.0
      candidates.append((known(one, "beat_times") + shift, source))
  if heard is not None:
    tracked = heard.sound["beats"] + correction
    continued = music_events.continue_beats(tracked, seconds)
    candidates.append((continued, "tracked in clip, continued"))
  beats, source = candidates[0] if candidates else (np.zeros(0), "none")
  beats = np.asarray(beats, np.float64)
  has_onsets = heard is not None and is_whole
  has_embedding = has_onsets and "wav2clip" in networks
  period = baselines.period_seconds(beats)
  if labels.bpm and not np.isfinite(period):
    period = 60 / labels.bpm
  return Events(
    beats=beats,
    onsets=heard.sound["onsets"] if has_onsets else None,
    source=source,
    track=labels.track,
    period=period if np.isfinite(period) else None,
    reason=None if candidates else "no_sound",
    no_onsets="no_sound" if is_whole else "length_differs",
    embedding=heard.clip_sound(networks) if has_embedding else None,
    strength=heard.sound["strength"] if has_onsets else None,
  )


def _seconds(clip: ClipFeatures) -> float:
  return float(clip.info["shape"][0] / clip.fps)

"""Computes features of clips, each once: a cache keeps them by content."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.evaluation.reading import clip_files, clips, music_events
from dabfusion_jax.evaluation.reading.cache import Arrays, FeatureCache, Key
from dabfusion_jax.evaluation.reading.changes import Change
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reading.poses import PoseSource
from dabfusion_jax.metrics import appearance, optical_flow
from dabfusion_jax.metrics.features import clip_image, i3d, wav2clip
from data_pipeline.extras import needs_extra
from data_pipeline.music.onsets import LATE_SECONDS

NUM_LOGITS = 400  # classes of Kinetics-400
_EMBEDDING_SIZE = 512  # of Wav2CLIP
_ACCELERATOR_BATCH = 8  # clips


@dataclasses.dataclass(frozen=True)
class Reading:
  """How clips are read; see `clips.read_clip`."""

  fps: float | None = None
  num_frames: int | None = None
  frame_size: int | None = None
  segment_frames: int | None = None


@dataclasses.dataclass(eq=False)
class ClipFeatures:
  """The features of one clip, which is loaded only for what the cache does not hold.

  Every feature may raise `clips.ClipError` if the clip cannot be read.

  Attributes:
    part: "samples" or "references"; empty for a changed clip.
    name: of the clip; clips are paired by it.
    digest: of the content that the clip is made from.
    settings: what its frames depend on besides.
    load: returns the clip.
    cache: keeps features.
  """

  part: str
  name: str
  digest: str
  settings: Mapping[str, Any]
  load: Callable[[], clips.Clip]
  cache: FeatureCache

  @classmethod
  def of_file(
    cls, file: clip_files.ClipFile, reading: Reading, cache: FeatureCache
  ) -> "ClipFeatures":
    """Returns the features of a clip in a folder."""
    settings = dataclasses.asdict(reading)
    load = lambda: clips.read_clip(file, **settings)
    return cls(file.part, file.name, file.digest, settings, load, cache)

  def changed(self, change: Change) -> "ClipFeatures":
    """Returns the features of the same clip after a change."""
    return ClipFeatures(
      "",
      self.name,
      self.digest,
      {**self.settings, change.name: change.version},
      lambda: change.apply(self.clip),
      self.cache,
    )

  @functools.cached_property
  def clip(self) -> clips.Clip:
    """The clip itself, kept until `forget`."""
    return self.load()

  def forget(self) -> None:
    """Frees the frames; features that were computed stay available."""
    self.__dict__.pop("clip", None)

  def key(self, **settings: Any) -> Key:
    """Returns the key of a feature of this clip that depends on more settings."""
    return Key([self.digest], {**self.settings, **settings})

  def _get(self, kind: str, compute: Callable[[], Arrays], **settings: Any) -> Arrays:
    return self.cache.get(kind, self.key(**settings), compute)

  @functools.cached_property
  def info(self) -> Arrays:
    """`shape` (t, h, w), `fps`, `lossless`, `has_sound`, `has_mask`, `content_rows`."""

    def compute():
      clip = self.clip
      return {
        "shape": np.asarray(clip.frames.shape[:3]),
        "fps": np.float64(clip.fps),
        "lossless": np.bool_(clip.lossless),
        "has_sound": np.bool_(clip.audio is not None),
        "has_mask": np.bool_("part_map" in clip.truth),
        "content_rows": np.asarray(content_rows(clip.frames)),
      }

    return self._get("info", compute)

  @property
  def fps(self) -> float:
    """Frames per second."""
    return float(self.info["fps"])

  @functools.cached_property
  def motion(self) -> Arrays:
    """`speed` [t - 1] and `jitter` [t - 2] of the optical flow."""

    def compute():
      speed, jitter = optical_flow.flow_motion(self.clip.frames)
      return {"speed": speed, "jitter": jitter}

    with needs_extra("eval"):
      import cv2
    settings = {"farneback": list(optical_flow.SETTINGS), "cv2": cv2.__version__}
    return self._get("motion", compute, **settings)

  @functools.cached_property
  def sound(self) -> Arrays:
    """`onsets` and `beats` found in the clip's own sound, in seconds; empty without."""

    def compute():
      audio = self.clip.audio
      if audio is None:
        return {"onsets": np.zeros(0), "beats": np.zeros(0)}
      times, strength = music_events.find_onsets(audio)
      beats = music_events.find_beats(audio)
      return {"onsets": times, "beats": beats, "strength": strength}

    settings = music_events.describe() | {"late_seconds": LATE_SECONDS}
    return self._get("sound", compute, **settings)

  @functools.cached_property
  def truth(self) -> Arrays:
    """What the file knows: any of `TRUTH` but the mask, and `beat_tracker`."""
    compute = lambda: {k: v for k, v in self.clip.truth.items() if k != "part_map"}
    return self._get("truth", compute)

  def appearance(self, networks: Networks) -> Float32[np.ndarray, "t 256"]:
    """Returns AlexNet features of the frames; see `metrics.appearance`."""

    def compute():
      trunk = networks["alex"]["trunk"]
      return {"appearance": appearance.appearance(trunk, self.clip.frames)}

    weights = networks.hashes["alex"]
    return self._get("appearance", compute, weights=weights)["appearance"]

  def clip_frames(self, networks: Networks) -> Float32[np.ndarray, "t 512"]:
    """Returns CLIP's embeddings of the frames."""
    compute = lambda: {
      "frames": clip_image.embed_frames(networks["clip"], self.clip.frames)
    }
    return self._get("clip", compute, weights=networks.hashes["clip"])["frames"]

  def clip_sound(self, networks: Networks) -> Float32[np.ndarray, "512"]:
    """Returns Wav2CLIP's embedding of the sound."""

    def compute():
      rate = wav2clip.SAMPLE_RATE
      sound = music_events.resample(self.clip.audio, rate)
      # Less than one window has no spectrum: the score of a zero vector is undefined.
      if len(sound) < wav2clip.WINDOW_SAMPLES:
        return {"sound": np.zeros(_EMBEDDING_SIZE, np.float32)}
      return {"sound": wav2clip.embed_sound(networks["wav2clip"], sound, rate)}

    return self._get("wav2clip", compute, weights=networks.hashes["wav2clip"])["sound"]

  @functools.cached_property
  def thumbnails(self) -> UInt8[np.ndarray, "t 16 16 3"]:
    """The frames, tiny."""
    compute = lambda: {"thumbnails": appearance.thumbnails(self.clip.frames)}
    return self._get("thumbnails", compute)["thumbnails"]

  def pose(
    self, source: PoseSource
  ) -> tuple[Float[np.ndarray, "t 13 2"], Bool[np.ndarray, "t 13"]]:
    """Returns the joints in pixels, and which of them are visible."""

    name = f"{self.part}/{self.name}"  # paired clips have one name

    def compute():
      joints, visible = source(name, lambda: self.clip.frames)
      return {"joints": joints, "visible": visible}

    pose = self._get("pose", compute, **source.describe(name))
    return pose["joints"], pose["visible"]


def i3d_logits(
  features: Sequence[ClipFeatures],
  networks: Networks,
  length: int,
  resize: str = "default",
) -> Float32[np.ndarray, "n 400"]:
  """Returns I3D logits of the first `length` frames of each clip.

  Clips are computed in batches of 8 on an accelerator; on a CPU batches gain nothing
  and cost memory.
  """
  if not features:
    return np.zeros((0, NUM_LOGITS), np.float32)
  weights = networks.hashes["i3d"]
  keys = [f.key(weights=weights, length=length, resize=resize) for f in features]
  size = 1 if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH

  def compute(indices):
    videos = []
    for i in indices:
      videos.append(features[i].clip.frames[:length])
      features[i].forget()
    # The last batch is filled up: one shape, one program.
    videos += [videos[-1]] * (size - len(indices))
    logits = i3d.i3d_logits(networks["i3d"], np.stack(videos), resize)
    return [{"logits": row} for row in logits[: len(indices)]]

  title = f"I3D, {length} frames"
  values = features[0].cache.get_all("i3d", keys, compute, size, title)
  return np.stack([value["logits"] for value in values])


def content_rows(
  frames: UInt8[np.ndarray, "t h w 3"], darkest: int = 16
) -> tuple[int, int]:
  """Returns (first, end) of the rows that are not black bars of a letterbox.

  A bar is a row at the upper or lower edge that stays below `darkest` in all frames. A
  picture that is black all over has no bars.
  """
  bright = np.flatnonzero(frames.max(axis=(0, 2, 3)) >= darkest)
  if not len(bright):
    return 0, frames.shape[1]
  return int(bright[0]), int(bright[-1]) + 1

"""Per-clip features, each computed once and kept by content."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import av
import cv2
import jax
import numpy as np
import tqdm

from dabfusion_jax.evaluation.reading import clips, music_events
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reading.poses import PoseSource
from dabfusion_jax.metrics import appearance, optical_flow
from dabfusion_jax.metrics.features import clip_image, i3d, wav2clip

Arrays = Mapping[str, Any]  # of numpy arrays and scalars


@dataclasses.dataclass(frozen=True)
class Reading:
  """How clips are read; see `clips.read_clip`."""

  fps: float | None = None
  num_frames: int | None = None
  frame_size: int | None = None
  segment_frames: int | None = None


@dataclasses.dataclass(eq=False)
class ClipFeatures:
  """The features of one clip. It is decoded only for what the cache does not hold.

  Every method may raise `clips.ClipError` for a clip that cannot be read.
  """

  file: clips.ClipFile
  reading: Reading
  cache: FeatureCache
  is_coded: bool = False  # after one pass through the mp4 coding of an export

  @functools.cached_property
  def clip(self) -> clips.Clip:
    clip = clips.read_clip(self.file, **dataclasses.asdict(self.reading))
    return clips.after_coding(clip) if self.is_coded else clip

  def coded(self) -> "ClipFeatures":
    """The same clip after coding."""
    return ClipFeatures(self.file, self.reading, self.cache, is_coded=True)

  @property
  def settings(self) -> dict[str, Any]:
    """What the frames depend on besides the file."""
    settings = dataclasses.asdict(self.reading)
    return settings | ({"coded": av.__version__} if self.is_coded else {})

  def forget(self) -> None:
    """Frees the frames; what the cache holds stays within reach."""
    self.__dict__.pop("clip", None)

  def _get(self, kind: str, settings: Mapping[str, Any], compute) -> dict:
    settings = dict(settings) | self.settings
    return self.cache.get(kind, [self.file.digest], settings, compute)

  @functools.cached_property
  def info(self) -> Arrays:
    """`shape` (t, h, w), `fps`, `lossless`, `has_sound`, `rows` of content."""

    def compute():
      clip = self.clip
      return {
        "shape": np.asarray(clip.frames.shape[:3]),
        "fps": np.float64(clip.fps),
        "lossless": np.bool_(clip.lossless),
        "has_sound": np.bool_(clip.audio is not None),
        "rows": np.asarray(content_rows(clip.frames)),
        "has_mask": np.bool_("part_map" in clip.truth),
      }

    return self._get("info", {}, compute)

  @property
  def fps(self) -> float:
    return float(self.info["fps"])

  @functools.cached_property
  def motion(self) -> Arrays:
    """`speed` [t - 1] and `jitter` [t - 2] of the optical flow."""

    def compute():
      speed, jitter = optical_flow.flow_motion(self.clip.frames)
      return {"speed": speed, "jitter": jitter}

    settings = {"farneback": list(optical_flow.SETTINGS), "cv2": cv2.__version__}
    return self._get("motion", settings, compute)

  @functools.cached_property
  def sound(self) -> Arrays:
    """`onsets`, `beats` as heard in the clip, and `silent`; all empty without sound."""

    def compute():
      audio = self.clip.audio
      if audio is None:
        return {"onsets": np.zeros(0), "beats": np.zeros(0), "silent": np.bool_(True)}
      return {
        "onsets": music_events.find_onsets(audio),
        "beats": music_events.find_beats(audio),
        "silent": np.bool_(not np.any(audio)),
      }

    return self._get("sound", music_events.describe(), compute)

  @functools.cached_property
  def truth(self) -> Arrays:
    """What the file knows: any of `beat_times`, `true_beat_times`, `joints2d`."""
    compute = lambda: {k: v for k, v in self.clip.truth.items() if k != "part_map"}
    return self._get("truth", {}, compute)

  def appearance(self, networks: Networks) -> np.ndarray:
    """[t, 256]; see `metrics.appearance`."""

    def compute():
      trunk = networks["alex"]["trunk"]
      return {"appearance": appearance.appearance(trunk, self.clip.frames)}

    settings = {"weights": networks.hashes["alex"]}
    return self._get("appearance", settings, compute)["appearance"]

  def clip_frames(self, networks: Networks) -> np.ndarray:
    """CLIP's embeddings of the frames [t, 512]."""
    compute = lambda: {
      "frames": clip_image.embed_frames(networks["clip"], self.clip.frames)
    }
    return self._get("clip", {"weights": networks.hashes["clip"]}, compute)["frames"]

  def clip_sound(self, networks: Networks) -> np.ndarray:
    """Wav2CLIP's embedding of the sound [512]."""

    def compute():
      rate = wav2clip.SAMPLE_RATE
      sound = music_events.resample(self.clip.audio, rate)
      # Less than one window has no spectrum: the score of a zero vector is undefined.
      if len(sound) < wav2clip.WINDOW_SAMPLES:
        return {"sound": np.zeros(512, np.float32)}
      return {"sound": wav2clip.embed_sound(networks["wav2clip"], sound, rate)}

    settings = {"weights": networks.hashes["wav2clip"]}
    return self._get("wav2clip", settings, compute)["sound"]

  @functools.cached_property
  def thumbnails(self) -> np.ndarray:
    """uint8 [t, 16, 16, 3]."""
    compute = lambda: {"thumbnails": appearance.thumbnails(self.clip.frames)}
    return self._get("thumbnails", {}, compute)["thumbnails"]

  def pose(self, source: PoseSource) -> tuple[np.ndarray, np.ndarray]:
    """Joints [t, 13, 2] in pixels and which of them are visible [t, 13]."""

    def compute():
      joints, visible = source(self.file.name, lambda: self.clip.frames)
      return {"joints": joints, "visible": visible}

    found = self._get("pose", source.describe(self.file.name), compute)
    return found["joints"], found["visible"]


def i3d_logits(
  clips_of_set: Sequence[ClipFeatures],
  networks: Networks,
  length: int,
  *,
  frozen: bool = False,
  resize: str = "default",
) -> np.ndarray:
  """I3D logits [n, 400] of the first `length` frames, or of frame 0 kept still.

  Batches of 8 clips where there is an accelerator; on a CPU they gain nothing and cost
  memory. What the cache holds is not computed.
  """
  settings = {"weights": networks.hashes["i3d"], "length": length}
  settings |= {"frozen": frozen, "resize": resize}
  settled = lambda one: ([one.file.digest], settings | one.settings)
  missing = [one for one in clips_of_set if not one.cache.has("i3d", *settled(one))]
  size = 1 if jax.default_backend() == "cpu" else 8
  with tqdm.tqdm(total=len(missing), desc=f"I3D, {length} frames", unit="clip") as bar:
    for first in range(0, len(missing), size):
      chunk = missing[first : first + size]
      videos = []
      for one in chunk:
        frames = one.clip.frames[:length]
        videos.append(np.repeat(frames[:1], length, axis=0) if frozen else frames)
        one.forget()
      # The last batch is filled up: one shape, one program.
      videos += [videos[-1]] * (size - len(chunk))
      rows = i3d.i3d_logits(networks["i3d"], np.stack(videos), resize)
      for one, row in zip(chunk, rows, strict=False):
        one.cache.get("i3d", *settled(one), lambda row=row: {"logits": row})
      bar.update(len(chunk))
  rows = [
    one.cache.get("i3d", *settled(one), lambda: {})["logits"] for one in clips_of_set
  ]
  return np.stack(rows) if rows else np.zeros((0, 400), np.float32)


def content_rows(frames: np.ndarray, darkest: int = 16) -> tuple[int, int]:
  """(first, end) of the rows that are not black bars of a letterbox.

  A bar is a row at the upper or lower edge that stays below `darkest` in all frames. A
  picture that is black all over has no bars.
  """
  bright = np.flatnonzero(frames.max(axis=(0, 2, 3)) >= darkest)
  if not len(bright):
    return 0, frames.shape[1]
  return int(bright[0]), int(bright[-1]) + 1

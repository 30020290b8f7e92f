"""Finds 33 body landmarks of one person in the frames of a clip: BlazePose full.

Bazarevsky et al. 2020 (2006.10204). A detector finds the person in the picture. The
landmark network is given a square around the person, turned upright, and also predicts
the square of the next frame. The paper cites OpenPose instead, so results name the
estimator.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from dabfusion_jax.evaluation.reading import poses
from dabfusion_jax.people import detector, landmarks
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store
from dabfusion_jax.pretrained.tflite_reader import read_tflite

NAME = "BlazePose full (mediapipe 0.10.21)"
MODELS = (detector.WEIGHTS, landmarks.WEIGHTS)
MIN_SIDE = 512  # pixels; the dancer of a 128-px frame is too small for the detector
_LANDMARK_SIZE = 256
# Landmarks of `poses.JOINTS`, and the two points that define the next square.
_JOINTS = (0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
_CENTRE, _EDGE = 33, 34
_MARGIN = 1.25  # side of the square, relative to the circle around the person


@dataclasses.dataclass(frozen=True)
class Square:
  """A square in the picture: centre and side in pixels, turned by `angle` radians."""

  x: float
  y: float
  side: float
  angle: float

  def to_picture(self, size: int) -> Float[np.ndarray, "2 3"]:
    """Returns the matrix from pixels of the square at `size` to picture pixels."""
    scale = self.side / size
    cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
    rotation = np.array([[cos, -sin], [sin, cos]])
    offset = np.array([self.x, self.y]) - rotation @ [size / 2, size / 2]
    return np.concatenate([rotation, offset[:, None]], axis=1)


def square_around(
  centre: Float[np.ndarray, "2"], edge: Float[np.ndarray, "2"]
) -> Square:
  """Returns the upright square around a person.

  Args:
    centre: of the hips.
    edge: top of the circle around the whole body.
  """
  dx, dy = (float(d) for d in edge - centre)
  angle = math.pi / 2 - math.atan2(-dy, dx)
  angle = (angle + math.pi) % (2 * math.pi) - math.pi
  side = 2 * math.hypot(dx, dy) * _MARGIN
  return Square(float(centre[0]), float(centre[1]), side, angle)


class BlazePose:
  """A `poses.PoseSource`.

  Frames below 512 pixels are enlarged first. If the detector finds nobody in the whole
  picture, it searches nine overlapping parts. No joint is visible in a frame without a
  person, or with a presence below `poses.MIN_CONFIDENCE`.

  Raises:
    MissingWeightsError: the weights have not been imported.
  """

  name = NAME

  def __init__(self) -> None:
    self._hashes = {name: store.describe(name)["sha256"] for name in MODELS}
    graphs = [read_tflite(store.load(name)["model"].tobytes()) for name in MODELS]
    self._detector, self._landmarks = (
      TfliteNetwork(graph, (0, 1), compiled=True) for graph in graphs
    )
    self._anchors = detector.make_anchors()

  def describe(self, name: str) -> Mapping[str, Any]:
    """Returns the estimator and its settings; see `poses.PoseSource`."""
    return {
      "estimator": self.name,
      "weights": self._hashes,
      "min_side": MIN_SIDE,
      "min_confidence": poses.MIN_CONFIDENCE,
    }

  def __call__(self, name: str, frames: Callable[[], np.ndarray]) -> poses.Poses:
    video = frames()
    joints = np.zeros((len(video), len(_JOINTS), 2))
    visible = np.zeros((len(video), len(_JOINTS)), bool)
    square = None
    for i, frame in enumerate(video):
      picture, scale = enlarge(frame)
      landmarks = None
      if square is not None:
        landmarks = self._find_landmarks(picture, square)
      if landmarks is None:
        square = self._detect(picture)
        landmarks = self._find_landmarks(picture, square) if square else None
      if landmarks is None:
        square = None
        continue
      points, confidence, square = landmarks
      # Our pixel centres are at integers, those of the enlarged picture at halves.
      joints[i] = (points + 0.5) / scale - 0.5
      visible[i] = confidence >= poses.MIN_CONFIDENCE
    return np.where(visible[..., None], joints, 0.0), visible

  def _detect(self, picture: np.ndarray) -> Square | None:
    """Returns the person in the whole picture, else in its most promising part."""
    height, width = picture.shape[:2]
    whole = Square(width / 2, height / 2, float(max(height, width)), 0.0)
    score, square = self._detect_in(picture, whole)
    if score < poses.MIN_CONFIDENCE:
      half = whole.side / 2
      quarters = [
        Square(x * width, y * height, half, 0.0)
        for y in (0.25, 0.5, 0.75)
        for x in (0.25, 0.5, 0.75)
      ]
      detections = (self._detect_in(picture, quarter) for quarter in quarters)
      score, square = max(detections, key=lambda detection: detection[0])
    return square if score >= poses.MIN_CONFIDENCE else None

  def _detect_in(self, picture: np.ndarray, part: Square) -> tuple[float, Square]:
    """Returns the best detection in a part of the picture, and its score."""
    to_picture = part.to_picture(detector.SIZE)
    x = cut_out(picture, to_picture, detector.SIZE, cv2.BORDER_CONSTANT)
    boxes, scores = self._detector(x / 127.5 - 1)
    best = int(scores[:, 0].argmax())
    score = 1 / (1 + math.exp(-float(np.clip(scores[best, 0], -100, 100))))
    # Two of the four key points: the hips and the edge of the circle around the body.
    points = boxes[best, 4:8].reshape(2, 2) + self._anchors[best] * detector.SIZE
    points = _transform(to_picture, points.astype(np.float64))
    return score, square_around(*points)

  def _find_landmarks(
    self, picture: np.ndarray, square: Square
  ) -> tuple[np.ndarray, np.ndarray, Square] | None:
    """Returns joints [13, 2], confidence [13], the next square; None if no person."""
    if not 1.0 < square.side < 8 * max(picture.shape):
      return None
    to_picture = square.to_picture(_LANDMARK_SIZE)
    x = cut_out(picture, to_picture, _LANDMARK_SIZE, cv2.BORDER_REPLICATE)
    values, presence = self._landmarks(x / 255)
    if float(presence[0]) < poses.MIN_CONFIDENCE:
      return None
    values = values.reshape(39, 5).astype(np.float64)
    points = _transform(to_picture, values[:, :2])
    confidence = 1 / (1 + np.exp(-values[:, 3]))
    chosen = list(_JOINTS)
    next_square = square_around(points[_CENTRE], points[_EDGE])
    return points[chosen], confidence[chosen], next_square


def enlarge(frame: UInt8[np.ndarray, "h w 3"]) -> tuple[np.ndarray, float]:
  """Returns the frame with a longer side of 512 pixels or more, and the factor."""
  scale = max(1.0, MIN_SIDE / max(frame.shape[:2]))
  if scale == 1.0:
    return frame, scale
  return cv2.resize(
    frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
  ), scale


def cut_out(
  picture: UInt8[np.ndarray, "h w 3"],
  to_picture: Float[np.ndarray, "2 3"],
  size: int,
  border: int,
) -> Float32[np.ndarray, "size size 3"]:
  """Cuts a square out of the picture, values 0 to 255."""
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  cut = cv2.warpAffine(
    picture, to_picture, (size, size), flags=flags, borderMode=border
  )
  return cut.astype(np.float32)


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
  return points @ matrix[:, :2].T + matrix[:, 2]

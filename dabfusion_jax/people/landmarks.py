"""Finds 33 landmarks of the person in a square: BlazePose's second network.

Bazarevsky et al. 2020 (2006.10204), with the weights of mediapipe. The network is given
a square around the person, and also draws the person's mask.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from dabfusion_jax.people.squares import Square
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store
from dabfusion_jax.pretrained.tflite_reader import read_tflite

WEIGHTS = "blazepose-full"
MARGIN = 1.25  # side of the square, relative to the person
NUM_LANDMARKS = 33
# Names of the landmarks that are used; left and right are the person's own.
NOSE, LEFT_EAR, RIGHT_EAR = 0, 7, 8
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 13, 14, 15, 16
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE = 23, 24, 25, 26
LEFT_HAND, RIGHT_HAND = (17, 19), (18, 20)  # first joints of little and index finger
LEFT_ANKLE, RIGHT_ANKLE, LEFT_TOE, RIGHT_TOE = 27, 28, 31, 32
HANDS = {"left": LEFT_HAND, "right": RIGHT_HAND}
# Pairs of a left and a right landmark: inner eyes to ears, mouth, shoulders to toes.
PAIRS = ((1, 4), (2, 5), (3, 6), *((i, i + 1) for i in range(7, 33, 2)))
SOME_PRESENCE = 0.5  # from which on there is a body, if only a part of it
# From which on the landmarks of a body are sure enough to move it by. Of 14 pictures of
# people the lowest presence is 0.93; a cat has 0.88, a field of stars 0.90.
MIN_PRESENCE = 0.91
MIN_CONFIDENCE = 0.75  # joints that are seen have 0.96 and more, others 0.71 at most
_FINGERS = 1.5  # the hand goes on beyond the knuckles
_SIZE = 256
_AGREEMENT = 0.04  # of a square, by which two looks that agree are apart at most
# Landmarks that are seen together, or not: head, trunk, arms and legs.
_LIMBS = [list(range(LEFT_SHOULDER))]
_LIMBS += [[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]]
_LIMBS += [list(range(first, LEFT_HIP, 2)) for first in (LEFT_ELBOW, RIGHT_ELBOW)]
_LIMBS += [list(range(first, NUM_LANDMARKS, 2)) for first in (LEFT_KNEE, RIGHT_KNEE)]
_LEFT, _RIGHT = np.array(PAIRS).T
_MIRRORED = np.arange(NUM_LANDMARKS)  # what each landmark is in a mirror image
_MIRRORED[_LEFT], _MIRRORED[_RIGHT] = _RIGHT, _LEFT

Depth = Float[np.ndarray, "33"]  # of landmarks, in pixels; more is farther away


def flat() -> Depth:
  """Returns the depth of landmarks of which nothing is known: all are as far away."""
  return np.zeros(NUM_LANDMARKS)


@dataclasses.dataclass(frozen=True)
class Landmarks:
  """What the network says of one picture.

  Attributes:
    points: pixels (x, y) in the picture.
    confidence: that a landmark is visible, in [0, 1].
    presence: that there is a person in the square, in [0, 1].
    depth: pixels by which a landmark is farther from the camera than the hips; 0 if
      nothing is known of it.
  """

  points: Float[np.ndarray, "33 2"]
  confidence: Float[np.ndarray, "33"]
  presence: float
  depth: Depth = dataclasses.field(default_factory=flat)

  def moved(self, scale: float, offset: Float[np.ndarray, "2"]) -> "Landmarks":
    """Returns the landmarks of a picture that was enlarged, then moved by pixels."""
    points, depth = self.points * scale + offset, self.depth * scale
    return dataclasses.replace(self, points=points, depth=depth)


class LandmarkNetwork:
  """The network, for single pictures or, compiled, for the frames of videos.

  Raises:
    MissingWeightsError: the weights have not been imported.
  """

  def __init__(self, compiled: bool = False):
    graph = read_tflite(store.load(WEIGHTS)["model"].tobytes())
    self._network = TfliteNetwork(graph, (0, 1) if compiled else (0, 1, 2), compiled)

  def find(self, picture: UInt8[np.ndarray, "h w 3"], square: Square) -> Landmarks:
    """Returns the landmarks of the person in a square of a picture."""
    return self._run(picture, square)[0]

  def look_closely(
    self, picture: UInt8[np.ndarray, "h w 3"], squares: Sequence[Square]
  ) -> tuple[Landmarks, Float32[np.ndarray, "256 256"], Square]:
    """Returns the landmarks and the mask of a person, who is looked at twice.

    The square that shows them most surely is looked at, and its mirror image. A
    compiled network gives no mask.

    Args:
      picture: of the person.
      squares: around them. All but the first count only if the whole body in them is
        in the picture, as they may be those of somebody who is cut off.

    Returns:
      The landmarks, whose presence is that of the square; the mask of the person in
      the square, in [0, 1]; the square.
    """
    first, *others = [(*self._run(picture, square), square) for square in squares]
    looks = [first, *(look for look in others if _is_inside(look[0], picture))]
    found, (mask,), square = max(looks, key=lambda look: _sureness(look[0]))
    mirrored, (mirrored_mask,) = self._run(picture, square, is_mirrored=True)
    mask, mirrored_mask = _sigmoid(mask[..., 0]), _sigmoid(mirrored_mask[..., 0])
    if mirrored.presence < SOME_PRESENCE:
      return found, mask, square
    agreed = _agreed(found, mirrored, _AGREEMENT * square.side)
    return agreed, (mask + mirrored_mask) / 2, square

  def _run(
    self, picture: np.ndarray, square: Square, is_mirrored: bool = False
  ) -> tuple[Landmarks, list[np.ndarray]]:
    x = square.cut(picture, _SIZE)[:, :: -1 if is_mirrored else 1]
    values, presence, *masks = self._network(x.astype(np.float32) / 255)
    values = values.reshape(-1, 5)[:NUM_LANDMARKS]
    if is_mirrored:
      values = values[_MIRRORED] * [-1, 1, 1, 1, 1] + [_SIZE, 0, 0, 0, 0]
      masks = [mask[:, ::-1] for mask in masks]
    points = square.to_picture(values[:, :2].astype(np.float64) / _SIZE)
    depth = values[:, 2].astype(np.float64) * square.side / _SIZE
    found = Landmarks(points, _sigmoid(values[:, 3]), float(presence[0]), depth)
    return found, masks


def _is_inside(found: Landmarks, picture: np.ndarray) -> bool:
  body, size = found.points[LEFT_SHOULDER:], picture.shape[1::-1]
  return bool(((body >= 0) & (body <= size)).all())


def _sureness(found: Landmarks) -> tuple[bool, float]:
  """Returns what is larger for landmarks that are surer."""
  body = found.confidence[LEFT_SHOULDER:]
  return found.presence >= MIN_PRESENCE, float(body.mean())


def _agreed(found: Landmarks, other: Landmarks, most: float) -> Landmarks:
  """Returns the means of landmarks, limb by limb, and the surer of two that disagree.

  Args:
    found, other: of the same person; the presence is that of the first.
    most: pixels that landmarks of a limb on which they agree are apart.
  """
  share = np.zeros(NUM_LANDMARKS)  # of the other
  for limb in _LIMBS:
    apart = np.hypot(*(found.points - other.points)[limb].T)
    is_surer = other.confidence[limb].mean() > found.confidence[limb].mean()
    share[limb] = 0.5 if (apart <= most).all() else is_surer
  mix = lambda a, b: ((1 - share) * a.T + share * b.T).T
  return Landmarks(
    mix(found.points, other.points),
    mix(found.confidence, other.confidence),
    found.presence,
    mix(found.depth, other.depth),
  )


def fingertips(points: Float[np.ndarray, "33 2"], side: str) -> Float[np.ndarray, "2"]:
  """Returns where the fingers of a side, "left" or "right", end."""
  wrist = points[LEFT_WRIST if side == "left" else RIGHT_WRIST]
  return wrist + _FINGERS * (points[list(HANDS[side])].mean(0) - wrist)


def _sigmoid(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-np.clip(x, -80, 80)))

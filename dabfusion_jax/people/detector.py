"""Finds people in a picture, or in a square of it: BlazePose's first network.

Bazarevsky et al. 2020 (2006.10204), with the weights of mediapipe. It serves several
people who touch each other, of whom a mask shows one shape, and people who are small in
their picture.
"""

import numpy as np
import scipy.special
from jaxtyping import Float, UInt8

from dabfusion_jax.people.squares import Square
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store
from dabfusion_jax.pretrained.tflite_reader import read_tflite

WEIGHTS = "blazepose-detector"
SIZE = 224
_STRIDES = (8, 16, 32, 32, 32)  # two anchors per cell and layer: 2,254
_MIN_SCORE = 0.5
_AROUND = 1.5  # side of what is around a square, relative to it
_APART = 0.35  # of the radius of a person, by which two of them differ


# The hips of a person, and a point on the circle around them.
Ends = Float[np.ndarray, "2 2"]


class Detector:
  """The network.

  Raises:
    MissingWeightsError: the weights have not been imported.
  """

  def __init__(self):
    graph = read_tflite(store.load(WEIGHTS)["model"].tobytes())
    self._network = TfliteNetwork(graph, (0, 1))
    self._anchors = make_anchors()

  def __call__(
    self,
    picture: UInt8[np.ndarray, "h w 3"],
    square: Square,
    least: float = _MIN_SCORE,
  ) -> list[Square]:
    """Returns the squares around the people in a square, the surest first.

    Close people are told apart better if they are shown large, so some may be found in
    the square alone who are not with what is around it.

    Args:
      picture: of any size.
      square: that is looked at.
      least: score of a person, in (0, 1).
    """
    views = (square.enlarged(_AROUND), square)
    found = [person for view in views for person in self._look(picture, view, least)]
    return _apart([ends for _, ends in found])

  def in_parts(self, picture: UInt8[np.ndarray, "h w 3"], share: float) -> list[Square]:
    """Returns the squares around people who are small in a picture, the surest first.

    The network finds people who fill a quarter to all of what it is shown, so it is
    shown overlapping parts of the picture. Somebody at the border of a part is whole,
    and more sure, in the next.

    Args:
      picture: of any size.
      share: side of the parts, relative to the longer side.
    """
    views = parts_of(picture.shape, share)
    found = [person for view in views for person in self._look(picture, view)]
    found.sort(key=lambda person: -person[0])
    return _apart([ends for _, ends in found])

  def _look(
    self, picture: np.ndarray, square: Square, least: float = _MIN_SCORE
  ) -> list[tuple[float, Ends]]:
    """Returns how sure people are, and their ends, the surest first."""
    x = square.cut(picture, SIZE).astype(np.float32) / 127.5 - 1
    boxes, scores = self._network(x)
    lowest = scipy.special.logit(least)
    best = [i for i in np.argsort(-scores[:, 0]) if scores[i, 0] >= lowest]
    # Two of the four key points.
    points = boxes[best, 4:8].reshape(-1, 2, 2) / SIZE + self._anchors[best, None]
    ends = square.to_picture(points.astype(np.float64))
    return list(zip(scores[best, 0].tolist(), ends, strict=True))


def _apart(people: list[Ends]) -> list[Square]:
  """Returns the squares around people, the first of those who are the same person."""
  found: list[Ends] = []
  for ends in people:
    apart = _APART * np.hypot(*(ends[1] - ends[0]))
    if all(np.hypot(*(ends - other).T).sum() > apart for other in found):
      found.append(ends)
  return [_square(*ends) for ends in found]


def parts_of(shape: tuple[int, ...], share: float) -> list[Square]:
  """Returns squares that cover a picture and overlap each other by at least half.

  Whoever is at most half as large as a square is whole in one of them.

  Args:
    shape: height and width of the picture.
    share: side of the squares, relative to the longer side.
  """
  side = share * max(shape[:2])

  def starts(length: int) -> np.ndarray:
    if length <= side:  # in the middle
      return np.array([(length - side) / 2])
    return np.linspace(0, length - side, int(np.ceil(2 * length / side - 1e-6)) - 1)

  height, width = shape[:2]
  return [
    Square(float(left), float(top), side)
    for top in starts(height)
    for left in starts(width)
  ]


def make_anchors() -> Float[np.ndarray, "2254 2"]:
  """Returns the centres (x, y) of the detector's anchors, in [0, 1]."""
  anchors = []
  layers = list(_STRIDES)
  while layers:
    stride = layers[0]
    same = layers.count(stride)  # layers of one stride are interleaved, cell by cell
    layers = layers[same:]
    cells = SIZE // stride
    y, x = np.divmod(np.arange(cells * cells), cells)
    centres = (np.stack([x, y], axis=1) + 0.5) / cells
    anchors.append(np.repeat(centres, 2 * same, axis=0))
  return np.concatenate(anchors)


def _square(hips: np.ndarray, edge: np.ndarray) -> Square:
  radius = 1.25 * float(np.hypot(*(edge - hips)))
  return Square(float(hips[0]) - radius, float(hips[1]) - radius, 2 * radius)

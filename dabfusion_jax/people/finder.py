"""Finds where people are in a picture.

A segmentation network finds them in the whole picture. A detector finds those who touch
each other, and so are one shape of its mask, and those whom it does not see, as they
are small.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from dabfusion_jax.people import crowd, territory
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.detector import Detector
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.landmarks import LandmarkNetwork, Landmarks
from dabfusion_jax.people.masks import resize_mask, separate
from dabfusion_jax.people.skeleton import trunk_length
from dabfusion_jax.people.squares import Square, square_around

_LOOKED_AT = 512  # pixels of the longer side, at which people are told apart
# Sides, relative to the longer side of a picture, of parts in which small people are
# looked for; and the least presence of people there, as many parts are looked at: of 48
# people of `benchmarks.small_people` the lowest has 0.967, a cup has 0.927.
_SHARES, _SURE = (1 / 2, 1 / 4), 0.95
_LARGE = 0.1  # share of a picture above which something is its subject, as a drawing
_SPECK = 16  # pixels
_TOGETHER = 0.5  # trunks between sightings of one person

Mask = Callable[[UInt8[np.ndarray, "h w 3"], Square], Float[np.ndarray, "n n"]]


@dataclasses.dataclass(frozen=True)
class Part:
  """Where a person is in a picture.

  Attributes:
    picture: without other people whom they touch.
    there: roughly the person.
    squares: around them, in which they are looked at.
    own: pixels that are not nearer to somebody else.
    is_mixed: whether these are several people who cannot be told apart.
  """

  picture: UInt8[np.ndarray, "h w 3"]
  there: Bool[np.ndarray, "h w"]
  squares: Sequence[Square]
  own: Bool[np.ndarray, "h w"]
  is_mixed: bool = False


@dataclasses.dataclass(frozen=True)
class _Shape:
  """A mask, the square around it, those of people in it, and how sure anybody is."""

  there: Bool[np.ndarray, "h w"]
  square: Square
  people: Sequence[Square]
  presence: float  # 1 if the detector sees somebody


class Finder:
  """Finds people by three networks.

  Args:
    mask: returns what of a square of a picture is people, in [0, 1].
    detector: finds people in a square, or in parts of a picture.
    landmarks: finds the landmarks of a body, and whether there is one.
  """

  def __init__(self, mask: Mask, detector: Detector, landmarks: LandmarkNetwork):
    self._mask, self._detector, self._landmarks = mask, detector, landmarks

  def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Part]:
    """Returns the people of a picture of any size, the largest first."""
    height, width = picture.shape[:2]
    side = float(max(height, width))
    whole = Square((width - side) / 2, (height - side) / 2, side)
    shapes = []
    for shape in separate(self._mask(picture, whole)):
      there = whole.put_back(shape.astype(np.float32), height, width) > 0.5
      if there.any():  # the square goes on beyond the picture, in its border's colours
        square = whole.part(square_around(shape, 1.0), len(shape))
        shapes.append(self._look_at(picture, there, square))
    # Any other shape may be a head or a leg that the mask shows apart from its body, of
    # which the presence was 0.58 at most.
    known = [shape for shape in shapes if shape.presence >= lm.MIN_PRESENCE]
    maybe = [
      shape
      for shape in shapes
      if shape.presence >= lm.SOME_PRESENCE or shape.there.mean() > _LARGE
    ]
    if subjects := known or maybe:
      return self._parts(picture, subjects)
    # What stands out may be a thing, and somebody beside it too small.
    closer = (self._look_closer(picture, share) for share in _SHARES)
    return next(filter(None, closer), self._parts(picture, shapes))

  def _look_closer(self, picture: np.ndarray, share: float) -> list[Part]:
    """Returns the people who are found in parts of a picture, the largest first."""
    height, width = picture.shape[:2]
    there = np.zeros((height, width), bool)
    for square in self._detector.in_parts(picture, share):
      view = square.enlarged(lm.MARGIN)
      for shape in separate(self._mask(picture, view)):
        here = view.put_back(shape.astype(np.float32), height, width) > 0.5
        if crowd.those_in([square], here):
          there |= here
    theres = separate(there, _SPECK / there.size)
    shapes = [self._look_at(picture, one, square_around(one, 1.0)) for one in theres]
    parts = self._parts(picture, [shape for shape in shapes if shape.people])
    presence = lambda part: self._presence(part.picture, part.squares[0])
    return [part for part in parts if presence(part) >= _SURE]

  def _look_at(
    self, picture: np.ndarray, there: Bool[np.ndarray, "h w"], square: Square
  ) -> _Shape:
    people = crowd.those_in(self._detector(picture, square), there)
    around = square.enlarged(lm.MARGIN)
    presence = 1.0 if people else self._presence(picture, around)
    return _Shape(there, square, people, presence)

  def _presence(self, picture: np.ndarray, square: Square) -> float:
    return self._landmarks.find(picture, square).presence

  def _parts(self, picture: np.ndarray, shapes: Sequence[_Shape]) -> list[Part]:
    """Returns the people who are in shapes, the largest first."""
    parts = []
    nearest = territory.nearest([shape.there for shape in shapes])
    for shape, near in zip(shapes, nearest, strict=True):
      there, square, people = shape.there, shape.square, shape.people
      if len(people) > 1 and (apart := self._tell_apart(picture, there, square)):
        parts += [dataclasses.replace(part, own=part.own & near) for part in apart]
        continue
      around = [square.enlarged(lm.MARGIN)]
      if len(people) == 1:  # the mask may lack an arm or a leg, which theirs has
        around += people
      parts.append(Part(picture, there, around, near, len(people) > 1))
    return sorted(parts, key=lambda part: -part.there.sum())

  @functools.cached_property
  def _compiled_landmarks(self) -> LandmarkNetwork:
    """The network for the thirty or so looks that telling people apart takes."""
    return LandmarkNetwork(compiled=True)

  def _tell_apart(
    self, picture: np.ndarray, there: Bool[np.ndarray, "h w"], square: Square
  ) -> list[Part]:
    """Returns the people of a shape in a square; none if they cannot be told apart.

    There may be only one, whom the detector saw several times in about the same place.
    Pictures of 512 pixels and more are looked at in one size, so that the size of a
    dance changes nothing.
    """
    reduced = PIL.Image.fromarray(picture)
    reduced.thumbnail((_LOOKED_AT, _LOOKED_AT))
    small = np.asarray(reduced)
    scale = len(small) / len(picture)
    shape = resize_mask(there, small.shape[:2])
    empty = fill_smoothly(small.astype(np.float32), ~shape)
    empty = np.clip(np.round(empty), 0, 255).astype(np.uint8)
    view = Square(square.left * scale, square.top * scale, square.side * scale)
    detect = functools.partial(self._detector, square=view)
    look = self._compiled_landmarks.find
    bodies = crowd.find_bodies(look, detect, small, empty, shape)
    if len(bodies) == 1 and self._is_one(bodies[0], detect(small), shape):
      everywhere = np.ones_like(there)
      return [Part(picture, there, [square.enlarged(lm.MARGIN)], everywhere)]
    if len(bodies) < 2:
      return []
    image = PIL.Image.fromarray(empty).resize(there.shape[::-1], PIL.Image.BILINEAR)
    owns, hides = zip(*territory.territories(bodies, shape.shape), strict=True)
    owns = territory.by_colour(small, shape, bodies, owns)
    parts = []
    for masks in zip(owns, hides, strict=True):
      own, hidden = (resize_mask(mask, there.shape) for mask in masks)
      if not (there & own).any():
        continue
      alone = territory.alone_in(picture, np.asarray(image), hidden)
      around = square_around(there & own, lm.MARGIN)
      parts.append(Part(alone, there & own, [around], own))
    return parts

  def _is_one(
    self, body: Landmarks, squares: Sequence[Square], shape: Bool[np.ndarray, "h w"]
  ) -> bool:
    """Returns whether all sightings in a shape are about the same place."""
    squares = crowd.those_in(squares, shape)
    centres = np.array([square.to_picture(np.full(2, 0.5)) for square in squares])
    apart = np.hypot(*(centres[:, None] - centres).T)
    return bool((apart < _TOGETHER * trunk_length(body.points)).all())

"""Finds people in a picture, and cuts one of them out.

The selfie segmentation network of mediapipe finds the people in the picture, a detector
those who touch each other or are small (`people/finder.py`), and the landmark network
looks closer at one of them. Their masks of 256 pixels take the edges of the picture by
a guided filter. If $DABFUSION_SAM names weights of Segment Anything, the outline is
found by that, in the box of the mask.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.people import detector, upper_body
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.finder import Finder, Part
from dabfusion_jax.people.guided_filter import guided_filter
from dabfusion_jax.people.landmarks import LandmarkNetwork, Landmarks
from dabfusion_jax.people.masks import box_of, separate, touching
from dabfusion_jax.people.sam import sam_of_environment
from dabfusion_jax.people.squares import Square, square_around
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store
from dabfusion_jax.pretrained.tflite_reader import read_tflite

SELFIE = "selfie"
WEIGHTS = (SELFIE, detector.WEIGHTS, lm.WEIGHTS)
_SIZE = 256
_MIN_CONTRAST = 24  # grey levels between a person and the wall, without a network
_EPSILON = 1e-4  # of the guided filter
_STEEPER = 4.0  # times as steep: masks blur their edges
_AROUND = 1.05  # side of a square around half a person, relative to what is seen
# Weight of the mask in it. Less than half, because it shows things they hold as well.
_CLOSER = 0.45


@dataclasses.dataclass(frozen=True)
class Person:
  """A person in a picture.

  Attributes:
    alpha: how much of each pixel is the person, in [0, 1].
    landmarks: of the body; None if no body was recognised.
    others: how many more people there are.
    unsure: landmarks that are too unsure to move by, but tell what is not in the
      picture.
    is_cut_off: whether the landmarks are those of a whole person who goes on below the
      picture.
    beside: where other people are.
    part: of the picture, in which they were found.
  """

  alpha: Float32[np.ndarray, "h w"]
  landmarks: Landmarks | None
  others: int
  unsure: Landmarks | None = None
  is_cut_off: bool = False
  beside: Bool[np.ndarray, "h w"] | None = None
  part: Part | None = None

  @property
  def box(self) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom, in pixels; the last two are outside."""
    return box_of(self.alpha > 0.5)

  @property
  def ends_at_border(self) -> bool:
    """Returns whether the person reaches the lower border of the picture."""
    return bool((self.alpha[-2:] > 0.5).any())


class Segmenter:
  """The networks, and SAM if there is one.

  Raises:
    MissingWeightsError: the weights have not been imported.
    UserError: $DABFUSION_SAM names something else than SAM.
  """

  _found: tuple[tuple, list[Part]] | None = None  # in the last picture

  def __init__(self):
    graph = read_tflite(store.load(SELFIE)["model"].tobytes())
    self._selfie = TfliteNetwork(graph, (0,))
    self._landmarks = LandmarkNetwork()
    self._finder = Finder(self._mask, detector.Detector(), self._landmarks)
    self._sam = sam_of_environment()

  def __call__(
    self, picture: UInt8[np.ndarray, "h w 3"], pick: int = 1
  ) -> Person | None:
    """Returns a person of the picture, or None; see `find` and `cut_out`.

    Asked for the next one at once, it does not look for people again.
    """
    key = (picture.shape, picture.tobytes())
    found = self._found  # which another thread may replace
    if found is None or found[0] != key:
      found = self._found = key, self.find(picture)
    return self.cut_out(found[1], pick)

  def find(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Part]:
    """Returns the people of a picture of any size, the largest first."""
    return self._finder(picture)

  def cut_out(self, parts: Sequence[Part], pick: int = 1) -> Person | None:
    """Returns a person of a picture, or None if nobody can be cut out.

    Args:
      parts: of `find`.
      pick: which one: 1 is the largest.
    """
    if pick > len(parts):
      return None
    part = parts[pick - 1]
    found, mask, square = self._landmarks.look_closely(part.picture, part.squares)
    unsure = None
    if found.presence < lm.MIN_PRESENCE:
      unsure = found if found.presence >= lm.SOME_PRESENCE else None
      square = part.squares[0]
      found, mask = None, self._mask(part.picture, square)
    coarse = square.put_back(mask, *part.there.shape)
    alpha = self._cut_out(part, coarse, square.side / _SIZE, part.there)
    if alpha is None:
      return None
    others = [other.there for other in parts if other is not part]
    beside = np.any(others, 0) if others else None
    return Person(alpha, found, len(others), unsure, beside=beside, part=part)

  def complete(self, person: Person) -> Person | None:
    """Returns a person whose upper part is seen alone, with landmarks of the whole.

    What is not seen of hips and legs is guessed.

    Args:
      person: of `cut_out`.

    Returns:
      The person, cut out again, or None if no body is recognised, or none whose lower
      part may be hidden. If the person now `ends_at_border`, it is below the picture.
    """
    picture = person.part.picture
    look = functools.partial(self._landmarks.find, picture)
    square = upper_body.settle(look, person.box)
    if square is None:
      return None
    found, mask, _ = self._landmarks.look_closely(picture, [square])
    landmarks = upper_body.complete(found, len(picture))
    if found.presence < lm.MIN_PRESENCE or landmarks is None:
      return None
    # In the square of the whole person, half a person is small and their mask coarse.
    # The network of selfies looks closer, and has learnt from half people.
    near = square_around(person.part.there, _AROUND)
    closer = self._mask(picture, near), self._mask(picture, near, is_mirrored=True)
    coarse, closer = (
      place.put_back(values, *picture.shape[:2])
      for place, values in ((square, mask), (near, np.mean(closer, 0)))
    )
    coarse = coarse + _CLOSER * (closer - coarse)
    alpha = self._cut_out(person.part, coarse, near.side / _SIZE, person.alpha > 0.5)
    if alpha is None:
      return None
    return dataclasses.replace(
      person, alpha=alpha, landmarks=landmarks, unsure=None, is_cut_off=True
    )

  def _cut_out(
    self,
    part: Part,
    coarse: Float32[np.ndarray, "h w"],
    cell: float,
    there: Bool[np.ndarray, "h w"],
  ) -> Float32[np.ndarray, "h w"] | None:
    """Returns what a mask shows of the person who is there, if any; see `refine`."""
    coarse = np.clip(_STEEPER * (coarse - 0.5) + 0.5, 0, 1)
    coarse *= touching(coarse > 0.5, there)
    if self._sam is not None and (coarse > 0.5).any():
      coarse = self._sam(part.picture, box_of(coarse > 0.5))
      coarse *= touching(coarse > 0.5, there)
    if (part.own & (coarse > 0.5)).sum() < 16:
      return None
    # In this order, because a filter makes an edge of a border soft.
    return refine(coarse, part.picture, cell) * part.own

  def _mask(
    self, picture: np.ndarray, square: Square, is_mirrored: bool = False
  ) -> np.ndarray:
    side = slice(None, None, -1 if is_mirrored else 1)
    x = square.cut(picture, _SIZE)[:, side].astype(np.float32) / 255
    return self._selfie(x)[0][:, side, 0]


def refine(
  coarse: Float[np.ndarray, "h w"], picture: UInt8[np.ndarray, "h w 3"], cell: float
) -> Float32[np.ndarray, "h w"]:
  """Gives a coarse mask the edges of the picture.

  Args:
    coarse: in [0, 1].
    picture: the guide.
    cell: pixels of the picture per pixel of the network.
  """
  radius = max(2, round(2 * cell))
  fine = guided_filter(coarse, picture / np.float32(255), radius, _EPSILON)
  # The filter leaves a haze of some percent on both sides.
  fine = np.clip((fine - 0.1) / 0.8, 0, 1)
  # Far from the edge of the mask, the network knows better than the colours.
  inside = scipy.ndimage.minimum_filter(coarse, 2 * radius + 1) > 0.5
  outside = scipy.ndimage.maximum_filter(coarse, 2 * radius + 1) < 0.5
  return np.where(inside, 1, np.where(outside, 0, fine)).astype(np.float32)


def find_by_contrast(picture: UInt8[np.ndarray, "h w 3"]) -> Person | None:
  """Returns the largest thing that stands out from its row, as a person.

  It needs no weights, and serves a plain wall only.
  """
  wall = np.median(picture, axis=1, keepdims=True).astype(np.int16)
  mask = np.abs(picture - wall).max(-1) > _MIN_CONTRAST
  mask = scipy.ndimage.binary_fill_holes(scipy.ndimage.binary_closing(mask))
  mask = scipy.ndimage.binary_opening(mask)
  people = separate(mask.astype(np.float32))
  if not people or people[0].mean() > 0.4:
    return None
  return Person(refine(people[0].astype(np.float32), picture, 1.0), None, 0)

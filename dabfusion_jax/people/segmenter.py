"""Finds people in a picture, and cuts one of them out.

The selfie segmentation network of mediapipe finds the people in the whole picture, the
landmark network looks closer at one of them. Their masks of 256 pixels take the edges
of the picture by a guided filter. If $DABFUSION_SAM names weights of Segment Anything,
the outline is found by that, in the box of the mask.
"""

import dataclasses
import functools

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Float32, UInt8

from dabfusion_jax.people import upper_body
from dabfusion_jax.people.guided_filter import guided_filter
from dabfusion_jax.people.landmarks import MARGIN, LandmarkNetwork, Landmarks
from dabfusion_jax.people.sam import sam_of_environment
from dabfusion_jax.people.squares import Square, square_around
from dabfusion_jax.people.tflite_network import TfliteNetwork
from dabfusion_jax.pretrained import store
from dabfusion_jax.pretrained.tflite_reader import read_tflite

SELFIE = "selfie"
WEIGHTS = (SELFIE, "blazepose-full")
# Of 14 pictures of people the lowest has 0.93; a cat has 0.88, a field of stars 0.90.
MIN_PRESENCE = 0.91
_SOME_PRESENCE = 0.5  # from which on there is a body, if only a part of it
_SIZE = 256
_MIN_AREA = 2e-3  # share of the square picture; specks are smaller
_MIN_CONTRAST = 24  # grey levels between a person and the wall, without a network
_EPSILON = 1e-4  # of the guided filter


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
  """

  alpha: Float32[np.ndarray, "h w"]
  landmarks: Landmarks | None
  others: int
  unsure: Landmarks | None = None
  is_cut_off: bool = False

  @property
  def box(self) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom, in pixels; the last two are outside."""
    return box_of(self.alpha > 0.5)

  @property
  def ends_at_border(self) -> bool:
    """Returns whether the person reaches the lower border of the picture."""
    return bool((self.alpha[-2:] > 0.5).any())


class Segmenter:
  """Both networks, and SAM if there is one.

  Raises:
    MissingWeightsError: the weights have not been imported.
    UserError: $DABFUSION_SAM names something else than SAM.
  """

  def __init__(self):
    graph = read_tflite(store.load(SELFIE)["model"].tobytes())
    self._selfie = TfliteNetwork(graph, (0,))
    self._landmarks = LandmarkNetwork()
    self._sam = sam_of_environment()

  def __call__(
    self, picture: UInt8[np.ndarray, "h w 3"], pick: int = 1
  ) -> Person | None:
    """Returns a person of the picture, or None if there is nobody.

    Args:
      picture: of any size.
      pick: which one: 1 is the largest.
    """
    height, width = picture.shape[:2]
    side = float(max(height, width))
    whole = Square((width - side) / 2, (height - side) / 2, side)
    people = separate(self._mask(picture, whole))
    if pick > len(people):
      return None
    chosen = people[pick - 1]
    near = square_around(chosen, MARGIN)
    scale = side / _SIZE
    square = Square(
      near.left * scale + whole.left, near.top * scale + whole.top, near.side * scale
    )
    landmarks, mask = self._landmarks.find_with_mask(picture, square)
    unsure = None
    if landmarks.presence < MIN_PRESENCE:
      unsure = landmarks if landmarks.presence >= _SOME_PRESENCE else None
      landmarks, mask = None, self._mask(picture, square)
    there = whole.put_back(chosen.astype(np.float32), height, width)
    alpha = self._cut_out(picture, square, mask, there > 0.5)
    if alpha is None:
      return None
    return Person(alpha, landmarks, len(people) - 1, unsure)

  def complete(
    self, picture: UInt8[np.ndarray, "h w 3"], person: Person
  ) -> Person | None:
    """Returns a person who goes on below the picture, with landmarks of the whole.

    What is not seen of hips and legs is guessed.

    Args:
      picture: of any size.
      person: as found in it.

    Returns:
      The person, cut out anew; None if no body is recognised, or none that goes on
      below the picture.
    """
    look = functools.partial(self._landmarks.find, picture)
    square = upper_body.settle(look, person.box)
    if square is None:
      return None
    found, mask = self._landmarks.find_with_mask(picture, square)
    landmarks = upper_body.complete(found, len(picture))
    if found.presence < MIN_PRESENCE or landmarks is None:
      return None
    alpha = self._cut_out(picture, square, mask, person.alpha > 0.5)
    if alpha is None:
      return None
    half = Person(alpha, landmarks, person.others, is_cut_off=True)
    return half if half.ends_at_border else None

  def _cut_out(
    self,
    picture: np.ndarray,
    square: Square,
    mask: np.ndarray,
    there: Bool[np.ndarray, "h w"],
  ) -> Float32[np.ndarray, "h w"] | None:
    """Returns what a mask in a square shows of the person who is there, if any."""
    coarse = np.clip(square.put_back(mask, *picture.shape[:2]), 0, 1)
    coarse *= touching(coarse > 0.5, there)
    if self._sam is not None and (coarse > 0.5).any():
      coarse = self._sam(picture, box_of(coarse > 0.5))
      coarse *= touching(coarse > 0.5, there)
    if (coarse > 0.5).sum() < 16:
      return None
    return refine(coarse, picture, square.side / _SIZE)

  def _mask(self, picture: np.ndarray, square: Square) -> np.ndarray:
    x = square.cut(picture, _SIZE).astype(np.float32) / 255
    return self._selfie(x)[0][..., 0]


def box_of(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
  """Returns left, top, right and bottom of a mask; the last two are outside."""
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def separate(mask: Float[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
  """Returns the connected parts of a mask, the largest first, without specks."""
  labels, count = scipy.ndimage.label(mask > 0.5)
  areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
  order = [
    i for i in np.argsort(-areas, kind="stable") if areas[i] > _MIN_AREA * mask.size
  ]
  return [labels == i + 1 for i in order]


def touching(
  mask: Bool[np.ndarray, "h w"], seed: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
  """Returns all but the connected parts of a mask that touch no seed."""
  labels, _ = scipy.ndimage.label(mask)
  kept = np.unique(labels[seed & mask])
  other = mask & ~np.isin(labels, kept[kept > 0])
  return ~scipy.ndimage.binary_dilation(other, iterations=2)


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

"""How sure the network is of a body decides what its landmarks are for."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import segmenter
from dabfusion_jax.people.finder import Part
from dabfusion_jax.people.landmarks import NUM_LANDMARKS, Landmarks
from dabfusion_jax.people.squares import Square


@pytest.mark.parametrize(
  ("presence", "moves", "tells"),
  [(0.99, True, False), (0.8, False, True), (0.2, False, False)],
)
def test_landmarks_move_a_person_or_only_tell_what_is_there(presence, moves, tells):
  picture, mask = dancers.draw()
  there = np.repeat(mask[..., None], 3, axis=-1).astype(np.uint8) * 255
  found = Landmarks(dancers.joints(), np.ones(NUM_LANDMARKS), presence)
  finder = object.__new__(segmenter.Segmenter)
  look = lambda picture, square: (
    square.cut(there, segmenter._SIZE)[..., 0] / np.float32(255)
  )

  class Network:
    def find(self, picture, square):
      return found

    def look_closely(self, picture, squares):
      return found, look(picture, squares[0]), squares[0]

  finder._mask, finder._landmarks, finder._sam = look, Network(), None
  finder._finder = dancers.finder(look, dancers.NoDetector(), finder._landmarks)
  person = finder(picture)
  assert (person.landmarks is found, person.unsure is found) == (moves, tells)
  assert (person.landmarks is None, person.unsure is None) == (not moves, not tells)


def see(picture, square, is_mirrored=False):
  """Returns the mask of the person of `dancers` in a square."""
  mask = np.repeat(dancers.draw()[1][..., None], 3, axis=-1).astype(np.uint8) * 255
  return square.cut(mask, segmenter._SIZE)[..., 0] / np.float32(255)


class SettledNetwork:
  """Finds the person of `dancers` in any square, and all of the square in its mask."""

  def __init__(self, presence=1.0, confidence=1.0):
    sure = np.full(NUM_LANDMARKS, confidence)
    self.found = Landmarks(dancers.joints(), sure, presence)

  def find(self, picture, square):
    return self.found

  def look_closely(self, picture, squares):
    return self.found, see(picture, squares[0]), squares[0]


def part(picture, mask):
  own = np.ones_like(mask)
  return Part(picture, mask, [Square(0.0, 0.0, 1.0)], own)


def test_half_a_person_may_end_above_the_border():
  picture, mask = dancers.draw()
  finder = object.__new__(segmenter.Segmenter)
  finder._mask, finder._landmarks, finder._sam = see, SettledNetwork(), None
  seen = segmenter.Person(mask.astype(np.float32), None, 0, part=part(picture, mask))
  half = finder.complete(seen)
  assert half.is_cut_off and not half.ends_at_border


@pytest.mark.parametrize(
  ("network", "is_known"),
  [
    (SettledNetwork(), True),
    (SettledNetwork(presence=0.8), False),
    (SettledNetwork(confidence=0.4), False),
  ],
)
def test_a_part_of_a_person_is_completed_if_the_network_is_sure(network, is_known):
  picture, mask = dancers.draw()
  half = picture[:96]
  finder = object.__new__(segmenter.Segmenter)
  finder._mask, finder._landmarks, finder._sam = see, network, None
  where = part(half, mask[:96])
  seen = segmenter.Person(
    mask[:96].astype(np.float32), None, 2, network.found, part=where
  )
  person = finder.complete(seen)
  if not is_known:
    assert person is None
    return
  assert person.is_cut_off and person.others == 2 and person.unsure is None
  assert person.alpha.shape == half.shape[:2]
  assert ((person.alpha > 0.5) != mask[:96]).mean() < 0.03
  below = [lm.LEFT_KNEE, lm.RIGHT_KNEE, lm.LEFT_ANKLE, lm.RIGHT_ANKLE]
  assert (person.landmarks.points[below, 1] > 96).all()


@pytest.mark.parametrize(
  ("whole", "closer", "is_there"),
  [
    (1, 1, True),
    (0, 0, False),
    (0, 1, False),
    (1, 0, True),
    (0.4, 1, True),
    (0.65, 0.65, True),
  ],
)
def test_of_half_a_person_the_two_masks_decide_together(whole, closer, is_there):
  """What only the closer one shows, as another person beside them, is left out."""
  picture, mask = (values[:96] for values in dancers.draw())
  finder = object.__new__(segmenter.Segmenter)

  class Network(SettledNetwork):
    def look_closely(self, picture, squares):
      found, seen, square = super().look_closely(picture, squares)
      return found, _blot(seen, square, whole), square

  finder._mask = lambda picture, square, is_mirrored=False: _blot(
    see(picture, square), square, closer
  )
  finder._landmarks, finder._sam = Network(), None
  seen = segmenter.Person(mask.astype(np.float32), None, 0, part=part(picture, mask))
  alpha = finder.complete(seen).alpha
  assert (alpha[74, 80] > 0.7) == is_there


def test_the_mask_of_a_mirror_image_is_turned_back():
  picture, _ = dancers.draw()
  finder = object.__new__(segmenter.Segmenter)
  finder._selfie = lambda x: [x]
  masks = [finder._mask(picture, Square(0.0, 0.0, 150.0), way) for way in (False, True)]
  np.testing.assert_array_equal(*masks)


def _blot(seen, square, value):
  """Returns a mask that has another value about the middle of the trunk."""
  size = len(seen)
  y, x = np.mgrid[:size, :size]
  at = square.from_picture(np.array([80.0, 74.0])) * size
  seen = seen.copy()
  seen[np.hypot(x - at[0], y - at[1]) < 30 * size / square.side] = value
  return seen


@pytest.mark.parametrize("is_known", [True, False])
def test_the_mask_is_that_of_the_square_that_was_looked_at(is_known):
  """If nobody is recognised, it is the segmenter's, in the square around the mask."""
  picture, mask = dancers.draw()
  full = np.repeat(mask[..., None], 3, axis=-1).astype(np.uint8) * 255
  look = lambda square: square.cut(full, segmenter._SIZE)[..., 0] / np.float32(255)
  squares = [Square(-20.0, 0.0, 200.0), Square(-60.0, -40.0, 280.0)]
  found = Landmarks(dancers.joints(), np.ones(NUM_LANDMARKS), 0.99 if is_known else 0.2)

  class Network:
    def look_closely(self, picture, squares):
      return found, look(squares[1]), squares[1]

  def small_only(picture, square):
    assert square == squares[0] and not is_known
    return look(square)

  finder = object.__new__(segmenter.Segmenter)
  finder._mask, finder._landmarks, finder._sam = small_only, Network(), None
  person = finder.cut_out([Part(picture, mask, squares, np.ones_like(mask))])
  assert ((person.alpha > 0.5) != mask).mean() < 0.01

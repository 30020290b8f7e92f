"""How sure the network is of a body decides what its landmarks are for."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import segmenter
from dabfusion_jax.people.landmarks import NUM_LANDMARKS, Landmarks


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
    def find_with_mask(self, picture, square):
      return found, look(picture, square)

  finder._mask, finder._landmarks, finder._sam = look, Network(), None
  person = finder(picture)
  assert (person.landmarks is found, person.unsure is found) == (moves, tells)
  assert (person.landmarks is None, person.unsure is None) == (not moves, not tells)

"""What the detector says of anchors becomes squares around people."""

import numpy as np
import pytest

from dabfusion_jax.people import detector
from dabfusion_jax.people.squares import Square


def test_anchors_are_those_of_the_network():
  anchors = detector.make_anchors()
  assert anchors.shape == (2254, 2) and (anchors > 0).all() and (anchors < 1).all()
  np.testing.assert_allclose(
    anchors[:3], [[1 / 56] * 2, [1 / 56] * 2, [3 / 56, 1 / 56]]
  )
  np.testing.assert_allclose(anchors[-1], [1 - 1 / 14] * 2)


def test_people_are_found_once_the_surest_first():
  found = object.__new__(detector.Detector)
  found._anchors = detector.make_anchors()
  boxes, scores = np.zeros((2254, 12)), np.full((2254, 1), -100.0)

  def person(anchor, score, hips, top):
    """Writes what the network says of a person, in its own pixels."""
    ends = np.array([hips, top]) - found._anchors[anchor] * detector.SIZE
    boxes[anchor, 4:8], scores[anchor] = ends.ravel(), score

  person(10, 1.0, (60, 150), (60, 110))
  person(500, 4.0, (160, 160), (160, 100))
  person(501, 3.0, (163, 162), (160, 101))  # the same person
  person(900, -0.1, (30, 30), (30, 10))  # not sure enough
  shown = []
  nobody = (np.zeros((2254, 12)), np.full((2254, 1), -9.0))
  found._network = lambda x: (
    shown.append(x) or ([nobody, (boxes, scores)][len(shown) - 1])
  )
  picture = np.full((200, 300, 3), 255, np.uint8)
  picture[:, :150] = 0
  squares = found(picture, Square(100.0, 20.0, 112.0))
  assert shown[1].shape == (224, 224, 3) and (shown[1].min(), shown[1].max()) == (-1, 1)
  assert [square.side for square in squares] == pytest.approx([75, 50])
  first = squares[0].to_picture(np.array([0.5, 0.5]))
  np.testing.assert_allclose(first, [100 + 80, 20 + 80])

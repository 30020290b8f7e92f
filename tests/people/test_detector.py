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
  shown.clear()  # the surest has 0.98, the other one 0.73
  surest = found(picture, Square(100.0, 20.0, 112.0), least=0.8)
  assert [square.side for square in surest] == pytest.approx([75])


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (100, 400), (256, 256)])
@pytest.mark.parametrize("share", [1 / 2, 1 / 4])
def test_whoever_is_half_as_large_as_a_part_is_whole_in_one(shape, share):
  parts = detector.parts_of(shape, share)
  side = share * max(shape)
  assert {part.side for part in parts} == {side}
  # Of what is smaller than a part, the middle is its middle.
  assert all(part.top + side / 2 == shape[0] / 2 for part in parts if side >= shape[0])
  corners = np.array([[part.left, part.top] for part in parts])
  size = side / 2
  for y in np.linspace(0, max(0, shape[0] - size), 12):
    for x in np.linspace(0, max(0, shape[1] - size), 12):
      low = corners <= [x + 1e-6, y + 1e-6]
      high = corners + side >= np.minimum([x + size, y + size], shape[::-1]) - 1e-6
      assert (low & high).all(1).any(), (x, y)
  # No more of them than that takes.
  assert len(parts) <= np.prod([max(1, np.ceil(2 * n / side) - 1) for n in shape])


def test_somebody_in_several_parts_is_found_once_where_they_are_surest():
  found = object.__new__(detector.Detector)
  # Where (hips, edge of the circle) a person is in the picture.
  person = np.array([[150.0, 120.0], [150.0, 95.0]])
  other = person + [60.0, 0.0]

  def look(picture, view):
    seen = []
    for ends in (person, other):
      depth = min(ends[0, 0] - view.left, view.left + view.side - ends[0, 0])
      if depth > 0 and view.top < ends[1, 1] and ends[0, 1] < view.top + view.side:
        # The nearer the border of a part, the less sure, and the more wrong.
        seen.append((depth, ends + [max(0.0, 40 - depth) / 20, 0.0]))
    return seen

  found._look = look
  squares = found.in_parts(np.zeros((300, 400, 3), np.uint8), 1 / 2)
  centres = [square.left + square.side / 2 for square in squares]
  assert sorted(centres) == [150.0, 210.0]

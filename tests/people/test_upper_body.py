"""What a picture does not show of a person is guessed from what it shows."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import upper_body
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.skeleton import trunk_length

HEIGHT = 90  # of the picture: above the hips
LEGS = [lm.LEFT_KNEE, lm.RIGHT_KNEE, lm.LEFT_ANKLE, lm.RIGHT_ANKLE]


def found(points=None, confidence=1.0):
  points = dancers.joints() if points is None else points
  return Landmarks(points, np.full(lm.NUM_LANDMARKS, confidence), 1.0)


def test_the_square_that_is_settled_on_holds_the_whole_person():
  """A network that is nearer to the truth, the nearer its square is to the person's."""
  true, seen = dancers.joints(), []

  def look(square):
    seen.append(square)
    return found(true + 0.3 * (seen[-2:][0].side - square.side))

  start = true.copy()
  start[:, 1] *= 0.5
  square = upper_body.settle(look, start)
  inside = (true > [square.left, square.top]) & (
    true < [square.left + square.side, square.top + square.side]
  )
  assert inside.all()
  assert 1 < len(seen) < 8


def test_what_does_not_settle_is_nobody():
  rng = np.random.default_rng(0)
  look = lambda square: found(dancers.joints() + rng.normal(0, 20, (33, 2)))
  assert upper_body.settle(look, dancers.joints()) is None


def test_legs_that_are_not_seen_hang_down_from_the_hips():
  points = dancers.joints()
  points[LEGS] = 20.0
  points[LEGS, 1] = HEIGHT + 1.0
  done = upper_body.complete(found(points), HEIGHT).points
  for hip, knee, ankle in (
    (lm.LEFT_HIP, lm.LEFT_KNEE, lm.LEFT_ANKLE),
    (lm.RIGHT_HIP, lm.RIGHT_KNEE, lm.RIGHT_ANKLE),
  ):
    assert done[hip, 0] == done[knee, 0] == done[ankle, 0]
    assert done[hip, 1] < done[knee, 1] < done[ankle, 1]
  above = [lm.NOSE, lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_ELBOW]
  np.testing.assert_array_equal(done[above], points[above])


@pytest.mark.parametrize("are_seen", [False, True])
def test_hips_that_are_not_seen_are_as_far_down_as_shoulders_are_wide(are_seen):
  points = dancers.joints()
  hips = [lm.LEFT_HIP, lm.RIGHT_HIP]
  points[hips, 1] = 72.0  # pressed into the picture
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[hips] = 1.0 if are_seen else 0.5
  done = upper_body.complete(Landmarks(points, confidence, 1.0), 75).points
  width = np.hypot(*(points[lm.LEFT_SHOULDER] - points[lm.RIGHT_SHOULDER]))
  true = trunk_length(points) if are_seen else 1.5 * width
  assert trunk_length(done) == pytest.approx(true, rel=0.02)


def test_what_is_seen_of_the_legs_stays():
  points = dancers.joints()
  done = upper_body.complete(found(points), 150).points
  knees, ankles = LEGS[:2], LEGS[2:]
  np.testing.assert_array_equal(done[knees], points[knees])
  assert (done[ankles, 1] > 150).all()


def test_legs_that_would_lie_in_the_picture_are_not_guessed():
  """As those of somebody who sits, of whose knees the network is not sure."""
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[LEGS] = 0.6
  sitting = Landmarks(dancers.joints(), confidence, 1.0)
  assert upper_body.complete(sitting, dancers.HEIGHT) is None
  assert upper_body.complete(sitting, 120) is not None


def test_without_shoulders_nobody_is_completed():
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[lm.LEFT_SHOULDER] = 0.5
  unsure = Landmarks(dancers.joints(), confidence, 1.0)
  assert upper_body.complete(unsure, HEIGHT) is None

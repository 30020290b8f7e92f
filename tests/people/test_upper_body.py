"""What a picture does not show of a person is guessed from what it shows."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton, upper_body
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

  square = upper_body.settle(look, (60, 10, 100, 60))
  inside = (true > [square.left, square.top]) & (
    true < [square.left + square.side, square.top + square.side]
  )
  assert inside.all()
  assert 1 < len(seen) < 8


def test_what_does_not_settle_is_nobody():
  rng = np.random.default_rng(0)
  look = lambda square: found(dancers.joints() + rng.normal(0, 20, (33, 2)))
  assert upper_body.settle(look, (60, 10, 100, 60)) is None


def test_looks_that_swing_to_and_fro_settle_between():
  true, looks = dancers.joints(), []

  def look(square):
    looks.append(square)
    return found(true + (-1) ** len(looks) * np.array([1.0, 0.0]))

  square = upper_body.settle(look, (60, 10, 100, 60))
  middle = square.left + square.side / 2
  assert middle == pytest.approx(skeleton.neck(true)[0], abs=0.7)


@pytest.mark.parametrize("share", [0.6, 1.0, 1.8])
def test_the_first_square_holds_the_whole_person_however_much_is_seen(share):
  """A first look that is pressed into what is seen would be far off."""
  joints, seen = dancers.joints(), []
  look = lambda square: seen.append(square) or found(joints)
  width = share * trunk_length(joints)
  middle = skeleton.neck(joints)[0]
  upper_body.settle(look, (int(middle - width / 2), 15, int(middle + width / 2), 60))
  first = seen[0]
  assert first.left < middle - 0.5 * trunk_length(joints) * share
  assert first.top < 15
  assert first.side == pytest.approx(3.4 * lm.MARGIN * width, rel=0.05)


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
  points[[lm.LEFT_EAR, lm.RIGHT_EAR], 1] += 8.0  # no long neck
  hips = [lm.LEFT_HIP, lm.RIGHT_HIP]
  points[hips, 1] = 72.0  # pressed into the picture
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[hips] = 1.0 if are_seen else 0.5
  done = upper_body.complete(Landmarks(points, confidence, 1.0), 75).points
  width = np.hypot(*(points[lm.LEFT_SHOULDER] - points[lm.RIGHT_SHOULDER]))
  true = trunk_length(points) if are_seen else 1.5 * width
  assert trunk_length(done) == pytest.approx(true, rel=0.02)


def test_of_somebody_who_has_turned_the_neck_tells_how_long_the_trunk_is():
  points, confidence = dancers.joints(), np.ones(lm.NUM_LANDMARKS)
  confidence[[lm.LEFT_HIP, lm.RIGHT_HIP]] = 0.5
  known = lambda: upper_body.complete(Landmarks(points, confidence, 1.0), 75)
  facing = trunk_length(known().points)
  middle = skeleton.neck(points)[0]
  points[:, 0] = middle + 0.5 * (points[:, 0] - middle)
  assert trunk_length(known().points) == pytest.approx(facing, rel=0.02)


def test_a_hip_that_is_seen_stays_if_the_other_is_not():
  points, confidence = dancers.joints(), np.ones(lm.NUM_LANDMARKS)
  confidence[lm.LEFT_HIP] = 0.5
  height = int(points[lm.RIGHT_HIP, 1]) + 2
  done = upper_body.complete(Landmarks(points, confidence, 1.0), height).points
  np.testing.assert_array_equal(done[lm.RIGHT_HIP], points[lm.RIGHT_HIP])
  assert done[lm.LEFT_HIP, 1] > points[lm.LEFT_HIP, 1]


def test_a_picture_may_end_at_the_soles():
  points, confidence = dancers.joints(), np.ones(lm.NUM_LANDMARKS)
  confidence[[lm.LEFT_TOE, lm.RIGHT_TOE]] = 0.5
  height = int(points[lm.LEFT_TOE, 1]) + 4
  assert upper_body.complete(Landmarks(points, confidence, 1.0), height) is not None


def test_of_a_face_alone_nobody_is_completed():
  points = dancers.joints()
  points = points[lm.NOSE] + 3 * (points - points[lm.NOSE])
  unit, lowest = upper_body._unit(points), points[lm.LEFT_SHOULDER, 1]
  for share, is_known in ((1.6, True), (1.8, False)):
    height = int(unit / share)
    moved = found(points + [0, height - lowest - 1])
    assert (upper_body.complete(moved, height) is not None) == is_known


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
  confidence[lm.LEFT_SHOULDER] = 0.4
  unsure = Landmarks(dancers.joints(), confidence, 1.0)
  assert upper_body.complete(unsure, HEIGHT) is None


@pytest.mark.parametrize(("below", "is_known"), [(0.08, True), (0.12, False)])
def test_shoulders_may_end_just_below_the_picture(below, is_known):
  points, confidence = dancers.joints(), np.ones(lm.NUM_LANDMARKS)
  shoulders = [lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]
  confidence[shoulders] = 0.6
  width = np.hypot(*(points[lm.LEFT_SHOULDER] - points[lm.RIGHT_SHOULDER]))
  points[[lm.LEFT_EAR, lm.RIGHT_EAR], 1] += 8.0  # no long neck: shoulders tell
  height = int(points[shoulders, 1].max() - below * width / 0.67)
  done = upper_body.complete(Landmarks(points, confidence, 1.0), height)
  assert (done is not None) == is_known

"""Hands in pockets are told from hands that can be seen."""

import dancers
import numpy as np
import PIL.Image
import PIL.ImageDraw

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.hands import arms_before_trunk, hidden_hands
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.skeleton import Skeleton


def _standing(sleeves):
  """Returns a person whose hands are at the hips, and covered on these sides."""
  points = dancers.hands_at_hips()
  picture, mask = dancers.draw(points)
  image = PIL.Image.fromarray(picture)
  for side in sleeves:
    x, y = points[lm.LEFT_WRIST if side == "left" else lm.RIGHT_WRIST]
    box = (x - 10, y - 8, x + 10, y + 18)
    PIL.ImageDraw.Draw(image).rectangle(box, fill=dancers.TROUSERS[::-1])
  landmarks = Landmarks(points, np.ones(len(points)), 1.0)
  return np.asarray(image), mask.astype(np.float32), landmarks


def test_a_covered_hand_at_the_hip_is_hidden_and_a_bare_one_is_not():
  for sleeves in ((), ("left",), ("left", "right")):
    assert hidden_hands(*_standing(sleeves)) == sleeves


def test_a_covered_hand_away_from_the_hip_dances():
  picture, alpha, landmarks = _standing(("left",))
  away = landmarks.points.copy()
  away[lm.LEFT_HIP] -= [45, 0]
  assert hidden_hands(picture, alpha, Landmarks(away, landmarks.confidence, 1.0)) == ()


def test_the_arm_of_a_hidden_hand_moves_with_the_trunk_alone():
  rest = dancers.joints()
  pose = rest.copy()
  pose[[lm.LEFT_ELBOW, lm.RIGHT_ELBOW]] -= [0, 40]
  pose[[lm.LEFT_WRIST, lm.RIGHT_WRIST]] -= [0, 80]
  person = Skeleton(rest, rest, held=("left",))
  moves = person.pose(pose, person.feet(pose))
  for part in ("left_upper_arm", "left_forearm"):
    np.testing.assert_array_equal(moves[part], moves[skeleton.TORSO])
  assert not np.allclose(moves["right_forearm"], moves[skeleton.TORSO])


def test_a_wrist_before_the_trunk_is_told_from_one_beside_or_below_it():
  assert arms_before_trunk(dancers.landmarks()) == ()
  assert arms_before_trunk(_with_wrist(80, 80)) == ("left",)
  for beside in ((100, 80), (60, 80), (80, 50), (80, 112)):
    assert arms_before_trunk(_with_wrist(*beside)) == ()


def _with_wrist(x, y):
  points = dancers.joints()
  points[lm.LEFT_WRIST] = (x, y)
  return Landmarks(points, np.ones(len(points)), 1.0)

"""Hands in pockets are told from hands that can be seen."""

import dataclasses

import dancers
import numpy as np
import PIL.Image
import PIL.ImageDraw

from dabfusion_jax.people import cut_off, hands, pieces, regions, scene, skeleton
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.hands import arms_before_trunk, hidden_hands
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
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


def test_a_hand_in_the_shade_of_trees_is_seen_and_a_pocket_is_not():
  picture, alpha, landmarks = _standing(())
  picture, skin = picture.copy(), (picture == dancers.SKIN).all(-1)
  skin[:70] = False  # the face
  share = np.array(dancers.SKIN) / sum(dancers.SKIN)
  for apart, sides in ((0.04, ()), (0.055, ("left", "right"))):
    picture[skin] = 300 * (share + np.array([-apart, apart, 0]) / np.sqrt(2))
    assert hidden_hands(picture, alpha, landmarks) == sides


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


def _scene(unseen, rows=None, sure=0.4):
  """Returns a person of whom the network did not see some landmarks."""
  picture, mask = dancers.draw()
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[list(unseen)] = sure
  found = Landmarks(dancers.joints(), confidence, 1.0)
  person = Person(mask[:rows].astype(np.float32), found, 0, is_cut_off=rows is not None)
  return scene.own_scene(picture[:rows], person)


def _posing(points):
  picture, mask = dancers.draw(points)
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  return scene.own_scene(picture, Person(mask.astype(np.float32), found, 0))


def test_folded_arms_move_with_the_trunk():
  folded = _posing(dancers.folded_arms())
  assert hands.folded_arms(folded) == hands.held_arms(folded) == ("left", "right")
  assert hands.folded_arms(_posing(dancers.joints())) == ()


def test_hands_that_touch_are_folded_arms_and_those_apart_dance():
  together = dancers.joints()
  unit = skeleton.trunk_length(together)
  for gap, held in ((0.07, ("left", "right")), (0.13, ())):
    points = together.copy()
    for side, knuckles, x in (("LEFT", (17, 19), 1), ("RIGHT", (18, 20), -1)):
      points[getattr(lm, f"{side}_WRIST")] = (80 + x * (unit * gap / 2 + 6), 96)
      points[list(knuckles)] = (80 + x * (unit * gap / 2 + 2), 96)
    tips = [lm.fingertips(points, side) for side in ("left", "right")]
    assert np.hypot(*(tips[0] - tips[1])) < unit * (gap + 0.01)
    assert hands.held_arms(_posing(points)) == held


def _portrait(points, rows=100):
  picture, mask = dancers.draw(points)
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  person = Person(mask[:rows].astype(np.float32), found, 0, is_cut_off=True)
  return scene.own_scene(picture[:rows], person)


def test_folded_arms_are_held_even_if_the_picture_cuts_one_off():
  points = dancers.folded_arms()
  assert hands.held_arms(_portrait(points)) == ("left", "right")
  points[lm.LEFT_ELBOW] = (106, 115)
  assert cut_off.cut_arms(_portrait(points)) == ("left",)
  assert hands.held_arms(_portrait(points)) == ("left", "right")


def test_what_is_beyond_the_picture_folds_no_arms():
  points = dancers.folded_arms()
  points[[lm.LEFT_WRIST, lm.RIGHT_WRIST, 17, 18, 19, 20], 1] += 40
  assert hands.folded_arms(_posing(points)) != ()
  assert hands.folded_arms(_portrait(points)) == ()


def test_arms_that_hang_are_not_folded_from_the_side():
  points = dancers.joints()
  narrow = points.copy()
  narrow[:, 0] = 80 + (points[:, 0] - 80) * 0.1
  assert hands.folded_arms(_posing(narrow)) == ()


def test_an_arm_that_is_not_seen_folds_no_other():
  folded = _posing(dancers.folded_arms())
  for joint in (lm.LEFT_ELBOW, lm.RIGHT_WRIST):
    confidence = np.ones(lm.NUM_LANDMARKS)
    confidence[joint] = 0.4
    unsure = dataclasses.replace(folded.landmarks, confidence=confidence)
    assert hands.folded_arms(dataclasses.replace(folded, landmarks=unsure)) == ()


def test_an_arm_that_is_unsure_but_likely_dances():
  arm = (lm.LEFT_ELBOW, lm.LEFT_WRIST)
  unsure = _scene(arm)
  confidence = np.where(unsure.landmarks.confidence < 1, 0.6, 1.0)
  likely = dataclasses.replace(unsure.landmarks, confidence=confidence)
  assert hands.hidden_arms(dataclasses.replace(unsure, landmarks=likely)) == ()


def test_an_arm_of_which_nothing_is_seen_is_held_and_one_with_an_elbow_dances():
  arm = (lm.LEFT_ELBOW, lm.LEFT_WRIST)
  assert hands.hidden_arms(_scene(())) == hands.held_arms(_scene(())) == ()
  assert hands.hidden_arms(_scene(arm)) == hands.held_arms(_scene(arm)) == ("left",)
  assert hands.hidden_arms(_scene(arm[1:])) == ()
  assert hands.hidden_arms(_scene(arm[:1])) == ()


def test_an_arm_whose_wrist_is_surely_not_seen_is_hidden():
  assert hands.hidden_arms(_scene((lm.RIGHT_WRIST,), sure=0.1)) == ("right",)
  assert hands.hidden_arms(_scene((lm.RIGHT_WRIST,), sure=0.25)) == ()
  assert hands.hidden_arms(_scene((lm.RIGHT_ELBOW,), sure=0.1)) == ()


def test_an_arm_that_the_picture_cuts_off_is_not_hidden():
  unseen = (lm.LEFT_ELBOW, lm.LEFT_WRIST)
  half = _scene(unseen, rows=76)
  assert "left" in cut_off.cut_arms(half)
  assert hands.hidden_arms(half) == ()


def test_a_hidden_arm_has_no_pieces_and_its_pixels_stay_with_the_trunk():
  points = dancers.joints()
  points[[lm.LEFT_ELBOW, lm.LEFT_WRIST]] = [[80, 80], [72, 98]]  # behind the back
  picture, mask = dancers.draw()
  points[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = dancers.joints()[
    [lm.RIGHT_ELBOW, lm.RIGHT_WRIST]
  ]
  alpha = mask.astype(np.float32)
  named = lambda found: {piece.name: piece for piece in found[0]}
  seen = named(pieces.cut_pieces(picture, alpha, points))
  hidden = named(pieces.cut_pieces(picture, alpha, points, hidden_arms=("left",)))
  assert {*seen} - {*hidden} == {"left_upper_arm", "left_forearm"}
  still = {skeleton.TORSO: np.eye(2, 3)}
  trunk = dancers.compose([hidden[skeleton.TORSO]], still)
  assert (trunk[60:100, 76:84, 3] > 250).all()
  assert np.abs(trunk[64:100, 76:84, :3].astype(int) - dancers.SHIRT).max() < 3


def test_a_scrap_beside_a_hidden_arm_stays_with_the_trunk():
  points = dancers.joints()
  picture, mask = dancers.draw()
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
  mask &= ~((x > 98) & (y < 112))  # no left arm
  scrap = (x > 108) & (x < 114) & (y > 62) & (y < 72)
  mask |= scrap
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  for part in skeleton.ARMS["left"]:
    shapes[part] = np.full_like(shapes[part], np.inf)
  found = regions.assign(shapes, mask, picture, points)
  assert found[skeleton.TORSO][scrap].all()
  assert not any(found[part].any() for part in skeleton.ARMS["left"])


def test_a_wrist_before_the_trunk_is_told_from_one_beside_or_below_it():
  assert arms_before_trunk(dancers.landmarks()) == ()
  assert arms_before_trunk(_with_wrist(80, 80)) == ("left",)
  for beside in ((100, 80), (60, 80), (80, 50), (80, 112)):
    assert arms_before_trunk(_with_wrist(*beside)) == ()


def _with_wrist(x, y):
  points = dancers.joints()
  points[lm.LEFT_WRIST] = (x, y)
  return Landmarks(points, np.ones(len(points)), 1.0)

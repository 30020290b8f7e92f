"""Arms that would come apart move with the trunk."""

import dataclasses
import functools

import dancers
import numpy as np
import PIL.Image
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import puppet, scene
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.piece import draw_pieces
from dabfusion_jax.people.puppet import cut_puppet, torn_arms
from dabfusion_jax.people.regions import RADII, _distance
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import LIMBS, trunk_length

_LEFT_ARM = [lm.LEFT_ELBOW, lm.LEFT_WRIST, 17, 19, 21]


def scene_of(points=None, drawn=None, rows=None, confidence=None):
  """Returns a person who is drawn by some joints, and found at others."""
  points = dancers.joints() if points is None else points
  picture, mask = dancers.draw(points if drawn is None else drawn)
  confidence = np.ones(lm.NUM_LANDMARKS) if confidence is None else confidence
  found = Landmarks(points, confidence, 1.0, np.arange(33.0))
  alpha = mask[:rows].astype(np.float32)
  person = Person(alpha, found, 0, is_cut_off=rows is not None)
  return scene.own_scene(picture[:rows], person)


def test_arms_that_are_seen_are_whole():
  for points in (dancers.joints(), dancers.hands_at_hips()):
    cut = cut_puppet(scene_of(points))
    assert cut.torn == cut.held == ()


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_arm_that_is_found_where_there_is_none_moves_with_the_trunk(side):
  points = dancers.joints()
  offsets = ((lm.LEFT_ELBOW, 10, -24), (lm.LEFT_WRIST, 34, -46))
  if side == "right":
    offsets = ((lm.RIGHT_ELBOW, -10, -24), (lm.RIGHT_WRIST, -34, -46))
  shoulder = points[lm.LEFT_SHOULDER if side == "left" else lm.RIGHT_SHOULDER]
  wrong = points.copy()
  for joint, x, y in offsets:
    wrong[joint] = shoulder + [x, y]
  cut = cut_puppet(scene_of(wrong, drawn=points))
  assert cut.torn == cut.held == (side,)
  parts = {piece.name for piece in cut.pieces}  # the trunk has the pixels of a torn arm
  other = "right" if side == "left" else "left"
  arms = lambda one: {f"{one}_upper_arm", f"{one}_forearm"}
  assert arms(other) <= parts and not arms(side) & parts


def test_beside_an_arm_that_comes_apart_one_before_the_body_is_held():
  drawn = dancers.joints()
  drawn[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = [[58, 84], [80, 88]]
  drawn[[18, 20]] = (85, 88)
  assert cut_puppet(scene_of(drawn)).held == ()
  wrong = drawn.copy()
  wrong[_LEFT_ARM] = drawn[lm.LEFT_SHOULDER] + [34, -46]
  wrong[lm.LEFT_ELBOW] = drawn[lm.LEFT_SHOULDER] + [10, -24]
  cut = cut_puppet(scene_of(wrong, drawn=drawn))
  assert cut.torn == cut.held == ("left", "right")


def test_beside_a_hidden_arm_a_torn_one_is_cut_out_no_more_than_that():
  points, confidence = dancers.joints(), np.ones(lm.NUM_LANDMARKS)
  confidence[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = 0.1
  points[lm.RIGHT_WRIST] = (80, 88)  # before the trunk, as far as that is known
  points[_LEFT_ARM] = points[lm.LEFT_SHOULDER] + [34, -46]
  points[lm.LEFT_ELBOW] = points[lm.LEFT_SHOULDER] + [10, -24]
  cut = cut_puppet(scene_of(points, drawn=dancers.joints(), confidence=confidence))
  assert (cut.held, cut.torn) == (("left", "right"), ("left",))
  assert not any("arm" in piece.name for piece in cut.pieces)


def test_an_arm_that_is_bent_over_itself_is_whole():
  points = dancers.joints()
  points[_LEFT_ARM[1:]] = points[lm.LEFT_SHOULDER] + [4, 2]
  assert cut_puppet(scene_of(points)).torn == ()


def test_folded_arms_are_a_part_of_the_trunk_as_the_picture_shows_them():
  layered = scene_of(dancers.folded_arms())
  cut = cut_puppet(layered)
  assert cut.held == ("left", "right")
  assert not any("arm" in piece.name for piece in cut.pieces)
  at_rest = {piece.name: np.eye(2, 3) for piece in cut.pieces}
  size = layered.alpha.shape[::-1]
  drawn = np.asarray(draw_pieces(cut.pieces, at_rest, size)).astype(int)
  y, x = np.mgrid[: size[1], : size[0]] + 0.5
  arms = ((lm.LEFT_ELBOW, lm.LEFT_WRIST), (lm.RIGHT_ELBOW, lm.RIGHT_WRIST))
  near = np.min([_distance(x, y, *cut.joints[list(ends)]) for ends in arms], 0) < 4
  assert near.sum() > 300 and (drawn[near, 3] > 250).all()
  assert np.abs(drawn[..., :3] - layered.colours)[near].max() <= 2


def test_a_finger_of_a_folded_arm_keeps_its_colour():
  points = dancers.folded_arms()
  layered = scene_of(points)
  x, y = points[lm.LEFT_ELBOW].astype(int)
  finger = np.s_[y - 1 : y + 2, x + 4 : x + 14]
  layered.colours[finger], layered.alpha[finger] = dancers.SKIN, 1
  (torso,) = [x for x in cut_puppet(layered).pieces if x.name == "torso"]
  drawn = draw_pieces([torso], {"torso": np.eye(2, 3)}, layered.alpha.shape[::-1])
  seen = np.asarray(drawn)[y, x + 8 : x + 12].astype(int)
  np.testing.assert_allclose(seen, [[*dancers.SKIN, 255]] * 4, atol=9)


def _without(piece, lost):
  """Returns a piece without what is lost of its picture."""
  image = np.asarray(piece.image).copy()
  y, x = np.mgrid[: image.shape[0], : image.shape[1]]
  image[lost(x + piece.left + 0.5, y + piece.top + 0.5), 3] = 0
  return dataclasses.replace(piece, image=PIL.Image.fromarray(image, "RGBA"))


@pytest.mark.parametrize("name", ["left_upper_arm", "right_forearm"])
def test_a_gap_or_a_sliver_makes_an_arm_come_apart(name):
  layered = scene_of()
  cut = cut_puppet(layered)
  start, end = cut.joints[list(LIMBS[name])]
  unit = end - start
  across = np.array([-unit[1], unit[0]]) / np.hypot(*unit)
  unit /= unit @ unit
  radius = RADII[name.partition("_")[2]] * trunk_length(cut.joints)

  def along(x, y):
    return (x - start[0]) * unit[0] + (y - start[1]) * unit[1]

  def beside(x, y):
    return np.abs((x - start[0]) * across[0] + (y - start[1]) * across[1]) / radius

  def gap(share, x, y):
    return np.abs(along(x, y) - 0.5) < share / 2

  def sliver(width, x, y):
    return beside(x, y) > width

  def is_torn(lost, size):
    pieces = [
      _without(x, functools.partial(lost, size)) if "arm" in x.name else x
      for x in cut.pieces
    ]
    found = torn_arms(pieces, cut.joints, layered.alpha.shape)
    return name.partition("_")[0] in found

  assert [is_torn(gap, share) for share in (0.1, 0.6)] == [False, True]
  assert [is_torn(sliver, width) for width in (0.7, 0.2)] == [False, True]


def test_an_arm_that_is_hidden_or_cut_off_is_not_torn():
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[_LEFT_ARM] = 0.2
  cut = cut_puppet(scene_of(confidence=confidence))
  assert (cut.held, cut.torn) == (("left",), ())
  assert not any("left" in x.name and "arm" in x.name for x in cut.pieces)
  cut = cut_puppet(scene_of(rows=76))
  assert cut.held == cut.torn == ()


def test_an_arm_that_is_cut_above_the_elbow_stays_with_the_trunk():
  cut = cut_puppet(scene_of(rows=76))
  assert not any("arm" in x.name for x in cut.pieces)
  cut = cut_puppet(scene_of(rows=96))
  assert sum("arm" in x.name for x in cut.pieces) == 4


def test_a_person_is_cut_by_depth_and_without_hidden_arms(monkeypatch):
  asked = []
  monkeypatch.setattr(
    puppet, "cut_pieces", lambda *args: asked.append(args) or ((), args[2])
  )
  confidence = np.ones(lm.NUM_LANDMARKS)
  confidence[[lm.LEFT_ELBOW, lm.LEFT_WRIST]] = 0.2
  layered = scene_of(confidence=confidence)
  cut_puppet(layered)
  (_, _, points, depth, hidden_arms, held_arms) = asked[0]
  np.testing.assert_array_equal(points, layered.landmarks.points)
  np.testing.assert_array_equal(depth, layered.landmarks.depth)
  assert (hidden_arms, held_arms) == (("left",), ())

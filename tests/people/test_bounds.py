"""A dance stays inside the picture, and one that does is left alone."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import bounds, pieces, skeleton
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.skeleton import Skeleton

SIZE = (dancers.WIDTH, dancers.HEIGHT)
ARM = ("left_upper_arm", "left_forearm")


@pytest.fixture(scope="module")
def cut():
  picture, mask = dancers.draw()
  return pieces.cut_pieces(picture, mask.astype(np.float32), dancers.joints())[0]


def moves_of(points):
  person = Skeleton(dancers.joints(), dancers.joints())
  return person.pose(points, person.feet(points))


def box(cut, moves, names):
  points = [
    skeleton.apply(moves[piece.name], bounds.outline(piece))
    for piece in cut
    if piece.name in names
  ]
  points = np.concatenate(points)
  return points.min(0), points.max(0)


def with_left_arm(elbow, wrist):
  points = dancers.joints()
  points[lm.LEFT_ELBOW], points[lm.LEFT_WRIST] = elbow, wrist
  return points


@pytest.fixture(scope="module")
def stretched():
  """The left arm, as long as it is, straight to the side: beyond the picture."""
  return moves_of(with_left_arm((126, 55), (150, 55)))


def test_a_dance_inside_is_left_alone(cut):
  moves = moves_of(dancers.joints())
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(moves)
  assert fitted.keys() == moves.keys()
  for name, move in moves.items():
    np.testing.assert_array_equal(fitted[name], move)


@pytest.mark.parametrize("shift", [(90, 0), (-90, 0), (0, 60), (0, -60)])
def test_a_body_that_leaves_comes_back_as_a_whole(cut, shift):
  moves = moves_of(dancers.joints() + np.array(shift, float))
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ("left", "right")).fit(moves)
  low, high = box(cut, fitted, moves)
  assert (low > 0).all()
  assert (high < SIZE).all()
  by = {tuple(np.round(fitted[name][:, 2] - moves[name][:, 2], 6)) for name in moves}
  assert len(by) == 1


def test_a_hand_that_would_leave_stays(cut, stretched):
  _, high = box(cut, stretched, ARM)
  assert high[0] > dancers.WIDTH
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(stretched)
  _, high = box(cut, fitted, ARM)
  assert dancers.WIDTH - 12 < high[0] < dancers.WIDTH
  others = [name for name in stretched if name not in ARM]
  for name in others:
    np.testing.assert_array_equal(fitted[name], stretched[name])


def test_a_shortened_arm_still_hangs_together(cut, stretched):
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(stretched)
  joints = dancers.joints()
  at = lambda name, joint: skeleton.apply(fitted[name], joints[joint])
  np.testing.assert_allclose(
    at("left_upper_arm", lm.LEFT_SHOULDER), at("torso", lm.LEFT_SHOULDER), atol=1e-6
  )
  np.testing.assert_allclose(
    at("left_upper_arm", lm.LEFT_ELBOW), at("left_forearm", lm.LEFT_ELBOW), atol=1e-6
  )


def test_an_arm_is_shortened_to_two_fifths_at_most(cut):
  at_the_border = with_left_arm((126, 55), (150, 55)) + [60.0, 0]
  moves = moves_of(at_the_border)
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(moves)
  bone = dancers.joints()[[lm.LEFT_SHOULDER, lm.LEFT_ELBOW]]
  length = lambda moves: np.hypot(
    *np.diff(skeleton.apply(moves["left_upper_arm"], bone), axis=0)[0]
  )
  assert length(fitted) / length(moves) == pytest.approx(0.4, abs=0.02)
  # For a hand that would still be outside, the body moves back.
  _, high = box(cut, fitted, ARM)
  assert high[0] <= dancers.WIDTH
  _, body = box(cut, fitted, set(moves) - set(ARM))
  assert body[0] < dancers.WIDTH - 5


@pytest.mark.parametrize(("side", "away"), [("left", 60.0), ("right", -60.0)])
def test_an_arm_that_points_inward_keeps_its_length(cut, side, away):
  # At the border with a shoulder, and the arm across the trunk.
  elbow, wrist = (70, 58), (50, 62)
  points = dancers.joints()
  if side == "left":
    points[[lm.LEFT_ELBOW, lm.LEFT_WRIST]] = elbow, wrist
  else:
    points[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = (90, 58), (110, 62)
  moves = moves_of(points + [away, 0])
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(moves)
  for part in ("upper_arm", "forearm"):
    np.testing.assert_array_equal(
      fitted[f"{side}_{part}"][:, :2], moves[f"{side}_{part}"][:, :2]
    )


@pytest.mark.parametrize(
  ("elbow", "wrist", "axis"),
  [((34, 55), (6, 55), 0), ((64, 25), (64, 2), 1), ((62, 26), (60, 0), 1)],
)
def test_hands_stay_below_the_upper_and_inside_the_left_border(cut, elbow, wrist, axis):
  points = dancers.joints()
  points[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = elbow, wrist
  points = points - [0, 20] if axis else points - [30, 0]
  moves = moves_of(points)
  names = ("right_upper_arm", "right_forearm")
  before, _ = box(cut, moves, names)
  assert before[axis] < 0
  fitted = bounds.Bounds(cut, dancers.joints(), SIZE, ()).fit(moves)
  low, _ = box(cut, fitted, names)
  assert 0 <= low[axis] < 14
  bone = dancers.joints()[[lm.RIGHT_SHOULDER, lm.RIGHT_ELBOW]]
  across = np.array([[0.0, 1], [-1, 0]]) @ (bone[1] - bone[0])
  thickness = lambda move: np.hypot(*(move[:, :2] @ across))
  assert thickness(fitted[names[0]]) == pytest.approx(thickness(moves[names[0]]))


def test_without_any_piece_nothing_moves(cut):
  moves = moves_of(dancers.joints())
  assert bounds.Bounds((), dancers.joints(), SIZE, ()).fit(moves) == moves


@pytest.mark.parametrize(
  ("window", "shift"),
  [
    (np.s_[:, 26:], (26, 0)),
    (np.s_[:, :134], (0, 0)),
    (np.s_[:188], (0, 0)),
    (np.s_[16:], (0, 16)),
  ],
)
def test_who_touches_the_border_at_rest_may_stay_there(window, shift):
  picture, mask = dancers.draw()
  picture, mask = picture[window], mask[window]
  points = dancers.joints() - shift
  cut = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  still = {piece.name: np.eye(2, 3) for piece in cut}
  size = (mask.shape[1], mask.shape[0])
  fitted = bounds.Bounds(cut, points, size, ()).fit(still)
  for name in still:
    np.testing.assert_array_equal(fitted[name], still[name])


def test_a_body_too_large_moves_only_until_it_fills_the_picture(cut):
  inside_of = bounds.Bounds(cut, dancers.joints(), SIZE, ("left", "right"))
  grown = lambda x, y: {piece.name: np.array([[2.0, 0, x], [0, 2, y]]) for piece in cut}
  names = {piece.name for piece in cut}
  low, high = box(cut, inside_of.fit(grown(300, 500)), names)
  margin = 0.015 * dancers.WIDTH
  rest = box(cut, {name: np.eye(2, 3) for name in names}, names)
  np.testing.assert_allclose(low, np.minimum(margin, rest[0]), atol=1e-6)
  assert (high > SIZE).all()
  inside = grown(-80, -100)  # stands out on all sides
  np.testing.assert_array_equal(inside_of.fit(inside)["torso"], inside["torso"])


def test_whatever_the_pose_hands_and_body_stay_inside(cut):
  rng = np.random.default_rng(0)
  inside = bounds.Bounds(cut, dancers.joints(), SIZE, ())
  names = {piece.name for piece in cut if "upper_arm" not in piece.name}
  for _ in range(150):
    points = dancers.joints()
    for first in (lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER):
      for joint, length in ((first + 2, 29.7), (first + 4, 23.3)):
        turn = rng.uniform(0, 2 * np.pi)
        way = np.array([np.cos(turn), np.sin(turn)])
        points[joint] = points[joint - 2] + length * way
    fitted = inside.fit(moves_of(points + rng.uniform(-70, 70, 2)))
    low, high = box(cut, fitted, names)
    assert low.min() > -0.5
    assert (high < np.array(SIZE) + 0.5).all()

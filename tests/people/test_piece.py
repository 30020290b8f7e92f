"""Pieces move by their maps, and an arm that turns leaves no edge on the shoulder."""

import dataclasses

import dancers
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from dabfusion_jax.people import pieces, skeleton
from dabfusion_jax.people.piece import Piece, draw_pieces
from dabfusion_jax.people.seam import Seam, seam_at_bend, seam_at_shoulder

SIZE = (dancers.WIDTH, dancers.HEIGHT)
ARM = "left_upper_arm"
LIGHT = 250


@pytest.fixture(scope="module")
def cut():
  """Returns the joints and the pieces of a person."""
  points = dancers.joints()
  picture, mask = dancers.draw(points)
  return points, pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]


def still(parts):
  return {piece.name: np.eye(2, 3) for piece in parts}


def raised(points, degrees):
  """Returns the move of a left upper arm that is raised by an angle."""
  angle = -np.radians(degrees)
  matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  return np.c_[matrix, points[11] - matrix @ points[11]]


def sleeve(edge_alpha=255):
  """Returns a shirt, a sleeve over its edge, lit at its outline, and that outline."""
  shirt = np.zeros((60, 60, 4), np.uint8)
  shirt[:, :40] = (*dancers.SHIRT, 255)
  shirt[:, 38:40, 3] = edge_alpha
  mask = np.zeros((60, 60), bool)
  mask[20:40, 20:58] = True
  arm = np.where(mask[..., None], (*dancers.SHIRT, 255), (0, 0, 0, 0)).astype(np.uint8)
  rim = mask & ~scipy.ndimage.binary_erosion(mask)
  arm[rim, :3] = LIGHT
  joints = np.full((33, 2), 30.0)
  seam = dataclasses.replace(seam_at_shoulder(mask, joints, 11, unit=60.0), outwards=1)
  parts = [
    Piece("torso", PIL.Image.fromarray(shirt, "RGBA"), 0, 0),
    Piece(ARM, PIL.Image.fromarray(arm, "RGBA"), 0, 0, seam),
  ]
  return parts, rim


def drawn_over(parts, turn):
  canvas = parts[0].image.copy()
  parts[1].draw(canvas, np.eye(2, 3), turn)
  return np.asarray(canvas)


def test_the_edge_of_a_raised_sleeve_shows_beside_the_shirt_and_not_on_it():
  parts, rim = sleeve()
  drawn = drawn_over(parts, 1.0)
  on_shirt = rim & (np.arange(60) < 40)
  np.testing.assert_allclose(
    drawn[on_shirt], np.broadcast_to((*dancers.SHIRT, 255), (on_shirt.sum(), 4)), atol=3
  )
  beside = rim & (np.arange(60) >= 41)
  assert (drawn[beside][:, :3] == LIGHT).all() and (drawn[beside][:, 3] == 255).all()
  # At rest the edge is there, and across the trunk an arm keeps its outline.
  for turn in (0.0, -0.5, -1.5):
    assert (drawn_over(parts, turn)[rim][:, :3] == LIGHT).all()


@pytest.mark.parametrize("turn", [0.0, 0.3, 1.0, -3.0])
def test_what_is_drawn_under_a_seam_gets_no_holes(turn):
  parts, rim = sleeve(edge_alpha=128)
  inside = np.asarray(parts[1].image)[..., 3] > 0
  assert (drawn_over(parts, turn)[inside][:, 3] == 255).all()


def test_a_seam_shows_little_by_little_outwards_alone_and_beyond_the_head():
  image = PIL.Image.new("L", (1, 1))
  shares = [Seam(image, 1).share(turn) for turn in (-1.9, 0.0, 0.1, 0.3, 0.7, 3.1)]
  assert shares[0] == shares[1] == 0 and shares[4] == shares[5] == 1
  assert 0 < shares[2] < shares[3] < 1
  # An arm that was raised by more than half a turn seems to turn inwards.
  shares = [Seam(image, 1).share(turn) for turn in (-2.0, -2.01, -2.3, -3.1)]
  assert shares[0] == 0 < shares[1] < 0.1 < shares[2] < 0.9 and shares[3] == 1
  for turn in (-0.4, 0.2, 2.5):
    assert Seam(image, -1).share(turn) == Seam(image, 1).share(-turn)


def test_arms_are_raised_by_opposite_turns(cut):
  points, parts = cut
  seams = {piece.name: piece.seam for piece in parts if piece.seam is not None}
  turning = {name for name, seam in seams.items() if seam.outwards is not None}
  assert turning == {"left_upper_arm", "right_upper_arm"}
  raise_left = skeleton.turn_between(np.eye(2, 3), raised(points, 30))
  assert seams[ARM].share(raise_left) > 0.8
  assert seams["right_upper_arm"].share(raise_left) == 0
  turned = points @ np.array([[0.0, 1], [-1, 0]])  # the whole picture, on its side
  arm = np.ones((4, 4), bool)
  for i in (11, 12):
    seams = [seam_at_shoulder(arm, joints, i, 50.0) for joints in (points, turned)]
    assert seams[0].outwards == seams[1].outwards


def test_a_raised_arm_is_drawn_with_its_seam_and_at_rest_without(cut):
  points, parts = cut
  for arm, same in ((np.eye(2, 3), True), (raised(points, 80), False)):
    moves = still(parts) | {ARM: arm}
    plain = PIL.Image.new("RGBA", SIZE)
    for piece in parts:
      piece.draw(plain, moves[piece.name])
    drawn = draw_pieces(parts, moves, SIZE)
    assert np.array_equal(plain, drawn) == same
    np.testing.assert_array_equal(plain.getchannel("A"), drawn.getchannel("A"))
  # The whole person turns, but nothing turns against the trunk.
  moves = {piece.name: raised(points, 40) for piece in parts}
  plain = PIL.Image.new("RGBA", SIZE)
  for piece in parts:
    piece.draw(plain, moves[piece.name])
  drawn = draw_pieces(parts, moves, SIZE)
  assert np.abs(np.subtract(plain, drawn, dtype=int)).max() < 6  # elbows and knees


def bent_arm(degrees):
  """Returns an arm of two colours over a wall, and how it moves if it bends."""
  own = {name: np.zeros((80, 80), bool) for name in ("upper", "lower")}
  own["upper"][34:46, 10:40] = own["lower"][34:46, 40:70] = True
  y, x = np.mgrid[:80, :80] + 0.5
  disc = (np.hypot(x - 40, y - 40) < 6) & (own["upper"] | own["lower"])
  parts = [Piece("torso", PIL.Image.new("RGBA", (80, 80), (0, 0, 255, 255)), 0, 0)]
  for name, colour in (("upper", (200, 0, 0)), ("lower", (0, 200, 0))):
    shape = own[name] | disc
    image = np.where(shape[..., None], (*colour, 255), 0).astype(np.uint8)
    parts.append(Piece(name, PIL.Image.fromarray(image, "RGBA"), 0, 0))
  nothing = np.zeros_like(disc)
  seam = seam_at_bend(own["lower"], own["upper"], nothing, 6.0, "upper")
  parts[2] = parts[2].with_seam(seam)
  turn = np.radians(degrees)
  matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
  bend = np.c_[matrix, [40, 40] - matrix @ [40, 40]]
  return parts, {"torso": np.eye(2, 3), "upper": np.eye(2, 3), "lower": bend}


@pytest.mark.parametrize("degrees", [0, 40, 90])
def test_at_an_elbow_two_pieces_fade_into_each_other(degrees):
  parts, moves = bent_arm(degrees)
  drawn = np.asarray(draw_pieces(parts, moves, (80, 80))).astype(int)
  along = drawn[40, 30:41]  # of the upper arm, up to the joint
  assert along[0].tolist() == [200, 0, 0, 255]
  assert 80 < along[-1, 1] < 125  # half and half at the joint
  if degrees < 60:  # else the outline of the forearm crosses it
    assert np.abs(np.diff(along[:, 1])).max() < 40
  # What lies behind both does not show through, not even outside the bend.
  on_arm = np.asarray(draw_pieces(parts[1:], {**moves}, (80, 80)))[..., 3] == 255
  assert on_arm.sum() > 500
  assert (drawn[on_arm][:, 2] < 8).all()


def test_what_lies_between_two_pieces_does_not_show_at_their_elbow():
  parts, moves = bent_arm(40)
  other = PIL.Image.new("RGBA", (80, 80), (0, 0, 255, 255))
  parts.insert(2, Piece("other", other, 0, 0))
  drawn = np.asarray(draw_pieces(parts, moves | {"other": np.eye(2, 3)}, (80, 80)))
  from_joint = np.hypot(*(np.indices((80, 80)) - 40))
  assert (drawn[from_joint < 4][:, 2] < 8).all()


def test_a_seam_moves_with_its_piece_and_has_the_colours_of_its_place():
  parts, rim = sleeve()
  columns = np.zeros((60, 60, 4), np.uint8)
  columns[..., 0], columns[..., 3] = 2 * np.arange(60), 255
  canvas = PIL.Image.fromarray(columns, "RGBA")
  parts[1].draw(canvas, np.array([[1.0, 0, 7], [0, 1, -12]]), 1.0)
  drawn, moved = np.asarray(canvas), np.zeros_like(rim)
  moved[:48, 7:] = rim[12:, :53]
  moved &= np.arange(60) < 45  # near the shoulder
  assert moved.sum() > 40
  np.testing.assert_array_equal(drawn[moved], columns[moved])


def test_the_seam_is_the_outline_near_the_shoulder_alone(cut):
  points, parts = cut
  unit = skeleton.trunk_length(points)
  for name, shoulder in ((ARM, 11), ("right_upper_arm", 12)):
    (arm,) = [piece for piece in parts if piece.name == name]
    y, x = np.nonzero(np.asarray(arm.seam.image) > 5)
    place = np.stack([x + arm.left, y + arm.top], -1) - points[shoulder]
    assert 0.3 < np.hypot(*place.T).max() / unit < 0.42
  wide = np.zeros((120, 120), bool)
  wide[10:110, 10:110] = True
  joints = np.tile([60.0, 10.0], (33, 1))
  image = seam_at_shoulder(wide, joints, 11, unit=100.0).image
  values = np.asarray(image) / 255
  assert values[11, 60] == 1 and values[30, 60] == 0  # 0.2 trunks inside
  assert values[15, 60] == pytest.approx(1 - (0.06 - 0.03) / 0.05, abs=0.05)


def test_a_turn_is_measured_whatever_is_stretched(cut):
  points = cut[0]
  for degrees in (-170, -30, 0, 45, 170):
    move = raised(points, degrees)
    shorter = np.c_[move[:, :2] @ np.diag([0.5, 0.5]), move[:, 2]]
    for first in (np.eye(2, 3), raised(points, 25)):
      own = first[:, :2] @ shorter[:, :2]
      turn = skeleton.turn_between(first, np.c_[own, first[:, 2]])
      assert np.degrees(turn) == pytest.approx(-degrees)


def test_a_piece_moves_by_its_map(cut):
  (head,) = [piece for piece in cut[1] if piece.name == "head"]
  drawn = []
  for move in (np.eye(2, 3), np.array([[1.0, 0, 25], [0, 1, 40]])):
    canvas = PIL.Image.new("RGBA", SIZE)
    head.draw(canvas, move)
    drawn.append(np.asarray(canvas))
  np.testing.assert_array_equal(drawn[1][40:, 25:], drawn[0][:-40, :-25])


def test_a_piece_beyond_the_picture_is_left_out(cut):
  away = np.array([[1.0, 0, 1e4], [0, 1, 0]])
  parts = cut[1]
  assert not np.asarray(draw_pieces(parts, {p.name: away for p in parts}, SIZE)).any()


def test_a_piece_without_seam_is_drawn_the_same_however_it_turns():
  image = PIL.Image.new("RGBA", (8, 8), (9, 8, 7, 200))
  canvases = []
  for turn in (0.0, 3.0):
    canvas = PIL.Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    Piece("head", image, 4, 4).draw(canvas, np.eye(2, 3), turn)
    canvases.append(np.asarray(canvas))
  np.testing.assert_array_equal(*canvases)


def test_a_seam_ends_where_a_limb_lies_before_the_other():
  rows, columns = np.indices((40, 40))
  own, behind = columns < 20, columns >= 20
  seam = seam_at_bend(own, behind, rows < 15, 6.0, "upper")
  share = np.asarray(seam.image)
  assert not share[:15].any() and share[15:, 19].all()

"""Pieces move by their maps, and an arm that turns leaves no edge on the shoulder."""

import dancers
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from dabfusion_jax.people import pieces, skeleton
from dabfusion_jax.people.piece import Piece, draw_pieces

SIZE = (dancers.WIDTH, dancers.HEIGHT)
ARM = "left_upper_arm"
LIGHT = 250


@pytest.fixture(scope="module")
def cut():
  """Returns the joints and the pieces of a person."""
  points = dancers.joints()
  picture, mask = dancers.draw(points)
  return points, pieces.cut_pieces(picture, mask.astype(np.float32), points)


def still(parts):
  return {piece.name: np.eye(2, 3) for piece in parts}


def raised(points, degrees):
  """Returns the move of a left upper arm that is raised by an angle."""
  angle = -np.radians(degrees)
  matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  return np.c_[matrix, points[11] - matrix @ points[11]]


def sleeve():
  """Returns a shirt, a sleeve over its edge, lit at its outline, and the shoulder."""
  shirt = np.zeros((60, 60, 4), np.uint8)
  shirt[:, :40] = (*dancers.SHIRT, 255)
  mask = np.zeros((60, 60), bool)
  mask[20:40, 20:58] = True
  arm = np.where(mask[..., None], (*dancers.SHIRT, 255), (0, 0, 0, 0)).astype(np.uint8)
  rim = mask & ~scipy.ndimage.binary_erosion(mask)
  arm[rim, :3] = LIGHT
  seam = pieces._seam(mask, np.array([30.0, 30.0]), unit=60.0)
  seam = PIL.Image.fromarray(np.round(255 * seam).astype(np.uint8))
  parts = [
    Piece("torso", PIL.Image.fromarray(shirt, "RGBA"), 0, 0),
    Piece(ARM, PIL.Image.fromarray(arm, "RGBA"), 0, 0, seam),
  ]
  return parts, rim


def test_the_edge_of_a_sleeve_shows_beside_the_shirt_and_not_on_it():
  parts, rim = sleeve()
  canvas = parts[0].image.copy()
  parts[1].draw(canvas, np.eye(2, 3), 1.0)
  drawn = np.asarray(canvas)
  on_shirt = rim & (np.arange(60) < 40)
  np.testing.assert_allclose(
    drawn[on_shirt], np.broadcast_to((*dancers.SHIRT, 255), (on_shirt.sum(), 4)), atol=3
  )
  beside = rim & (np.arange(60) >= 41)
  assert (drawn[beside][:, :3] == LIGHT).all() and (drawn[beside][:, 3] == 255).all()
  # At rest the edge is there.
  canvas = parts[0].image.copy()
  parts[1].draw(canvas, np.eye(2, 3), 0.0)
  assert (np.asarray(canvas)[rim][:, :3] == LIGHT).all()


def test_a_seam_gives_way_little_by_little_and_not_at_all_at_rest(cut):
  points, parts = cut
  hard = PIL.Image.new("RGBA", SIZE)
  for piece in parts:
    piece.draw(hard, np.eye(2, 3))
  np.testing.assert_array_equal(hard, draw_pieces(parts, still(parts), SIZE))
  # The whole person turns, but nothing turns against the trunk.
  turned = raised(points, 40)
  canvas = PIL.Image.new("RGBA", SIZE)
  for piece in parts:
    piece.draw(canvas, turned)
  moves = {piece.name: turned for piece in parts}
  np.testing.assert_array_equal(canvas, draw_pieces(parts, moves, SIZE))
  (arm,) = [piece for piece in parts if piece.name == ARM]
  shares = []
  for turn in (0.0, -0.1, 0.3, 2.0, 3.0):
    canvas = PIL.Image.new("RGBA", SIZE, (0, 0, 0, 255))
    arm.draw(canvas, np.eye(2, 3), turn)
    shares.append(np.asarray(canvas)[..., :3].sum(dtype=float))
  assert shares[0] > shares[1] > shares[2] > shares[3] == shares[4] > 0


def test_only_upper_arms_give_way_and_only_near_the_shoulder(cut):
  points, parts = cut
  seams = {piece.name for piece in parts if piece.seam is not None}
  assert seams == {"left_upper_arm", "right_upper_arm"}
  (arm,) = [piece for piece in parts if piece.name == ARM]
  seam = np.asarray(arm.seam)
  y, x = np.nonzero(seam > 5)
  far = np.hypot(x + arm.left - points[11][0], y + arm.top - points[11][1]).max()
  assert 0.3 < far / skeleton.trunk_length(points) < 0.42
  assert seam.max() > 200


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

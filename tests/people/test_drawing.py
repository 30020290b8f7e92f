"""A layer moves as the frames show it, and the background does not."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import drawing, scene, studio
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Person


@pytest.fixture(scope="module")
def layered():
  picture, mask = dancers.draw()
  found = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  return scene.own_scene(picture, found), mask


def still(size=16):
  line = np.linspace(-1, 1, size)
  return np.stack(np.meshgrid(line, line), -1)[None].astype(np.float32)


def in_frame(frame, points, size):
  points = (points - [frame.left, frame.top]) / frame.side * size
  return Landmarks(points, np.ones(len(points)), 1.0)


def draw_by_flow(layered, flow, occlusion=1.0):
  seen = np.full((*flow.shape[:3], 1), occlusion, np.float32)
  background = studio.make_studio(32)
  decoded = np.tile(background, (len(flow), 1, 1, 1))
  frame = scene.frame_of(layered)
  return drawing.draw_flow(layered, frame, flow, seen, decoded, background, 1.0)


def test_without_flow_the_picture_stays(layered):
  layered, mask = layered
  (frame,) = draw_by_flow(layered, still())
  error = np.abs(frame.astype(int) - layered.picture).max(-1)
  assert (error > 8).mean() < 0.006
  assert not error[~mask][layered.alpha[~mask] > 0].any()


def test_the_person_follows_the_flow(layered):
  layered, mask = layered
  side = scene.frame_of(layered).side
  # The grid spans the centres of the outer of 16 cells.
  shift = 12
  flow = still() - np.array([2 * shift / side * 16 / 15, 0], np.float32)
  (frame,) = draw_by_flow(layered, flow)
  moved = np.zeros_like(mask)
  moved[:, shift:] = mask[:, :-shift]
  shown = (frame != layered.plate).any(-1)
  assert (shown & moved).sum() / (shown | moved).sum() > 0.9


def test_motion_reaches_beyond_the_outline():
  person = np.zeros((8, 8))
  person[:, 3:5] = 1
  flow = still(8)[0].copy()
  flow[:, 3:5, 1] -= 0.5
  spread = drawing.spread_flow(flow, person)
  moved = (spread - still(8)[0])[..., 1]
  np.testing.assert_allclose(moved[2:6, 2], -0.5, atol=0.02)
  np.testing.assert_allclose(moved[2:6, 3:5], -0.5, atol=1e-5)


def test_what_the_picture_does_not_show_comes_from_the_frames(layered):
  layered, _ = layered
  background = studio.make_studio(32)
  decoded = np.tile(background, (1, 1, 1, 1))
  decoded[:, 4:8, 4:8] = (10, 120, 10)
  frame = scene.frame_of(layered)
  x, y = (int(c) for c in frame.to_picture(np.array([6 / 32, 6 / 32])))
  shown = [
    drawing.draw_flow(
      layered, frame, still(), np.full((1, 16, 16, 1), seen, np.float32), decoded,
      background, 1.0,
    )[0, y, x]
    for seen in (0.0, 1.0)
  ]  # fmt: skip
  np.testing.assert_allclose(shown[0], (10, 120, 10), atol=6)
  np.testing.assert_array_equal(shown[1], layered.plate[y, x])


def draw(drawer, dance, is_last):
  for moves in drawer.follow(dance, is_last):
    yield drawing.draw_people([drawer], [moves])


def test_pieces_move_and_the_background_stays_bit_for_bit(layered):
  layered, mask = layered
  frame, size = scene.frame_of(layered), 64
  rest = in_frame(frame, dancers.joints(), size)
  raised = dancers.joints()
  raised[[13, 15, 17, 19]] = [[114, 40], [124, 20], [126, 14], [128, 14]]
  dance = [rest] * 3 + [in_frame(frame, raised, size)] * 5
  drawer = lambda: drawing.PieceDrawer(layered, cut_puppet(layered), frame, rest, size)
  frames = np.concatenate(list(draw(drawer(), dance, is_last=True)))
  by_parts = drawer()
  ends = ((0, 2, False), (2, 7, False), (7, 8, True))
  drawn = [list(draw(by_parts, dance[i:j], last)) for i, j, last in ends]
  assert [sum(map(len, part)) for part in drawn] == [0, 4, 4]
  parts = [some for part in drawn for some in part]
  np.testing.assert_array_equal(np.concatenate(parts), frames)
  assert frames.shape == (8, dancers.HEIGHT, dancers.WIDTH, 3)
  near = np.abs(frames[0].astype(int) - layered.picture).max(-1)
  assert (near[mask] < 12).mean() > 0.85
  np.testing.assert_allclose(frames[-1][24, 122], dancers.SKIN, atol=25)
  np.testing.assert_array_equal(frames[-1][100, 126], layered.plate[100, 126])
  reach = np.zeros_like(mask)
  reach[:190, 20:145] = True
  np.testing.assert_array_equal(
    frames[:, ~reach], np.tile(layered.plate[~reach], (8, 1, 1))
  )


def test_a_dance_to_the_side_ends_at_the_border(layered):
  layered, mask = layered
  frame, size = scene.frame_of(layered), 64
  rest = in_frame(frame, dancers.joints(), size)
  away = in_frame(frame, dancers.joints() + [300.0, 0], size)
  drawer = drawing.PieceDrawer(layered, cut_puppet(layered), frame, rest, size)
  *_, drawn = draw(drawer, [rest, *[away] * 6], True)
  shown = (drawn[-1] != layered.plate).any(-1)
  assert shown.sum() > 0.9 * mask.sum()
  assert np.nonzero(shown)[1].max() >= dancers.WIDTH - 5

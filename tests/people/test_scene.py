"""Backgrounds stay bit for bit, holes are filled, and people stand where dancers do."""

import dataclasses

import dancers
import numpy as np
import pytest
import scipy.ndimage

from dabfusion_jax.people import background, guided_filter, scene, segmenter, studio
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import trunk_length
from dabfusion_jax.people.squares import Square


@pytest.fixture
def own():
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  return picture, mask, scene.own_scene(picture, person)


def test_a_coarse_mask_takes_the_edge_of_the_picture():
  y, x = np.mgrid[:80, :80]
  true = np.hypot(x - 40, y - 40) < 22
  picture = np.where(true[..., None], (200, 80, 60), (40, 90, 120)).astype(np.uint8)
  coarse = true.reshape(10, 8, 10, 8).mean((1, 3)).repeat(8, 0).repeat(8, 1)
  fine = segmenter.refine(coarse, picture, 8.0)
  wrong = [((mask > 0.5) != true).sum() for mask in (coarse, fine)]
  assert wrong[1] < wrong[0] / 4


def test_a_constant_map_stays_constant():
  guide = np.random.default_rng(2).random((20, 30, 3))
  out = guided_filter.guided_filter(np.full((20, 30), 0.3), guide, 3, 1e-4)
  np.testing.assert_allclose(out, 0.3, atol=1e-5)


def test_the_plate_shows_no_person_and_the_scene_shows_the_picture(own):
  picture, mask, layered = own
  far = ~scipy.ndimage.binary_dilation(mask, iterations=8)
  far[90:] = False  # between the legs it is narrow
  np.testing.assert_array_equal(layered.picture[far], picture[far])
  off = np.abs(layered.picture.astype(int) - picture).max(-1)
  assert (off[mask] <= 3).mean() > 0.99
  expected = np.where(np.arange(dancers.HEIGHT)[:, None, None] < 150, dancers.WALL,
                      np.array((120, 110, 100)))  # fmt: skip
  off = np.abs(layered.plate.astype(int) - expected).max(-1)
  assert np.median(off[mask]) < 12


def test_single_hairs_do_not_stay_in_the_plate():
  picture, mask = dancers.draw()
  distance = scipy.ndimage.distance_transform_edt(~mask)
  hairs = (
    (distance > 3.2) & (distance < 4.2) & (np.arange(dancers.HEIGHT) < 40)[:, None]
  )
  picture[hairs] = 0
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  plate = scene.own_scene(picture, person).plate
  assert hairs.sum() > 50 and (plate.max(-1) > 60).all()


def test_other_people_stay_and_are_not_copied():
  picture, mask = dancers.draw()
  beside = np.zeros_like(mask)
  beside[60:180, 130:150] = True
  picture[beside] = (250, 20, 250)
  person = Person(mask.astype(np.float32), dancers.landmarks(), 1, beside=beside)
  plate = scene.own_scene(picture, person).plate.astype(int)
  is_pink = np.abs(plate - (250, 20, 250)).max(-1) < 60
  np.testing.assert_array_equal(is_pink, beside)


def test_a_narrow_gap_beside_a_limb_is_filled_and_a_wide_one_stays():
  alpha = np.zeros((120, 160), np.float32)
  alpha[20:100, 30:50] = alpha[20:100, 66:80] = alpha[20:100, 112:130] = 1
  hole = background.hole_of(Person(alpha, None, 0))
  assert hole[40:80, 50:66].all()  # a gap of 16 pixels, of which 8 are mixed
  assert not hole[40:80, 90:102].any()
  assert not hole[:, :24].any() and not hole[:, 138:].any()


def test_a_person_stands_in_a_studio_as_a_dancer(own):
  size = 120
  deep = Landmarks(dancers.joints(), np.ones(33), 1.0, 10 * np.arange(33.0))
  layered = dataclasses.replace(own[2], landmarks=deep)
  stood = scene.stand_in(layered, studio.make_studio(size), studio.studio_frame(size))
  lengths = [trunk_length(x.landmarks.points) for x in (stood, layered)]
  scale = lengths[0] / lengths[1]
  np.testing.assert_allclose(stood.landmarks.depth, scale * deep.depth)
  rows = np.flatnonzero((stood.alpha > 0.5).any(1)) / size
  assert rows[-1] == pytest.approx(studio.DANCER_FLOOR, abs=0.02)
  assert rows[-1] - rows[0] == pytest.approx(studio.DANCER_HEIGHT, abs=0.03)
  shoulders = stood.landmarks.points[[11, 12]].mean(0)
  assert stood.alpha[int(shoulders[1]), int(shoulders[0])] > 0.5


def test_standing_into_the_own_frame_changes_no_place(own):
  _, mask, layered = own
  again = scene.stand_in(layered, layered.plate, scene.frame_of(layered))
  assert ((again.alpha > 0.5) != mask).mean() < 0.002
  np.testing.assert_allclose(again.landmarks.points, dancers.joints(), atol=1e-6)


def test_light_moves_halfway():
  grey = lambda level: np.full((2, 2, 3), level, np.uint8)
  matched = scene.match_light(grey(100), grey(99), grey(143))
  np.testing.assert_allclose(matched, 120, atol=1)
  assert (scene.match_light(grey(100), grey(99), grey(99)) == 100).all()
  assert (scene.match_light(grey(100), grey(0), grey(255)) == 135).all()


def test_more_light_leaves_highlights_their_shape():
  levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
  dark, light = np.full((2, 2, 3), 60, np.uint8), np.full((2, 2, 3), 220, np.uint8)
  lit = scene.match_light(levels, dark, light)[0, :, 0].astype(int)
  assert lit[100] == 135 and lit[255] == 255
  assert (np.diff(lit) >= 0).all()
  assert lit[240] < 255 and len(np.unique(lit[200:])) > 15
  dimmed = scene.match_light(levels, light, dark)[0, :, 0].astype(int)
  np.testing.assert_allclose(dimmed, 0.75 * np.arange(256), atol=0.6)


def test_a_meadow_hardly_makes_people_green():
  white = np.full((4, 4, 3), 200, np.uint8)
  wall = np.full((4, 4, 3), 130, np.uint8)
  meadow = np.broadcast_to(np.uint8([90, 120, 60]), (4, 4, 3))
  shown = scene.match_light(white, wall, meadow)[0, 0].astype(int)
  assert shown.max() < 195  # a little darker, as its surroundings are
  assert 0 < shown.max() - shown.min() < 25


def test_a_square_is_cut_out_and_put_back():
  picture = np.zeros((60, 80, 3), np.uint8)
  picture[20:40, 30:50] = 255
  square = Square(20.0, 10.0, 40.0)
  cut = square.cut(picture, 40)
  np.testing.assert_array_equal(cut[10:30, 10:30], 255)
  back = square.put_back(cut[..., 0].astype(np.float32), 60, 80)
  np.testing.assert_allclose(back, picture[..., 0], atol=1e-3)
  np.testing.assert_array_equal(square.to_picture(np.array([[0.5, 0.25]])), [[40, 20]])


def test_outside_a_picture_a_square_repeats_the_border():
  picture = np.full((10, 10, 3), 9, np.uint8)
  assert (Square(-5.0, -5.0, 20.0).cut(picture, 10) == 9).all()

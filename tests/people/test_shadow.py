"""Shadows on plain backgrounds are found, and move with who casts them."""

import dataclasses

import dancers
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from dabfusion_jax.people import background, drawing, scene, shadow, studio
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.shadow import Shadow
from dabfusion_jax.people.skeleton import FEET, TORSO

_SIZE = (240, 300)
_TRUNK = 60.0
_STILL = {name: np.eye(2, 3) for name in (TORSO, *FEET)}


def cast_by(centre, depth=0.5, reach=22):
  """Returns the light that is left around a place, and where a person hides it."""
  y, x = np.mgrid[: _SIZE[0], : _SIZE[1]]
  distance = ((x - centre[0]) / reach) ** 2 + ((y - centre[1]) / 40) ** 2
  hidden = (np.abs(x - centre[0]) < 9) & (np.abs(y - centre[1]) < 60)
  return 1 - depth * np.exp(-distance), hidden


def photograph(light, noise=1.5):
  """Returns a wall, lighter on one side and below, in a light."""
  y, x = np.mgrid[: _SIZE[0], : _SIZE[1]] / 300
  wall = (150 + 40 * x + 30 * y)[..., None] * np.array((1.0, 0.95, 0.9))
  grain = np.random.default_rng(0).normal(0, noise, wall.shape)
  return np.clip(wall * light[..., None] + grain, 0, 255).astype(np.uint8)


def moved(**shifts):
  """Returns moves of the trunk and the feet by some pixels."""
  return {name: np.c_[np.eye(2), shifts.get(name, (0, 0))] for name in _STILL}


@pytest.mark.parametrize("scale", [1, 2])
def test_a_shadow_is_found_on_a_plain_wall(scale):
  light, hidden = cast_by((140, 120))
  picture = photograph(light)
  grow = lambda x: x.repeat(scale, 0).repeat(scale, 1)
  (shade,) = shadow.find_shades(grow(picture), [grow(hidden)], scale * _TRUNK)
  assert max(shade.shape) == 256
  ratio = np.array(shade.shape) / _SIZE
  true = scipy.ndimage.zoom(light, ratio, order=1)
  seen = scipy.ndimage.zoom((~hidden).astype(float), ratio, order=1) > 0.99
  assert np.abs(shade - true)[seen].max() < 0.09
  assert shade[int(120 * ratio[0]), int(140 * ratio[1])] < 0.7  # behind the person
  lit = shadow.without_shade(picture, shade).astype(int)
  near = scipy.ndimage.binary_dilation(hidden, iterations=12) & ~hidden
  off = np.abs(lit - photograph(np.ones(_SIZE), 0.0))[near]
  before = np.abs(picture.astype(int) - photograph(np.ones(_SIZE), 0.0))[near]
  assert off.mean() < before.mean() / 6


def test_the_shadows_of_two_people_are_told_apart():
  (first, hides_first), (second, hides_second) = cast_by((70, 120)), cast_by((220, 120))
  picture = photograph(first * second)
  shades = shadow.find_shades(picture, [hides_first, hides_second], _TRUNK)
  near = lambda x: (
    slice(90, 130),
    slice(int(x * 256 / 300) - 8, int(x * 256 / 300) + 8),
  )
  assert shades[0][near(70)].max() < 0.85 and shades[1][near(70)].min() > 0.99
  assert shades[1][near(220)].max() < 0.85 and shades[0][near(220)].min() > 0.99


def test_what_is_dark_between_two_people_is_none_of_their_shadows():
  light, _ = cast_by((145, 120))
  holes = [cast_by((x, 120))[1] for x in (40, 250)]
  assert shadow.find_shades(photograph(light), holes, _TRUNK) is None


def test_a_shadow_is_found_beside_a_person_with_little_room_and_is_never_black():
  for reach, part in ((30, np.s_[:, :]), (14, np.s_[:, 103:177])):
    light, hidden = cast_by((140, 120), 0.95, reach)
    (shade,) = shadow.find_shades(photograph(light)[part], [hidden[part]], _TRUNK)
    assert 0.2 <= shade.min() < 0.7


def test_a_dark_thing_beside_a_person_is_no_shadow():
  _, hidden = cast_by((140, 120))
  light = np.ones(_SIZE)
  light[70:170, 154:160] = 0.2
  assert shadow.find_shades(photograph(light), [hidden], _TRUNK) is None
  light[60:180, 120:175] = 0.5  # a door behind the person, nearly as wide as that
  assert shadow.find_shades(photograph(light), [hidden], _TRUNK) is None


def test_beside_a_border_the_other_side_tells_the_light():
  light, hidden = cast_by((20, 120))
  (shade,) = shadow.find_shades(photograph(light), [hidden], _TRUNK)
  true = scipy.ndimage.zoom(light, np.array(shade.shape) / _SIZE, order=1)
  assert np.abs(shade - true)[80:130, :8].max() < 0.12  # between border and person


def test_landmarks_in_one_place_are_no_error():
  light, hidden = cast_by((140, 120))
  for shade in shadow.find_shades(photograph(light), [hidden], 0.0) or []:
    assert np.isfinite(shade).all()


def test_a_shadow_is_smooth_where_arms_end():
  y, x = np.mgrid[: _SIZE[0], : _SIZE[1]]
  light = 1 - 0.5 * np.exp(-(((x - 150) / 30) ** 2) - ((y - 130) / 60) ** 2)
  hidden = (np.abs(x - 150) < np.where(y < 120, 30, 9)) & (np.abs(y - 120) < 70)
  (shade,) = shadow.find_shades(photograph(light), [hidden], _TRUNK)
  true = scipy.ndimage.zoom(light, np.array(shade.shape) / _SIZE, order=1)
  seen = np.s_[108:150, 90:115]  # beside the legs, below a hand
  assert np.abs(shade - true)[seen].max() < 0.09
  assert np.abs(np.diff(shade, axis=0)).max() < 0.025


def test_a_shadow_is_found_although_somebody_else_stays():
  light, hidden = cast_by((140, 120))
  picture, others = photograph(light), np.zeros_like(hidden)
  (alone,) = shadow.find_shades(picture, [hidden], _TRUNK)
  others[60:200, 215:240] = True
  picture[others] = (30, 40, 90)
  (shade,) = shadow.find_shades(picture, [hidden], _TRUNK, others)
  np.testing.assert_allclose(shade[:, :170], alone[:, :170], atol=0.1)
  assert shadow.find_shades(picture, [hidden], _TRUNK) is None


def test_there_is_no_shadow_where_none_is_or_nothing_is_plain():
  even, hidden = np.ones(_SIZE), cast_by((140, 120))[1]
  find = lambda picture, hole=hidden: shadow.find_shades(picture, [hole], _TRUNK)
  assert find(photograph(even)) is None
  brighter, _ = cast_by((140, 120), depth=-0.3)
  assert find(photograph(brighter)) is None
  leaves = scipy.ndimage.gaussian_filter(
    np.random.default_rng(1).normal(0, 1, _SIZE), 4, mode="wrap"
  )
  leaves /= leaves.std()
  assert find(photograph(1 + 0.3 * leaves)) is None
  (faint,) = find(photograph(1 + 0.03 * leaves))
  assert (faint > 0.98).mean() > 0.97
  between_leaves = 1 + 0.3 * leaves
  between_leaves[112:127] = cast_by((140, 120))[0][112:127]
  assert find(photograph(between_leaves)) is None
  assert find(photograph(even), np.ones_like(hidden)) is None
  assert find(np.full((*_SIZE, 3), 90, np.uint8)) is None  # without any noise
  whole_rows = np.zeros_like(hidden)
  whole_rows[50:200] = True
  assert find(photograph(cast_by((140, 120))[0]), whole_rows) is None


@pytest.fixture
def stands():
  """A shadow at the feet of a person, on a grey floor."""
  shade = np.ones((dancers.HEIGHT, dancers.WIDTH), np.float32)
  shade[174:182, 60:100] = 0.5
  shade[104:112, 70:90] = 0.8
  plate = np.round(np.tile(200 * shade[..., None], 3)).astype(np.uint8)
  size = (dancers.WIDTH, dancers.HEIGHT)
  return Shadow(shade, dancers.joints(), size), plate


def test_colours_in_a_shade_are_rounded():
  picture = np.full((8, 8, 3), 100, np.uint8)
  assert (shadow.with_shade(picture, np.full((4, 4), 0.999, np.float32)) == 100).all()
  assert (shadow.without_shade(picture, np.full((4, 4), 0.3, np.float32)) == 255).all()


@pytest.mark.parametrize("shape", [(50, 31), (97, 64), (200, 160)])
def test_a_shade_of_any_size_is_the_enlarged_map(shape):
  shade = np.ones(shape, np.float32)
  rows, columns = shape[0] // 3, shape[1] // 4
  rng = np.random.default_rng(0)
  shade[-rows:, :columns] = rng.uniform(0.5, 1, (rows, columns))
  picture = rng.integers(0, 256, (dancers.HEIGHT, dancers.WIDTH, 3), np.uint8)
  image = PIL.Image.fromarray(shade).resize(picture.shape[1::-1], PIL.Image.BILINEAR)
  expected = picture * np.asarray(image)[..., None]
  assert np.abs(shadow.with_shade(picture, shade) - expected).max() < 1


def test_a_shadow_of_another_size_moves_as_far():
  shade = np.ones((40, 80), np.float32)  # of a picture of 200 x 160
  shade[32:38, 30:50] = 0.5
  plate = shadow.with_shade(np.full((200, 160, 3), 200, np.uint8), shade)
  feet = {name: (20, -25) for name in FEET}
  moved_plate = Shadow(shade, dancers.joints(), (160, 200)).cast(plate, moved(**feet))
  dark = [np.argwhere(x[..., 0] < 160).mean(0) for x in (plate, moved_plate)]
  np.testing.assert_allclose(dark[1] - dark[0], (-25, 20), atol=3)


def test_at_rest_a_shadow_stays_bit_for_bit(stands):
  shade, plate = stands
  np.testing.assert_array_equal(shade.cast(plate, _STILL), plate)


def test_a_shadow_follows_feet_on_the_floor_and_hips_above(stands):
  shade, plate = stands
  feet = {name: (20, 0) for name in FEET}
  both = shade.cast(plate, moved(torso=(20, 0), **feet))
  np.testing.assert_allclose(both[:, 20:], plate[:, :-20], atol=1)
  np.testing.assert_allclose(both[150:, :60], 200, atol=1)
  floor = shade.cast(plate, moved(**feet))
  np.testing.assert_allclose(floor[108], plate[108], atol=8)
  np.testing.assert_allclose(floor[178, 20:], plate[178, :-20], atol=1)
  hips = shade.cast(plate, moved(torso=(20, 0)))
  np.testing.assert_allclose(hips[178], plate[178], atol=1)
  np.testing.assert_allclose(hips[108, 20:], plate[108, :-20], atol=8)


def test_a_shadow_goes_down_with_the_lower_foot_and_spreads_with_both(stands):
  shade, plate = stands
  down = shade.cast(plate, moved(left_foot=(0, 10), right_foot=(0, -5)))
  np.testing.assert_allclose(down[184:192], plate[174:182], atol=1)
  wide = shade.cast(plate, moved(left_foot=(14, 0), right_foot=(-14, 0)))
  dark = lambda picture: (picture[178, :, 0] < 150).sum()
  assert dark(wide) == pytest.approx(1.6 * dark(plate), abs=2)  # at most
  crossed = shade.cast(plate, moved(left_foot=(-28, 0), right_foot=(28, 0)))
  assert dark(crossed) == pytest.approx(0.6 * dark(plate), abs=2)


def test_feet_that_touch_leave_a_shadow_as_it_is_at_rest():
  points = dancers.joints()
  points[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE]] = [[81, 178], [79, 178]]
  shade = np.random.default_rng(0).uniform(0.5, 1, (200, 160)).astype(np.float32)
  plate = np.full((200, 160, 3), 200, np.uint8)
  near = Shadow(shade, points, (160, 200))
  np.testing.assert_array_equal(near.cast(plate, _STILL), plate)


def test_a_small_step_of_feet_that_touch_spreads_a_shadow_little():
  points = dancers.joints()
  points[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE]] = [[81, 178], [79, 178]]
  shade = np.ones((100, 80), np.float32)
  shade[85:93, 30:50] = 0.5
  plate = shadow.with_shade(np.full((200, 160, 3), 200, np.uint8), shade)
  stepped = Shadow(shade, points, (160, 200)).cast(
    plate, moved(left_foot=(1, 0), right_foot=(-1, 0))
  )
  assert 46 <= (stepped[178, :, 0] < 150).sum() <= 50  # of 40


def test_a_shadow_that_goes_on_beyond_the_picture_comes_in():
  shade = np.ones((200, 160), np.float32)
  shade[:, :30] = 0.5
  plate = np.round(np.tile(200 * shade[..., None], 3)).astype(np.uint8)
  to_the_right = moved(**dict.fromkeys((TORSO, *FEET), (20, 0)))
  shifted = Shadow(shade, dancers.joints(), (160, 200)).cast(plate, to_the_right)
  np.testing.assert_allclose(shifted[:, :45], 100, atol=1)


def test_who_moves_away_leaves_no_shadow_behind():
  picture, mask = dancers.draw_with_shadow()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  layered = scene.own_scene(picture, person)
  hole = background.hole_of(person)
  np.testing.assert_array_equal(layered.plate[~hole], picture[~hole])
  frame, size = scene.frame_of(layered), 64
  pose = lambda points: Landmarks(
    frame.from_picture(points) * size, np.ones(lm.NUM_LANDMARKS), 1.0
  )
  drawer = drawing.PieceDrawer(
    layered, cut_puppet(layered), frame, pose(dancers.joints()), size
  )
  away = pose(dancers.joints() + [30.0, 0])
  *_, moves = drawer.follow([pose(dancers.joints()), *[away] * 8], True)
  frame = drawing.draw_people([drawer], [moves])[-1]
  shift = moves[-1]["left_foot"][0, 2]
  assert shift > 20
  left = np.s_[130:176, 58:76]  # where the person stood, and the shadow was
  true = dancers.shaded_wall(80 + shift)[left].astype(int)
  before, after = (np.abs(x[left] - true).mean() for x in (layered.plate, frame))
  assert after < 4 and after < before / 5


def test_a_shadow_stays_if_nothing_is_known_of_who_casts_it():
  picture, mask = dancers.draw_with_shadow()
  alpha = mask.astype(np.float32)
  whole = Person(alpha, dancers.landmarks(), 0)
  for change in ({"landmarks": None}, {"is_cut_off": True}):
    part = dataclasses.replace(whole, **change)
    assert background.clear(picture, [part])[1] == (None,)
    _, (shade, none) = background.clear(picture, [whole, part])
    assert shade is not None and none is None


def test_the_shadow_beside_somebody_who_stays_is_taken_along():
  picture, mask = dancers.draw_with_shadow()
  beside = np.zeros_like(mask)
  beside[60:180, 135:150] = True
  picture = np.where(beside[..., None], (250, 20, 250), picture).astype(np.uint8)
  person = Person(mask.astype(np.float32), dancers.landmarks(), 1, beside=beside)
  plate, (shade,) = background.clear(picture, [person])
  assert shade is not None
  np.testing.assert_array_equal(plate[beside], picture[beside])


def test_the_shadow_of_a_studio_is_what_darkens_it():
  plate, shade = studio.make_studio(96), studio.studio_shade(96)
  lit = shadow.without_shade(plate, shade).astype(int)
  floor = lit[int(0.85 * 96) :]
  assert np.ptp(floor, 0).max() <= 4  # rows are alike
  assert np.ptp(plate[int(0.85 * 96) :].astype(int), 0).max() > 40

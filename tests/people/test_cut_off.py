"""A person who goes on below the picture dances, and no cut is seen."""

import dataclasses

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import cut_off, scene, skeleton, studio
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.cut_off import CutOff
from dabfusion_jax.people.drawing import PieceDrawer, draw_people
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.pieces import cut_pieces
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import Skeleton

ROWS = 96  # of the picture: above wrists and hips
FOREARMS = ("left_forearm", "right_forearm")


def part(rows=ROWS, columns=slice(None), top=0):
  """Returns the scene of the upper part of a person, and their picture."""
  picture, mask = dancers.draw()
  picture, mask = picture[top:rows, columns], mask[top:rows, columns]
  points = dancers.joints() - [columns.start or 0, top]
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  person = Person(mask.astype(np.float32), found, 0, is_cut_off=True)
  return scene.own_scene(picture, person), picture


@pytest.fixture(scope="module")
def half():
  return part()[0]


def fit(layered, points):
  """Returns how pieces move to joints of the scene."""
  joints = layered.landmarks.points
  person = Skeleton(joints, joints)
  cut = cut_pieces(layered.colours, layered.alpha, joints)[0]
  return CutOff(layered, cut).fit(person.pose(points, person.feet(points)))


def test_arms_swing_about_the_elbows_that_they_were_cut_at(half):
  size = 64
  frame = scene.frame_of(half)
  points = (half.landmarks.points - [frame.left, frame.top]) / frame.side * size
  points[13] += [1.0, -1.0]  # found beside the middle of the arm
  joints = points / size * frame.side + [frame.left, frame.top]
  found = dataclasses.replace(half.landmarks, points=joints)
  layered = dataclasses.replace(half, landmarks=found)
  rest = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  drawer = PieceDrawer(layered, cut_puppet(layered), frame, rest, size)
  assert not np.allclose(drawer._skeleton.joints[13], joints[13])
  np.testing.assert_array_equal(drawer._bounds._joints, drawer._skeleton.joints)


def hips(moves, layered):
  middle = layered.landmarks.points[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  return (skeleton.apply(moves["torso"], middle) - middle) / skeleton.trunk_length(
    layered.landmarks.points
  )


def test_the_scene_shows_the_picture_and_the_person_goes_on_below():
  layered, picture = part()
  assert layered.picture.shape == picture.shape
  error = np.abs(layered.picture.astype(int) - picture).max(-1)
  assert (error > 8).mean() < 0.01
  left, _, right, bottom = layered.window
  assert (layered.alpha[bottom:, left:right] > 0.5).any(1).all()
  toes = layered.landmarks.points[[lm.LEFT_TOE, lm.RIGHT_TOE], 1]
  assert len(layered.alpha) - toes.max() < 2


def test_clothes_go_on_around_a_portrait_and_the_face_does_not():
  points = dancers.joints()
  top = points[[lm.LEFT_EAR, lm.RIGHT_EAR], 1].mean()
  rows = int(top + 0.4 * skeleton.trunk_length(points))
  picture = np.full((rows, dancers.WIDTH, 3), 200, np.uint8)
  picture[rows - 7 :] = dancers.SHIRT
  person = Person(np.ones(picture.shape[:2], np.float32), None, 0, is_cut_off=True)
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  made = scene.own_scene(picture, dataclasses.replace(person, landmarks=found))
  left, _, right, bottom = made.window
  assert (made.colours[bottom:] == dancers.SHIRT).all()
  picture[rows - 7 :] = 200
  unit = skeleton.trunk_length(points)
  middle = points[[lm.LEFT_EAR, lm.RIGHT_EAR], 0].mean()
  first, last = (int(middle + side * 0.13 * unit) for side in (-1, 1))
  picture = picture[:, first - 6 : last + 6]  # little more than the neck
  points -= [first - 6, 0]
  person = dataclasses.replace(person, alpha=np.ones(picture.shape[:2], np.float32))
  picture[:, 6:-6] = dancers.SKIN
  made = scene.own_scene(picture, dataclasses.replace(person, landmarks=found))
  left, _, right, _ = made.window
  assert left > 10 and (made.colours[:, :left] == 200).all()
  assert (made.colours[:, right:] == 200).all()


def test_where_a_shoulder_begins_below_the_background_it_has_the_colours_of_clothes():
  points = dancers.joints()
  shoulder = points[lm.RIGHT_SHOULDER]
  rows = int(shoulder[1] - 3)
  picture, mask = dancers.draw()
  mask = mask.copy()
  mask[:, : int(shoulder[0]) + 8] = False
  person = Person(mask[:rows].astype(np.float32), None, 0, is_cut_off=True)
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  picture = np.ascontiguousarray(picture[:rows])
  picture[rows - 8 :] = np.where(mask[rows - 8 : rows, :, None], dancers.SHIRT, 200)
  made = scene.own_scene(picture, dataclasses.replace(person, landmarks=found))
  left, _, _, bottom = made.window
  x = left + int(shoulder[0])
  assert made.alpha[bottom + 4, x] > 0.5
  assert np.abs(made.colours[bottom + 4, x] - np.array(dancers.SHIRT)).max() < 60


@pytest.mark.parametrize("depth", [0.2, 3.0, 8.0])
def test_an_axis_goes_on_as_seen_in_mirrors(depth):
  indices = scene._mirrored(8, 9, depth, 7, depth)
  np.testing.assert_array_equal(indices[9:17], np.arange(8))
  steps = np.arange(9) % (2 * max(round(depth), 1))
  wave = np.minimum(steps, 2 * max(round(depth), 1) - 1 - steps)
  np.testing.assert_array_equal(indices[:9][::-1], wave)
  np.testing.assert_array_equal(indices[17:], 7 - wave[:7])


def test_a_close_portrait_is_not_drawn_down_to_the_toes():
  bust, _ = part(rows=76)
  unit = skeleton.trunk_length(bust.landmarks.points)
  toes = bust.landmarks.points[[lm.LEFT_TOE, lm.RIGHT_TOE], 1]
  assert bust.window[3] + 0.5 * unit < len(bust.alpha) < toes.min() - 0.5 * unit


def test_a_large_half_person_stands_in_the_frame_as_a_small_one():
  """For the network, somebody who is large is reduced."""
  small, _ = part()
  picture, mask = dancers.draw()
  times = 4
  large = picture[:ROWS].repeat(times, 0).repeat(times, 1)
  alpha = mask[:ROWS].repeat(times, 0).repeat(times, 1).astype(np.float32)
  found = Landmarks(times * dancers.joints(), np.ones(lm.NUM_LANDMARKS), 1.0)
  layered = scene.own_scene(large, Person(alpha, found, 0, is_cut_off=True))
  frames = []
  for one in (small, layered):
    frame = scene.frame_of(one)
    points = one.landmarks.points - [frame.left, frame.top]
    frames.append(points[[lm.NOSE, lm.LEFT_SHOULDER, lm.LEFT_TOE]] / frame.side)
  np.testing.assert_allclose(*frames, atol=0.02)
  assert frames[0][2, 1] == pytest.approx(studio.DANCER_FLOOR, abs=0.03)
  whole, scale = scene._whole(layered)
  assert scale < 1 and whole.alpha.size < layered.alpha.size


def test_a_whole_person_does_not_go_on():
  picture, mask = dancers.draw()
  whole = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  layered = scene.own_scene(picture, whole)
  assert layered.window is None and layered.alpha.shape == mask.shape
  assert cut_off.cut_arms(layered) == ()


def test_at_rest_a_drawn_frame_is_the_picture():
  layered, picture = part()
  frame = scene.frame_of(layered)
  points = (layered.landmarks.points - [frame.left, frame.top]) / frame.side * 32
  rest = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  drawer = PieceDrawer(layered, cut_puppet(layered), frame, rest, 32)
  frames = draw_people([drawer], list(drawer.follow([rest], True)))
  assert frames.shape == (1, *picture.shape)
  error = np.abs(frames[0].astype(int) - picture).max(-1)
  assert (error > 40).mean() < 0.02


@pytest.mark.parametrize(
  ("shift", "limit"), [((90, 0), 0.4), ((-90, 0), 0.4), ((0, 60), 0.3), ((0, -60), 0.1)]
)
def test_a_trunk_stays_before_the_camera(half, shift, limit):
  moves = fit(half, half.landmarks.points + np.array(shift, float))
  travel = hips(moves, half)
  assert 0.5 * limit < np.hypot(*travel) <= limit + 1e-6
  assert travel @ shift > 0


def test_shoulders_that_are_cut_off_hardly_move_aside():
  tight, _ = part(columns=slice(54, 106))
  moves = fit(tight, tight.landmarks.points + [50.0, 0.0])
  assert 0 < hips(moves, tight)[0] <= 0.1


def test_hair_that_is_cut_off_does_not_come_down():
  low, _ = part(top=20)
  top = low.window[1]
  moves = fit(low, low.landmarks.points + [0.0, 40.0])
  hair = np.array([low.landmarks.points[lm.NOSE, 0], float(top)])
  unit = skeleton.trunk_length(low.landmarks.points)
  assert skeleton.apply(moves["head"], hair)[1] <= top + 0.04 * unit
  free = fit(part()[0], part()[0].landmarks.points + [0.0, 40.0])
  assert hips(free, part()[0])[1] > hips(moves, low)[1] + 0.1


def raised(layered):
  points = layered.landmarks.points.copy()
  for side, sign in (("LEFT", 1), ("RIGHT", -1)):
    shoulder, elbow, wrist = (
      getattr(lm, f"{side}_{name}") for name in ("SHOULDER", "ELBOW", "WRIST")
    )
    points[elbow] = points[shoulder] + [sign * 20, -22]
    points[wrist] = points[shoulder] + [sign * 8, -48]
  return points


def test_an_arm_whose_hand_is_not_shown_keeps_it_below(half):
  assert cut_off.cut_arms(half) == ("left", "right")
  moves = fit(half, raised(half))
  joints, bottom = half.landmarks.points, half.window[3]
  unit = skeleton.trunk_length(joints)
  for name, wrist in zip(FOREARMS, (lm.LEFT_WRIST, lm.RIGHT_WRIST), strict=True):
    assert skeleton.apply(moves[name], joints[wrist])[1] > bottom - 0.04 * unit
  at_rest = fit(half, joints)
  assert np.abs(moves["left_upper_arm"] - at_rest["left_upper_arm"]).max() > 0.02


def test_an_arm_whose_hand_is_shown_is_raised():
  american, _ = part(rows=140)
  assert cut_off.cut_arms(american) == ()
  moves = fit(american, raised(american))
  joints = american.landmarks.points
  for name, wrist in zip(FOREARMS, (lm.LEFT_WRIST, lm.RIGHT_WRIST), strict=True):
    assert skeleton.apply(moves[name], joints[wrist])[1] < joints[lm.LEFT_SHOULDER, 1]


def test_an_arm_cut_above_the_elbow_moves_with_the_trunk():
  bust, _ = part(rows=76)
  moves = fit(bust, raised(bust))
  for name in ("left_upper_arm", "left_forearm"):
    bone = bust.landmarks.points[list(skeleton.LIMBS[name])]
    still, danced = (skeleton.apply(moves[part], bone) for part in ("torso", name))
    np.testing.assert_allclose(np.diff(danced, axis=0), np.diff(still, axis=0))


def test_an_arm_that_is_cut_off_never_snaps(half):
  """The arm of the dance goes once round the shoulder, in small steps."""
  joints = half.landmarks.points
  shoulder, elbow, wrist = joints[[lm.LEFT_SHOULDER, lm.LEFT_ELBOW, lm.LEFT_WRIST]]
  person, fitter = Skeleton(joints, joints), CutOff(half, ())
  places = []
  for angle in np.linspace(0, 2 * np.pi, 121):
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    points = joints.copy()
    points[lm.LEFT_ELBOW] = shoulder + turn @ (elbow - shoulder)
    points[lm.LEFT_WRIST] = shoulder + turn @ (wrist - shoulder)
    moves = fitter.fit(person.pose(points, person.feet(points)))
    places.append(skeleton.apply(moves["left_forearm"], wrist))
  steps = np.hypot(*np.diff(places, axis=0).T) / skeleton.trunk_length(joints)
  assert steps.max() < 0.12
  assert steps.sum() > 0.2


def test_an_arm_that_is_cut_off_does_not_snap_either_if_the_body_rises():
  layered, _ = part(rows=88)
  joints = layered.landmarks.points
  unit = skeleton.trunk_length(joints)
  shoulder, elbow, wrist = joints[[lm.LEFT_SHOULDER, lm.LEFT_ELBOW, lm.LEFT_WRIST]]
  person, fitter = Skeleton(joints, joints), CutOff(layered, ())
  for angle in np.deg2rad([-90, 90]):
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    places = []
    for rise in np.linspace(0.05, -0.1, 31):
      points = joints.copy()
      points[lm.LEFT_ELBOW] = shoulder + turn @ (elbow - shoulder)
      points[lm.LEFT_WRIST] = shoulder + turn @ (wrist - shoulder)
      points += [0.0, rise * unit]
      moves = fitter.fit(person.pose(points, person.feet(points)))
      places.append(skeleton.apply(moves["left_forearm"], wrist))
    steps = np.hypot(*np.diff(places, axis=0).T) / unit
    assert steps.max() < 0.03  # of a body that moves by 0.005


def test_a_trunk_that_leans_about_hips_out_of_sight_stays_before_the_camera():
  half, _ = part(rows=76)
  joints = half.landmarks.points
  pivot = joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  cos, sin = np.cos(0.5), np.sin(0.5)
  leaning = pivot + (joints - pivot) @ np.array([[cos, sin], [-sin, cos]])
  top = skeleton.neck(joints)
  unit = skeleton.trunk_length(joints)
  free = skeleton.neck(leaning) - top
  moves = fit(half, leaning)
  seen = np.abs(skeleton.apply(moves["torso"], top) - top) / unit
  assert seen[0] < 0.36 < 0.45 < np.abs(free[0]) / unit


@pytest.mark.parametrize(
  ("outside", "low", "high"),
  [
    (lambda x: 1.0 - 0.9 * x, 1.0, 1.0),  # far outside: it swings as it may
    (lambda x: np.full(len(x), -0.5), 1.0, 1.0),  # inside at rest: no farther inside
    (lambda x: np.where((x > 0.4) & (x < 0.6), -1, 1), 0.3, 0.4),  # not past a border
    (lambda x: -0.15 * x, 0.4, 0.5),  # held back little by little
    (lambda x: -9.0 * x, 0.0, 0.05),
  ],
)
def test_an_arm_that_is_cut_off_swings_as_far_as_its_cut_stays_outside(
  half, monkeypatch, outside, low, high
):
  fitter = CutOff(half, ())
  arm = lambda side, moves, share: {side: np.full((2, 3), share)}
  monkeypatch.setattr(fitter, "_arm", arm)
  monkeypatch.setattr(fitter, "_outside", lambda side, moves, shares: outside(shares))
  share = fitter._keep_out("left", {})["left"][0, 0]
  assert low <= share <= high


def test_it_is_looked_where_the_cut_of_an_arm_that_is_laid_comes_to_lie(half):
  fitter = CutOff(half, ())
  points = half.landmarks.points.copy()
  points[[lm.LEFT_ELBOW, lm.LEFT_WRIST]] += (7, -5), (-3, 9)
  person = Skeleton(half.landmarks.points, half.landmarks.points)
  moves = person.pose(points, person.feet(points))
  shares = np.linspace(0, 1, 5)
  piece, cut, limits = fitter._cuts["left"]
  arms = [fitter._arm("left", moves, share)[piece] for share in shares]
  expected = [fitter._beyond(skeleton.apply(arm, cut)) - limits for arm in arms]
  found = fitter._outside("left", moves, shares)
  unit = skeleton.trunk_length(half.landmarks.points)
  np.testing.assert_allclose(found, np.max(expected, 1) / unit, atol=1e-6)

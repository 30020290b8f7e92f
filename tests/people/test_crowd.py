"""People who touch each other are told apart, and each is looked at alone."""

import dataclasses

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import crowd, segmenter, territory
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.squares import Square

_SIZE = (220, 330)
_CHEST = np.array([0, 30])  # from the nose


class Scene:
  """A picture of dancers, the last in front, and networks that know only these.

  Both networks see whoever has a chest in the picture, and of several the first.
  """

  def __init__(self, *places):
    self.empty = np.tile(dancers.WALL, (*_SIZE, 1))
    self.picture, self.masks, self.bodies = self.empty.copy(), [], []
    drawn, mask = dancers.draw()
    for x, y in places:
      inside = np.zeros(_SIZE, bool)
      inside[y : y + dancers.HEIGHT, x : x + dancers.WIDTH] = mask
      self.picture[inside] = drawn[mask]
      self.masks = [other & ~inside for other in self.masks] + [inside]
      self.bodies.append(
        Landmarks(dancers.joints() + [x, y], np.ones(lm.NUM_LANDMARKS), 1.0)
      )
    self.there = np.any(self.masks, 0)

  def _seen(self, picture):
    chests = [(body, body.points[lm.NOSE] + _CHEST) for body in self.bodies]
    return [
      body
      for body, (x, y) in chests
      if (picture[int(y), int(x)] == dancers.SHIRT).all()
    ]

  def __call__(self, picture, square, least=0.5):
    return self.detect(picture)

  def in_parts(self, picture, share):
    return []

  def detect(self, picture, least=0.5):
    return [
      Square(*(body.points[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0) - 125), 250.0)
      for body in self._seen(picture)
    ]

  def find(self, picture, square):
    seen = self._seen(picture)
    return seen[0] if seen else Landmarks(dancers.joints(), np.ones(33), 0.0)

  def look_closely(self, picture, squares):
    differs = (picture != self.empty).any(-1, keepdims=True)
    mask = np.repeat(differs, 3, -1).astype(np.uint8) * 255
    cut = squares[0].cut(mask, segmenter._SIZE)[..., 0] / np.float32(255)
    return self.find(picture, squares[0]), cut, squares[0]


def segment(scene):
  finder = object.__new__(segmenter.Segmenter)
  mask = lambda picture, square: scene.look_closely(picture, [square])[1]
  finder._landmarks, finder._sam = scene, None
  finder._mask, finder._finder = mask, dancers.finder(mask, scene, scene)
  finder._finder._compiled_landmarks = scene
  return finder


@pytest.mark.parametrize("places", [[(5, 10), (96, 12)], [(5, 12), (80, 6), (150, 10)]])
def test_everybody_is_found_with_the_others_taken_out(places):
  scene = Scene(*places)
  found = crowd.find_bodies(
    scene.find, scene.detect, scene.picture, scene.empty, scene.there
  )
  noses = sorted(body.points[lm.NOSE].tolist() for body in found)
  assert noses == sorted(body.points[lm.NOSE].tolist() for body in scene.bodies)
  for (own, hidden), mask in zip(
    territory.territories(scene.bodies, _SIZE), scene.masks, strict=True
  ):
    assert own[mask].mean() > 0.93 and own[scene.there & ~mask].mean() < 0.05
    assert hidden[scene.there & ~mask].mean() > 0.7 and hidden[mask].mean() < 0.02


def test_who_stands_in_front_hides_the_others():
  scene = Scene((60, 4), (100, 14))
  (behind, _), (front, _) = territory.territories(scene.bodies, _SIZE)
  both = scene.masks[1] & np.roll(scene.masks[1], (-10, -40), (0, 1))
  assert both.sum() > 500 and front[both].mean() > 0.8
  (front, _), (behind, _) = territory.territories(scene.bodies[::-1], _SIZE)
  assert front[both].mean() > 0.8 and not (front & behind).any()


def test_a_body_that_is_not_there_is_no_person():
  scene = Scene((5, 10), (96, 12))
  shown = (scene.picture, scene.empty)
  unsure = lambda picture, square: Landmarks(dancers.joints(), np.ones(33), 0.3)
  assert crowd.find_bodies(unsure, scene.detect, *shown, scene.there) == []
  half = scene.masks[0]  # the second one is not in the mask
  assert len(crowd.find_bodies(scene.find, scene.detect, *shown, half)) == 1
  squares = scene.detect(scene.picture)
  assert crowd.those_in(squares, half) == squares[:1]
  assert crowd.those_in([Square(400.0, 400.0, 90.0)], half) == []


def test_each_of_two_people_who_touch_is_cut_out_alone():
  scene = Scene((5, 10), (96, 12))
  finder = segment(scene)
  parts = finder.find(scene.picture)
  assert [part.is_mixed for part in parts] == [False, False]
  assert parts[0].there.sum() > parts[1].there.sum()  # who is in front
  masks = []
  for pick in (1, 2):
    person = finder.cut_out(parts, pick)
    nose = person.landmarks.points[lm.NOSE].tolist()
    i = [body.points[lm.NOSE].tolist() for body in scene.bodies].index(nose)
    masks.append(i)
    assert ((person.alpha > 0.5) != scene.masks[i]).mean() < 0.01
    assert person.others == 1
    assert person.beside[scene.masks[1 - i]].mean() > 0.9
    assert person.beside[scene.masks[i]].mean() < 0.1
  assert sorted(masks) == [0, 1] and finder.cut_out(parts, 3) is None


def test_people_who_cannot_be_told_apart_are_said_to_be_several():
  scene = Scene((60, 4), (80, 6))
  finder = segment(scene)
  finder._finder._detector = lambda picture, square: scene.detect(scene.picture)
  scene.find = lambda picture, square: scene.bodies[0]
  (part,) = finder.find(scene.picture)
  assert part.is_mixed and finder.cut_out([part]).part.is_mixed


def test_who_stands_apart_is_not_part_of_another():
  scene = Scene((0, 10), (140, 10))
  finder = segment(scene)
  finder._finder._detector = dancers.NoDetector()
  parts = finder.find(scene.picture)
  assert len(parts) == 2
  for pick in (1, 2):  # although the mask of the larger square shows both
    alpha = finder.cut_out(parts, pick).alpha
    assert min((alpha > 0.5)[mask].mean() for mask in scene.masks) == 0
    assert max((alpha > 0.5)[mask].mean() for mask in scene.masks) > 0.97


def test_the_next_person_of_a_picture_is_not_looked_for_again():
  scene = Scene((5, 10), (96, 12))
  finder, looked = segment(scene), []
  find = finder.find
  finder.find = lambda picture: looked.append(picture) or find(picture)
  first, second = (finder(scene.picture, pick) for pick in (1, 2))
  assert len(looked) == 1 and (first.alpha != second.alpha).any()
  assert finder(scene.empty) is None and len(looked) == 2
  assert finder(scene.picture) is not None and len(looked) == 3


def test_what_lies_beside_the_picture_is_nobody():
  scene = Scene((0, 10))
  finder = segment(scene)
  finder._finder._detector = dancers.NoDetector()
  whole = np.zeros((segmenter._SIZE, segmenter._SIZE), np.float32)
  whole[80:200, 20:120] = 1
  whole[:30, 20:200] = 1  # above the picture, where its border is repeated
  finder._finder._mask = lambda picture, square: whole
  (part,) = finder.find(scene.picture)
  assert part.there.any()


def test_threads_do_not_take_the_people_of_one_another():
  people = [segmenter.Person(np.zeros((4, 4), np.float32), None, 0) for _ in "ab"]

  class Finder(segmenter.Segmenter):
    def __init__(self):
      pass

    def find(self, picture):
      return [people[picture.flat[0]]]

    @property
    def cut_out(self):  # here the other one comes in between
      self._found = ((), ()), [people[1]]
      return lambda parts, pick: parts[pick - 1]

  assert Finder()(np.zeros((4, 4, 3), np.uint8)) is people[0]


def test_nobody_is_shared_among_those_beside():
  scene = Scene((5, 12), (80, 6), (150, 10))
  shown = (scene.detect, scene.picture, scene.empty)
  assert len(crowd.find_bodies(scene.find, *shown, scene.there)) == 3

  def find(picture, square):  # does not know the one in the middle
    seen = [body for body in scene._seen(picture) if body is not scene.bodies[1]]
    return seen[0] if seen else Landmarks(dancers.joints(), np.ones(33), 0.0)

  assert crowd.find_bodies(find, *shown, scene.there) == []


@pytest.mark.parametrize(
  ("score", "rows", "num"), [(0.6, 62, 2), (0.8, 62, 0), (0.6, 160, 0), (0.8, 20, 2)]
)
def test_what_is_beyond_all_outlines_may_be_a_skirt_unless_somebody_is_seen(
  score, rows, num
):
  scene = Scene((5, 10), (96, 12))
  skirt = np.zeros(_SIZE, bool)
  skirt[220 - rows :, 262:315] = True
  shape = scene.there | skirt
  taken = np.min([territory.distance_from(body, _SIZE) for body in scene.bodies], 0) < 1
  missed = 1 - taken[shape].mean()
  assert (missed < 0.08) == (rows == 20) and (missed > 0.2) == (rows == 160)

  def detect(picture, least=0.5):
    if (picture[scene.there] != scene.empty[scene.there]).any(-1).mean() > 0.1:
      return scene.detect(picture)
    inside = Square(238.0, 220 - rows / 2 - 25, 100.0)
    return [inside] if score >= least else []

  found = crowd.find_bodies(scene.find, detect, scene.picture, scene.empty, shape)
  assert len(found) == num


@pytest.mark.parametrize(
  ("confidence", "beyond", "is_claimed"),
  [(1.0, False, True), (0.4, False, False), (0.4, True, True)],
)
def test_an_arm_that_is_a_guess_claims_nothing_of_a_neighbour(
  confidence, beyond, is_claimed
):
  behind, front = (body for body in Scene((60, 4), (110, 14)).bodies)
  points, sure = front.points.copy(), front.confidence.copy()
  size = _SIZE
  x, y = behind.points[[lm.LEFT_SHOULDER, lm.RIGHT_HIP]].mean(0)
  points[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST, 18, 20]] = (x, y)
  sure[[lm.RIGHT_ELBOW, lm.RIGHT_WRIST]] = confidence
  if beyond:  # the picture ends above the elbow
    size = (int(y) - 2, _SIZE[1])
  reaching = dataclasses.replace(front, points=points, confidence=sure)
  (_, _), (own, _) = territory.territories([behind, reaching], size)
  (_, _), (without, _) = territory.territories([behind, front], size)
  assert ((own & ~without).sum() > 60) == is_claimed


def test_who_stands_lower_is_nearer_and_of_those_who_are_cut_off_whose_neck_is():
  points = dancers.joints()
  lower = points + [0, 5]
  assert territory.nearness(points, 300) < territory.nearness(lower, 300)
  tall = points.copy()
  tall[[lm.LEFT_ANKLE, lm.RIGHT_ANKLE, lm.LEFT_TOE, lm.RIGHT_TOE], 1] += 40
  assert territory.nearness(tall, 100) == territory.nearness(points, 100)
  assert territory.nearness(lower, 100) > territory.nearness(tall, 100)
  assert territory.nearness(tall, 185) > territory.nearness(points, 185)


@pytest.mark.parametrize("is_behind", [True, False])
def test_an_arm_where_somebody_in_front_was_is_no_surer_than_before(is_behind):
  scene = Scene((60, 4), (100, 14))
  first, second = scene.bodies if is_behind else scene.bodies[::-1]
  points = first.points.copy()
  points[lm.LEFT_WRIST] = second.points[[lm.LEFT_HIP, lm.RIGHT_SHOULDER]].mean(0)
  unsure = dataclasses.replace(first, confidence=np.full(33, 0.3))
  unsure.confidence[lm.LEFT_HIP] = 1.0  # also covered
  points[lm.LEFT_HIP] = points[lm.LEFT_WRIST]
  sure = dataclasses.replace(first, points=points, confidence=np.ones(33))
  sure.confidence[lm.LEFT_HIP] = 0.6
  found = crowd._look_again(
    lambda picture, square: sure,
    scene.picture,
    unsure,
    scene.there,
    [unsure, second],
  )
  np.testing.assert_array_equal(found.points, points)
  covered = territory.distance_from(second, _SIZE)[
    tuple(points[lm.LEFT_WRIST].astype(int)[::-1])
  ]
  assert covered < 1
  assert found.confidence[lm.LEFT_WRIST] == (0.3 if is_behind else 1.0)
  assert found.confidence[lm.LEFT_HIP] == 0.6  # never surer than it is now
  assert found.confidence[lm.RIGHT_EAR] == 1.0


class Enlarged(Scene):
  """Networks that know pictures of other sizes too, and remember them."""

  sizes: list

  def _seen(self, picture):
    scale = len(picture) / _SIZE[0]
    rows, columns = (((np.arange(n) + 0.5) * scale).astype(int) for n in _SIZE)
    return [
      dataclasses.replace(body, points=body.points * scale)
      for body in super()._seen(picture[rows][:, columns])
    ]

  def __call__(self, picture, square, least=0.5):
    return self.detect(picture)

  def in_parts(self, picture, share):
    return []

  def detect(self, picture, least=0.5):
    return [
      Square(*(body.points[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0) - side / 2), side)
      for body in self._seen(picture)
      for side in [250.0 * len(picture) / _SIZE[0]]
    ]

  def find(self, picture, square):
    self.sizes.append(max(picture.shape))
    return super().find(picture, square)

  def look_closely(self, picture, squares):
    differs = np.abs(picture.astype(int) - dancers.WALL).max(-1, keepdims=True) > 20
    mask = np.repeat(differs, 3, -1).astype(np.uint8) * 255
    cut = squares[0].cut(mask, segmenter._SIZE)[..., 0] / np.float32(255)
    return super().find(picture, squares[0]), cut, squares[0]


def test_a_large_picture_is_looked_at_at_the_usual_size():
  scene = Enlarged((5, 10), (96, 12))
  scene.sizes = []
  finder = segment(scene)
  parts = finder.find(scene.picture.repeat(4, 0).repeat(4, 1))
  assert len(parts) == 2 and max(scene.sizes) == 512
  for part in parts:
    assert part.picture.shape == (4 * _SIZE[0], 4 * _SIZE[1], 3)
    masks = [mask.repeat(4, 0).repeat(4, 1) for mask in scene.masks]
    overlap = [(part.there & mask).sum() / (part.there | mask).sum() for mask in masks]
    assert max(overlap) > 0.85 and min(overlap) < 0.1


def side_by_side():
  """Returns two people of different colours who touch, and a border beside theirs."""
  scene = Scene((30, 10), (106, 10))
  y, x = np.indices(_SIZE)
  edge = 148 + 5 * np.sin(y / 6)
  scene.there = (y > 60) & (y < 130) & (x > 100) & (x < 200)
  scene.masks = [scene.there & (x < edge), scene.there & (x >= edge)]
  for mask, colour in zip(scene.masks, (dancers.SKIN, dancers.SHIRT), strict=True):
    scene.picture[mask] = colour
  return scene, [x < 150, x >= 150]


def test_a_border_between_people_moves_to_where_the_colours_change():
  scene, owns = side_by_side()
  found = territory.by_colour(scene.picture, scene.there, scene.bodies, owns)
  np.testing.assert_array_equal(found[0] ^ found[1], np.ones(_SIZE, bool))
  errors = [((x[0] & scene.there) ^ scene.masks[0]).sum() for x in (owns, found)]
  assert errors[0] > 200 and errors[1] < 0.3 * errors[0]
  # Beside the people, and far from the border, nothing changes.
  far = np.abs(np.arange(_SIZE[1]) - 150) > 0.5 * 53
  for own, other in zip(owns, found, strict=True):
    np.testing.assert_array_equal(own[:, far], other[:, far])
    np.testing.assert_array_equal(own[~scene.there], other[~scene.there])


def test_pixels_that_hang_together_with_nobody_stay():
  scene, owns = side_by_side()
  speck = np.zeros(_SIZE, bool)
  speck[84:92, 138:142] = True  # of the first, in the other's colour
  scene.picture[speck] = dancers.SHIRT
  found = territory.by_colour(scene.picture, scene.there, scene.bodies, owns)
  assert found[0][speck].all()


def test_borders_stay_if_one_is_all_border():
  scene, owns = side_by_side()
  narrow = [np.zeros(_SIZE, bool), np.ones(_SIZE, bool)]
  narrow[0][:, 120:124], narrow[1][:, 120:124] = True, False
  found = territory.by_colour(scene.picture, scene.there, scene.bodies, narrow)
  assert all(a is b for a, b in zip(found, narrow, strict=True))


def test_toes_beside_a_foot_in_front_belong_to_whom_they_are_nearer():
  front = dancers.landmarks()
  behind = dataclasses.replace(front, points=front.points + [49, -2])
  (_, (own, _)) = territory.territories([front, behind], (200, 240))
  x, y = behind.points[lm.RIGHT_TOE].astype(int)
  assert y > front.points[lm.LEFT_ANKLE][1] and own[y, x]

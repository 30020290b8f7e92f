"""Pieces put together are the person, and what an arm covered is filled in."""

import dancers
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from dabfusion_jax.people import pieces, regions, skeleton
from dabfusion_jax.people.skeleton import Skeleton


@pytest.fixture(scope="module")
def cut():
  picture, mask = dancers.draw()
  alpha = mask.astype(np.float32)
  return picture, mask, pieces.cut_pieces(picture, alpha, dancers.joints())[0]


def test_every_bone_has_a_piece(cut):
  rest = dancers.joints()
  person = Skeleton(rest, rest)
  moves = person.pose(rest, person.feet(rest))
  assert {piece.name for piece in cut[2]} == set(moves)


def test_at_rest_the_pieces_are_the_person(cut):
  picture, mask, parts = cut
  still = {piece.name: np.eye(2, 3) for piece in parts}
  drawn = dancers.compose(parts, still)
  # The outermost pixel is soft.
  inner = np.array(PIL.Image.fromarray(mask).convert("L").reduce(1)) > 0
  inner[1:-1, 1:-1] = (
    mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
  )
  assert (drawn[inner][:, 3] > 200).mean() > 0.99
  error = np.abs(drawn[..., :3].astype(int) - picture).max(-1)
  assert (error[inner] < 10).mean() > 0.93
  assert not drawn[~mask][:, 3].any()


@pytest.mark.parametrize("scale", [0.2, 0.35, 0.6])
def test_a_small_person_is_whole_at_rest(scale):
  picture, mask = dancers.draw()
  size = (round(dancers.WIDTH * scale), round(dancers.HEIGHT * scale))
  small = np.asarray(PIL.Image.fromarray(picture).resize(size, PIL.Image.BOX))
  alpha = PIL.Image.fromarray(mask.astype(np.float32)).resize(size, PIL.Image.BOX)
  alpha = np.asarray(alpha)
  parts = pieces.cut_pieces(small, alpha, dancers.joints() * scale)[0]
  canvas = PIL.Image.new("RGBA", size)
  for piece in parts:
    piece.draw(canvas, np.eye(2, 3))
  drawn = np.asarray(canvas)[..., 3] / 255
  assert (drawn < alpha - 0.5).sum() <= 0.005 * alpha.sum()
  arms = sum(
    (np.asarray(piece.image)[..., 3] > 127).sum()
    for piece in parts
    if "arm" in piece.name
  )
  assert 0.12 < arms / alpha.sum() < 0.3


def test_a_forearm_along_the_trunk_takes_nothing_of_the_shirt_along():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[101, 70], [101, 94], [101, 100], [101, 101]]
  picture, mask = dancers.draw(points)
  # Edges of a photograph are mixed.
  soft = scipy.ndimage.gaussian_filter(picture.astype(float), (1, 1, 0))
  parts = pieces.cut_pieces(soft.astype(np.uint8), mask.astype(np.float32), points)[0]
  (arm,) = [piece for piece in parts if piece.name == "left_forearm"]
  pixels = np.asarray(arm.image).astype(int)[78 - arm.top : 94 - arm.top]
  inner = pixels[:, : 101 - arm.left]  # the half towards the trunk
  seen = inner[inner[..., 3] > 100][:, :3]
  assert len(seen) > 50
  assert (np.abs(seen - dancers.SKIN).max(-1) < 30).all()


def test_the_outer_edge_of_a_sleeve_does_not_stay_with_the_trunk():
  points = dancers.joints()
  picture, mask = dancers.draw(points)
  y, x = np.round((points[11] + points[13]) / 2).astype(int)[::-1]
  edge = np.flatnonzero(mask[y]).max() + 1  # beyond the arm
  bit = (slice(y - 4, y + 4), slice(edge, edge + 8))
  picture[bit], mask[bit] = dancers.SHIRT, True
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  (torso,) = [piece for piece in parts if piece.name == "torso"]
  labels, count = scipy.ndimage.label(np.asarray(torso.image)[..., 3] > 20)
  assert count == 1


def test_the_trunk_is_measured_from_hips_to_neck():
  assert skeleton.trunk_length(dancers.joints()) == pytest.approx(53)


def test_an_arm_across_the_trunk_takes_no_chest_along():
  points = dancers.joints()
  # The upper arm hangs down, the forearm lies across the whole trunk.
  points[[14, 16, 18, 20]] = [[54, 82], [108, 84], [114, 84], [114, 85]]
  picture, mask = dancers.draw(points)
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  for name in ("right_upper_arm", "left_upper_arm"):
    drawn = dancers.compose(
      [piece for piece in parts if piece.name == name], {name: np.eye(2, 3)}
    )
    assert not drawn[58:76, 72:88, 3].any()
  (torso,) = [piece for piece in parts if piece.name == "torso"]
  for place in ((80, 66), (80, 84), (80, 98)):  # above, behind, and below the forearm
    *colour, alpha = torso.image.getpixel((place[0] - torso.left, place[1] - torso.top))
    assert alpha > 200
    np.testing.assert_allclose(colour, dancers.SHIRT, atol=30)


def test_long_hair_goes_with_the_head():
  points = dancers.joints()
  picture, mask = dancers.draw(points)
  hair = np.zeros_like(mask)
  hair[16:66, 62:71] = hair[16:66, 89:98] = True  # down over both shoulders
  hair[16:24, 62:98] = True
  picture[hair], mask[hair] = (20, 15, 10), True
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  is_dark = lambda piece: (
    (np.asarray(piece.image)[..., :3] < 35).all(-1)
    & (np.asarray(piece.image)[..., 3] > 100)
  )
  by_name = {piece.name: piece for piece in parts}
  head, torso = by_name["head"], by_name["torso"]
  assert is_dark(head).sum() > 0.75 * hair.sum()
  for name in ("torso", "left_upper_arm", "right_upper_arm"):
    assert is_dark(by_name[name]).sum() < 0.03 * hair.sum(), name
  *colour, alpha = torso.image.getpixel((67 - torso.left, 60 - torso.top))
  assert alpha > 200  # shirt under the hair
  np.testing.assert_allclose(colour, dancers.SHIRT, atol=30)


def test_below_hair_of_its_colour_a_shirt_stays_with_the_trunk():
  points = dancers.joints()
  picture, mask = dancers.draw(points)
  shirt = (picture == dancers.SHIRT).all(-1)
  row = np.arange(dancers.HEIGHT)[:, None]
  light = np.array([110, 115, 125])
  picture[mask & (row < 56)] = light
  # The upper part of the shirt is in the light, too.
  picture[shirt & (row < 66)] = light
  picture[shirt & (row >= 66)] = light - 25
  noise = np.random.default_rng(0).normal(0, 6, (*mask.shape, 1))
  picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  head = regions.assign(shapes, mask, picture, points)["head"]
  assert (head & shirt & (shapes["head"] > 1.3)).sum() < 5


@pytest.mark.parametrize("arms", [0.4, 1.0])
def test_an_elbow_is_as_round_as_the_arm_is_wide(arms):
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[116, 80], [138, 108], [140, 110], [140, 111]]
  picture, mask = dancers.draw(points, arms)
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  for name, start in (("left_upper_arm", 11), ("left_forearm", 15)):
    (part,) = [piece for piece in parts if piece.name == name]
    y, x = np.nonzero(np.asarray(part.image)[..., 3] > 128)
    place = np.stack([x + part.left, y + part.top], -1) - points[13]
    axis = (points[13] - points[start]) / np.hypot(*(points[13] - points[start]))
    beyond = (place @ axis).max()
    assert 0.5 < beyond < 6 * arms + 2


def test_forearms_and_thighs_fade_into_what_they_hang_on(cut):
  below = {p.name: p.seam.below for p in cut[2] if p.seam is not None}
  for side in ("left", "right"):
    assert below[f"{side}_forearm"] == f"{side}_upper_arm"
    assert below[f"{side}_thigh"] == f"{side}_shin"
    assert below[f"{side}_upper_arm"] is None  # the trunk, and hair over it


def test_an_elbow_beside_the_trunk_takes_no_shirt_along():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[97, 80], [99, 102], [99, 108], [99, 109]]
  picture, mask = dancers.draw(points)
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  trunk = regions.assign(shapes, mask, picture, points)["torso"]
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  for name in ("left_upper_arm", "left_forearm"):
    (arm,) = [piece for piece in parts if piece.name == name]
    drawn = dancers.compose([arm], {name: np.eye(2, 3)})[..., 3] > 127
    assert (drawn & trunk)[72:].sum() < 5, name  # below the shoulder
    assert drawn[72:].any()


def test_bits_between_hand_and_thigh_do_not_fly_along():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[108, 82], [110, 104], [110, 110], [110, 111]]
  picture, mask = dancers.draw(points)
  bit = (slice(118, 121), slice(99, 106))  # a shadow that reaches from the thigh
  picture[bit], mask[bit] = (30, 15, 10), True
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  (thigh,) = [piece for piece in parts if piece.name == "left_thigh"]
  drawn = dancers.compose([thigh], {"left_thigh": np.eye(2, 3)})
  assert not (drawn[118:121, 104:106, 3] > 60).any()
  assert (drawn[118:121, 88:96, 3] > 200).all()


def test_a_hand_before_a_bare_thigh_keeps_its_fingers():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[106, 84], [104, 108], [103, 114], [103, 115]]
  picture, mask = dancers.draw(points)
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
  bare = (picture == dancers.TROUSERS).all(-1)
  picture[bare] = np.array(dancers.SKIN) * 0.94
  fingers = (np.abs(x - 102) < 4) & (y >= 116) & (y < 122)
  picture[fingers], mask[fingers] = np.array(dancers.SKIN) * 0.94, True
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  found = regions.assign(shapes, mask, picture, points)
  assert found["left_forearm"][fingers].mean() > 0.9


def assigned(points, picture, mask):
  shapes = regions.outlines(points, skeleton.trunk_length(points), mask.shape)
  return regions.assign(shapes, mask, picture, points)


def test_a_thin_arm_leaves_the_shirt_beside_it_to_the_trunk():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[92, 80], [90, 102], [90, 108], [90, 109]]
  picture, mask = dancers.draw(points, arms=0.6)
  y, x = np.mgrid[: dancers.HEIGHT, : dancers.WIDTH]
  forearm = (picture == dancers.SKIN).all(-1) & (y > 82) & (y < 100) & (x > 80)
  found = assigned(points, picture, mask)["left_forearm"]
  assert found[forearm].mean() > 0.95
  beside = mask & ~forearm & (y > 86) & (y < 100) & (x > 82)  # of the outline, too
  assert found[beside].mean() < 0.05


def test_a_sleeve_of_another_colour_ends_where_its_colour_does():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[106, 80], [108, 102], [108, 108], [108, 109]]
  picture, mask = dancers.draw(points, arms=0.5)
  gap = np.zeros_like(mask)
  gap[84:100, 88:105] = ~mask[84:100, 88:105]
  picture[gap], mask[gap] = dancers.SHIRT, True  # a wide shirt
  found = assigned(points, picture, mask)["left_forearm"]
  assert found[gap].mean() < 0.1


def test_an_arm_of_the_colour_of_the_trunk_ends_at_its_outline():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[106, 80], [108, 102], [108, 108], [108, 109]]
  picture, mask = dancers.draw(points)
  mask[80:100, 92:110] = True  # no gap
  picture[mask] = dancers.SHIRT
  noise = np.random.default_rng(0).integers(-9, 10, picture.shape)
  picture = np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)
  found = assigned(points, picture, mask)["left_forearm"]
  columns = np.nonzero(found[94])[0]
  assert 8 < len(columns) < 14  # the outline is 13 wide
  assert len(columns) == columns[-1] - columns[0] + 1
  assert abs(columns.mean() - 107) < 2.5


def test_an_arm_reaches_into_the_trunk_at_the_shoulder(cut):
  picture, mask, parts = cut
  trunk = assigned(dancers.joints(), picture, mask)["torso"]
  (arm,) = [piece for piece in parts if piece.name == "left_upper_arm"]
  drawn = dancers.compose([arm], {arm.name: np.eye(2, 3)})[..., 3] > 127
  # Beyond the soft edge of what is the arm's own.
  assert (drawn & scipy.ndimage.binary_erosion(trunk))[:70].any()


def test_specks_that_hang_on_by_a_thread_are_no_part_of_a_piece():
  mask = np.zeros((40, 60), bool)
  mask[5:35, 5:30] = True
  mask[38:40, 5:30] = True  # a part that is long and thin
  mask[10:15, 40:45] = mask[12, 30:40] = True  # a speck, and a thread to it
  wide = pieces._without_thin_parts(mask, np.ones(mask.shape, np.float32), 2.0)
  kept = pieces._large_parts(wide)
  assert kept[7:33, 7:28].all()
  assert not kept[:, 34:].any()
  assert not kept[38:].any()
  assert not pieces._large_parts(mask & False).any()


def test_the_rim_of_a_loose_sleeve_goes_with_the_arm():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[130, 72], [150, 60], [155, 57], [155, 57]]
  picture, mask = dancers.draw(points)
  y, x = (
    np.mgrid[: dancers.HEIGHT, : dancers.WIDTH] + 0.5 - points[11][::-1, None, None]
  )
  along = points[13] - points[11]
  length = np.hypot(*along)
  share, beside = x * along[0] + y * along[1], x * along[1] - y * along[0]
  sleeve = (share > 0) & (share < length**2) & (abs(beside) < 12 * length)
  picture[sleeve], mask[sleeve] = dancers.SHIRT, True
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  trunk = [piece for piece in parts if piece.name == "torso"]
  drawn = dancers.compose(trunk, {"torso": np.eye(2, 3)})[..., 3] > 127
  beyond = np.logical_or.accumulate(~mask & (x > 0), axis=1) & sleeve
  assert beyond.sum() > 100 and (drawn & beyond).sum() < 0.2 * beyond.sum()


def test_what_hangs_on_the_trunk_by_a_thread_does_not_float_beside_it():
  points = dancers.joints()
  points[[13, 15, 17, 19]] = [[112, 40], [118, 18], [119, 12], [119, 12]]
  picture, mask = dancers.draw(points)
  blob, thread = (slice(86, 93), slice(113, 121)), (slice(89, 91), slice(96, 114))
  for area in (blob, thread):
    picture[area], mask[area] = dancers.SHIRT, True
  parts = pieces.cut_pieces(picture, mask.astype(np.float32), points)[0]
  drawn = dancers.compose(
    [piece for piece in parts if piece.name == "torso"], {"torso": np.eye(2, 3)}
  )
  assert drawn[90, 90, 3] == 255 and not drawn[86:94, 112:124, 3].any()


def test_a_speck_beside_the_hair_belongs_to_nobody():
  picture, mask = dancers.draw()
  mask[20:23, 112:115] = True
  alpha = mask.astype(np.float32)
  parts = pieces.cut_pieces(picture, alpha, dancers.joints())[0]
  (head,) = [piece for piece in parts if piece.name == skeleton.HEAD]
  drawn = dancers.compose([head], {skeleton.HEAD: np.eye(2, 3)})
  assert drawn[10:50, 70:90, 3].any() and not drawn[15:28, 108:120, 3].any()

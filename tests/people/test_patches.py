"""A background goes on behind a person as it is beside them."""

import numpy as np
import pytest

from dabfusion_jax.people import patches
from dabfusion_jax.people.patches import fill_from_patches


def test_everything_outside_a_hole_stays_bit_for_bit():
  picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  hole = np.zeros((40, 60), bool)
  hole[10:30, 20:45] = True
  filled = fill_from_patches(picture, hole)
  np.testing.assert_array_equal(filled[~hole], picture[~hole])
  assert (filled[hole] != picture[hole]).any()


def test_a_wall_behind_a_hole_continues():
  rows = np.linspace(60, 220, 64)[:, None, None]
  wall = np.broadcast_to(rows, (64, 80, 3)).round().astype(np.uint8)
  hole = np.zeros((64, 80), bool)
  hole[15:50, 30:55] = True
  spoiled = np.where(hole[..., None], 0, wall).astype(np.uint8)
  filled = fill_from_patches(spoiled, hole)
  assert np.abs(filled.astype(int) - wall)[hole].max() < 12


def test_a_hole_has_the_texture_of_what_is_beside_it():
  hole = np.zeros((64, 96), bool)
  hole[12:52, 36:60] = True
  inside = np.zeros_like(hole)
  inside[20:44, 42:54] = True
  shares = []
  for seed in range(5):
    noise = np.random.default_rng(seed).normal(128, 25, (64, 96, 1)).clip(0, 255)
    grass = np.broadcast_to(noise, (64, 96, 3)).astype(np.uint8)
    filled = fill_from_patches(grass, hole)
    shares.append(filled[inside].std() / grass[inside].std())
  assert np.mean(shares) > 0.4  # of smooth colours 0.1


@pytest.mark.parametrize("whole", [False, True])
def test_no_hole_and_nothing_but_hole_are_no_errors(whole):
  picture = np.full((8, 8, 3), 7, np.uint8)
  hole = np.full((8, 8), whole)
  np.testing.assert_array_equal(fill_from_patches(picture, hole), picture)


def test_rows_of_which_nothing_is_known_are_filled_from_others():
  picture = np.random.default_rng(0).integers(90, 110, (40, 60, 3)).astype(np.uint8)
  hole = np.zeros((40, 60), bool)
  hole[10:30] = True
  filled = fill_from_patches(picture, hole)[hole]
  assert 80 <= filled.min() and filled.max() <= 120


def test_a_pole_beside_a_hole_is_not_repeated_in_it():
  rng = np.random.default_rng(0)
  picture = np.full((40, 90, 3), 150, np.uint8) + rng.integers(
    0, 8, (40, 90, 3), np.uint8
  )
  picture[:, :20] = 0  # the black bar of a film
  hole = np.zeros((40, 90), bool)
  hole[8:32, 30:60] = True
  filled = fill_from_patches(picture, hole)[hole]
  assert filled.min() > 110
  assert filled.std() > 1  # the grain of the wall goes on


@pytest.mark.parametrize("turned", [False, True])
def test_a_fence_goes_on_as_a_fence_at_any_size(turned):
  for size in (130, 400):  # all compared, and neighbours tried
    boards = np.where(np.arange(size) % 16 < 10, 180, 40)
    fence = np.broadcast_to(boards[:, None] if turned else boards, (size, size))
    fence = np.stack([fence, fence // 2, fence // 3], -1).astype(np.uint8)
    hole = np.zeros((size, size), bool)
    hole[size // 4 : 3 * size // 4, size // 3 : 2 * size // 3] = True
    spoiled = np.where(hole[..., None], 255, fence).astype(np.uint8)
    filled = fill_from_patches(spoiled, hole)
    wrong = np.abs(filled.astype(int) - fence).max(-1)[hole] > 20
    assert wrong.mean() < 0.05, size


def test_what_goes_on_is_of_the_same_height():
  grass = np.random.default_rng(0).normal(128, 20, (90, 120, 3)).astype(np.float32)
  hole = np.zeros((90, 120), bool)
  hole[10:80, 40:80] = True
  level = patches._Level(grass, hole)  # in which one place is as good as another
  level.vote(level.compare_all())
  assert np.abs(level.found - level.targets)[:, 0].mean() < 0.1 * len(hole)


@pytest.mark.parametrize("shape", [(512, 4), (3, 300), (2000, 2), (1, 1)])
def test_pictures_as_narrow_as_a_line_are_filled(shape):
  picture = np.full((*shape, 3), 70, np.uint8)
  hole = np.zeros(shape, bool)
  hole[shape[0] // 2 :, :] = shape[0] > shape[1]
  hole[:, shape[1] // 2 :] = shape[1] > shape[0]
  spoiled = np.where(hole[..., None], 200, picture).astype(np.uint8)
  np.testing.assert_array_equal(fill_from_patches(spoiled, hole), picture)


@pytest.mark.parametrize("shape", [(510, 385), (511, 510), (1500, 1999)])
def test_a_hole_at_the_very_border_is_filled(shape):
  picture = np.random.default_rng(0).integers(60, 90, (*shape, 3)).astype(np.uint8)
  hole = np.zeros(shape, bool)
  hole[:, -1:] = True
  spoiled = np.where(hole[..., None], 255, picture).astype(np.uint8)
  assert fill_from_patches(spoiled, hole)[hole].max() < 110


def test_light_that_changes_leaves_no_seam_around_the_hole():
  light = (
    np.linspace(100, 180, 200)[None, :, None] * np.linspace(1, 0.8, 160)[:, None, None]
  )
  picture = np.broadcast_to(light, (160, 200, 3)).round().astype(np.uint8)
  hole = np.zeros((160, 200), bool)
  hole[30:130, 60:140] = True
  filled = fill_from_patches(picture, hole).astype(int)
  assert np.abs(np.diff(filled[30:130, 58:142, 0], axis=1)).max() < 8


def test_a_hole_without_room_beside_it_is_filled_smoothly():
  picture = np.full((60, 40, 3), 90, np.uint8)
  hole = np.zeros((60, 40), bool)
  hole[2:58, 2:38] = True
  filled = fill_from_patches(
    np.where(hole[..., None], 255, picture).astype(np.uint8), hole
  )
  np.testing.assert_array_equal(filled, picture)

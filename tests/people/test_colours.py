"""Colours suit the region whose they are, in light and in shadow."""

import numpy as np
import pytest
import scipy.ndimage

from dabfusion_jax.people import colours
from dabfusion_jax.people.colours import log_likelihood

SKIN, CLOTH = (200, 140, 110), (150, 150, 150)  # equally bright


@pytest.fixture
def halves():
  """A picture, skin on its left and cloth on its right, and both masks."""
  rng = np.random.default_rng(0)
  picture = np.empty((40, 60, 3), np.float32)
  picture[:, :30], picture[:, 30:] = SKIN, CLOTH
  picture += rng.normal(0, 4, picture.shape)
  left = np.zeros((40, 60), bool)
  left[:, :30] = True
  return picture, left


def test_each_half_suits_its_own_region(halves):
  picture, left = halves
  ratio = log_likelihood(picture, left, 6.0) - log_likelihood(picture, ~left, 6.0)
  assert (ratio[left] > 0).mean() > 0.97
  assert (ratio[~left] < 0).mean() > 0.97


def test_a_shadow_on_skin_is_skin(halves):
  picture, left = halves
  known = left.copy()
  known[10:30, 22:30] = False
  picture[10:30, 22:30] *= 0.75
  ratio = log_likelihood(picture, known, 6.0) - log_likelihood(picture, ~left, 6.0)
  assert (ratio[10:30, 22:30] > 0).mean() > 0.9


def test_a_varied_region_forgives_more(halves):
  picture, left = halves
  plain = log_likelihood(picture, ~left, 6.0)
  striped = picture.copy()
  striped[::2, 30:] += 60
  striped[1::2, 30:] -= 60
  odd = (slice(5, 35), slice(40, 50))
  darker = picture.copy()
  darker[odd] -= 40
  known = ~left
  known[odd] = False
  in_plain = log_likelihood(darker, known, 6.0)[odd]
  striped[odd] = darker[odd]
  in_striped = log_likelihood(striped, known, 6.0)[odd]
  assert in_striped.mean() > in_plain.mean()
  assert in_plain.mean() < plain[odd].mean()


def test_colours_of_a_region_are_those_nearby():
  rng = np.random.default_rng(0)
  picture = np.full((40, 90, 3), 90, np.float32) + rng.normal(0, 3, (40, 90, 3))
  picture[:, 60:] += 70
  known = np.ones((40, 90), bool)
  known[10:30, 25:35] = known[10:30, 70:80] = False
  picture[10:30, 25:35] += 70  # of the colour of the far end
  found = log_likelihood(picture.astype(np.float32), known, 6.0)
  assert found[10:30, 25:35].mean() + 5 < found[10:30, 70:80].mean()


def test_an_odd_pixel_of_a_region_does_not_suit_it(halves):
  picture, left = halves
  picture[20, 15] = CLOTH
  found = log_likelihood(picture, left, 6.0)
  assert found[20, 15] < found[18:23, 13:15].mean() - 3


@pytest.mark.parametrize("sigma", [5.0, 8.0, 13.0, 30.0])
def test_a_wide_blur_on_a_reduced_picture_is_nearly_the_exact_one(sigma):
  rng = np.random.default_rng(0)
  values = scipy.ndimage.gaussian_filter(rng.normal(0, 50, (203, 307, 2)), (3, 3, 0))
  values = values.astype(np.float32) + 100
  exact = scipy.ndimage.gaussian_filter(values, (sigma, sigma, 0))
  blurred = colours._blur(values, sigma)
  assert blurred.shape == values.shape and blurred.dtype == np.float32
  assert np.abs(blurred - exact).std() < 0.1
  assert np.abs(blurred - exact).max() < 2

"""Frechet distance: exact where matrix roots are not."""

import warnings

import numpy as np
import pytest

from dabfusion_jax.metrics.frechet import frechet_distance

pytestmark = pytest.mark.filterwarnings("ignore:.*rank-deficient")


def features(seed, n, d, scale=1.0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * scale + rng.normal(size=d)


def reference(a, b):
  """By the definition, with a symmetric matrix root."""
  s1, s2 = np.cov(a.T), np.cov(b.T)
  values, vectors = np.linalg.eigh(s1)
  root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
  inner = np.linalg.eigvalsh(root @ s2 @ root)
  trace = np.sqrt(np.clip(inner, 0, None)).sum()
  shift = a.mean(0) - b.mean(0)
  return shift @ shift + np.trace(s1) + np.trace(s2) - 2 * trace


@pytest.mark.parametrize(("n1", "n2", "d"), [(50, 60, 7), (9, 200, 7), (5, 6, 12)])
def test_equals_the_definition(n1, n2, d):
  a, b = features(0, n1, d), features(1, n2, d)
  got = frechet_distance(a, b)
  np.testing.assert_allclose(got, reference(a, b), rtol=1e-6)
  np.testing.assert_allclose(got, frechet_distance(b, a), rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (3, 30)])
def test_permuted_rows_are_at_distance_zero(n, d):
  a = features(0, n, d, scale=100)
  got = frechet_distance(a, np.random.default_rng(1).permutation(a))
  assert 0 <= got < 1e-6


@pytest.mark.parametrize(("n", "d"), [(40, 5), (3, 30)])
def test_pure_shift_is_its_square(n, d):
  a = features(0, n, d)
  shift = np.arange(d) / d
  np.testing.assert_allclose(frechet_distance(a, a + shift), shift @ shift, rtol=1e-6)


def test_scaled_set_is_the_closed_form():
  a = features(0, 30, 4)
  a -= a.mean(0)
  got = frechet_distance(a, 3 * a)  # root of S1 S2 is 3 S1: (1 + 9 - 6) Tr S1
  np.testing.assert_allclose(got, 4 * np.trace(np.cov(a.T)), rtol=1e-9)


def test_constant_and_duplicated_features_are_fine():
  a, b = features(0, 30, 4), features(1, 25, 4)
  base = frechet_distance(a, b)
  pad = lambda x: np.concatenate([x, np.full((len(x), 2), 7.0)], axis=1)
  np.testing.assert_allclose(frechet_distance(pad(a), pad(b)), base, rtol=1e-9)
  double = lambda x: np.concatenate([x, x], axis=1)
  np.testing.assert_allclose(frechet_distance(double(a), double(b)), 2 * base)
  assert frechet_distance(np.ones((3, 4)), np.full((5, 4), 2.0)) == 4.0


def test_inputs_are_not_modified():
  a, b = features(0, 6, 3).astype(np.float32), features(1, 6, 3).astype(np.float32)
  copies = a.copy(), b.copy()
  frechet_distance(a, b)
  np.testing.assert_array_equal(a, copies[0])
  np.testing.assert_array_equal(b, copies[1])


def test_one_sample_is_refused():
  with pytest.raises(ValueError, match="second set has 1"):
    frechet_distance(features(0, 5, 3), features(1, 1, 3))


def test_nan_is_refused():
  bad = features(1, 5, 3)
  bad[2, 1] = np.nan
  with pytest.raises(ValueError, match="not finite"):
    frechet_distance(features(0, 5, 3), bad)


@pytest.mark.filterwarnings("error")
def test_few_samples_warn():
  with pytest.warns(UserWarning, match="rank-deficient"):
    frechet_distance(features(0, 5, 5), features(1, 9, 5))


def test_enough_samples_do_not_warn():
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    frechet_distance(features(0, 6, 5), features(1, 9, 5))
  assert caught == []

"""PSNR and SSIM against scikit-image and published values."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dabfusion_jax.metrics import image


def frames(seed, shape=(3, 24, 31, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def similar(x, seed=9):
  noise = np.random.default_rng(seed).normal(0, 12, x.shape)
  return np.clip(x.astype(float) + noise, 0, 255).round().astype(np.uint8)


def reference_ssim(a, b):
  return structural_similarity(
    a,
    b,
    data_range=255,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
  )


@pytest.mark.parametrize("smooth", [False, True])
def test_scores_equal_scikit_image(smooth):
  a = frames(0)
  if smooth:
    a = np.linspace(0, 255, a.size).reshape(a.shape).astype(np.uint8)
  b = similar(a)
  x, y = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
  wanted = [reference_ssim(p, q) for p, q in zip(a, b, strict=True)]
  np.testing.assert_allclose(image.ssim(x, y, 255.0), wanted, atol=2e-5)
  wanted = [
    peak_signal_noise_ratio(p, q, data_range=255) for p, q in zip(a, b, strict=True)
  ]
  np.testing.assert_allclose(image.psnr(x, y, 255.0), wanted, atol=1e-4)


def test_zeros_against_ones_is_the_published_value():
  zeros, ones = jnp.zeros((1, 16, 16, 3)), jnp.ones((1, 16, 16, 3))
  np.testing.assert_allclose(image.psnr(zeros, ones, 1.0), 0.0, atol=1e-6)
  np.testing.assert_allclose(image.ssim(zeros, ones, 1.0), 9.9990e-05, rtol=1e-4)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_scores_do_not_depend_on_the_unit(data_range):
  x, y = (jnp.asarray(f, jnp.float32) for f in (frames(0), similar(frames(0))))
  a, b = x / 255 * data_range, y / 255 * data_range
  np.testing.assert_allclose(
    image.psnr(a, b, data_range), image.psnr(x, y, 255.0), rtol=1e-5
  )
  np.testing.assert_allclose(
    image.ssim(a, b, data_range), image.ssim(x, y, 255.0), atol=1e-5
  )


def test_small_picture_is_refused():
  with pytest.raises(ValueError, match="11 px"):
    image.ssim(jnp.zeros((1, 10, 32, 3)), jnp.zeros((1, 10, 32, 3)), 1.0)


def test_first_frame_is_left_out_unless_asked_for():
  real = frames(0)
  generated = similar(real)
  generated[0] = real[0]
  without = image.paired_scores(generated, real)
  including = image.paired_scores(generated, real, include_first=True)
  assert without["n_frames"] == 2 and without["n_inf"] == 0
  assert including["n_frames"] == 3 and including["n_inf"] == 1
  np.testing.assert_allclose(
    including["psnr"], (2 * without["psnr"] + 100) / 3, rtol=1e-6
  )
  assert including["ssim"] > without["ssim"]


def test_means_are_over_frames_and_pooled_error_is_apart():
  real = np.full((3, 16, 16, 3), 100, np.uint8)
  generated = real.copy()
  generated[1] += 1
  generated[2] += 10
  scores = image.paired_scores(generated, real)
  psnr = lambda mse: 10 * np.log10(255**2 / mse)
  np.testing.assert_allclose(scores["psnr"], (psnr(1) + psnr(100)) / 2, rtol=1e-6)
  np.testing.assert_allclose(scores["psnr_pooled"], psnr(50.5), rtol=1e-6)


def test_identical_clip_is_counted():
  scores = image.paired_scores(frames(0), frames(0))
  assert scores["n_inf"] == 2 and scores["psnr"] == 100.0
  assert scores["psnr_pooled"] is None
  np.testing.assert_allclose(scores["ssim"], 1.0, atol=1e-6)


def test_content_rows_ignore_the_bars():
  real = np.zeros((2, 40, 16, 3), np.uint8)
  real[:, 10:30] = frames(1, (2, 20, 16, 3))
  generated = real.copy()
  generated[:, 10:30] = similar(real[:, 10:30])
  got = image.paired_scores(generated, real, rows=(10, 30))
  assert got == image.paired_scores(generated[:, 10:30], real[:, 10:30])
  assert got["psnr"] < image.paired_scores(generated, real)["psnr"] - 2


def test_mask_restricts_scores_to_its_pixels():
  real = frames(2, (3, 32, 32, 3))
  generated = real.copy()
  generated[:, 8:24, 8:24] = similar(real[:, 8:24, 8:24])
  mask = np.zeros((3, 32, 32), bool)
  mask[1, 8:24, 8:24] = True  # and empty in frame 2
  masked = image.paired_scores(generated, real, mask=mask)
  assert masked["n_frames"] == 1
  difference = generated[1, 8:24, 8:24].astype(float) - real[1, 8:24, 8:24]
  wanted = 10 * np.log10(255**2 / np.mean(difference**2))
  np.testing.assert_allclose(masked["psnr"], wanted, rtol=1e-6)
  assert masked["ssim"] < image.paired_scores(generated, real)["ssim"]
  full = image.paired_scores(generated, real, mask=np.ones_like(mask))
  plain = image.paired_scores(generated, real)
  assert full == plain


@pytest.mark.parametrize("kind", ["one frame", "empty mask"])
def test_clip_without_a_frame_to_score_is_undefined(kind):
  clip = frames(0, (1 if kind == "one frame" else 2, 16, 16, 3))
  scores = image.paired_scores(clip, clip, mask=np.zeros(clip.shape[:3], bool))
  assert scores["psnr"] is None and scores["ssim"] is None
  assert scores["n_frames"] == 0


def test_clips_of_different_shape_are_refused():
  with pytest.raises(ValueError, match="differ in shape"):
    image.paired_scores(frames(0), frames(0, (2, 24, 31, 3)))

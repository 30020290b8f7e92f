"""LPIPS on the real weights; its arithmetic on random ones."""

import jax
import numpy as np
import pytest

from dabfusion_jax.metrics.features import lpips
from dabfusion_jax.pretrained import store


def load_or_skip(net):
  try:
    return store.load(lpips.WEIGHTS[net])
  except store.MissingWeightsError as error:
    pytest.skip(str(error))


def frames(seed, size=64, num_frames=2):
  shape = (num_frames, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def random_init_alexnet():
  rng = np.random.default_rng(0)
  shapes = ((11, 3, 4), (5, 4, 6), (3, 6, 8), (3, 8, 6), (3, 6, 6))
  trunk, heads = {}, {}
  for i, (size, channels_in, channels_out) in enumerate(shapes):
    kernel = rng.normal(size=(size, size, channels_in, channels_out))
    trunk[f"conv{i + 1}"] = {
      "kernel": kernel.astype(np.float32),
      "bias": np.zeros(channels_out, np.float32),
    }
    heads[f"tap{i + 1}"] = rng.uniform(size=channels_out).astype(np.float32)
  return {"trunk": trunk, "heads": heads}


def test_black_against_white_is_the_published_value():
  black = np.zeros((1, 64, 64, 3), np.uint8)
  got = lpips.clip_lpips(load_or_skip("alex"), "alex", black, black + 255)
  np.testing.assert_allclose(got, 0.8140, atol=1e-4)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_blur_and_noise_cost_more_than_nothing(net):
  loaded = load_or_skip(net)
  x = np.linspace(0, 255, 32 * 32 * 3).reshape(1, 32, 32, 3).astype(np.uint8)
  noise = np.random.default_rng(0).normal(size=x.shape)
  scores = []
  for sigma in (0, 10, 60):
    noisy = np.clip(x + sigma * noise, 0, 255).astype(np.uint8)
    scores.append(lpips.clip_lpips(loaded, net, x, noisy)[0])
  assert scores[0] < 1e-12 < scores[1] < scores[2]


def test_distance_is_symmetric_and_zero_for_equal_frames():
  loaded = random_init_alexnet()
  a, b = frames(0), frames(1)
  np.testing.assert_allclose(
    lpips.clip_lpips(loaded, "alex", a, b),
    lpips.clip_lpips(loaded, "alex", b, a),
    rtol=1e-5,
  )
  assert lpips.clip_lpips(loaded, "alex", a, a).max() < 1e-12


def test_frames_are_scored_one_by_one():
  loaded = random_init_alexnet()
  a, b = frames(0, num_frames=9), frames(1, num_frames=9)  # one more than a chunk
  got = lpips.clip_lpips(loaded, "alex", a, b)
  assert got.shape == (9,)
  alone = lpips.clip_lpips(loaded, "alex", a[8:], b[8:])
  np.testing.assert_allclose(got[8:], alone, rtol=1e-5)


def test_heads_weigh_channels_linearly():
  loaded = random_init_alexnet()
  double = loaded | {"heads": jax.tree.map(lambda x: 2 * x, loaded["heads"])}
  a, b = frames(0), frames(1)
  np.testing.assert_allclose(
    lpips.clip_lpips(double, "alex", a, b),
    2 * lpips.clip_lpips(loaded, "alex", a, b),
    rtol=1e-5,
  )


def test_unknown_net_is_refused():
  with pytest.raises(ValueError, match="alex"):
    lpips.clip_lpips({}, "squeeze", frames(0), frames(1))

"""I3D: published distances with the real weights, resizing without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.metrics.features import i3d
from dabfusion_jax.pretrained import store


@pytest.mark.slow
def test_distance_of_black_and_white_video_is_the_published_one():
  """Squared distance of the logits; torch port: 569.230 at 10 frames."""
  try:
    variables = store.load(i3d.WEIGHTS)
  except store.MissingWeightsError as error:
    pytest.skip(str(error))
  black = np.zeros((10, 16, 16, 3), np.uint8)
  a, b = (i3d.i3d_logits(variables, x) for x in (black, black + 255))
  distance = np.sum((a.astype(np.float64) - b) ** 2)
  np.testing.assert_allclose(distance, 569.230, rtol=5e-3)  # the published one
  np.testing.assert_allclose(distance, 569.7717, rtol=1e-4)  # ours


def test_network_takes_the_weight_file_s_names_and_shapes():
  video = jax.ShapeDtypeStruct((1, 10, 224, 224, 3), jnp.float32)
  shapes = jax.eval_shape(i3d.I3D().init, jax.random.key(0), video)
  assert sum(np.prod(x.shape) for x in jax.tree.leaves(shapes)) == 12_704_544
  assert len(jax.tree.leaves(shapes)) == 230
  unit = shapes["params"]["Mixed_4f"]["Branch_2"]["Conv3d_0b_3x3"]
  assert unit["conv"]["kernel"].shape == (3, 3, 3, 32, 128)
  assert unit["norm"]["bias"].shape == (128,)


def test_squash_is_the_half_pixel_resize_without_antialias():
  video = np.random.default_rng(0).integers(0, 256, (1, 2, 40, 300, 3), np.uint8)
  wanted = jax.image.resize(
    jnp.asarray(video, jnp.float32), (1, 2, 224, 224, 3), "bilinear", antialias=False
  )
  got = i3d.resize_video(jnp.asarray(video))
  np.testing.assert_allclose(got, wanted / 127.5 - 1, atol=1e-4)


def test_tf1_resize_puts_corners_at_pixel_zero():
  ramp = np.arange(112, dtype=np.uint8)
  video = np.broadcast_to(ramp[:, None], (1, 1, 112, 112, 3))
  video = np.array(np.broadcast_to(ramp[None, None, :, None, None], video.shape))
  got = (np.asarray(i3d.resize_video(jnp.asarray(video), "tf1")) + 1) * 127.5
  wanted = np.minimum(np.arange(224) / 2, 111)
  np.testing.assert_allclose(got[0, 0, :, 5, 0], wanted, atol=1e-4)


def test_centercrop_keeps_the_middle():
  video = np.zeros((1, 1, 224, 448, 3), np.uint8)
  video[..., 112:336, :] = 255
  assert (np.asarray(i3d.resize_video(jnp.asarray(video), "centercrop")) == 1).all()


def test_short_clips_and_unknown_resizes_are_refused():
  with pytest.raises(ValueError, match="10 frames, got 9"):
    i3d.i3d_logits({}, np.zeros((9, 8, 8, 3), np.uint8))
  with pytest.raises(ValueError, match="centercrop"):
    i3d.resize_video(jnp.zeros((1, 1, 8, 8, 3), jnp.uint8), "crop")

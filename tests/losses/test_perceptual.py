"""The perceptual loss and its frozen networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.losses.perceptual import perceptual_loss
from dabfusion_jax.ops import image_features
from dabfusion_jax.pretrained import converters, store


def random_init_vgg19(divisor=16):
  """Returns VGG-19 with fewer channels and random values."""
  rng = np.random.default_rng(0)
  trunk = {}
  for layer, (_, channels_in, channels_out) in converters.VGG19_LAYERS.items():
    shape = (3, 3, max(3, channels_in // divisor), max(3, channels_out // divisor))
    kernel = rng.normal(size=shape) * np.sqrt(2 / (9 * shape[2]))
    trunk[layer] = {
      "kernel": kernel.astype(np.float32),
      "bias": np.zeros(shape[3], np.float32),
    }
  return trunk


@pytest.fixture(scope="module")
def features_fn():
  return jax.jit(functools.partial(image_features.vgg_features, random_init_vgg19()))


def images(seed, size=32):
  return jax.random.uniform(jax.random.key(seed), (2, size, size, 3))


def test_vgg_taps_have_the_sizes_of_the_paper(features_fn):
  maps = jax.eval_shape(features_fn, images(0))
  assert [m.shape[1:] for m in maps] == [
    (32, 32, 4),
    (16, 16, 8),
    (8, 8, 16),
    (4, 4, 32),
    (2, 2, 32),
  ]


def test_vgg_layers_match_a_plain_numpy_convolution():
  trunk = random_init_vgg19(divisor=64)
  image = images(1, size=6)
  network = lambda x: image_features.vgg_features(trunk, x, taps=("relu2_1",))
  (got,) = jax.jit(network)(image)
  x = (np.asarray(image) - image_features.IMAGENET_MEAN) / image_features.IMAGENET_STD
  for layer in ("conv1_1", "conv1_2", "conv2_1"):
    if layer == "conv2_1":
      x = x.reshape(2, 3, 2, 3, 2, -1).max((2, 4))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    kernel = trunk[layer]["kernel"]
    x = sum(
      padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3)
    )
    x = np.maximum(x, 0)
  np.testing.assert_allclose(got, x, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (3, 2)])
def test_tiny_maps_are_convolved_like_large_ones(height, width):
  layer = random_init_vgg19()["conv3_1"]
  tiny = jax.random.normal(jax.random.key(3), (2, height, width, 8))
  large = np.pad(tiny, ((0, 0), (0, 8 - height), (0, 8 - width), (0, 0)))
  conv = jax.jit(lambda x: image_features._conv(x, layer, padding=1))
  wanted, got = conv(large)[:, :height, :width], conv(tiny)
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_imagenet_normalisation_is_that_of_lpips():
  shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
  image = np.random.default_rng(0).uniform(size=(7, 3))
  ours = (image - image_features.IMAGENET_MEAN) / image_features.IMAGENET_STD
  np.testing.assert_allclose(ours, (2 * image - 1 - shift) / scale, atol=1e-12)


def test_loss_is_zero_for_equal_images_only(features_fn):
  loss = jax.jit(functools.partial(perceptual_loss, features_fn, scales=(1.0, 0.5)))
  assert loss(images(0), images(0)) == 0
  assert loss(images(0), images(1)) > 0.1
  np.testing.assert_allclose(
    loss(images(0), images(1)), loss(images(1), images(0)), rtol=1e-5
  )


def test_loss_is_the_weighted_sum_of_its_terms(features_fn):
  a, b = images(0), images(1)
  weights_ = (1.0, 0.0, 0.0, 0.0, 3.0)
  maps = zip(features_fn(a), features_fn(b), strict=True)
  terms = [float(jnp.mean(jnp.abs(x - y))) for x, y in maps]
  got = perceptual_loss(features_fn, a, b, scales=(1.0,), weights=weights_)
  np.testing.assert_allclose(got, terms[0] + 3 * terms[4], rtol=1e-5)


def test_gradient_reaches_the_prediction_only(features_fn):
  loss = functools.partial(perceptual_loss, features_fn, scales=(1.0,))
  to_prediction, to_target = jax.jit(jax.grad(loss, argnums=(0, 1)))(
    images(0), images(1)
  )
  assert jnp.count_nonzero(to_prediction) > 0.9 * to_prediction.size
  assert jnp.count_nonzero(to_target) == 0


def test_weights_are_frozen():
  trunk = random_init_vgg19(divisor=64)
  loss = lambda trunk: jnp.sum(
    image_features.vgg_features(trunk, images(0, size=8), taps=("relu1_2",))[0]
  )
  for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(trunk)):
    assert not leaf.any()


def test_map_without_a_pixel_is_refused(features_fn):
  with pytest.raises(ValueError, match="too small|no pixel"):
    jax.eval_shape(
      functools.partial(perceptual_loss, features_fn), images(0), images(1)
    )


def test_unknown_tap_is_refused():
  with pytest.raises(ValueError, match="relu9_9"):
    jax.eval_shape(
      lambda x: image_features.vgg_features(random_init_vgg19(), x, ("relu9_9",)),
      images(0),
    )


def test_vgg19_has_the_published_number_of_parameters():
  layers = converters.VGG19_LAYERS.values()
  assert sum(9 * i * o + o for _, i, o in layers) == 12_944_960


@pytest.mark.parametrize(
  ("network", "weights"), [("vgg16", "lpips-vgg16"), ("alexnet", "lpips-alex")]
)
def test_the_known_shapes_are_those_of_the_imported_networks(network, weights):
  try:
    trunk = store.load(weights)["trunk"]
  except store.MissingWeightsError as error:
    pytest.skip(str(error))
  found = {name: layer["kernel"].shape for name, layer in trunk.items()}
  assert found == converters.kernel_shapes(network)


@pytest.mark.slow
def test_imported_vgg16_ranks_shifts_of_an_edge():
  """Trained weights rank a small shift below a large one."""
  try:
    trunk = store.load("lpips-vgg16")["trunk"]
  except store.MissingWeightsError as error:
    pytest.skip(str(error))
  edge = lambda column: jnp.zeros((1, 32, 32, 3)).at[:, :, column:].set(1.0)
  loss = jax.jit(
    functools.partial(
      perceptual_loss,
      functools.partial(image_features.vgg_features, trunk),
      scales=(1.0, 0.5),
    )
  )
  assert loss(edge(16), edge(17)) < loss(edge(16), edge(20)) < loss(edge(16), edge(28))

"""Perceptual loss: feature maps of a frozen classifier on an image pyramid.

  loss = sum over scales s and taps l of  weight_l * mean |F_l(x_s) - F_l(y_s)|

FOMM's form of Johnson et al. 2016 (1603.08155) has four scales and five VGG-19 maps,
each of weight 10. The paper's eq. 2 has a single layer and no pyramid: one scale, one
tap.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.resize import antialias_down

SCALES = (1.0, 0.5, 0.25, 0.125)
WEIGHT = 10.0


@jax.named_scope("perceptual")  # profiles tell it from the trained networks
def perceptual_loss(
  features_fn: Callable[[Float[Array, "b h w 3"]], Sequence[Array]],
  prediction: Float[Array, "b h w 3"],
  target: Float[Array, "b h w 3"],
  scales: Sequence[float | int] = SCALES,
  weights: Sequence[float | int] = (WEIGHT,) * 5,
) -> Float[Array, ""]:
  """Returns the distance of two batches of images in feature space.

  Args:
    features_fn: maps images to feature maps, for example
      `partial(image_features.vgg_features, trunk, taps=...)`.
    prediction: RGB in [0, 1]; sides are multiples of 1/scale.
    target: likewise; receives no gradient.
    scales: of the image pyramid, each in {1, 0.5, 0.25, 0.125}.
    weights: one per feature map.

  Raises:
    ValueError: a feature map would have no pixel. For small images, leave out the
      smallest scales or the deepest taps.
  """
  target = jax.lax.stop_gradient(target)
  total = jnp.zeros(())
  for scale in scales:
    maps = features_fn(antialias_down(prediction, scale))
    target_maps = features_fn(antialias_down(target, scale))
    if len(maps) != len(weights):
      raise ValueError(f"{len(maps)} feature maps, but {len(weights)} weights.")
    for i, (weight, a, b) in enumerate(zip(weights, maps, target_maps, strict=True)):
      if a.size == 0:
        raise ValueError(
          f"Feature map {i} at scale {scale} has no pixel for images of"
          f" {prediction.shape[1]}x{prediction.shape[2]}."
        )
      total += weight * jnp.mean(jnp.abs(a - b))
  return total

"""Perceptual loss: feature maps of a frozen classifier on an image pyramid.

  loss = sum over scales s and taps l of  weight_l * mean |F_l(x_s) - F_l(y_s)|

FOMM's reading of Johnson et al. 2016 (1603.08155): four scales, five VGG-19 maps,
every weight 10. The paper's eq. 2 has one layer and no pyramid: one scale, one tap.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.resize import antialias_down

SCALES = (1.0, 0.5, 0.25, 0.125)
WEIGHT = 10.0


def perceptual_loss(
  features_fn: Callable[[Float[Array, "b h w 3"]], Sequence[Array]],
  prediction: Float[Array, "b h w 3"],
  target: Float[Array, "b h w 3"],
  scales: Sequence[float | int] = SCALES,
  weights: Sequence[float | int] = (WEIGHT,) * 5,
) -> Float[Array, ""]:
  """Distance of two image batches in feature space; no gradient reaches `target`.

  `features_fn` maps images to feature maps, e.g. `partial(vgg_features, trunk, taps=
  ...)` of `ops.image_features`. `weights` holds one number per map. Images are RGB in
  [0, 1]; the side must be a multiple of 1/scale. Raises `ValueError` where a map would
  have no pixel: leave out the smallest scales or the deepest taps for small images.
  """
  target = jax.lax.stop_gradient(target)
  total = jnp.zeros(())
  for scale in scales:
    ours = features_fn(antialias_down(prediction, scale))
    theirs = features_fn(antialias_down(target, scale))
    if len(ours) != len(weights):
      raise ValueError(f"{len(ours)} feature maps, but {len(weights)} weights.")
    for i, (weight, a, b) in enumerate(zip(weights, ours, theirs, strict=True)):
      if a.size == 0:
        raise ValueError(
          f"Feature map {i} at scale {scale} has no pixel for images of"
          f" {prediction.shape[1]}x{prediction.shape[2]}."
        )
      total += weight * jnp.mean(jnp.abs(a - b))
  return total

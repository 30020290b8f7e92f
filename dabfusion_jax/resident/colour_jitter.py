"""Changes colours on the device, as `data_pipeline` does on the host."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from data_pipeline.records.colour_jitter import GREY


def jitter(
  images: Float[Array, "n h w 3"],
  factors: Float[Array, "3"],
  turn: Float[Array, ""],
  operations: Int[Array, "4"],
) -> Float[Array, "n h w 3"]:
  """Returns images whose brightness, contrast, saturation and hue are changed alike.

  Args:
    images: in [0, 1].
    factors, turn, operations: see `data_pipeline.records.colour_jitter.draw_jitter`.
  """
  grey = lambda images: (images * jnp.asarray(GREY)[None, None, None]).sum(-1)
  towards = lambda anchor, factor: factor * images + (1 - factor) * anchor
  # Mapped over examples, a switch computes all of its branches anyway.
  for operation in operations:
    choices = (
      images * factors[0],
      towards(grey(images).mean((1, 2))[:, None, None, None], factors[1]),
      towards(grey(images)[..., None], factors[2]),
      turn_hue(images, turn),
    )
    images = jnp.clip(jax.lax.select_n(operation, *choices), 0.0, 1.0)
  return images


def turn_hue(
  images: Float[Array, "n h w 3"], turn: Float[Array, ""]
) -> Float[Array, "n h w 3"]:
  """Adds a fraction of a full turn to the hue, keeping value and saturation (HSV)."""
  red, green, blue = jnp.moveaxis(images, -1, 0)
  value = images.max(-1)
  chroma = value - images.min(-1)
  safe = jnp.where(chroma > 0, chroma, 1.0)
  # Compared with each other, not with their maximum: that may be computed apart, and
  # rounded otherwise.
  hue = jnp.where(
    (red >= green) & (red >= blue),
    (green - blue) / safe,
    jnp.where(green >= blue, (blue - red) / safe + 2, (red - green) / safe + 4),
  )
  hue += 6 * turn
  # Each channel falls from `value` as the hue (in sixths) turns away from it.
  k = jnp.mod(hue[..., None] + jnp.array([5.0, 3.0, 1.0])[None, None, None], 6.0)
  fall = jnp.clip(jnp.minimum(k, 4 - k), 0, 1)
  return value[..., None] - chroma[..., None] * fall

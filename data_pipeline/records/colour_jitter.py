"""Changes the brightness, contrast, saturation and hue of pictures at random."""

import numpy as np
from jaxtyping import Float32

from data_pipeline.records.clip_record import Record

GREY = np.array([0.299, 0.587, 0.114], np.float32)
MAX_FACTOR = 0.1  # brightness, contrast and saturation within 1 +- this
MAX_HUE = 0.1  # of a full turn


def draw_jitter(rng: np.random.Generator, count: int) -> Record:
  """Draws how colours change.

  Returns:
    `factors`, float32 [n 3], of brightness, contrast and saturation; `turn`, float32
    [n], of the hue, in full turns; `operations`, int32 [n 4], the order of these four.
  """
  return {
    "factors": rng.uniform(1 - MAX_FACTOR, 1 + MAX_FACTOR, (count, 3)).astype("f4"),
    "turn": rng.uniform(-MAX_HUE, MAX_HUE, count).astype("f4"),
    "operations": rng.permuted(np.tile(np.arange(4, dtype="i4"), (count, 1)), axis=1),
  }


def jitter(
  images: Float32[np.ndarray, "n h w 3"], draw: Record
) -> Float32[np.ndarray, "n h w 3"]:
  """Changes the colours of images alike, by one of what `draw_jitter` drew.

  All four operations are applied in turn; each clips to [0, 1].
  """
  brightness, contrast, saturation = draw["factors"]

  def towards(anchor: np.ndarray, factor: np.float32) -> np.ndarray:
    return factor * images + (1 - factor) * anchor

  for operation in draw["operations"]:
    if operation == 0:
      images = images * brightness
    elif operation == 1:
      grey = (images @ GREY).mean(axis=(1, 2), dtype=np.float32)
      images = towards(grey[:, None, None, None], contrast)
    elif operation == 2:
      images = towards((images @ GREY)[..., None], saturation)
    else:
      images = turn_hue(images, float(draw["turn"]))
    images = np.clip(images, 0.0, 1.0)
  return images


def turn_hue(
  images: Float32[np.ndarray, "*n 3"], turn: float
) -> Float32[np.ndarray, "*n 3"]:
  """Adds a fraction of a full turn to the hue, keeping value and saturation (HSV)."""
  red, green, blue = images[..., 0], images[..., 1], images[..., 2]
  value = np.maximum(np.maximum(red, green), blue)  # a reduction over 3 is slow
  chroma = value - np.minimum(np.minimum(red, green), blue)
  safe = np.where(chroma > 0, chroma, np.float32(1))
  hue = np.where(
    value == red,
    (green - blue) / safe,
    np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
  )
  hue = hue + np.float32(6 * turn)
  # Each channel falls from `value` as the hue (in sixths) turns away from it.
  out = np.empty_like(images)
  for channel, offset in enumerate((5, 3, 1)):
    k = np.mod(hue + np.float32(offset), np.float32(6))
    fall = np.clip(np.minimum(k, 4 - k), 0, 1)
    out[..., channel] = value - chroma * fall
  return out

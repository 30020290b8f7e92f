"""Develops pictures as cameras of phones do, with their errors.

All errors are constant within a clip, except the noise.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from data_pipeline.synthdance.backdrops.colours import to_levels

_BARS_SHARE, _LETTERBOX_SHARE = 0.28, 0.06  # clips with bars beside, above and below


def blur(
  image: Float32[np.ndarray, "h w c"], sigma: float
) -> Float32[np.ndarray, "h w c"]:
  """Blurs by a Gaussian of `sigma` pixels; edges are repeated."""
  if sigma < 0.05:
    return image
  reach = max(1, int(np.ceil(2.5 * sigma)))
  offsets = np.arange(-reach, reach + 1)
  kernel = np.round(np.exp(-0.5 * (offsets / sigma) ** 2), 6)
  kernel = (kernel / kernel.sum()).astype(np.float32)
  for axis in (0, 1):
    pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
    wide = np.pad(image, pad, mode="edge")
    size = image.shape[axis]
    parts = [wide[i : i + size] if axis == 0 else wide[:, i : i + size]
             for i in range(2 * reach + 1)]  # fmt: skip
    image = kernel[0] * parts[0]
    for weight, part in zip(kernel[1:], parts[1:], strict=True):
      image += weight * part
  return image


@dataclasses.dataclass(frozen=True)
class Lens:
  """What a camera does to all frames of a clip.

  Attributes:
    gain: factors of linear red, green and blue: exposure and white balance.
    saturation: 1 keeps colours, 0 is grey.
    contrast, black: slope of the levels about their middle, and the darkest level.
    blur: in pixels.
    sharpen: share of the difference from a blurred picture that is added.
    noise: standard deviation in levels of 255.
    vignette: loss of light in the corners.
    rows, columns: begin and end of the picture between black bars, in pixels.
  """

  gain: tuple[float, float, float]
  saturation: float
  contrast: float
  black: float
  blur: float
  sharpen: float
  noise: float
  vignette: float
  rows: tuple[int, int]
  columns: tuple[int, int]

  def develop(
    self, light: Float32[np.ndarray, "h w 3"], rng: np.random.Generator
  ) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the 8-bit picture of linear light.

    Args:
      light: 1 is white before `gain`.
      rng: source of the noise.
    """
    h, w = light.shape[:2]
    light = blur(light, self.blur) * np.float32(self.gain)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in (h, w))
    light *= (1 - np.float32(1.6 * self.vignette) * (y[:, None] ** 2 + x**2))[..., None]
    grey = (light[..., 0] + light[..., 1] + light[..., 2])[..., None] / np.float32(3)
    image = to_levels(grey + (light - grey) * np.float32(self.saturation))
    if self.sharpen:
      image = image + np.float32(self.sharpen) * (image - blur(image, 0.8))
    image = 128 + (image - 128) * np.float32(self.contrast)
    image = np.float32(self.black) + image * np.float32(1 - self.black / 255)
    image += np.float32(self.noise) * rng.standard_normal(image.shape, np.float32)
    image[~self.shows((h, w))] = 0
    return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)

  @property
  def shown(self) -> float:
    """Returns the share of the height that bars leave."""
    return (self.rows[1] - self.rows[0]) / (self.rows[1] + self.rows[0])

  def shows(self, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Returns which pixels are not in the black bars."""
    inside = np.zeros(shape, bool)
    inside[slice(*self.rows), slice(*self.columns)] = True
    return inside


def draw_lens(rng: np.random.Generator, frame_size: int) -> Lens:
  """Draws the camera of a clip; tall pictures have bars on both sides."""
  rows, columns = (0, frame_size), (0, frame_size)
  kind = rng.random()
  if kind < _BARS_SHARE:
    wide = round(frame_size * rng.choice([9 / 16, 2 / 3, 3 / 4]))
    left = (frame_size - wide) // 2
    columns = (left, left + wide)
  elif kind < _BARS_SHARE + _LETTERBOX_SHARE:
    high = round(frame_size * rng.choice([9 / 16, 3 / 4]))
    rows = ((frame_size - high) // 2, (frame_size + high) // 2)
  balance = 1 + np.clip(rng.normal(0, 0.035, 3), -0.1, 0.1)
  gain = rng.uniform(0.75, 1.35) * balance
  is_soft = rng.random() < 0.3
  return Lens(
    gain=(float(gain[0]), float(gain[1]), float(gain[2])),
    saturation=rng.uniform(0.75, 1.3),
    contrast=rng.uniform(0.92, 1.18),
    black=rng.uniform(0, 8),
    blur=rng.uniform(0.2, 0.6) if is_soft else 0.0,
    sharpen=0.0 if is_soft else rng.uniform(0.0, 0.9),
    noise=rng.uniform(0.2, 3.0),
    vignette=rng.uniform(0, 0.22),
    rows=rows,
    columns=columns,
  )

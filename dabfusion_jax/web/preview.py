"""Shows who will dance: people as found in the picture.

It is drawn before anything is computed, so that a wrong picture costs nobody's time.
"""

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Bool, UInt8

from dabfusion_jax.inference.group import picture_of
from dabfusion_jax.inference.layers import Layers

_OUTLINE = (255, 176, 32)
_DIMMED = 0.45  # brightness of what does not dance
_MIN_SHOWN = 256  # pixels per side of a frame without layers


def draw_people(group: tuple[Layers, ...]) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture with those who dance outlined, the rest dimmed."""
  picture = picture_of(group)
  masks = [layers.scene.shown(layers.scene.alpha) > 0.5 for layers in group]
  mask = np.any(masks, 0)
  shown = np.where(mask[..., None], picture, picture * _DIMMED).astype(np.uint8)
  width = max(1, round(max(mask.shape) / 200))
  for one in masks:
    shown[outline(one, width)] = _OUTLINE
  return shown


def outline(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels just outside of a mask, in a line of some width."""
  return scipy.ndimage.binary_dilation(mask, iterations=width) & ~mask


def enlarge(frame: UInt8[np.ndarray, "n n 3"]) -> UInt8[np.ndarray, "m m 3"]:
  """Returns the network's own frame by a whole factor, so that its pixels are seen."""
  factor = max(1, -(-_MIN_SHOWN // len(frame)))
  image = PIL.Image.fromarray(frame)
  size = (factor * frame.shape[1], factor * frame.shape[0])
  return np.asarray(image.resize(size, PIL.Image.NEAREST))

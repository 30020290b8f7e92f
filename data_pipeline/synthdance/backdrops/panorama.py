"""Reads panoramas: the light around a place, seen from it in all directions.

They are Poly Haven's, under CC0, made smaller by `make_panoramas`. Three of them are
for testing only.
"""

import dataclasses
import functools
import io
import pathlib

import numpy as np
import PIL.Image
from jaxtyping import Float32, Float64
from safetensors.numpy import load_file

from data_pipeline.synthdance.backdrops.colours import to_light

ASSET = pathlib.Path(__file__).parent / "panoramas.safetensors"
BLOCK = 8  # pixels of a picture per cell of its excess, along each side
TRAIN = (
  "apartment", "bridge", "dawn", "esplanade", "forest", "hall", "lab", "night", "park",
  "sky", "studio", "sunset", "venice", "warehouse", "workshop",
)  # fmt: skip
TEST = ("city", "lobby", "sunrise")


@dataclasses.dataclass(frozen=True)
class Panorama:
  """Light from all directions: row 0 is up, columns turn about the vertical.

  Attributes:
    picture: linear light in 0..1, as a camera sees it; 1 where it is white.
    light: the same with what is brighter than white.
  """

  picture: Float32[np.ndarray, "h w 3"]
  light: Float32[np.ndarray, "h w 3"]

  def look(
    self, turn: Float64[np.ndarray, "*n"], up: Float64[np.ndarray, "*n"]
  ) -> Float64[np.ndarray, "*n 3"]:
    """Returns the picture in the directions of given angles, in radians."""
    h, w = self.picture.shape[:2]
    x = turn / (2 * np.pi) % 1.0 * w - 0.5
    y = np.clip((0.5 - up / np.pi) * h - 0.5, 0, h - 1.001)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = (x - column)[..., None], (y - row)[..., None]
    left_column, right_column = column % w, (column + 1) % w
    top = self.picture[row, left_column] * (1 - right)
    top = top + self.picture[row, right_column] * right
    bottom = self.picture[row + 1, left_column] * (1 - right)
    bottom = bottom + self.picture[row + 1, right_column] * right
    return top * (1 - below) + bottom * below


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
  return load_file(ASSET)


@functools.cache
def panorama(name: str) -> Panorama:
  """Returns the panorama of that name, one of TRAIN or TEST."""
  coded = _arrays()[f"{name}.picture"].tobytes()
  levels = np.asarray(PIL.Image.open(io.BytesIO(coded)).convert("RGB"))
  picture = to_light(np.arange(256)).astype(np.float32)[levels]
  excess = _arrays()[f"{name}.excess"].astype(np.float32)
  light = picture + excess.repeat(BLOCK, 0).repeat(BLOCK, 1)
  return Panorama(picture, light)

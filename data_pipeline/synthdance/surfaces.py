"""Follows the surface of a body between any two frames of a clip."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from data_pipeline.media.framing import Transform, frame_nearest

_TOLERANCE = 6.0  # cm between a surface and what is seen there


@dataclasses.dataclass(frozen=True)
class Surfaces:
  """Which place of a triangle mesh each pixel shows, and where its corners are.

  Attributes:
    triangle: of each pixel, -1 off the body.
    place: weights of its second and third corner at the sample that is seen.
    corners: of the triangles: indices into `points`.
    points: x and y in pixels, and depth in cm.
    depth: of what the pixel shows; large off the body, 0 where nothing is shown.
  """

  triangle: Int32[np.ndarray, "t h w"]
  place: Float32[np.ndarray, "t h w 2"]
  corners: Int32[np.ndarray, "f 3"]
  points: Float32[np.ndarray, "t n 3"]
  depth: Float32[np.ndarray, "t h w"]

  def take(self, frames: Int64[np.ndarray, "n"]) -> "Surfaces":
    """Returns some frames."""
    return dataclasses.replace(
      self,
      triangle=self.triangle[frames],
      place=self.place[frames],
      points=self.points[frames],
      depth=self.depth[frames],
    )

  def transformed(self, transform: Transform, size: int) -> "Surfaces":
    """Returns the surfaces of frames that were brought to `size` x `size` pixels."""

    def framed(pixels: np.ndarray) -> np.ndarray:
      return frame_nearest(pixels, size, transform)

    flat = transform(self.points[..., :2])
    return dataclasses.replace(
      self,
      triangle=framed(self.triangle + 1) - 1,  # 0 is what frames are padded with
      place=np.stack([framed(self.place[..., i]) for i in (0, 1)], -1),
      points=np.concatenate([flat, self.points[..., 2:]], -1, dtype=np.float32),
      depth=framed(self.depth),
    )

  def motion(
    self, to: int, source: int
  ) -> tuple[Float32[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Computes where the surface seen in frame `to` is in frame `source`.

    Returns:
      Displacements (x, y) in pixels, 0 off the body; and whether the surface shows
      there in `source`, False off the body.
    """
    triangle = self.triangle[to]
    flow = np.zeros((*triangle.shape, 2), np.float32)
    visible = np.zeros(triangle.shape, bool)
    y, x = np.nonzero(triangle >= 0)
    corners = self.corners[triangle[y, x]]
    second, third = self.place[to, y, x, 0], self.place[to, y, x, 1]
    shares = np.stack([1 - second - third, second, third], -1)[..., None]
    here, there = (
      (self.points[frame][corners] * shares).sum(1) for frame in (to, source)
    )
    flow[y, x] = there[:, :2] - here[:, :2]
    h, w = triangle.shape
    row, column = (np.round(v + flow[y, x, i]).astype(int) for v, i in ((y, 1), (x, 0)))
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    seen = self.depth[source, np.clip(row, 0, h - 1), np.clip(column, 0, w - 1)]
    visible[y, x] = inside & (there[:, 2] < seen + _TOLERANCE)
    return flow, visible

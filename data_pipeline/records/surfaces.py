"""Follows the surface of a body between any two frames of a clip."""

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped, UInt8

from data_pipeline import files
from data_pipeline.media.framing import Transform, frame_nearest

# What 1 is in an encoded depth (cm), point (pixels, cm) and place.
DEPTH_UNITS = np.float32(8)
POINT_UNITS = np.float32([64, 64, DEPTH_UNITS])
PLACE_UNITS = np.float32(255)
NO_TRIANGLE = 2**16 - 1
TOLERANCE = 2.0  # cm between a surface and what is seen there: thinner than a hand


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

  def mirrored(self) -> "Surfaces":
    """Returns the surfaces of mirrored frames."""
    points = self.points * np.float32([-1, 1, 1])
    points[..., 0] += self.triangle.shape[2] - 1
    flipped = [x[:, :, ::-1] for x in (self.triangle, self.place, self.depth)]
    return Surfaces(flipped[0], flipped[1], self.corners, points, flipped[2])

  def integers(self) -> dict[str, np.ndarray]:
    """Returns all arrays as the integers of a record, `NO_TRIANGLE` off the body."""
    depth = np.minimum(self.depth * DEPTH_UNITS, np.iinfo(np.uint16).max)
    points = np.round(self.points * POINT_UNITS)
    # Limbs may leave the picture; with a margin for these, small pictures fit 16 bits.
    kind = np.int16 if max(self.triangle.shape[1:]) <= 128 else np.int32
    bounds = np.iinfo(kind)
    return {
      "triangle": np.where(self.triangle < 0, NO_TRIANGLE, self.triangle).astype("u2"),
      "place": np.uint8(np.clip(self.place, 0, 1) * PLACE_UNITS + 0.5),
      "depth": np.uint16(depth + 0.5),
      "corners": np.uint16(self.corners),
      "points": kind(np.clip(points, bounds.min, bounds.max)),
    }

  def encode(self) -> UInt8[np.ndarray, "n"]:
    """Returns the bytes that a record holds: places to 1/64 px, depths to 1/8 cm."""
    is_body = self.triangle >= 0
    arrays = self.integers()
    for key in ("triangle", "place", "depth"):
      arrays[key] = arrays[key][is_body]
    arrays["is_body"] = np.packbits(is_body)
    arrays["is_nothing"] = np.packbits(~is_body & (self.depth == 0))
    arrays["shape"] = np.int32(is_body.shape)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return np.frombuffer(buffer.getvalue(), np.uint8)

  @classmethod
  def decode(cls, code: UInt8[np.ndarray, "n"]) -> "Surfaces":
    """Decodes what `encode` made."""
    arrays = files.read_npz(io.BytesIO(code.tobytes()))
    shape = tuple(arrays["shape"].tolist())

    def unpack(bits: np.ndarray) -> np.ndarray:
      return np.unpackbits(bits, count=math.prod(shape)).reshape(shape).astype(bool)

    is_body = unpack(arrays["is_body"])
    triangle = np.full(shape, -1, np.int32)
    triangle[is_body] = arrays["triangle"]
    place = np.zeros((*shape, 2), np.float32)
    place[is_body] = arrays["place"] / PLACE_UNITS
    depth = np.full(shape, np.inf, np.float32)
    depth[is_body] = arrays["depth"] / DEPTH_UNITS
    if "is_nothing" in arrays:  # not in records made before
      depth[unpack(arrays["is_nothing"])] = 0
    corners = arrays["corners"].astype(np.int32)
    points = arrays["points"].astype(np.float32) / POINT_UNITS
    return cls(triangle, place, corners, points, depth)

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
    triangles = [self.points[frame][corners] for frame in (to, source)]
    here, there = ((x * shares).sum(1) for x in triangles)
    flow[y, x] = there[:, :2] - here[:, :2]
    h, w = triangle.shape
    row, column = (np.round(v + flow[y, x, i]).astype(int) for v, i in ((y, 1), (x, 0)))
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    seen = self.depth[source, np.clip(row, 0, h - 1), np.clip(column, 0, w - 1)]
    same_side = signed_area(triangles[0]) * signed_area(triangles[1]) >= 0
    visible[y, x] = inside & same_side & (there[:, 2] < seen + TOLERANCE)
    return flow, visible


def signed_area(triangles: Shaped[Any, "*n 3 d"]) -> Shaped[Any, "*n"]:
  """Returns twice the areas in the picture, below 0 from the other side."""
  first, second = (triangles[..., i, :2] - triangles[..., 0, :2] for i in (1, 2))
  return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def decode_surfaces(record: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the record with its `surfaces` decoded, if it has any."""
  if "surfaces" not in record:
    return dict(record)
  return {**record, "surfaces": Surfaces.decode(record["surfaces"])}

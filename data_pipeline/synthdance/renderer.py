"""Renders a dancer in numpy: tapered capsules with a depth buffer.

Each body part is a capsule in the picture (two circles and the area between them). The
nearest part is found for each sample, at three times the resolution in both directions;
then the samples are shaded and averaged. Only element-wise additions, products,
quotients and square roots of float32 are used: they round the same on every machine, so
the frames are the same too.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from data_pipeline.records.body_parts import PARTS
from data_pipeline.synthdance.body import Dancer, Skeleton
from data_pipeline.synthdance.parts import capsules, part_colours
from data_pipeline.synthdance.studio import Camera, floor_points

SAMPLES = 3  # per side of a pixel; odd, so that one is in the middle
_LIGHT = (-0.28, -0.74, -0.61)  # direction towards the lamp: right, down, ahead
# Joints that cast a soft shadow on the floor: index, radius in cm, darkness.
_SHADOWS = (
  (16, 13, 0.34),
  (17, 13, 0.34),
  (18, 11, 0.24),
  (19, 11, 0.24),
  (0, 38, 0.16),
)
_ID = {name: i for i, name in enumerate(PARTS)}


@dataclasses.dataclass(frozen=True)
class Rendering:
  """Frames, and the body part in each of their pixels."""

  frames: UInt8[np.ndarray, "t h w 3"]
  part_map: UInt8[np.ndarray, "t h w"]  # 0 off the body, 1 + index in PARTS on it
  part_pose: Float32[np.ndarray, "t p 6"]  # x0, y0, r0, x1, y1, r1 in pixels


def render(
  skeleton: Skeleton,
  dancer: Dancer,
  camera: Camera,
  stage: Float32[np.ndarray, "h w 3"],
  develop: Callable[[Float32[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w 3"]],
) -> Rendering:
  """Renders a dance.

  Args:
    skeleton: the joints in every frame.
    dancer: build and clothes.
    camera: that sees it.
    stage: what is behind the dancer, in 0..255.
    develop: turns a picture in 0..255 into a frame; called once per frame, in order.
  """
  ends, radii = capsules(skeleton, dancer)
  projected = camera.project(ends)  # [t, p, 2, 3]
  pixel_radii = radii * camera.focal / projected[..., 2]
  # A 64th of a pixel is fine enough for smooth motion, and coarse enough to hide
  # differences in the last bits.
  flat = np.concatenate([projected[..., :2], pixel_radii[..., None]], -1)
  flat = np.round(flat * 64) / 64
  depth = np.round(projected[..., 2] * 16) / 16
  part_pose = flat.reshape(len(flat), len(PARTS), 6).astype(np.float32)
  floor = floor_points(camera).astype(np.float32)
  shader = _Shader(dancer, camera)
  num, shape = len(flat), (camera.height, camera.width)
  frames = np.empty((num, *shape, 3), np.uint8)
  part_map = np.zeros((num, *shape), np.uint8)
  for t in range(num):
    image = _shadowed(stage, floor, skeleton.joints[t])
    hit = _trace(part_pose[t], depth[t].astype(np.float32), radii, shape)
    if hit is not None:
      shader.paint(
        image, part_map[t], hit, skeleton.facing[t], skeleton.chest_facing[t]
      )
    frames[t] = develop(image)
  return Rendering(frames, part_map, part_pose)


def _shadowed(stage: np.ndarray, floor: np.ndarray, joints: np.ndarray) -> np.ndarray:
  """Returns the stage with soft shadows under the feet and the body."""
  image = stage.copy()
  near = np.flatnonzero((np.abs(floor[:, floor.shape[1] // 2]) < 400).all(-1))
  if not len(near):
    return image
  top = near[0]
  x, z = floor[top:, :, 0], floor[top:, :, 1]
  light = np.ones(x.shape, np.float32)
  for index, size, dark in _SHADOWS:
    at_x, at_y, at_z = joints[index].astype(np.float32)
    width = np.float32(size) + np.float32(0.2) * max(at_y, np.float32(0))
    spread = np.float32(size) / width  # shadows of higher joints are wider and paler
    square = ((x - at_x) ** 2 + (z - at_z) ** 2) / (width * width)
    fade = np.float32(1) + square * np.float32(0.5)
    light -= light * (np.float32(dark) * spread / (fade * fade))
  image[top:] *= light[..., None]
  return image


@dataclasses.dataclass(frozen=True)
class _Hit:
  """The body part and the place on it that each sample of a box of pixels shows."""

  top: int
  left: int
  part: np.ndarray  # uint8, 1 + index
  normal_x: np.ndarray  # of the surface in camera axes; the third follows
  normal_y: np.ndarray
  along: np.ndarray  # 0 to 1 from one end of the part to the other


def _trace(
  pose: np.ndarray, depth: np.ndarray, radii: np.ndarray, shape: tuple[int, int]
) -> _Hit | None:
  """Finds the nearest part at every sample of the box around the body."""
  circles = pose.reshape(-1, 2, 3)
  reach = circles[..., 2]
  low = (circles[..., :2] - reach[..., None]).min((0, 1))
  high = (circles[..., :2] + reach[..., None]).max((0, 1))
  left, top = (max(int(np.floor(v)), 0) for v in low)
  right = min(int(np.ceil(high[0])) + 1, shape[1])
  bottom = min(int(np.ceil(high[1])) + 1, shape[0])
  if right <= left or bottom <= top:
    return None
  size = ((bottom - top) * SAMPLES, (right - left) * SAMPLES)
  # In sample coordinates of the box, with integers at the samples.
  offset = np.float32([left, top])
  centres = (circles[..., :2] - offset) * SAMPLES + np.float32((SAMPLES - 1) / 2)
  reach = reach * np.float32(SAMPLES)
  nearest = np.full(size, np.float32(1e9))
  part = np.zeros(size, np.uint8)
  normal_x, normal_y, along = (np.zeros(size, np.float32) for _ in range(3))
  columns, rows = (np.arange(n, dtype=np.float32) for n in (size[1], size[0]))
  for index in range(len(circles)):
    (x0, y0), (x1, y1) = centres[index]
    r0, r1 = reach[index]
    widest = max(r0, r1)
    x_from = max(int(min(x0, x1) - widest), 0)
    x_to = min(int(max(x0, x1) + widest) + 2, size[1])
    y_from = max(int(min(y0, y1) - widest), 0)
    y_to = min(int(max(y0, y1) + widest) + 2, size[0])
    if x_to <= x_from or y_to <= y_from:
      continue
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy + np.float32(1e-3)
    x, y = columns[x_from:x_to] - x0, rows[y_from:y_to, None] - y0
    share = x * (dx / length) + y * (dy / length)
    np.clip(share, 0, 1, out=share)
    inverse = 1 / (r0 + share * (r1 - r0))
    nx = (x - share * dx) * inverse
    ny = (y - share * dy) * inverse
    square = 1 - nx * nx
    square -= ny * ny
    bulge = np.sqrt(np.maximum(square, 0))
    z0, z1 = depth[index]
    c0, c1 = np.float32(radii[index])
    z = z0 + share * (z1 - z0)
    z -= bulge * (c0 + share * (c1 - c0))
    box = (slice(y_from, y_to), slice(x_from, x_to))
    wins = (square > 0) & (z < nearest[box])
    for target, value in (
      (nearest, z), (part, index + 1), (normal_x, nx), (normal_y, ny), (along, share)
    ):  # fmt: skip
      np.copyto(target[box], value, where=wins)
  return _Hit(top, left, part, normal_x, normal_y, along)


class _Shader:
  """Colours the samples of one dancer seen by one camera."""

  def __init__(self, dancer: Dancer, camera: Camera) -> None:
    colours = part_colours(dancer)
    self.palette = np.float32([(0, 0, 0), *(colours[name] for name in PARTS)])
    self.dancer = dancer
    self.axes = np.array(camera.axes)

  def _in_camera(self, vector: Float64[np.ndarray, "3"]) -> np.ndarray:
    return np.float32([sum(a * v for a, v in zip(axis, vector)) for axis in self.axes])  # noqa: B905

  def paint(
    self,
    image: Float32[np.ndarray, "h w 3"],
    part_map: UInt8[np.ndarray, "h w"],
    hit: _Hit,
    facing: Float64[np.ndarray, "3"],
    chest_facing: Float64[np.ndarray, "3"],
  ) -> None:
    """Draws the samples into `image`, and the middle ones into `part_map`."""
    body = np.flatnonzero(hit.part)
    part = hit.part.ravel()[body]
    nx, ny = hit.normal_x.ravel()[body], hit.normal_y.ravel()[body]
    along = hit.along.ravel()[body]
    nz = -np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))  # towards the camera
    lx, ly, lz = (np.float32(v) for v in _LIGHT)
    lit = np.maximum(nx * lx + ny * ly + nz * lz, 0)
    light = np.float32(0.54) + np.float32(0.48) * lit - np.float32(0.10) * (1 + nz)
    colour = self.palette[part]
    self._head(colour, part, (nx, ny, nz), along, facing)
    self._pattern(colour, part, (nx, ny, nz), along, chest_facing)
    colour *= light[:, None]
    rows, columns = hit.part.shape
    samples = np.zeros((rows * columns, 4), np.float32)
    samples[body, :3] = colour
    samples[body, 3] = 1
    samples = samples.reshape(rows, columns, 4)
    # Summed in a fixed order: rows first, then columns.
    samples = sum(samples[i::SAMPLES] for i in range(1, SAMPLES)) + samples[::SAMPLES]
    pixels = samples[:, ::SAMPLES] + sum(
      samples[:, i::SAMPLES] for i in range(1, SAMPLES)
    )
    pixels *= np.float32(1 / SAMPLES**2)
    height, width = pixels.shape[:2]
    box = (slice(hit.top, hit.top + height), slice(hit.left, hit.left + width))
    image[box] *= 1 - pixels[..., 3:]
    image[box] += pixels[..., :3]
    middle = SAMPLES // 2
    part_map[box] = hit.part[middle::SAMPLES, middle::SAMPLES]

  def _head(self, colour, part, normal, along, facing) -> None:
    """Paints hair or a hat on the top and back of the head; the rest is face."""
    on = np.flatnonzero(part == _ID["head"] + 1)
    nx, ny, nz = (n[on] for n in normal)
    fx, fy, fz = self._in_camera(facing)
    ahead = nx * fx + ny * fy + nz * fz
    up_y, up_z = (np.float32(self.axes[i, 1]) for i in (1, 2))
    up = ny * up_y + nz * up_z + (along[on] - np.float32(0.5)) * np.float32(0.9)
    cover = (up > np.float32(0.72)) | ((ahead < np.float32(-0.1)) & (up > -0.8))
    colour[on[cover]] = np.float32(self.dancer.hat or self.dancer.hair)

  def _pattern(self, colour, part, normal, along, chest_facing) -> None:
    """Paints stripes around the trunk, or a patch on the chest."""
    if self.dancer.pattern == "plain":
      return
    on = np.flatnonzero(part == _ID["torso"] + 1)
    share = along[on]
    if self.dancer.pattern == "stripes":
      band = share * 3
      cover = (band - np.floor(band)) > np.float32(0.55)
    else:
      nx, ny, nz = (n[on] for n in normal)
      fx, fy, fz = self._in_camera(chest_facing)
      ahead = nx * fx + ny * fy + nz * fz
      cover = (ahead > np.float32(0.80)) & (np.abs(share - np.float32(0.7)) < 0.16)
    colour[on[cover]] = np.float32(self.dancer.trim)

"""Defines the nine cameras of the studio, and renders the empty stage.

Camera c01 is in front, c02 to c08 follow every 45 degrees (c03 sees the dancer's right
side, c05 the back), and c09 is also in front, low, and looks up. There are two
framings: `aist` shows the whole stage in 16:9, as AIST does; `close` is a square of
which a standing dancer fills about four fifths, from the same positions.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.aist import CAMERAS
from data_pipeline.errors import UserError

FRAMINGS = ("aist", "close")
DISTANCE = 520.0  # of the cameras from the middle, cm
WALL = 640.0  # of the walls from the middle, cm
CLOSE_SIZE = 128  # pixels, height and width
AIST_WIDTH = 256  # pixels; 16:9
_FOCAL = {"c02": 1.04, "c03": 0.97, "c04": 1.05, "c06": 1.06, "c07": 0.98, "c08": 1.04}


@dataclasses.dataclass(frozen=True)
class Camera:
  """A pinhole camera; pixel coordinates are integers at pixel centres, y down."""

  position: tuple[float, float, float]  # cm
  axes: tuple[tuple[float, float, float], ...]  # right, down, ahead, in the world
  focal: float  # pixels
  width: int  # pixels
  height: int

  def project(self, points: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    """Projects world points to (x, y, depth): pixels, and cm along the optical axis."""
    away = [points[..., i] - self.position[i] for i in range(3)]
    # Written out, because a matrix product rounds differently on some machines.
    right, down, ahead = (
      away[0] * axis[0] + away[1] * axis[1] + away[2] * axis[2] for axis in self.axes
    )
    x = self.focal * right / ahead + (self.width - 1) / 2
    y = self.focal * down / ahead + (self.height - 1) / 2
    return np.stack([x, y, ahead], -1)

  def rays(self, subpixels: int) -> Float64[np.ndarray, "h w 3"]:
    """Returns ray directions through a grid of `subpixels` samples per pixel side."""
    x, y = (
      (np.arange(size * subpixels) + 0.5) / subpixels - size / 2
      for size in (self.width, self.height)
    )
    x, y = x[None, :, None] / self.focal, y[:, None, None] / self.focal
    right, down, ahead = (np.array(axis) for axis in self.axes)
    return x * right + y * down + ahead


def _place(camera: str) -> tuple[float, float]:
  """Returns the position of a camera on the floor: x, z in cm."""
  index = CAMERAS.index(camera)
  angle = np.radians(0.0 if index == 8 else -45.0 * index)
  return (
    round(DISTANCE * float(np.sin(angle)), 3),
    round(DISTANCE * float(np.cos(angle)), 3),
  )


def make_camera(
  camera: str, framing: str, body_height: float, frame_size: int | None = None
) -> Camera:
  """Makes one of the nine cameras.

  Args:
    camera: "c01" to "c09".
    framing: one of FRAMINGS.
    body_height: of the dancer in cm; `close` scales the picture halfway between the
      dancer and the average, so that tall dancers still look tall.
    frame_size: width of the picture in pixels, even; if None, 128 (`close`) or 256
      (`aist`).

  Raises:
    UserError: the camera or framing is unknown, or the size is odd or below 32.
  """
  if camera not in CAMERAS:
    raise UserError(f"Unknown camera {camera!r}; expected one of {CAMERAS}.")
  if framing not in FRAMINGS:
    raise UserError(f"Unknown framing {framing!r}; expected one of {FRAMINGS}.")
  width = CLOSE_SIZE if framing == "close" else AIST_WIDTH
  if frame_size is not None:
    width = frame_size
  if width % 2 or width < 32:
    raise UserError(f"frame_size={width} must be even and at least 32 pixels.")
  x, z = _place(camera)
  is_low = camera == "c09"
  if framing == "close":
    height = width
    span = 1.27 * (0.5 * body_height + 0.5 * 168.0)  # height of the picture, cm
    focal = width * DISTANCE / span
    target = 0.45 * span  # height of its middle; 5 % are below the soles
    y = 55.0 if is_low else target
  else:
    height = 2 * round(width * 9 / 32)
    focal = 1430.0 / 1920.0 * width * _FOCAL.get(camera, 1.12 if is_low else 1.0)
    y, target = (50.0, 116.0) if is_low else (124.0, 121.0)
  ahead = np.array([-x, target - y, -z])
  ahead = ahead / np.sqrt((ahead**2).sum())
  right = np.cross(ahead, [0.0, 1.0, 0.0])
  right = right / np.sqrt((right**2).sum())
  down = np.cross(ahead, right)
  axes = tuple(tuple(float(v) for v in np.round(a, 9)) for a in (right, down, ahead))
  return Camera((x, y, z), axes, round(float(focal), 6), width, height)


def floor_points(camera: Camera) -> Float64[np.ndarray, "h w 2"]:
  """Returns world x and z where each pixel's ray meets the floor.

  Rays above the horizon get points far away.
  """
  rays = camera.rays(1)
  down = np.minimum(rays[..., 1], -1e-6)
  distance = -camera.position[1] / down
  return np.stack(
    [camera.position[i] + rays[..., i] * distance for i in (0, 2)], axis=-1
  )


def _falloff(distance: np.ndarray, width: float) -> np.ndarray:
  """Returns 1 at 0, falling to 0 beyond `width`; rational, for equal rounding."""
  square = (distance / width) ** 2
  return 1.0 / (1.0 + square) ** 2


@functools.lru_cache(maxsize=32)
def background(camera: Camera) -> Float32[np.ndarray, "h w 3"]:
  """Renders the empty stage, in 0..255; the array is read-only."""
  fine = 3 if camera.width <= 160 else 2
  rays = camera.rays(fine)
  position = np.array(camera.position)
  floor = -position[1] / np.minimum(rays[..., 1], -1e-6)
  walls = np.stack(
    [
      (side * WALL - position[axis]) / np.where(rays[..., axis] * side > 1e-9,
                                                rays[..., axis], side * 1e-9)
      for axis, side in ((0, 1), (0, -1), (2, 1), (2, -1))
    ]
  )  # fmt: skip
  wall_index = walls.argmin(0)
  wall = walls.min(0)
  is_floor = floor < wall
  points = position + rays * np.minimum(floor, wall)[..., None]
  radius = np.sqrt(points[..., 0] ** 2 + points[..., 2] ** 2)
  height = np.clip(points[..., 1], 0.0, 600.0)
  along = np.where(wall_index < 2, points[..., 2], points[..., 0])
  to_corner = WALL - np.abs(along)
  floor_light = 0.955 - 0.05 * np.clip(radius / 800.0, 0, 1)
  wall_light = 0.89 - 0.15 * (height / 520.0) ** 2 - 0.06 * _falloff(to_corner, 120.0)
  bend = np.clip(1 - height / 22.0, 0, 1)  # the wall curves into the floor
  wall_light = wall_light + (0.905 - wall_light) * bend * bend
  light = np.where(is_floor, floor_light, wall_light)
  # Cameras c04 to c06 see the dark frame of the stage and its screen.
  front = ~is_floor & (wall_index == 2)
  light = np.where(front & (np.abs(points[..., 0]) < 430) & (height < 400), 0.11, light)
  screen = (np.abs(points[..., 0]) < 330) & (height > 25) & (height < 330)
  light = np.where(front & screen, 0.85, light)
  # A cable in a circle, drawn no thinner than a pixel can show.
  across, down = np.gradient(radius)
  footprint = np.sqrt(across**2 + down**2)
  cover = np.clip(
    0.5 + (3.0 - np.abs(radius - 575.0)) / np.maximum(footprint, 0.1), 0, 1
  )
  cover = cover * np.clip(6.0 / np.maximum(footprint, 6.0), 0.2, 1)
  light = light * (1 - 0.45 * cover * is_floor)
  for other in CAMERAS[:8]:
    light = _draw_tripod(light, camera, _place(other), fine)
  rows, columns = camera.height, camera.width
  light = light.reshape(rows, fine, columns, fine)
  light = sum(light[:, i, :, j] for i in range(fine) for j in range(fine)) / fine**2
  image = (light[..., None] * [255.0, 254.0, 250.0]).astype(np.float32)
  image.setflags(write=False)
  return image


def _draw_tripod(
  light: np.ndarray, camera: Camera, place: tuple[float, float], fine: int
) -> np.ndarray:
  """Draws a camera on its tripod, unless it is the viewer's own or straight ahead."""
  x, z = place
  top = np.array([x, 118.0, z])
  depth, side = (
    abs((x - camera.position[0]) * axis[0] + (z - camera.position[2]) * axis[2])
    for axis in (camera.axes[2], camera.axes[0])
  )
  if depth < 250.0 or side < 60.0:
    return light
  right = np.array(camera.axes[0])
  foot = np.array([x, 0.0, z])
  rods = [(top, foot + right * 38, 2.0), (top, foot - right * 38, 2.0)]
  rods += [(top, foot, 2.0), (top + [0, 14, 0], top - [0, 12, 0], 9.0)]
  rows = (np.arange(camera.height * fine) + 0.5)[:, None] / fine - 0.5
  columns = (np.arange(camera.width * fine) + 0.5)[None] / fine - 0.5
  for begin, end, thick in rods:
    a, b = camera.project(np.stack([begin, end]))
    rod = b[:2] - a[:2]
    along = (columns - a[0]) * rod[0] + (rows - a[1]) * rod[1]
    along = np.clip(along / (rod[0] ** 2 + rod[1] ** 2), 0, 1)
    x_off = columns - a[0] - along * rod[0]
    y_off = rows - a[1] - along * rod[1]
    radius = max(thick * camera.focal / depth, 0.45)
    gap = radius - np.sqrt(x_off**2 + y_off**2)
    light = light + (0.13 - light) * np.clip(gap * fine + 0.5, 0, 1) * 0.9
  return light

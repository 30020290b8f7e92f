"""Draws what is behind a dancer: a place seen by one camera.

A place is a panorama, a room, the open air, a studio, or a wall of scraps. Whatever it
is, a panorama lights it.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32

from data_pipeline.synthdance.backdrops import panorama, scenery, surfaces
from data_pipeline.synthdance.backdrops.lens import blur
from data_pipeline.synthdance.studio import Camera

SUBPIXELS = 2  # samples per side of a pixel
KINDS = {  # and how often each is drawn
  "panorama": 0.34,
  "outside": 0.27,
  "room": 0.21,
  "studio": 0.10,
  "scraps": 0.08,
}
_SHADOW_REACH = 280.0  # cm around the middle where shadows fall


@dataclasses.dataclass(frozen=True)
class Backdrop:
  """A place without anybody in it.

  Attributes:
    light: linear, at `SUBPIXELS` samples per side of a pixel.
    floor: pixels of the floor around the middle, where shadows fall.
    surround: the light that comes to the middle from all directions.
    turn: radians about the vertical by which `surround` is turned.
  """

  light: Float32[np.ndarray, "h2 w2 3"]
  floor: Bool[np.ndarray, "h w"]
  surround: panorama.Panorama
  turn: float

  def pixels(self) -> Float32[np.ndarray, "h w 3"]:
    """Returns the light of whole pixels."""
    return mean_of_samples(self.light)


def mean_of_samples(
  samples: Float32[np.ndarray, "h2 w2 c"],
) -> Float32[np.ndarray, "h w c"]:
  """Averages the samples of each pixel, in a fixed order."""
  total = sum(
    samples[i::SUBPIXELS, j::SUBPIXELS]
    for i in range(SUBPIXELS)
    for j in range(SUBPIXELS)
  )
  return total * np.float32(1 / SUBPIXELS**2)


@dataclasses.dataclass(frozen=True)
class _View:
  """Where the samples of a camera meet the floor and a wall, in cm."""

  turn: np.ndarray  # of the rays from straight ahead, radians
  up: np.ndarray  # of the rays from the horizon
  floor_u: np.ndarray  # across and along the view
  floor_v: np.ndarray
  floor_fine: np.ndarray  # distance between neighbouring samples
  reach: np.ndarray  # along the floor to the camera; large above the horizon
  wall_u: np.ndarray
  wall_v: np.ndarray
  wall_fine: np.ndarray
  on_floor: np.ndarray  # nearer than the wall


def draw_backdrop(
  rng: np.random.Generator, camera: Camera, *, held_out: bool
) -> Backdrop:
  """Draws the place of a clip.

  Args:
    rng: source of chance.
    camera: through which it is seen.
    held_out: whether to use the panoramas that are kept for testing.
  """
  names = panorama.TEST if held_out else panorama.TRAIN
  surround = panorama.panorama(names[int(rng.integers(len(names)))])
  turn = rng.uniform(0, 2 * np.pi)
  edges = np.cumsum(list(KINDS.values()))
  kind = list(KINDS)[int(np.searchsorted(edges, rng.random() * edges[-1], "right"))]
  is_far = kind in ("outside", "panorama")
  wall = rng.uniform(350, 1600) if is_far else rng.uniform(90, 420)
  view = _look(camera, wall, rng.normal(0, 0.25) if kind == "room" else 0.0)
  draw = {
    "panorama": _panorama,
    "outside": _outside,
    "room": _room,
    "studio": _studio,
    "scraps": _scraps,
  }[kind]
  image = draw(rng, view, surround, turn)
  # The camera chooses the exposure; how bright a scene comes out differs.
  goal = np.exp(rng.uniform(np.log(0.11), np.log(0.42)))
  mean = np.minimum(image, 1.5 * max(float(np.median(image)), 0.05)).mean()
  # Rounded, so that last bits that differ between processors give the same pictures.
  image = np.round(np.clip(image * goal / max(float(mean), 1e-3), 0, 3), 4)
  image = _focus(rng, image.astype(np.float32), view, camera)
  floor = view.on_floor[::SUBPIXELS, ::SUBPIXELS] | (kind == "panorama")
  near = np.hypot(view.floor_u, view.floor_v)[::SUBPIXELS, ::SUBPIXELS] < _SHADOW_REACH
  return Backdrop(image, floor & near, surround, turn)


def _look(camera: Camera, wall: float, slant: float) -> _View:
  """Traces the rays of a camera.

  Args:
    camera: the camera.
    wall: distance of the wall behind the middle, cm.
    slant: of the wall: how much nearer it comes per cm to the right.
  """
  rays = camera.rays(SUBPIXELS)
  right, ahead = (np.array(camera.axes[i]) * [1, 0, 1] for i in (0, 2))
  right, ahead = (a / np.sqrt((a * a).sum()) for a in (right, ahead))
  forward, across = rays @ ahead, rays @ right
  rise = rays[..., 1]
  length = np.sqrt(forward**2 + across**2 + rise**2)
  position = np.array(camera.position)
  down = np.maximum(-rise, 1e-4)
  to_floor = np.where(rise < -1e-4, position[1] / down, 1e6)
  ahead_from, across_from = position @ ahead, position @ right
  to_wall = (wall - ahead_from - slant * across_from) / np.maximum(
    forward + slant * across, 1e-3
  )
  step = 1 / (camera.focal * SUBPIXELS)
  # A sample's footprint on the floor is longest along the view.
  tilt = np.maximum(down / length, 0.05)
  reach = to_floor * length
  return _View(
    turn=np.arctan2(across, forward),
    up=np.arcsin(np.clip(rise / length, -1, 1)),
    floor_u=across_from + across * to_floor,
    floor_v=ahead_from + forward * to_floor,
    floor_fine=np.maximum(reach * step / np.sqrt(tilt), 0.2),
    reach=reach,
    wall_u=across_from + across * to_wall,
    wall_v=position[1] + rise * to_wall,
    wall_fine=np.maximum(to_wall * length * step, 0.2),
    on_floor=(to_floor < to_wall) & (rise < -1e-4),
  )


def _choose(rng: np.random.Generator, items: tuple[surfaces.Painter, ...]):
  return items[int(rng.integers(len(items)))]


def _panorama(rng, view, surround, turn):
  """Shows part of the panorama, wider than the camera sees it so that it is sharp."""
  pixel = np.degrees(np.abs(np.diff(view.turn, axis=1)).mean()) * SUBPIXELS
  zoom = max(rng.uniform(0.32, 0.85) / float(pixel), 1.0)
  zoom = min(zoom, 1.35 / float(np.abs(view.up).max()))  # not beyond the zenith
  up = view.up * zoom
  image = surround.look(turn + np.pi + view.turn * zoom, up)
  below = (view.up < -0.01)[..., None]
  if rng.random() < 0.35:  # a floor with more detail
    painter = _choose(rng, surfaces.FLOORS_OUTSIDE)
    floor = painter(rng, view.floor_u, view.floor_v, view.floor_fine)
    floor = floor * (image.mean() / max(float(floor.mean()), 1e-3))
    fade = np.clip(view.reach / 900, 0, 1)[..., None] ** 2  # into the panorama
    image = np.where(below, floor * (1 - fade) + image * fade, image)
  else:
    n = surfaces.Grain(rng, view.floor_u, view.floor_v, view.floor_fine)
    detail = np.exp(np.clip(0.12 * n(2.2) + 0.10 * n(5), -1, 1))[..., None]
    image = np.where(below, image * detail, image)
  return image


def _outside(rng, view, surround, turn):
  n = surfaces.Grain(rng, view.wall_u, view.wall_v, view.wall_fine)
  image = scenery.sky(rng, np.maximum(view.up, 0), n)
  if rng.random() < 0.45:
    far, cover = scenery.greenery(
      rng, view.wall_u * 0.5, view.wall_v * 0.6, view.wall_fine * 0.5
    )
    haze = rng.uniform(0, 0.5)
    cover = cover[..., None]
    image = image * (1 - cover) + (far * (1 - haze) + 0.4 * haze) * cover
  if rng.random() < 0.45:  # a wall, a house or a fence
    painter = _choose(rng, surfaces.WALLS_OUTSIDE)
    wall = painter(rng, view.wall_u, view.wall_v, view.wall_fine)
    wall = scenery.clutter(rng, wall, view.wall_u, view.wall_v, view.wall_fine)
    top = rng.choice([rng.uniform(120, 240), rng.uniform(300, 900)])
    image = np.where((view.wall_v < top)[..., None], wall, image)
  if rng.random() < 0.7:
    near, cover = scenery.greenery(rng, view.wall_u, view.wall_v, view.wall_fine)
    cover = cover[..., None]
    image = image * (1 - cover) + near * rng.uniform(0.6, 1.4) * cover
  floor = _floor(rng, view, surfaces.FLOORS_OUTSIDE)
  if rng.random() < 0.5:  # a path, or an edge of the lawn
    other = _floor(rng, view, surfaces.FLOORS_OUTSIDE)
    n = surfaces.Grain(rng, view.floor_u, view.floor_v, view.floor_fine)
    slope, place = rng.normal(0, 0.6), rng.uniform(-120, 120)
    side = view.floor_u + slope * view.floor_v + 9 * n(40) + 4 * n(9) - place
    floor = np.where((side > 0)[..., None], other, floor)
  image = np.where(view.on_floor[..., None], floor, image)
  if rng.random() < 0.5:  # sun through leaves, and shadows of what is outside the frame
    shade = rng.uniform(0.25, 0.6)
    u = np.where(view.on_floor, view.floor_u, view.wall_u)
    v = np.where(view.on_floor, view.floor_v, view.wall_v)
    n = surfaces.Grain(rng, u, v, np.maximum(view.floor_fine, 2.0))
    patch = 0.8 * n(130, 0.6) + 0.5 * n(45, 0.6) + 0.3 * n(16, 0.6)
    sun = np.clip((patch + rng.uniform(-0.4, 1.0)) * 5, 0, 1)[..., None]
    image = image * (shade + (1 - shade) * sun)
  return image


def _floor(rng, view, painters):
  angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
  c, s = np.cos(angle), np.sin(angle)
  u = c * view.floor_u + s * view.floor_v
  v = c * view.floor_v - s * view.floor_u
  return _choose(rng, painters)(rng, u, v, view.floor_fine)


def _room(rng, view, surround, turn):
  u, v = view.wall_u, view.wall_v
  wall = _choose(rng, surfaces.WALLS_INSIDE)(rng, u, v, view.wall_fine)
  wall = scenery.clutter(rng, wall, u, v, view.wall_fine)
  if rng.random() < 0.6:  # a skirting board
    wall = np.where((v < rng.uniform(5, 14))[..., None], rng.uniform(0.1, 0.8), wall)
  x, y, size = rng.uniform(-200, 200), rng.uniform(60, 280), rng.uniform(120, 400)
  spot = np.exp(-((u - x) ** 2 + (v - y) ** 2) / size**2)
  wall = wall * (0.55 + 0.6 * spot)[..., None]
  floor = _floor(rng, view, surfaces.FLOORS_INSIDE)
  corner = np.clip(
    1 - np.abs(view.reach - view.reach[view.on_floor].max(initial=1)) / 90, 0, 1
  )
  floor = floor * (1 - 0.25 * corner)[..., None]
  if rng.random() < 0.35:  # sun from a window
    a, b, tilt = rng.uniform(40, 110), rng.uniform(60, 200), rng.normal(0, 0.5)
    p = (view.floor_u + tilt * view.floor_v - rng.uniform(-150, 150)) / a
    q = (view.floor_v - rng.uniform(-150, 150)) / b
    pane = (np.abs(p - np.round(p)) > 0.06) & (np.abs(p) < 1.5) & (np.abs(q) < 0.6)
    floor = floor * (1 + rng.uniform(0.4, 1.5) * pane)[..., None]
  return np.where(view.on_floor[..., None], floor, wall)


def _studio(rng, view, surround, turn):
  wall = surfaces.plain(rng, view.wall_u, view.wall_v, view.wall_fine)
  x, y, size = rng.uniform(-150, 150), rng.uniform(80, 260), rng.uniform(150, 500)
  spot = np.exp(-((view.wall_u - x) ** 2 + (view.wall_v - y) ** 2) / size**2)
  wall = wall * (0.7 + 0.45 * spot)[..., None]
  floor = wall.mean((0, 1)) * rng.uniform(0.85, 1.3) + 0 * wall
  bend = np.clip(1 - view.wall_v / rng.uniform(20, 120), 0, 1)[..., None] ** 2
  wall = wall * (1 - bend) + floor * bend
  return np.where(view.on_floor[..., None], floor, wall)


def _scraps(rng, view, surround, turn):
  wall = scenery.leaves_of_paper(
    rng, view.wall_u, view.wall_v, rng.uniform(120, 400), int(rng.integers(80, 500))
  )
  floor = _floor(rng, view, surfaces.FLOORS_INSIDE + surfaces.FLOORS_OUTSIDE)
  return np.where(view.on_floor[..., None], floor, wall)


def _focus(
  rng: np.random.Generator,
  image: Float32[np.ndarray, "h w 3"],
  view: _View,
  camera: Camera,
) -> Float32[np.ndarray, "h w 3"]:
  """Blurs what is behind the dancer, in two fifths of the clips."""
  kind = rng.random()
  if kind < 0.6:
    return image
  sigma = rng.uniform(0.4, 1.2) if kind < 0.8 else rng.uniform(1.2, 3.2)
  soft = blur(image, sigma * SUBPIXELS * camera.width / 128)
  # The floor is in focus where the dancer stands.
  distance = np.hypot(camera.position[0], camera.position[2])
  off = np.abs(view.reach / distance - 1)
  sharp = np.round(np.clip(1 - off * 1.5, 0, 1) * view.on_floor, 4)
  sharp = sharp.astype(np.float32)[..., None]
  return image * sharp + soft * (1 - sharp)

"""Draws where the camera of a clip stands.

It is held by a person rather than mounted in a studio: the dancer fills 30 to 95 % of
the height, stands off centre, and is seen from a chest, a hip or a raised arm.
"""

import numpy as np
from jaxtyping import Float64

from data_pipeline.aist import CAMERAS
from data_pipeline.synthdance.studio import Camera

_WIDE_SHARE = 0.15  # of the clips: the dancer is small in the picture


def draw_camera(
  rng: np.random.Generator,
  name: str,
  body_height: float,
  frame_size: int,
  shown: float = 1.0,
) -> Camera:
  """Draws a camera that shows a dancer who stands at x = z = 0.

  Args:
    rng: source of chance.
    name: "c01" to "c09": the side from which the dancer is seen, within 20 degrees.
    body_height: in cm.
    frame_size: of the square picture, in pixels.
    shown: share of its height that black bars leave.
  """
  index = CAMERAS.index(name)
  side = 0.0 if index == 8 else -45.0 * index
  angle = np.radians(side + 20 * rng.uniform(-1, 1) * rng.uniform(0, 1))
  if rng.random() < _WIDE_SHARE:
    share = rng.uniform(0.30, 0.55)
  else:
    share = rng.uniform(0.58, 0.95) ** 0.8
  share = share * shown
  distance = rng.uniform(210, 480)
  level = rng.uniform(30, 70) if index == 8 else rng.uniform(75, 165)
  picture = body_height / share  # height of the picture at the dancer, cm
  # The feet stay visible; the head may come close to the upper edge.
  room = picture * shown - body_height
  aim_up = body_height / 2 + room * rng.uniform(-0.35, 0.40)
  aim_side = picture * 0.5 * rng.uniform(-1, 1) * min(0.12 + room / picture, 0.5)
  across = np.array([np.cos(angle), 0.0, -np.sin(angle)])
  target = across * aim_side + np.array([0.0, aim_up, 0.0])
  position = distance * np.array([np.sin(angle), 0.0, np.cos(angle)])
  position = position + across * aim_side + np.array([0.0, level, 0.0])
  ahead = _unit(target - position)
  right = _unit(np.cross(ahead, [0.0, 1.0, 0.0]))
  down = np.cross(ahead, right)
  roll = np.radians(1.2 * rng.uniform(-1, 1, 3).sum() / 1.5)
  right, down = (
    right * np.cos(roll) + down * np.sin(roll),
    down * np.cos(roll) - right * np.sin(roll),
  )
  axes = tuple(tuple(float(v) for v in np.round(a, 9)) for a in (right, down, ahead))
  focal = frame_size * float(np.sqrt(((target - position) ** 2).sum())) / picture
  place = tuple(round(float(v), 3) for v in position)
  return Camera(place, axes, round(float(focal), 6), frame_size, frame_size)


def _unit(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
  return vector / np.sqrt((vector * vector).sum())

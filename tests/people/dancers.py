"""A person of a few lines, whose joints and outline are known."""

from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.finder import Finder
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.piece import Piece
from dabfusion_jax.people.skeleton import Affine

WALL = np.array([190, 200, 180], np.uint8)
SHIRT, SKIN, TROUSERS = (40, 60, 160), (200, 140, 110), (90, 40, 30)
HEIGHT, WIDTH = 200, 160
_JOINTS = {
  lm.NOSE: (80, 30),
  lm.LEFT_EAR: (86, 28),
  lm.RIGHT_EAR: (74, 28),
  lm.LEFT_SHOULDER: (96, 55),
  lm.RIGHT_SHOULDER: (64, 55),
  lm.LEFT_ELBOW: (112, 80),
  lm.RIGHT_ELBOW: (48, 80),
  lm.LEFT_WRIST: (124, 100),
  lm.RIGHT_WRIST: (36, 100),
  17: (128, 106),
  18: (32, 106),
  19: (127, 107),
  20: (33, 107),
  lm.LEFT_HIP: (90, 108),
  lm.RIGHT_HIP: (70, 108),
  lm.LEFT_KNEE: (92, 144),
  lm.RIGHT_KNEE: (68, 144),
  lm.LEFT_ANKLE: (94, 178),
  lm.RIGHT_ANKLE: (66, 178),
  lm.LEFT_TOE: (98, 184),
  lm.RIGHT_TOE: (62, 184),
}


def joints() -> np.ndarray:
  """Returns the landmarks of the person, [33, 2]."""
  points = np.tile(np.array([80.0, 30.0]), (lm.NUM_LANDMARKS, 1))
  for joint, place in _JOINTS.items():
    points[joint] = place
  return points


def hands_at_hips() -> np.ndarray:
  """Returns the landmarks of a person whose hands are at the hips, [33, 2]."""
  points = joints()
  for side, knuckles, dx in (("LEFT", (17, 19), 6), ("RIGHT", (18, 20), -6)):
    hip = points[getattr(lm, f"{side}_HIP")]
    points[getattr(lm, f"{side}_ELBOW")] = hip + [3 * dx, -30]
    points[getattr(lm, f"{side}_WRIST")] = hip + [2 * dx, -2]
    points[list(knuckles)] = hip + [2 * dx, 6]
  return points


def folded_arms() -> np.ndarray:
  """Returns the landmarks of a person whose forearms cross, [33, 2]."""
  points = joints()
  for side, knuckles, x in (("LEFT", (17, 19), -1), ("RIGHT", (18, 20), 1)):
    points[getattr(lm, f"{side}_ELBOW")] = (80 - 26 * x, 82)
    points[getattr(lm, f"{side}_WRIST")] = (80 + 10 * x, 86)
    points[list(knuckles)] = (80 + 16 * x, 87)
  return points


def landmarks() -> Landmarks:
  return Landmarks(joints(), np.ones(lm.NUM_LANDMARKS), 1.0)


def draw(
  points: np.ndarray | None = None, arms: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a picture of the person in front of a wall, and the mask.

  Args:
    points: landmarks.
    arms: how thick they are.
  """
  points = joints() if points is None else points
  picture = np.tile(WALL, (HEIGHT, WIDTH, 1))
  picture[150:] = (120, 110, 100)
  mask = np.zeros((HEIGHT, WIDTH), bool)
  y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5

  def line(first, last, radius, colour):
    along = last - first
    share = ((x - first[0]) * along[0] + (y - first[1]) * along[1]) / (along @ along)
    share = np.clip(share, 0, 1)
    place = np.hypot(x - first[0] - share * along[0], y - first[1] - share * along[1])
    picture[place < radius] = colour
    mask[place < radius] = True

  for side in ("LEFT", "RIGHT"):
    of = lambda name, side=side: points[getattr(lm, f"{side}_{name}")]
    line(of("HIP"), of("KNEE"), 10, TROUSERS)
    line(of("KNEE"), of("ANKLE"), 7, TROUSERS)
    line(of("ANKLE"), of("TOE"), 5, SKIN)
  for dx in np.linspace(0, 1, 5):
    shoulder = points[12] + dx * (points[11] - points[12])
    line(shoulder, points[24] + dx * (points[23] - points[24]), 7, SHIRT)
  line(points[lm.NOSE] - [0, 4], points[lm.NOSE] + [0, 16], 11, SKIN)
  for side in ("LEFT", "RIGHT"):
    of = lambda name, side=side: points[getattr(lm, f"{side}_{name}")]
    line(of("SHOULDER"), of("ELBOW"), 6 * arms, SHIRT)
    tip = of("WRIST") + 0.4 * (of("WRIST") - of("ELBOW"))
    line(of("ELBOW"), tip, 5 * arms, SKIN)
  return picture, mask


def compose(pieces: Sequence[Piece], moves: Mapping[str, Affine]) -> np.ndarray:
  """Returns pieces put over one another, uint8 [h, w, 4], without turns."""
  canvas = PIL.Image.new("RGBA", (WIDTH, HEIGHT))
  for piece in pieces:
    piece.draw(canvas, moves[piece.name])
  return np.asarray(canvas)


def shaded_wall(middle: float, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
  """Returns a wall with the shadow of a person who stands at a column."""
  y, x = np.mgrid[: size[0], : size[1]]
  light = 1 - 0.5 * np.exp(-(((x - middle) / 30) ** 2) - ((y - 150) / 40) ** 2)
  return np.round(WALL * light[..., None]).astype(np.uint8)


def draw_with_shadow() -> tuple[np.ndarray, np.ndarray]:
  """Returns a picture of the person and their shadow, and the mask of the person."""
  picture, mask = draw()
  return np.where(mask[..., None], picture, shaded_wall(80)), mask


class NoDetector:
  """Finds nobody."""

  def __call__(self, picture, square):
    return []

  def in_parts(self, picture, share):
    return []


def finder(mask, detector, landmarks):
  """Returns a finder of people with networks that only act as such."""
  found = object.__new__(Finder)
  found._mask, found._detector, found._landmarks = mask, detector, landmarks
  return found


class OnePerson:
  """Finds one person, whom it cannot complete, and remembers whom it looked for."""

  def __init__(self, person):
    self.person, self.looked = person, []

  def __call__(self, picture, pick):
    self.looked.append(pick)
    return self.person

  def complete(self, person):
    return None

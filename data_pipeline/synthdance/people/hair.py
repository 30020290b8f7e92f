"""Gives a person hair or a hat."""

import numpy as np
from jaxtyping import Float64

from data_pipeline.synthdance.people.anatomy import anatomy, members
from data_pipeline.synthdance.people.fabric import Material, choose, cloth_colour
from data_pipeline.synthdance.people.face import Face
from data_pipeline.synthdance.people.mesh import HAIR, HAT, Part, noise, smooth, unit
from data_pipeline.synthdance.people.tailor import Tailor

MALE = ("buzz", "short", "short", "short", "short", "curly", "curly", "bald", "long")
FEMALE = ("long", "long", "long", "short", "tail", "tail", "bun", "curly")
MATERIAL = Material(folds=0.22, fold_size=1.8, gloss=0.06, sharpness=3, hair=True)
HAT_MATERIAL = Material(folds=0.15, fold_size=4.0, weave=0.1)
# Height of the hair line over the eyes, in heights of the skull, from back to front.
_FRONT = (0.0, 0.25, 0.5, 0.72, 0.86, 1.0)
_SHORT_LINE = (-0.62, -0.5, -0.12, 0.05, 0.52, 0.60)
_LONG_LINE = (-0.75, -0.6, -0.3, -0.02, 0.5, 0.62)
_THICKNESS = {"buzz": 0.0, "bald": 0.0, "long": 1.3, "tail": 0.6, "bun": 0.6}
_ROUGHNESS = {"short": 0.22, "curly": 0.2, "long": 0.15, "tail": 0.08, "bun": 0.08}


class Hairdresser:
  """Dresses the hair of one head."""

  def __init__(
    self, rng: np.random.Generator, tailor: Tailor, face: Face, race: str, *, male: bool
  ) -> None:
    """Measures the head and draws a style."""
    self._rng, self._t, self._face = rng, tailor, face
    p, quads = tailor.points, anatomy().quads["body"]
    on = (tailor.head[quads] > 0.4).all(1) & (p[quads, 1] > face.mouth[1] - 9).all(1)
    self._scalp = quads[on]
    used = np.unique(self._scalp)
    self._back = p[used, 2].min()
    self._eye = face.eyes[:, 1].mean()
    self._top = p[used, 1].max() - self._eye
    middle = 0.5 * (self._back + p[used, 2].max()) - 1.0
    self._skull = smooth(p, self._scalp, 14)
    self._ray = unit(self._skull - np.array([0, self._eye + 2.5, middle]))
    self._front = (p[:, 2] - self._back) / (face.eyes[0, 2] + 1.2 - self._back)
    self.style = choose(rng, *(MALE if male else FEMALE))
    if race == "african" and self.style in ("short", "long") and rng.random() < 0.8:
      self.style = choose(rng, "buzz", "curly", "curly", "tail")
    line = _LONG_LINE if self.style in ("long", "tail", "bun") else _SHORT_LINE
    line = np.interp(self._front, _FRONT, line) + rng.uniform(-0.05, 0.05)
    self._cover = p[:, 1] - self._eye - line * self._top

  def colour_scalp(
    self, skin: Float64[np.ndarray, "v 3"]
  ) -> Float64[np.ndarray, "v 3"]:
    """Returns the skin with hair on the scalp."""
    if self.style == "bald":
      return skin
    share = np.clip(self._cover / 0.7 + 0.5, 0, 1) * (self._t.head > 0.4)
    is_buzz = self.style == "buzz"
    hair = self._face.hair * (1.6 if is_buzz else 1.0)
    return skin + (hair - skin) * (share * (0.85 if is_buzz else 1.0))[:, None]

  def parts(self) -> list[Part]:
    """Returns the layers of hair and hat."""
    rng, parts = self._rng, []
    thick = _THICKNESS.get(self.style)
    if thick is None:
      thick = rng.uniform(0.9, 2.4) if self.style == "short" else rng.uniform(2, 7)
    has_hat = self.style not in ("curly", "bun") and rng.random() < 0.14
    if thick:
      parts.append(self._shell(0.5 if has_hat else thick))
    if self.style == "long":
      parts.append(self._hanging())
    if self.style in ("tail", "bun"):
      parts.append(self._gathered())
    if has_hat:
      parts.append(self._hat())
    return parts

  def _part(self, points, quads, material, colour, cover) -> Part:
    bone, weight = anatomy().bone, anatomy().weight
    if len(points) != len(bone):  # not of the anatomy: moves with the head
      bone = np.full((len(points), 4), anatomy().bones.index("head"), np.int32)
      weight = np.zeros((len(points), 4), np.float32)
      weight[:, 0] = 1
    return Part(
      points=points,
      quads=quads,
      material=material,
      colour=np.broadcast_to(colour, points.shape),
      cover=np.broadcast_to(cover, len(points)),
      bone=bone,
      weight=weight,
      crease=np.ones(len(points)),
    )

  def _shell(self, thick: float) -> Part:
    p, ray = self._t.points, self._ray
    rough = _ROUGHNESS[self.style]
    ahead = np.clip(ray[:, 2], 0, 1)
    if self.style == "curly":
      high = np.clip(0.8 + 0.2 * ray[:, 1] - 0.2 * ahead, 0.5, 1.0)
    else:
      high = np.clip(0.55 + 0.5 * ray[:, 1] - 0.25 * ahead, 0.25, 1.0)
    wide = thick * high * (1 + rough * 1.6 * noise(p, 2.2) + rough * noise(p, 5.0))
    edge = np.sqrt(np.clip(self._cover / (2.0 + 0.5 * thick), 0, 1))
    points = self._skull + ray * (0.35 + wide * edge)[:, None]
    cover = self._cover + 1.2 * rough * noise(p, 1.3)
    return self._part(points, self._scalp, HAIR, self._face.hair, cover)

  def _hanging(self) -> Part:
    p, t, rng = self._t.points, self._t, self._rng
    quads = anatomy().quads["helper-hair"]
    mine = members("helper-hair")
    bottom = t.neck[1] + rng.uniform(-28, 2)
    points = p.copy()
    points[mine] += 0.8 * noise(p[mine], 3.0)[:, None] * [1, 0, 1]
    front = self._face.eyes[0, 2] + 1.2 - 6.5 - p[:, 2]
    parted = np.maximum(front, np.abs(p[:, 0]) - 7.5)
    parted = np.where(p[:, 1] < self._eye + 0.5 * self._top, parted, 9)
    strands = 2.5 * noise(p * [1, 0.1, 1], 1.5)
    cover = np.minimum(parted, p[:, 1] - bottom + strands)
    return self._part(points, quads, HAIR, self._face.hair, cover)

  def _gathered(self) -> Part:
    """Returns a bun or a pony tail: an ellipsoid behind the head."""
    rng = self._rng
    rows, columns = np.mgrid[0:9, 0:12]
    a, b = rows / 8 * np.pi, columns / 12 * 2 * np.pi
    ball = np.stack([np.sin(a) * np.cos(b), np.cos(a), np.sin(a) * np.sin(b)], -1)
    ball = ball.reshape(-1, 3)
    if self.style == "bun":
      size, high = [3.2, 3.2, 3.0], self._eye + rng.uniform(2, 8)
    else:
      size = [2.4, rng.uniform(8, 15), 2.4]
      high = self._eye + 4.0 - size[1]
    place = np.array([0, high, self._back - 1.6])
    points = ball * size * (1 + 0.12 * noise(ball * 9, 3.0))[:, None] + place
    i, j = np.mgrid[0:8, 0:12].reshape(2, -1)
    k = (j + 1) % 12
    quads = np.stack([i * 12 + j, i * 12 + k, i * 12 + 12 + k, i * 12 + 12 + j], -1)
    return self._part(points, quads, HAIR, self._face.hair, 9.0)

  def _hat(self) -> Part:
    """Returns a cap or a woollen hat."""
    edge = np.interp(self._front, [0, 1], [0.15, 0.42]) * self._top
    cover = self._skull[:, 1] - self._eye - edge
    high = self._rng.uniform(0.8, 2.2) * np.clip(cover / 5, 0, 1)[:, None]
    points = smooth(self._skull + self._ray * 1.2, self._scalp, 6)
    points = points + self._ray * (0.5 + high)
    if self._rng.random() < 0.5:  # with a peak
      ahead = np.clip((self._front - 0.8) * 6, 0, 1) * np.clip(1 - cover / 3, 0, 1)
      points[:, 2] += 6 * ahead
    return self._part(points, self._scalp, HAT, cloth_colour(self._rng), cover)

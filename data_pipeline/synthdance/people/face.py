"""Paints skin: its tone, the face, a beard."""

import numpy as np
from jaxtyping import Bool, Float64

from data_pipeline.synthdance.backdrops.colours import to_light
from data_pipeline.synthdance.people.anatomy import anatomy, members
from data_pipeline.synthdance.people.fabric import choose
from data_pipeline.synthdance.people.mesh import noise
from data_pipeline.synthdance.people.tailor import Tailor

_TONES = {
  "caucasian": ((243, 208, 184), (232, 188, 158), (214, 164, 130), (190, 138, 104)),
  "asian": ((240, 205, 170), (226, 182, 144), (204, 156, 116), (176, 126, 90)),
  "african": ((168, 112, 80), (134, 88, 62), (104, 68, 48), (78, 50, 38)),
}
_HAIRS = (
  (18, 15, 14), (26, 20, 17), (52, 35, 24), (84, 56, 34), (128, 92, 54),
  (188, 150, 98), (120, 56, 30), (150, 146, 142),
)  # fmt: skip
_IRISES = ((60, 38, 22), (30, 20, 14), (80, 100, 120), (76, 86, 52))


class Face:
  """Where the face of one body is, and its colours.

  Attributes:
    tone, hair: linear colours of skin and hair.
    eyes: the middle of each eye, left first.
    mouth: between the lips.
    unit: about 1 for the face of an adult.
    front: points of the face.
  """

  def __init__(
    self, rng: np.random.Generator, tailor: Tailor, race: str, *, male: bool, old: float
  ) -> None:
    """Finds the face and draws its colours."""
    self._t, self._rng, self._male = tailor, rng, male
    p = tailor.points
    self.eyes = np.stack([p[members(f"helper-{s}-eye")].mean(0) for s in "lr"])
    self.mouth = tailor.shape.mouth
    self.unit = float(self.eyes[0, 1] - self.mouth[1]) / 6.5
    self.front: Bool[np.ndarray, v] = (tailor.head > 0.5) & (
      p[:, 2] > tailor.at["head"][2]
    )
    tones = _TONES[race]
    dark = rng.uniform(0, len(tones) - 1)
    low = min(int(dark), len(tones) - 2)
    tone = to_light(tones[low]) * (1 - dark + low) + to_light(tones[low + 1]) * (
      dark - low
    )
    self.tone = tone * rng.uniform(0.93, 1.07, 3)
    colours = _HAIRS if race == "caucasian" else _HAIRS[:3]
    if old > 0.45 and rng.random() < 0.7:
      colours = _HAIRS[-1:]
    elif rng.random() < 0.04:  # dyed
      colours = ((150, 60, 120), (60, 90, 160), (190, 60, 50))
    hair = to_light(choose(rng, *colours)) * rng.uniform(0.8, 1.2)
    self.hair = np.maximum(hair, 0.006)

  def skin(self) -> Float64[np.ndarray, "v 3"]:
    """Returns the linear colour of the skin at every point of the body."""
    t, rng, p, tone = self._t, self._rng, self._t.points, self.tone
    skin = np.tile(tone, (len(p), 1))
    mottled = 0.07 * noise(p, 1.6) + 0.06 * noise(p + 50.0, 6.0)
    skin *= 1 + mottled[:, None]

    def blend(amount: np.ndarray, colour: np.ndarray) -> None:
      skin[:] = skin + (colour - skin) * np.clip(amount, 0, 1)[:, None]

    for eye, sign in zip(self.eyes, (1, -1), strict=True):
      dx = (p[:, 0] - eye[0]) * sign / self.unit
      dy = (p[:, 1] - eye[1]) / self.unit
      socket = np.exp(-((dx / 1.7) ** 2 + ((dy - 0.2) / 1.1) ** 2)) * self.front
      blend(0.35 * socket, tone * [0.55, 0.42, 0.4])
      brow = np.exp(-(((dy - 1.45 - 0.12 * dx) / 0.34) ** 2)) * (np.abs(dx - 0.1) < 1.9)
      strength = 0.95 if self._male else 0.8
      blend(strength * brow * self.front, self.hair * 0.9 + tone * 0.06)
      cheek = np.exp(-(((dx - 0.6) / 2.0) ** 2 + ((dy + 3.6) / 1.6) ** 2)) * self.front
      blend(0.22 * cheek, tone * [1.0, 0.62, 0.58])
      if not self._male:
        lid = np.exp(-((dx / 1.3) ** 2 + ((dy - 0.55) / 0.4) ** 2)) * self.front
        blend(0.5 * lid, tone * 0.15)
    across = p[:, 0] / self.unit
    high = (p[:, 1] - self.mouth[1]) / self.unit
    near = self.front * (p[:, 2] > self.mouth[2] - 1)
    lips = np.exp(-1.3 * ((across / 2.3) ** 2 + (high / 0.75) ** 2)) * near
    red = tone * [0.78, 0.42, 0.42]
    if not self._male and rng.random() < 0.3:
      red = to_light((170, 40, 50)) * rng.uniform(0.6, 1.2)
    blend((0.6 if self._male else 0.9) * lips, red)
    gap = np.exp(-((p[:, 0] / 2.4) ** 2 + ((p[:, 1] - self.mouth[1]) / 0.16) ** 2))
    blend(0.8 * gap * self.front, tone * 0.18)
    if self._male and rng.random() < 0.5:
      blend(choose(rng, 0.3, 0.6, 0.9) * self._beard(lips), self.hair + tone * 0.06)
    if rng.random() < 0.06:  # sunglasses
      dx = np.abs(np.abs(p[:, 0]) - abs(self.eyes[0, 0])) / self.unit
      dy = np.abs(p[:, 1] - self.eyes[0, 1]) / self.unit
      blend(((dx < 2.3) & (dy < 1.3) & self.front) * 1.0, np.full(3, 0.012))
    most = anatomy().weights.max(1).astype(np.float64)
    joint = np.clip(1 - most, 0, 0.5) * ((t.arm > 0.5) | (t.leg > 0.5))
    blend(0.35 * joint, tone * [0.85, 0.62, 0.58])
    return skin

  def _beard(self, lips: np.ndarray) -> Float64[np.ndarray, "v"]:
    p, rng = self._t.points, self._rng
    top = self.mouth[1] + rng.uniform(0.5, 2.4) * self.unit
    chin = np.clip((top - p[:, 1]) / 1.5, 0, 1)
    chin *= np.clip((p[:, 1] - self.mouth[1] + 6.5 * self.unit) / 2, 0, 1)
    depth = np.clip((p[:, 2] - self.eyes[0, 2] + 7.5) / 2, 0, 1)
    return chin * (self._t.head > 0.4) * depth * (1 - np.clip(lips * 2, 0, 1))

  def eye_colours(self, side: int, race: str) -> Float64[np.ndarray, "v 3"]:
    """Returns the colours of an eye ball: white, and an iris in front."""
    p, eye = self._t.points, self.eyes[side]
    colour = np.full(p.shape, 0.55)
    offset = p[:, :2] - eye[:2]
    ring = np.sqrt((offset * offset).sum(-1)) < 0.75
    irises = _IRISES if race == "caucasian" else _IRISES[1:2]
    iris = to_light(irises[int(self.tone[0] * 1e6) % len(irises)])
    colour[ring & (p[:, 2] > eye[2])] = iris
    return colour

  def landmarks(self) -> Float64[np.ndarray, "5 3"]:
    """Returns where nose, eyes and ears are at rest, as in COCO."""
    p, t = self._t.points, self._t
    level = (t.head > 0.9) & (np.abs(p[:, 1] - self.eyes[0, 1]) < 2)
    x = np.where(level, p[:, 0], 0.0)
    lower = np.abs(p[:, 1] - self.eyes[0, 1] + 3 * self.unit) < 3 * self.unit
    nose = p[np.where(self.front & lower, p[:, 2], -99.0).argmax()]
    return np.stack([nose, *self.eyes, p[x.argmax()], p[x.argmin()]])

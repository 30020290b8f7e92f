"""Dresses a person from head to toe; the trunk is always covered."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float64

from data_pipeline.synthdance.backdrops.colours import to_light
from data_pipeline.synthdance.people import fabric
from data_pipeline.synthdance.people.anatomy import anatomy, members
from data_pipeline.synthdance.people.fabric import Material, choose, cloth, cloth_colour
from data_pipeline.synthdance.people.mesh import (
  BOTTOM,
  OVER,
  SHOES,
  SOCKS,
  TOP,
  Part,
  smooth,
  unit,
)
from data_pipeline.synthdance.people.tailor import NOWHERE, Tailor


@dataclasses.dataclass
class Outfit:
  """What a person wears: layers, their materials, and what they hide of the skin.

  Attributes:
    parts: the layers.
    materials: by the constants of `mesh`.
    covers: of those that lie on the skin, per point of the body.
  """

  parts: list[Part]
  materials: dict[int, Material]
  covers: list[np.ndarray]


@functools.cache
def _creases() -> Float64[np.ndarray, "v"]:
  """Returns how much cloth folds per point: near the joints of limbs, the most."""
  body = anatomy()
  trunk = ("spine", "pelvis", "clavicle", "neck")
  limbs = [i for i, name in enumerate(body.bones) if not name.startswith(trunk)]
  weights = body.weights[:, limbs].astype(np.float64)
  # There, no single bone has all the weight.
  most = np.maximum(weights.max(1), 1 - weights.sum(1))
  return 0.7 + 2.4 * np.clip(1 - most, 0, 0.5)


class Wardrobe:
  """Cuts the clothes of one person."""

  def __init__(self, rng: np.random.Generator, tailor: Tailor, *, male: bool) -> None:
    """Opens the wardrobe of the body that `tailor` measured."""
    self.rng, self.t, self.male = rng, tailor, male
    self.outfit = Outfit([], {}, [])
    self.loose = rng.uniform(0, 1)

  def dress(self) -> Outfit:
    """Draws an outfit."""
    rng = self.rng
    kind = rng.random()
    if not self.male and kind < 0.34:
      is_dress = kind < 0.18
      self._skirt(is_dress)
      self._top(tucked=True, with_dress=is_dress)
    else:
      is_dress = False
      self._trousers()
      self._top(tucked=False, with_dress=False)
    if rng.random() < 0.26 and not is_dress:
      self._jacket()
    if rng.random() < 0.93:
      self._shoes()
    return self.outfit

  def _add(
    self,
    points: Float64[np.ndarray, "v 3"],
    material: int,
    colour: Float64[np.ndarray, "..."],
    cover: Float64[np.ndarray, "v"],
    *,
    group: str = "helper-tights",
    hides: bool = True,
  ) -> None:
    body = anatomy()
    self.outfit.parts.append(
      Part(
        points=points,
        quads=body.quads[group],
        material=material,
        colour=np.broadcast_to(colour, points.shape),
        cover=cover,
        bone=body.bone,
        weight=body.weight,
        crease=_creases(),
      )
    )
    if hides:
      self.outfit.covers.append(cover)

  def _rim(
    self, colour: Float64[np.ndarray, "3"], cover: Float64[np.ndarray, "v"]
  ) -> Float64[np.ndarray, "v 3"]:
    """Returns a colour per point: hems and necklines are darker, or trimmed."""
    rng = self.rng
    trim = colour * 0.6
    if rng.random() < 0.15:
      trim = cloth_colour(rng)
    share = np.clip(1.2 - cover / rng.uniform(1.0, 2.2), 0, 1)[:, None]
    return colour * (1 - share) + trim * share

  def _skirt(self, is_dress: bool) -> None:
    rng, t, p = self.rng, self.t, self.t.points
    hem = t.knee + rng.uniform(-26, 16)
    cover = np.minimum(p[:, 1] - hem, t.hip + 19 - p[:, 1])
    mine = members("helper-skirt")
    points = p.copy()
    axis = np.stack([0 * p[:, 0], p[:, 1], 0 * p[:, 2] + t.at["pelvis"][2]], -1)
    tight = rng.uniform(0.9, 1.12)
    low = np.clip((t.hip - p[:, 1]) / 40, 0, 1)[:, None]
    points[mine] = (axis + (p - axis) * (1.05 + (tight - 1.0) * low))[mine]
    turn = np.arctan2(p[mine, 0], p[mine, 2]) * choose(rng, 7, 9, 11, 16)
    pleats = 1 + 0.05 * low[mine] * np.sin(turn)[:, None] * [1, 0, 1]
    points[mine] = axis[mine] + (points[mine] - axis[mine]) * pleats
    chest = t.hip + 32
    material = cloth(rng, chest, plain=0.5, folds=(0.12, 0.25))
    self.outfit.materials[BOTTOM] = dataclasses.replace(material, fold_size=5.0)
    colour = cloth_colour(rng)
    self._add(points, BOTTOM, colour, cover, group="helper-skirt", hides=False)
    self._dress_colour = colour if is_dress else None
    legs = np.where(t.leg > 0.5, p[:, 1] - hem - 3, NOWHERE)
    hips = (t.arm < 0.1) & (p[:, 1] < t.hip + 12)
    self.outfit.covers += [legs, np.where(hips, p[:, 1] - hem - 3, NOWHERE)]

  def _trousers(self) -> None:
    rng, t = self.rng, self.t
    short = rng.random() < (0.30 if self.male else 0.26)
    ankle_up = choose(rng, -5, -3, -2, -1, 0, 2, 8)
    hem = t.knee + rng.uniform(-5, 24) if short else t.ankle + ankle_up
    tight = not self.male and rng.random() < 0.4
    shin, foot = t.hip - t.knee, t.hip - t.ankle
    knee_radius = hem_radius = 0.0
    if not tight:
      knee_radius, hem_radius = rng.uniform(6.2, 10), rng.uniform(5.5, 11.5)
    least = np.interp(t.along, [0, 18, shin, foot], [0, 7.5, knee_radius, hem_radius])
    if short:
      least = np.where(t.along > 12, 0.0 if tight else rng.uniform(8.8, 11.5), 0.0)
    points = t.drape(
      rng,
      ease=0.4 if tight else rng.uniform(0.7, 1.3),
      looseness=0.2,
      taper=0.3,
      rounds=2 if tight else 4,
      wrinkle=0.06 if tight else rng.uniform(0.2, 0.5),
      leg_radius=least,
    )
    cover = t.bottom_cover(hem, rng.uniform(8, 15))
    kind = rng.random()
    folds = (0.08, 0.14) if tight else (0.14, 0.30)
    if kind < 0.42 and not (tight and short):
      colour = fabric.tint(rng, *fabric.JEANS)
      material = Material(folds=rng.uniform(*folds), fold_size=2.6, weave=0.16)
      # Worn lighter in front of the thighs.
      front = np.clip((t.points[:, 2] - t.axis[:, 2]) / 8, 0, 1) * (t.leg > 0.5)
      worn = np.exp(-(((t.along - 24) / 14) ** 2)) * front * rng.uniform(0, 0.7)
      tone = colour * (1 + worn[:, None])
    elif kind < 0.62:
      tone = np.broadcast_to(fabric.tint(rng, *fabric.KHAKI), t.points.shape)
      material = Material(folds=rng.uniform(*folds), fold_size=3.0, weave=0.06)
    else:
      plain = 0.85
      material = cloth(rng, t.hip + 32, plain=plain, folds=folds)
      tone = np.broadcast_to(cloth_colour(rng), t.points.shape)
      if rng.random() < 0.3:  # stripes along the sides
        out = unit(t.points - t.axis)[:, 0] * np.sign(t.points[:, 0])
        stripe = np.clip((out - 0.86) * 12, 0, 1)[:, None] * (t.leg > 0.5)[:, None]
        tone = tone * (1 - stripe) + cloth_colour(rng) * stripe
    self.outfit.materials[BOTTOM] = material
    self._add(points, BOTTOM, tone, cover)

  def _top(self, *, tucked: bool, with_dress: bool) -> None:
    rng, t = self.rng, self.t
    sleeve = choose(
      rng, 0.5 * t.elbow, 0.6 * t.elbow, 0.7 * t.elbow, 0.85 * t.elbow,
      t.wrist - 1, t.wrist - 1, t.wrist + 1, t.wrist - 8, t.elbow + 3,
    )  # fmt: skip
    if rng.random() < (0.07 if self.male else 0.26):
      sleeve = rng.uniform(1.5, 5)
    long = sleeve > t.elbow
    crop = not self.male and not tucked and rng.random() < 0.15
    hem = 6.0 if tucked else rng.uniform(5, 7) if crop else rng.uniform(-7, 3)
    radius = rng.uniform(4.8, 6.5) if long else rng.uniform(6.0, 9.0)
    end = radius * (0.95 if long else 1.1)
    arm_radius = np.interp(t.along, [0, 8, t.elbow, t.wrist], [0, radius, end, 4.2])
    if sleeve < 6 or (not self.male and self.loose < 0.35):
      arm_radius = arm_radius * 0
    fit = self.loose * (0.5 if with_dress or crop else 1)
    points = t.drape(
      rng,
      ease=1.4 + 0.9 * self.loose,
      looseness=0.25 + 0.75 * fit,
      taper=0.12 + 0.25 * (1 - fit),
      rounds=3 + int(4 * self.loose),
      wrinkle=0.15 + 0.35 * self.loose,
      arm_radius=arm_radius,
    )
    scoop = choose(rng, 3.0, 4.0, 5.0, 6.0, 5.0 if self.male else 8.0)
    cover = t.top_cover(sleeve, hem, rng.uniform(-1.0, 2.5), scoop)
    if with_dress and self._dress_colour is not None:
      colour, material = self._dress_colour, self.outfit.materials[BOTTOM]
    else:
      colour = cloth_colour(rng)
      material = cloth(
        rng, t.hip + 33, plain=0.52, folds=(0.12, 0.20 + 0.12 * self.loose)
      )
      if rng.random() < 0.15:
        material = dataclasses.replace(material, placket=rng.uniform(0.7, 1.6))
    self.outfit.materials[TOP] = material
    self._add(points, TOP, self._rim(colour, cover), cover)

  def _jacket(self) -> None:
    rng, t, p = self.rng, self.t, self.t.points
    arm_radius = np.interp(t.along, [0, 8, t.elbow, t.wrist], [0, 7.6, 6.9, 5.4])
    points = t.drape(
      rng,
      ease=3.2 + self.loose,
      looseness=0.7,
      taper=0.1,
      rounds=5,
      wrinkle=rng.uniform(0.3, 0.6),
      arm_radius=arm_radius,
    )
    collar = choose(rng, 1.0, 2.5, 4.0)
    cover = t.top_cover(
      t.wrist - choose(rng, -1, 0, 2, 8), rng.uniform(-14, 6), collar, 0.0
    )
    front = (p[:, 2] > t.neck[2] + 1) & (t.arm < 0.5)
    gap = rng.uniform(2, 7) if rng.random() < 0.7 else -1.0  # closed
    cover = np.minimum(cover, np.where(front, np.abs(p[:, 0]) - gap, 9))
    plain = 0.8
    material = cloth(rng, t.hip + 32, plain=plain, folds=(0.16, 0.30))
    if gap < 0:
      material = dataclasses.replace(material, placket=0.6)
    self.outfit.materials[OVER] = material
    colour = cloth_colour(rng)
    if rng.random() < 0.3:
      colour = fabric.tint(rng, *fabric.JEANS)
    # What is under it would show through where it is wider.
    under = cover > 2.5
    self.outfit.parts = [
      dataclasses.replace(part, cover=np.where(under, NOWHERE, part.cover))
      if part.material == TOP
      else part
      for part in self.outfit.parts
    ]
    self._add(points, OVER, self._rim(colour, cover), cover)

  def _shoes(self) -> None:
    rng, t, p = self.rng, self.t, self.t.points
    shaft = t.ankle + choose(rng, -1, 0, 1.5, 8)
    foot = np.clip(t.leg, 0, 1) * (p[:, 1] < shaft + 8)
    ray = unit(p - t.axis)
    low = np.clip(1 - p[:, 1] / 3.0, 0, 1)
    centre = np.array([t.at["foot_l"][0], 0, t.at["ball_l"][2] - 3])
    mirror = np.where(p[:, :1] > 0, 1.0, [[-1.0, 1.0, 1.0]])
    flat = unit((p - centre * mirror) * [1, 0, 1])
    points = p + foot[:, None] * (ray * 0.5 + flat * 0.9)
    points = smooth(points, anatomy().quads["helper-tights"], 2)
    points[:, 1] -= foot * low * rng.uniform(0.8, 2.2)
    upper = choose(
      rng, to_light((235, 235, 230)), to_light((150, 146, 140)),
      to_light((25, 25, 27)), cloth_colour(rng), to_light((92, 58, 38)),
    )  # fmt: skip
    sole = choose(rng, to_light((230, 228, 222)), upper * 0.5, upper * 0.7)
    colour = np.where((points[:, 1] < 1.2)[:, None], sole, upper)
    if rng.random() < 0.4:  # another colour around the heel or over the instep
      band = np.clip(np.sin(p[:, 2] * rng.uniform(0.3, 0.8)) * 3, 0, 1)[:, None]
      colour = colour * (1 - 0.8 * band) + cloth_colour(rng) * 0.8 * band
    self.outfit.materials[SHOES] = Material(
      folds=0.1, fold_size=3.0, gloss=0.08, sharpness=4, weave=0.08
    )
    cover = np.where(t.leg > 0.5, shaft - p[:, 1], NOWHERE)
    self._add(points, SHOES, colour, cover)
    if rng.random() < 0.6:
      top = t.ankle + choose(rng, 3, 6, 10, 16)
      white, black = to_light((225, 225, 222)), to_light((28, 28, 30))
      sock = np.where(t.leg > 0.5, top - p[:, 1], NOWHERE)
      self.outfit.materials[SOCKS] = Material(folds=0.1, weave=0.08)
      thin = smooth(p, anatomy().quads["helper-tights"], 1)
      self._add(thin, SOCKS, choose(rng, white, white, black, sole), sock, hides=False)

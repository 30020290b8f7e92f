"""Draws a person: body, skin, hair and clothes.

A person is determined by a name; people for testing have names of their own.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.synthdance.choreography import seed
from data_pipeline.synthdance.people.anatomy import (
  DETAILS,
  RACES,
  Build,
  Shape,
  anatomy,
)
from data_pipeline.synthdance.people.fabric import Material, choose
from data_pipeline.synthdance.people.face import Face
from data_pipeline.synthdance.people.hair import HAT_MATERIAL, MATERIAL, Hairdresser
from data_pipeline.synthdance.people.mesh import (
  EYE,
  HAIR,
  HAT,
  NUM_MATERIALS,
  SKIN,
  Mesh,
  Part,
  join,
)
from data_pipeline.synthdance.people.tailor import Tailor
from data_pipeline.synthdance.people.wardrobe import Outfit, Wardrobe

_SKIN_MATERIAL = Material(gloss=0.05, sharpness=4, wrap=0.35, weave=0.03)
_EYE_MATERIAL = Material(gloss=0.3, sharpness=6)
HIDDEN_COVER = 1.8  # cm inside a garment, from which skin is certainly hidden


@dataclasses.dataclass(frozen=True)
class Person:
  """Somebody who can be posed.

  Attributes:
    mesh: body and clothes at rest.
    materials: rows of `Material.row`, by the constants of `mesh`.
    shape: the body.
    landmarks: nose, eyes and ears at rest.
    build: what shaped the body.
    hair_style: one of those of `hair`.
  """

  mesh: Mesh
  materials: Float32[np.ndarray, "k 16"]
  shape: Shape
  landmarks: Float64[np.ndarray, "5 3"]
  build: Build
  hair_style: str


def draw_build(rng: np.random.Generator) -> Build:
  """Draws the build of an adult of 18 to 80 years."""
  main = choose(rng, *RACES)
  mixed = rng.uniform(0, 1, 3) ** 3
  mixed = 0.25 * mixed / mixed.sum()
  races = {r: float(m) + 0.75 * (r == main) for r, m in zip(RACES, mixed, strict=True)}

  def around(middle: float, spread: float, low: float, high: float) -> float:
    value = middle + spread * rng.uniform(-1, 1, 3).sum()
    return float(np.clip(value, low, high))

  details = {name: around(0.0, 0.3, -0.9, 0.9) for name in DETAILS}
  # The widths of the trunk are measures of the same thing; together they exaggerate.
  for name in ("waist", "bust", "shoulders", "belly", "torso_depth", "buttocks"):
    details[name] *= 0.6
  return Build(
    male=bool(rng.random() < 0.5),
    old=float(np.clip(rng.uniform(0, 1) ** 2.2, 0, 0.85)),
    muscle=around(0.55, 0.15, 0.2, 0.95),
    weight=around(0.5, 0.17, 0.08, 0.97),
    height=around(0.5, 0.07, 0.32, 0.68),
    proportions=around(0.7, 0.12, 0.4, 0.95),
    races=races,
    details=details,
  )


def draw_person(name: str) -> Person:
  """Draws the person of that name; always the same one."""
  rng = np.random.default_rng(seed("person", name))
  body, build = anatomy(), draw_build(rng)
  race = max(build.races, key=lambda r: build.races[r])
  shape = body.shape(build)
  tailor = Tailor(shape)
  face = Face(rng, tailor, race, male=build.male, old=build.old)
  hair = Hairdresser(rng, tailor, face, race, male=build.male)
  skin = hair.colour_scalp(face.skin())
  outfit = Wardrobe(rng, tailor, male=build.male).dress()
  parts = [_bare(skin, outfit, tailor), *outfit.parts, *hair.parts()]
  parts += _eyes(face, tailor, race)
  rows = {SKIN: _SKIN_MATERIAL, EYE: _EYE_MATERIAL, HAIR: MATERIAL, HAT: HAT_MATERIAL}
  rows |= outfit.materials
  materials = np.stack([rows.get(i, Material()).row() for i in range(NUM_MATERIALS)])
  return Person(join(parts), materials, shape, face.landmarks(), build, hair.style)


def _bare(skin: np.ndarray, outfit: Outfit, tailor: Tailor) -> Part:
  """Returns the body, less what clothes hide for certain."""
  body = anatomy()
  hidden = np.zeros(len(tailor.points), bool)
  for cover in outfit.covers:
    hidden |= cover > HIDDEN_COVER
  quads = body.quads["body"]
  return Part(
    points=tailor.points,
    quads=quads[~hidden[quads].all(1)],
    material=SKIN,
    colour=skin,
    cover=np.full(len(tailor.points), 9.0),
    bone=body.bone,
    weight=body.weight,
    crease=np.ones(len(tailor.points)),
  )


def _eyes(face: Face, tailor: Tailor, race: str) -> list[Part]:
  body, parts = anatomy(), []
  everywhere = np.full(len(tailor.points), 9.0)
  for i, side in enumerate("lr"):
    lashes = [body.quads[f"helper-{side}-eyelashes-{k}"] for k in (1, 2)]
    for quads, colour in (
      (body.quads[f"helper-{side}-eye"], face.eye_colours(i, race)),
      (np.concatenate(lashes), np.full(tailor.points.shape, 0.01)),
    ):
      parts.append(
        Part(
          tailor.points,
          quads,
          EYE,
          colour,
          everywhere,
          body.bone,
          body.weight,
          everywhere * 0,
        )
      )
  return parts

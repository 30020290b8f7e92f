"""Everybody in a picture, as layers over one background."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import UInt8

from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.layers import Layers, fit, layers_of
from dabfusion_jax.inference.subject import DECODER, OWN, find_person, read_person
from dabfusion_jax.people import scene
from dabfusion_jax.people.background import clear
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.territory import nearest, nearness
from dabfusion_jax.pretrained import store

_GAP = 4  # half the width in pixels of what may be left between masks of people
Group = tuple[tuple[Layers, ...], tuple[str, ...]]


def read_group(picture: UInt8[np.ndarray, "h w 3"], size: int | None) -> Group:
  """Cuts out everybody who can dance in a picture.

  Args:
    picture: as given.
    size: pixels of the longer side of the dance; see `layers.fit`.

  Returns:
    The layers of each of them, those in front last, over a background without all; and
    notes for the user. Both are empty if nobody can dance, or there is nobody else.
  """
  own = fit(picture, size)
  scale = max(picture.shape[:2]) / max(own.shape[:2])
  try:
    # The largest may be nobody who can be cut out.
    found = find_person(own, 1) or find_person(own, 2)
  except store.MissingWeightsError:
    return (), ()
  if found is None or not found.others:
    return (), ()
  people: list[tuple[int, Person]] = []
  told: dict[str, list[int]] = {}  # notes, and whom they are about
  for pick in range(1, found.others + 2):
    try:
      person, more = read_person(own, scale, OWN, pick, True, False)
    except InputError as error:
      why = str(error).replace(DECODER, "")  # which draws nobody of a group
      told.setdefault(f"Not moved. {why}", []).append(pick)
      continue
    if person.landmarks is None:
      unknown = "Not moved: no arms and legs were recognised."
      told.setdefault(unknown, []).append(pick)
      continue
    people.append((pick, person))
    for note in more:
      told.setdefault(note, []).append(pick)
  if not people:
    return (), ()
  if len(people) > 1:
    people = _without_gaps(people)
  people.sort(key=lambda found: nearness(found[1].landmarks.points, len(own)))
  plate, shades = clear(own, [person for _, person in people])
  group = []
  for (pick, person), shade in zip(people, shades, strict=True):
    layers = layers_of(scene.own_scene(own, person, plate, shade))
    group.append(layers)
    for note in layers.notes:
      told.setdefault(note, []).append(pick)
  return tuple(group), tuple(_about(sorted(who), note) for note, who in told.items())


def _without_gaps(people: list[tuple[int, Person]]) -> list[tuple[int, Person]]:
  """Returns people who have the pixels between them that none of their masks has.

  Each mask was drawn alone. What is left of the mask of them all would stay behind.
  """
  masks = [person.alpha > 0.5 for _, person in people]
  # `beside` of each is the mask of the others, so together they are that of all.
  seen, there = np.any(masks, 0), np.any([person.beside for _, person in people], 0)
  wider = [scipy.ndimage.binary_dilation(mask, iterations=2 * _GAP) for mask in masks]
  gap = scipy.ndimage.binary_closing(seen, iterations=_GAP) & ~seen & there
  gap &= np.sum(wider, 0) > 1  # not between an arm and its own trunk
  return [
    (pick, dataclasses.replace(person, alpha=np.where(gap & own, 1, person.alpha)))
    for (pick, person), own in zip(people, nearest(masks), strict=True)
  ]


def _about(people: Sequence[int], note: str) -> str:
  """Returns a note with whom it is about."""
  first, last = ", ".join(map(str, people[:-1])), people[-1]
  return f"People {first} and {last}: {note}" if first else f"Person {last}: {note}"


def picture_of(group: tuple[Layers, ...]) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture of a group as it is before the dance."""
  picture = group[0].scene.shown(group[0].scene.plate)
  for layers in group:
    colours, alpha = map(layers.scene.shown, (layers.scene.colours, layers.scene.alpha))
    picture = scene.blend(picture, colours, alpha)
  return picture

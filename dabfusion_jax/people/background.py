"""The background of a picture, without the people who dance before it."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, UInt8

from dabfusion_jax.people.patches import fill_from_patches
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.shadow import Shade, find_shades, with_shade, without_shade
from dabfusion_jax.people.skeleton import trunk_length

# Pixels around a person that are filled too: edges are mixed, and single hairs, which
# no mask shows, would stay.
_HOLE_MARGIN = 6
_GAP = 5  # half the width in pixels of the gaps that are filled too


def hole_of(person: Person) -> Bool[np.ndarray, "h w"]:
  """Returns where the background is hidden by a person, or mixed with their edge.

  What is seen through a narrow gap is too little, and often the shadow of a limb: it
  would stand alone where the person moves away.
  """
  hole = scipy.ndimage.binary_dilation(person.alpha > 0.02, iterations=_HOLE_MARGIN)
  wide = scipy.ndimage.binary_erosion(~hole, iterations=_GAP, border_value=1)
  return ~scipy.ndimage.binary_dilation(wide, iterations=_GAP)


def clear(
  picture: UInt8[np.ndarray, "h w 3"], people: Sequence[Person]
) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[Shade | None, ...]]:
  """Returns a picture without some of its people, and their shadows.

  Other people stay, and the background is not filled with pieces of them. The shadows
  are still in the picture; they are None if they are not known, or there are none.
  """
  holes = [hole_of(person) for person in people]
  hole = np.any(holes, 0)
  stay = None
  if people[0].beside is not None:
    stay = np.all([person.beside for person in people], 0)
  # Only whole people who are moved by joints take their shadows along.
  moves = [x.landmarks is not None and not x.is_cut_off for x in people]
  shades = None
  if any(moves):
    whole = [x for x, is_moved in zip(people, moves, strict=True) if is_moved]
    trunks = [trunk_length(person.landmarks.points) for person in whole]
    shades = find_shades(picture, holes, float(np.median(trunks)), stay)
  if shades is None:
    return _fill_in(picture, hole, stay), (None,) * len(people)
  taken = tuple(
    shade if is_moved else None for shade, is_moved in zip(shades, moves, strict=True)
  )
  shade = np.prod([shade for shade in taken if shade is not None], 0)
  filled = _fill_in(without_shade(picture, shade), hole, stay)
  return np.where(hole[..., None], with_shade(filled, shade), picture), taken


def _fill_in(
  picture: UInt8[np.ndarray, "h w 3"],
  hole: Bool[np.ndarray, "h w"],
  stay: Bool[np.ndarray, "h w"] | None,
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture with a hole filled in, but not where other people are."""
  if stay is None:
    return fill_from_patches(picture, hole)
  around = scipy.ndimage.binary_dilation(stay, iterations=_HOLE_MARGIN)
  plate = fill_from_patches(picture, hole | around)
  return np.where((hole & ~stay)[..., None], plate, picture)

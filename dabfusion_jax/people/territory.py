"""Which pixels of people who touch each other belong to whom."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float32, UInt8

from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.regions import outlines
from dabfusion_jax.people.skeleton import ARMS, LIMBS, Joints, neck, trunk_length

_SEEN = 0.5  # confidence of an elbow or a wrist that is no guess
# Relative to outlines: what is hidden by somebody in front; what is surely somebody's,
# if it is farther from another by the third.
_HIDDEN, SURE, _FARTHER = 0.75, 1.0, 1.5
# Trunks from a border between people, within which colours tell whose a pixel is; and
# how many of somebody's pixels it is compared with. Trunks, levels and radii of limbs
# that count as much as each other; and the sigma, in pixels, over which they are taken.
_BAND, _NEIGHBOURS = 0.25, 5
_PLACE, _COLOUR, _RADII, _SOFT = 0.1, 15.0, 0.5, 2.0


def territories(
  bodies: Sequence[Landmarks], shape: tuple[int, int]
) -> list[tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]:
  """Returns which pixels are nearest to each body, and which are surely another's.

  Args:
    bodies: in any order; who is nearer hides the others.
    shape: height and width of the picture.
  """
  away = np.stack([distance_from(body, shape) for body in bodies])
  nearest = np.argmin(away, 0)
  for i in np.argsort([nearness(body.points, shape[0]) for body in bodies]):
    nearest[away[i] < _HIDDEN] = i
  found = []
  for i in range(len(bodies)):
    others = np.delete(away, i, 0).min(0)
    hidden = (others < SURE) & (away[i] > _FARTHER) & (nearest != i)
    found.append((nearest == i, hidden))
  return found


def by_colour(
  picture: UInt8[np.ndarray, "h w 3"],
  shape: Bool[np.ndarray, "h w"],
  bodies: Sequence[Landmarks],
  owns: Sequence[Bool[np.ndarray, "h w"]],
) -> list[Bool[np.ndarray, "h w"]]:
  """Returns territories whose borders lie where the colours change.

  Args:
    picture: of the people.
    shape: mask of them all.
    bodies: of each of them.
    owns: pixels that are nearest to each of them (`territories`).
  """
  unit = float(np.median([trunk_length(body.points) for body in bodies]))
  away = [scipy.ndimage.distance_transform_edt(~(own & shape)) for own in owns]
  band = shape & (np.sort(away, 0)[1] < _BAND * unit)
  colours = scipy.ndimage.gaussian_filter(picture.astype(np.float32), (1, 1, 0))
  place = np.stack(np.indices(shape.shape), -1) / (_PLACE * unit)
  features = np.concatenate([place, colours / _COLOUR], -1)
  costs = np.stack([distance_from(body, shape.shape) for body in bodies]) / _RADII
  for cost, own in zip(costs, owns, strict=True):
    core = own & shape & ~band
    if not core.any():
      return list(owns)
    tree = scipy.spatial.cKDTree(features[core])
    cost[band] += tree.query(features[band], _NEIGHBOURS)[0].mean(-1)
  label = scipy.ndimage.gaussian_filter(costs, (0, _SOFT, _SOFT)).argmin(0)
  found = []
  for i, own in enumerate(owns):
    wanted = np.where(band, label == i, own)
    # What hangs together with somebody through their own pixels alone.
    found.append(scipy.ndimage.binary_propagation(wanted & own, mask=wanted))
  is_left = ~np.any(found, 0)
  return [mask | own & is_left for mask, own in zip(found, owns, strict=True)]


def nearest(
  theres: Sequence[Bool[np.ndarray, "h w"]],
) -> list[Bool[np.ndarray, "h w"]]:
  """Returns the pixels that are nearest to each of several masks."""
  if len(theres) < 2:
    return [np.ones_like(there) for there in theres]
  labels = sum(i * there.astype(int) for i, there in enumerate(theres, 1))
  rows, columns = scipy.ndimage.distance_transform_edt(
    labels == 0, return_distances=False, return_indices=True
  )
  return [labels[rows, columns] == i for i in range(1, len(theres) + 1)]


def alone_in(
  picture: UInt8[np.ndarray, "h w 3"],
  empty: UInt8[np.ndarray, "h w 3"],
  hidden: Bool[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture that is empty where it shows somebody else."""
  return np.where(hidden[..., None], empty, picture)


def nearness(points: Joints, rows: int) -> float:
  """Returns how near somebody is, in pixels: who is lower in the picture is nearer.

  Where feet are below the picture is a guess, so of these people necks tell.

  Args:
    points: of the body.
    rows: of the picture.
  """
  floor = float(points[:, 1].max())
  return floor if floor < rows else rows + float(neck(points)[1])


def distance_from(
  body: Landmarks, shape: tuple[int, int]
) -> Float32[np.ndarray, "h w"]:
  """Returns how far pixels are from the outlines of what is seen of a body.

  If it is not seen where an arm is in the picture, it is guessed, often across a
  neighbour.
  """
  pieces = outlines(body.points, trunk_length(body.points), shape, is_alone=False)
  is_inside = ((body.points >= 0) & (body.points < shape[::-1])).all(1)
  is_guessed = is_inside & (body.confidence < _SEEN)
  for part in (part for parts in ARMS.values() for part in parts):
    if is_guessed[LIMBS[part][1]]:
      del pieces[part]
  return np.min(list(pieces.values()), 0).astype(np.float32)

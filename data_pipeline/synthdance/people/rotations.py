"""Makes rotations of directions; all arrays are [t 3] or [t 3 3], over time."""

import numpy as np
from jaxtyping import Float64

from data_pipeline.synthdance.people.mesh import unit

Vectors = Float64[np.ndarray, "... 3"]
Rotations = Float64[np.ndarray, "... 3 3"]


def frame(aim: Vectors, pole: Vectors) -> Rotations:
  """Returns rotations with first column `aim` and second as near `pole` as possible."""
  x = unit(aim)
  y = unit(pole - x * (x * pole).sum(-1, keepdims=True))
  return np.stack([x, y, np.cross(x, y)], -1)


def swing(before: Vectors, after: Vectors) -> Rotations:
  """Returns the shortest rotations from one direction to another."""
  a, b = np.broadcast_arrays(unit(before), unit(after))
  v, c = np.cross(a, b), (a * b).sum(-1)[..., None, None]
  k = np.zeros((*v.shape[:-1], 3, 3))
  k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
  k -= np.swapaxes(k, -1, -2)
  return np.eye(3) + k + k @ k / np.maximum(1 + c, 1e-4)


def between(a: Rotations, b: Rotations, share: float) -> Rotations:
  """Returns rotations part of the way from `a` to `b`: the mean, made orthogonal."""
  mean = a * (1 - share) + b * share
  for _ in range(8):  # Newton's iteration for the nearest rotation
    mean = 1.5 * mean - 0.5 * mean @ np.swapaxes(mean, -1, -2) @ mean
  return mean


def about(axis: Float64[np.ndarray, "3"], angle: float) -> Float64[np.ndarray, "3 3"]:
  """Returns the rotation by an angle about a unit axis."""
  x, y, z = axis
  k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def turned(rotation: Rotations, vector: Vectors) -> Vectors:
  """Applies rotations to vectors."""
  return (rotation * vector[..., None, :]).sum(-1)

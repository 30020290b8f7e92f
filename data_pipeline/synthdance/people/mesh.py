"""Joins body and clothes into one skinned mesh, and smooths and roughens its parts."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer

# Materials: indices into the rows of `Mesh.materials`.
SKIN, TOP, BOTTOM, SHOES, HAIR, EYE, OVER, HAT, SOCKS = range(9)
NUM_MATERIALS = 9
_COARSE = 2.5  # cm between the points of the mesh that casts shadows


@dataclasses.dataclass(frozen=True)
class Part:
  """One layer of a person before it is joined with the others.

  Attributes:
    points: of all vertices of the anatomy or of this part alone.
    quads: corners of its faces.
    material: one of the constants above.
    colour: linear, per point.
    cover: cm from the edge of the layer, per point; below 0 it is not there. Edges run
      through faces, where the interpolated cover is 0.
    bone, weight: the four bones that move each point most, and how much.
    crease: how much the layer folds there, per point.
  """

  points: Float64[np.ndarray, "v 3"]
  quads: Int64[np.ndarray, "q 4"]
  material: int
  colour: Float64[np.ndarray, "v 3"]
  cover: Float64[np.ndarray, "v"]
  bone: Int32[np.ndarray, "v 4"]
  weight: Float32[np.ndarray, "v 4"]
  crease: Float64[np.ndarray, "v"]


@dataclasses.dataclass(frozen=True)
class Mesh:
  """A person as triangles, at rest.

  Attributes:
    rest: positions in cm.
    faces: corners of the triangles.
    material: of each triangle.
    cover, colour, crease: as of `Part`.
    bone, weight: the four bones that move each point most, and how much.
    joint: the bone whose bending folds the layer there.
    coarse_points, coarse_faces: fewer triangles, for shadows: indices of points, and
      corners among these.
  """

  rest: Float32[np.ndarray, "n 3"]
  faces: Int32[np.ndarray, "f 3"]
  material: Int32[np.ndarray, "f"]
  cover: Float32[np.ndarray, "n"]
  colour: Float32[np.ndarray, "n 3"]
  crease: Float32[np.ndarray, "n"]
  bone: Int32[np.ndarray, "n 4"]
  weight: Float32[np.ndarray, "n 4"]
  joint: Int32[np.ndarray, "n"]
  coarse_points: Int32[np.ndarray, "c"]
  coarse_faces: Int32[np.ndarray, "g 3"]


def join(parts: Sequence[Part]) -> Mesh:
  """Joins the parts; faces that are nowhere covered are left out."""
  columns: dict[str, list[np.ndarray]] = {
    field.name: []
    for field in dataclasses.fields(Mesh)
    if not field.name.startswith("coarse")
  }
  count = 0
  for part in parts:
    quads = part.quads[(part.cover[part.quads] >= 0).any(1)]
    used, index = number(quads, len(part.points))
    index = index + count
    bone = part.bone[used]
    columns["rest"].append(part.points[used])
    columns["faces"] += [index[:, [0, 1, 2]], index[:, [0, 2, 3]]]
    columns["material"] += [np.full(len(index), part.material)] * 2
    columns["cover"].append(part.cover[used])
    columns["colour"].append(np.clip(part.colour[used], 0.002, 0.95))
    columns["crease"].append(part.crease[used])
    columns["bone"].append(bone)
    columns["weight"].append(part.weight[used])
    columns["joint"].append(bone[:, :2].max(1))  # parents come first
    count += len(used)
  kinds = {"faces": np.int32, "material": np.int32, "bone": np.int32, "joint": np.int32}
  joined = {
    name: np.ascontiguousarray(np.concatenate(arrays), kinds.get(name, np.float32))
    for name, arrays in columns.items()
  }
  points, faces = _coarsen(joined["rest"], joined["bone"][:, 0], joined["faces"])
  return Mesh(**joined, coarse_points=points, coarse_faces=faces)


def _coarsen(
  rest: Float32[np.ndarray, "n 3"],
  bone: Int32[np.ndarray, "n"],
  faces: Int32[np.ndarray, "f 3"],
) -> tuple[Int32[np.ndarray, "c"], Int32[np.ndarray, "g 3"]]:
  """Lets one point stand for all near it that follow the same bone."""
  cell = np.floor(rest / np.float32(_COARSE)).astype(np.int64) + 512
  key = ((cell[:, 0] * 1024 + cell[:, 1]) * 1024 + cell[:, 2]) * 64 + bone
  _, first, group = np.unique(key, return_index=True, return_inverse=True)
  corners = np.sort(group[faces], 1)
  distinct = (corners[:, 0] < corners[:, 1]) & (corners[:, 1] < corners[:, 2])
  name = (corners[:, 0] * len(first) + corners[:, 1]) * len(first) + corners[:, 2]
  _, kept = np.unique(name[distinct], return_index=True)
  return first.astype(np.int32), corners[distinct][kept].astype(np.int32)


def number(
  faces: Integer[np.ndarray, "f c"], count: int
) -> tuple[Int64[np.ndarray, "u"], Int64[np.ndarray, "f c"]]:
  """Returns which of `count` points the faces use, and faces of these alone."""
  used = np.zeros(count, bool)
  used[faces] = True
  return np.flatnonzero(used), (np.cumsum(used) - 1)[faces]


def smooth(
  points: Float64[np.ndarray, "v 3"], quads: Int64[np.ndarray, "q 4"], rounds: int
) -> Float64[np.ndarray, "v 3"]:
  """Moves points half way to the mean of their neighbours, repeatedly."""
  used, index = number(quads, len(points))
  a = np.concatenate([index[:, i] for i in (0, 1, 2, 3, 1, 2, 3, 0)])
  b = np.concatenate([index[:, i] for i in (1, 2, 3, 0, 0, 1, 2, 3)])
  degree = np.maximum(np.bincount(a), 1)[:, None]
  moved = points[used]
  for _ in range(rounds):
    mean = np.stack([np.bincount(a, moved[b, c]) for c in range(3)], -1) / degree
    moved = 0.5 * (moved + mean)
  out = points.copy()
  out[used] = moved
  return out


@functools.cache
def noise_volume(size: int = 32) -> Float32[np.ndarray, "s s s"]:
  """Returns smooth noise that repeats, mostly within -1 to 1."""
  cells = np.random.default_rng(5).normal(size=(size,) * 3)
  for axis in range(3):
    cells = cells + np.roll(cells, 1, axis)
  spread = np.sqrt((cells * cells).sum() / cells.size)
  return np.round(np.clip(cells / spread * 0.45, -1, 1), 5).astype(np.float32)


def noise(points: Float64[np.ndarray, "v 3"], size: float) -> Float64[np.ndarray, "v"]:
  """Returns the noise at points, of which `size` cm are one cell."""
  cells = noise_volume()
  place = points / size
  low = np.floor(place).astype(int)
  part = place - low
  total = np.zeros(len(points))
  for corner in np.ndindex(2, 2, 2):
    share = np.ones(len(points))
    for axis, far in enumerate(corner):
      share = share * (part[:, axis] if far else 1 - part[:, axis])
    index = tuple((low[:, a] + c) % len(cells) for a, c in enumerate(corner))
    total = total + share * cells[index]
  return total


def unit(vectors: Float64[np.ndarray, "... 3"]) -> Float64[np.ndarray, "... 3"]:
  """Returns the vectors at length 1; those of length 0 stay 0."""
  length = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
  return vectors / np.maximum(length, 1e-9)

"""Moves meshes with their bones, and finds the triangle that each sample sees.

Only sums, products, quotients and square roots are used, which round the same on every
machine. The functions are compiled by `kernels.compile_kernels`.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float32, Int32

_jit = numba.njit(cache=True, error_model="numpy")


@_jit
@no_type_check
def move(
  rest: Float32[np.ndarray, "n 3"],
  bone: Int32[np.ndarray, "n 4"],
  weight: Float32[np.ndarray, "n 4"],
  turn: Float32[np.ndarray, "b 3 3"],
  shift: Float32[np.ndarray, "b 3"],
  out: Float32[np.ndarray, "n 3"],
) -> None:
  """Moves points with their bones (linear blend skinning)."""
  for i in range(len(rest)):
    x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
    a = b = c = np.float32(0)
    for k in range(4):
      w = weight[i, k]
      if w > 0:
        n = bone[i, k]
        r, s = turn[n], shift[n]
        a += w * (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + s[0])
        b += w * (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + s[1])
        c += w * (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + s[2])
    out[i, 0], out[i, 1], out[i, 2] = a, b, c


@_jit
@no_type_check
def normals(
  points: Float32[np.ndarray, "n 3"],
  faces: Int32[np.ndarray, "f 3"],
  out: Float32[np.ndarray, "n 3"],
) -> None:
  """Computes unit normals of points: means of their faces', weighted by area."""
  out[:] = 0
  for f in range(len(faces)):
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    ux, uy = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
    uz = points[j, 2] - points[i, 2]
    vx, vy = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
    vz = points[k, 2] - points[i, 2]
    n0, n1, n2 = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    for p in (i, j, k):
      out[p, 0] += n0
      out[p, 1] += n1
      out[p, 2] += n2
  for i in range(len(out)):
    size = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
    size = max(size, np.float32(1e-9))
    out[i, 0] /= size
    out[i, 1] /= size
    out[i, 2] /= size


@_jit
@no_type_check
def fill(
  spots: Float32[np.ndarray, "n 3"],
  faces: Int32[np.ndarray, "f 3"],
  cover: Float32[np.ndarray, "n"],
  depth: Float32[np.ndarray, "h w"],
  face: Int32[np.ndarray, "h w"],
  place: Float32[np.ndarray, "h w 2"],
) -> None:
  """Finds the nearest triangle at each sample.

  Args:
    spots: points in the picture: x and y in samples (integers at samples), and depth.
    faces: corners of triangles.
    cover: of the points; where its interpolation is below 0 there is nothing.
    depth: of what is seen so far; brought up to date.
    face: the triangle seen; not changed if it has no elements.
    place: weights of its second and third corner.
  """
  height, width = depth.shape
  keeps = face.size > 0
  zero, one = np.float32(0), np.float32(1)
  for f in range(len(faces)):
    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
    ci, cj, ck = cover[i], cover[j], cover[k]
    if ci < 0 and cj < 0 and ck < 0:
      continue
    x0, y0, z0 = spots[i, 0], spots[i, 1], spots[i, 2]
    x1, y1, z1 = spots[j, 0], spots[j, 1], spots[j, 2]
    x2, y2, z2 = spots[k, 0], spots[k, 1], spots[k, 2]
    low_x, low_y = (
      max(np.ceil(min(x0, x1, x2)), zero),
      max(np.ceil(min(y0, y1, y2)), zero),
    )
    high_x = min(np.floor(max(x0, x1, x2)), np.float32(width - 1))
    high_y = min(np.floor(max(y0, y1, y2)), np.float32(height - 1))
    if low_x > high_x or low_y > high_y:
      continue
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0:
      continue
    inverse = one / area
    is_whole = ci >= 0 and cj >= 0 and ck >= 0
    for y in range(int(low_y), int(high_y) + 1):
      dy = np.float32(y) - y0
      for x in range(int(low_x), int(high_x) + 1):
        dx = np.float32(x) - x0
        b1 = (dx * (y2 - y0) - (x2 - x0) * dy) * inverse
        b2 = ((x1 - x0) * dy - dx * (y1 - y0)) * inverse
        b0 = one - b1 - b2
        if b0 < 0 or b1 < 0 or b2 < 0:
          continue
        z = b0 * z0 + b1 * z1 + b2 * z2
        if z < depth[y, x]:
          if not is_whole and b0 * ci + b1 * cj + b2 * ck < 0:
            continue
          depth[y, x] = z
          if keeps:
            face[y, x] = f
            place[y, x, 0] = b1
            place[y, x, 1] = b2


@_jit
@no_type_check
def shadow_maps(
  points: Float32[np.ndarray, "n 3"],
  faces: Int32[np.ndarray, "f 3"],
  cover: Float32[np.ndarray, "n"],
  lights: Float32[np.ndarray, "l 3"],
  axes: Float32[np.ndarray, "l 2 3"],
  scale: float,
  maps: Float32[np.ndarray, "l s s"],
) -> None:
  """Draws the depth of a body as each light sees it.

  Args:
    points: relative to the middle of the maps.
    faces, cover: see `fill`.
    lights: unit directions towards the lights.
    axes: of each map, across its light.
    scale: samples per cm.
    maps: depth away from the light, in cm; overwritten.
  """
  spots = np.empty((len(points), 3), np.float32)
  no_face = np.empty((0, 0), np.int32)
  no_place = np.empty((0, 0, 2), np.float32)
  half = np.float32(maps.shape[1] / 2)
  size = np.float32(scale)
  for n in range(len(lights)):
    a, b, d = axes[n, 0], axes[n, 1], lights[n]
    for i in range(len(points)):
      x, y, z = points[i, 0], points[i, 1], points[i, 2]
      spots[i, 0] = (x * a[0] + y * a[1] + z * a[2]) * size + half
      spots[i, 1] = (x * b[0] + y * b[1] + z * b[2]) * size + half
      spots[i, 2] = -(x * d[0] + y * d[1] + z * d[2])
    maps[n] = np.float32(1e9)
    fill(spots, faces, cover, maps[n], no_face, no_place)

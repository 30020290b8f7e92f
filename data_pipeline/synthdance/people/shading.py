"""Computes the light that comes from a body and from the floor around it.

Every light is a direction with a shadow map, so that shadows are as soft as the lights
are many. As in `raster`, nothing is used that rounds differently between machines.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float32, Int32

from data_pipeline.synthdance.people.fabric import (
  BANDS,
  BLOTCHES,
  CHECKS,
  DOTS,
  PRINT,
  STRIPES,
)

_jit = numba.njit(cache=True, error_model="numpy")
_BIAS = 1.0  # cm by which a surface lies in front of its own shadow
_REACH = 150.0  # cm around the middle of a body where its shadow is looked for


@_jit
@no_type_check
def _noise(volume, x, y, z):
  """Returns smooth noise at a place; one unit is one cell of the volume."""
  s = volume.shape[0]
  fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
  u, v, w = x - fx, y - fy, z - fz
  i, j, k = int(fx) % s, int(fy) % s, int(fz) % s
  i1, j1, k1 = (i + 1) % s, (j + 1) % s, (k + 1) % s
  a = volume[i, j, k] * (1 - u) + volume[i1, j, k] * u
  b = volume[i, j1, k] * (1 - u) + volume[i1, j1, k] * u
  c = volume[i, j, k1] * (1 - u) + volume[i1, j, k1] * u
  d = volume[i, j1, k1] * (1 - u) + volume[i1, j1, k1] * u
  return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@_jit
@no_type_check
def _arrives(x, y, z, light, axes, shadow, scale):
  """Returns the share of a light that arrives, from its shadow map (2 x 2 filtered)."""
  size = shadow.shape[0]
  u = (x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]) * scale + size * 0.5
  v = (x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]) * scale + size * 0.5
  i, j = int(np.floor(v)), int(np.floor(u))
  if i < 0 or j < 0 or i >= size - 1 or j >= size - 1:
    return 1.0
  depth = -(x * light[0] + y * light[1] + z * light[2]) - _BIAS
  fv, fu = v - i, u - j
  total = 0.0
  if shadow[i, j] > depth:
    total += (1 - fu) * (1 - fv)
  if shadow[i, j + 1] > depth:
    total += fu * (1 - fv)
  if shadow[i + 1, j] > depth:
    total += (1 - fu) * fv
  if shadow[i + 1, j + 1] > depth:
    total += fu * fv
  return total


@_jit
@no_type_check
def _pattern(p, volume, x, y, z):
  """Returns how much of the second colour a pattern has at a place of the rest pose."""
  kind, size = int(p[3]), p[4]
  if kind == STRIPES:
    return 1.0 if y / size - np.floor(y / size) > 0.5 else 0.0
  if kind == CHECKS:
    share = 0.5 if y / size - np.floor(y / size) > 0.5 else 0.0
    return share + (0.5 if x / size - np.floor(x / size) > 0.5 else 0.0)
  if kind == BLOTCHES:
    value = _noise(volume, x / size, y / size, z / size) * 3 + 0.4
    return min(max(value, 0.0), 1.0)
  if kind == PRINT:
    ragged = _noise(volume, x * 0.6, y * 0.6, 3.0)
    half = p[13]
    inside = z > 0 and abs(x) < half and abs(y - p[12]) < 0.7 * half
    return 1.0 if inside and ragged > -0.25 else 0.0
  if kind == BANDS:  # one broad band around the chest
    return 1.0 if abs(y - p[12]) < 0.8 * size else 0.0
  if kind == DOTS:
    a, b = x / size - np.floor(x / size) - 0.5, y / size - np.floor(y / size) - 0.5
    return 1.0 if a * a + b * b < 0.07 else 0.0
  return 0.0


@_jit
@no_type_check
def shade(
  face: Int32[np.ndarray, "h w"],
  place: Float32[np.ndarray, "h w 2"],
  faces: Int32[np.ndarray, "f 3"],
  material: Int32[np.ndarray, "f"],
  points: Float32[np.ndarray, "n 3"],
  normal: Float32[np.ndarray, "n 3"],
  rest: Float32[np.ndarray, "n 3"],
  colour: Float32[np.ndarray, "n 3"],
  fold: Float32[np.ndarray, "n"],
  materials: Float32[np.ndarray, "k 16"],
  eye: Float32[np.ndarray, "3"],
  lights: Float32[np.ndarray, "l 3"],
  radiance: Float32[np.ndarray, "l 3"],
  axes: Float32[np.ndarray, "l 2 3"],
  maps: Float32[np.ndarray, "l s s"],
  scale: float,
  bounce: Float32[np.ndarray, "3"],
  volume: Float32[np.ndarray, "v v v"],
  image: Float32[np.ndarray, "h w 3"],
) -> None:
  """Writes the linear light of all samples that see the body.

  Args:
    face, place: as `raster.fill` found them; face is -1 off the body.
    faces, material, rest, colour: of the mesh.
    points, normal: of this frame; points and eye relative to the middle of `maps`.
    fold: slope of folds at the points, as a factor of the material's.
    materials: `fabric.Material.row` of each.
    eye: where the camera is.
    lights, radiance: directions towards the lights, and what they give.
    axes, maps, scale: see `raster.shadow_maps`.
    bounce: light from the floor.
    volume: `mesh.noise_volume`.
    image: is written where `face` is not -1.
  """
  corner = np.empty(3, np.int64)
  share = np.empty(3)
  height, width = face.shape
  for row in range(height):
    for column in range(width):
      f = face[row, column]
      if f < 0:
        continue
      p = materials[material[f]]
      share[1], share[2] = place[row, column, 0], place[row, column, 1]
      share[0] = 1 - share[1] - share[2]
      wx = wy = wz = nx = ny = nz = rx = ry = rz = cr = cg = cb = slope = 0.0
      for c in range(3):
        n, b = faces[f, c], share[c]
        corner[c] = n
        wx, wy = wx + b * points[n, 0], wy + b * points[n, 1]
        wz += b * points[n, 2]
        nx, ny = nx + b * normal[n, 0], ny + b * normal[n, 1]
        nz += b * normal[n, 2]
        rx, ry, rz = rx + b * rest[n, 0], ry + b * rest[n, 1], rz + b * rest[n, 2]
        cr, cg = cr + b * colour[n, 0], cg + b * colour[n, 1]
        cb += b * colour[n, 2]
        slope += b * fold[n]
      mixed = _pattern(p, volume, rx, ry, rz)
      if p[14] > 0 and rz > 0 and abs(rx) < p[14]:
        mixed = max(mixed, 0.45)
      cr, cg, cb = (
        cr + (p[0] - cr) * mixed,
        cg + (p[1] - cg) * mixed,
        cb + (p[2] - cb) * mixed,
      )
      if p[11] > 0:  # strands
        g = 1 + 0.5 * _noise(volume, rx * 1.9 + 0.3 * ry, ry * 0.10, rz * 1.9)
        g *= 1 + 0.25 * _noise(volume, rx * 0.5, ry * 0.2, rz * 0.5)
      else:
        g = 1 + p[10] * _noise(volume, rx * 1.3, ry * 1.3, rz * 1.3)
      slope *= p[5]
      if slope > 0:
        s = p[6]
        u, v, w = (rx + 0.5 * ry) / s, ry / (1.7 * s), (rz - 0.4 * ry) / s
        first = _noise(volume, u, v, w)
        second = _noise(volume, u + 11, v + 5, w)
        third = _noise(volume, u, v + 23, w + 17)
        fine = _noise(volume, 2.1 * u, 2.6 * v, 2.1 * w)
        nx += slope * (first + 0.45 * fine)
        ny += slope * (second - 0.45 * fine)
        nz += slope * (third + 0.45 * first)
        # The bottoms of folds are dark.
        g *= 1 + 1.1 * slope * (0.6 * second + 0.4 * fine)
      cr, cg, cb = cr * g, cg * g, cb * g
      size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
      nx, ny, nz = nx / size, ny / size, nz / size
      ex, ey, ez = eye[0] - wx, eye[1] - wy, eye[2] - wz
      size = np.sqrt(ex * ex + ey * ey + ez * ez)
      ex, ey, ez = ex / size, ey / size, ez / size
      i, j, k = corner[0], corner[1], corner[2]
      ax, ay = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
      az = points[j, 2] - points[i, 2]
      bx, by = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
      bz = points[k, 2] - points[i, 2]
      outward = (ay * bz - az * by) * ex + (az * bx - ax * bz) * ey
      outward += (ax * by - ay * bx) * ez
      if outward < 0:  # the inside of a cloth
        nx, ny, nz = -nx, -ny, -nz
        cr, cg, cb = 0.6 * cr, 0.6 * cg, 0.6 * cb
      facing = nx * ex + ny * ey + nz * ez
      if facing < 0.05:  # folds may not turn it away from who sees it
        d = 0.05 - facing
        nx, ny, nz = nx + d * ex, ny + d * ey, nz + d * ez
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz, facing = nx / size, ny / size, nz / size, 0.05
      wx, wy, wz = wx + 1.4 * nx, wy + 1.4 * ny, wz + 1.4 * nz  # out of its own shadow
      red = green = blue = shine_r = shine_g = shine_b = 0.0
      wrap = p[9]
      for n in range(len(lights)):
        lx, ly, lz = lights[n, 0], lights[n, 1], lights[n, 2]
        cosine = nx * lx + ny * ly + nz * lz
        if cosine <= -wrap:
          continue
        arrives = _arrives(wx, wy, wz, lights[n], axes[n], maps[n], scale)
        if arrives <= 0:
          continue
        direct = max(cosine, 0.0) * arrives
        # Red light travels furthest in skin.
        red += radiance[n, 0] * (cosine + wrap) / (1 + wrap) * arrives
        if wrap > 0:
          half = 0.4 * wrap
          green += radiance[n, 1] * max((cosine + half) / (1 + half), 0.0) * arrives
        else:
          green += radiance[n, 1] * direct
        blue += radiance[n, 2] * direct
        if p[7] > 0 and direct > 0:
          hx, hy, hz = lx + ex, ly + ey, lz + ez
          size = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
          d = max((nx * hx + ny * hy + nz * hz) / size, 0.0)
          for _ in range(int(p[8])):
            d = d * d
          d *= p[7] * arrives
          shine_r += d * radiance[n, 0]
          shine_g += d * radiance[n, 1]
          shine_b += d * radiance[n, 2]
      up = 0.5 - 0.5 * ny
      red += bounce[0] * up
      green += bounce[1] * up
      blue += bounce[2] * up
      rim = 0.06 * (1 - facing) * (1 - facing) * (1 - facing)
      image[row, column, 0] = cr * red + shine_r + rim * red
      image[row, column, 1] = cg * green + shine_g + rim * green
      image[row, column, 2] = cb * blue + shine_b + rim * blue


@_jit
@no_type_check
def floor_light(
  where: Bool[np.ndarray, "h w"],
  place: Float32[np.ndarray, "h w 2"],
  height: float,
  lights: Float32[np.ndarray, "l 3"],
  radiance: Float32[np.ndarray, "l 3"],
  axes: Float32[np.ndarray, "l 2 3"],
  maps: Float32[np.ndarray, "l s s"],
  scale: float,
  out: Float32[np.ndarray, "h w 3"],
) -> None:
  """Writes which share of the light arrives on the floor, per colour.

  Args:
    where: pixels of the floor that are considered.
    place: x and z there, relative to the middle of `maps`.
    height: of the floor, likewise.
    lights, radiance, axes, maps, scale: see `shade`.
    out: is written at these pixels, unless they are too far away.
  """
  total = np.zeros(3)
  for n in range(len(lights)):
    for c in range(3):
      total[c] += max(lights[n, 1], np.float32(0)) * radiance[n, c]
  for row in range(place.shape[0]):
    for column in range(place.shape[1]):
      if not where[row, column]:
        continue
      red = green = blue = 0.0
      x, z = place[row, column, 0], place[row, column, 1]
      if x * x + z * z > _REACH * _REACH:
        continue
      for n in range(len(lights)):
        cosine = lights[n, 1]
        if cosine <= 0:
          continue
        share = _arrives(x, height + 0.3, z, lights[n], axes[n], maps[n], scale)
        red += cosine * radiance[n, 0] * share
        green += cosine * radiance[n, 1] * share
        blue += cosine * radiance[n, 2] * share
      out[row, column, 0] = red / total[0]
      out[row, column, 1] = green / total[1]
      out[row, column, 2] = blue / total[2]

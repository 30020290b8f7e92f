"""Compiles the functions that draw backdrops and people before they are used."""

import functools

import numpy as np

from data_pipeline.numba_cache import fill_once
from data_pipeline.synthdance.backdrops import grain
from data_pipeline.synthdance.people import fabric, raster, shading


@functools.cache
def compile_kernels() -> None:
  """Fills an empty cache with the functions of `grain`, `raster` and `shading`."""
  files = [str(module.__file__) for module in (grain, raster, shading, fabric)]
  fill_once("synthdance", files, _compile)


def _compile() -> None:
  """Draws one triangle."""
  plane = np.zeros((2, 2))
  grain.smooth_values(plane, plane, plane, 1.0, 1.0, 0.0, 0.0)
  points = np.float32([[0, 0, 0], [4, 0, 0], [0, 4, 0]])
  faces, one = np.int32([[0, 1, 2]]), np.ones(3, np.float32)
  bone, weight = np.zeros((3, 4), np.int32), np.full((3, 4), 0.25, np.float32)
  turn, shift = np.eye(3, dtype=np.float32)[None], np.zeros((1, 3), np.float32)
  moved, normal = np.empty_like(points), np.empty_like(points)
  raster.move(points, bone, weight, turn, shift, moved)
  raster.normals(moved, faces, normal)
  depth, image = np.full((8, 8), 1e9, np.float32), np.zeros((8, 8, 3), np.float32)
  face, place = np.full((8, 8), -1, np.int32), np.zeros((8, 8, 2), np.float32)
  raster.fill(moved, faces, one, depth, face, place)
  lights = np.float32([[0, 1, 0]])
  axes, maps = np.zeros((1, 2, 3), np.float32), np.zeros((1, 8, 8), np.float32)
  raster.shadow_maps(moved, faces, one, lights, axes, 1.0, maps)
  materials = fabric.Material().row()[None]
  shading.shade(
    face, place, faces, np.zeros(1, np.int32), moved, normal, points, points, one,
    materials, lights[0], lights, lights, axes, maps, 1.0, lights[0],
    np.zeros((4, 4, 4), np.float32), image,
  )  # fmt: skip
  shading.floor_light(face < 0, place, 0.0, lights, lights, axes, maps, 1.0, image)

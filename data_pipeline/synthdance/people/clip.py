"""Films a dance of a person before a backdrop."""

import numpy as np
from jaxtyping import Float32, Int32

from data_pipeline.aist import ClipName
from data_pipeline.records.body_parts import PARTS
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.synthdance.backdrops.backdrop import (
  SUBPIXELS,
  draw_backdrop,
  mean_of_samples,
)
from data_pipeline.synthdance.backdrops.lens import blur, draw_lens
from data_pipeline.synthdance.backdrops.viewpoint import draw_camera
from data_pipeline.synthdance.body import coco_joints
from data_pipeline.synthdance.choreography import Poses, seed
from data_pipeline.synthdance.footage import Footage
from data_pipeline.synthdance.parts import capsules
from data_pipeline.synthdance.people import raster, shading
from data_pipeline.synthdance.people.anatomy import anatomy
from data_pipeline.synthdance.people.lighting import draw_lights
from data_pipeline.synthdance.people.mesh import noise_volume, number
from data_pipeline.synthdance.people.person import Person, draw_person
from data_pipeline.synthdance.people.pose import as_dancer, pose
from data_pipeline.synthdance.studio import Camera, floor_points

_MAP_SIZE, _MAP_SPAN = 144, 280.0  # samples and cm along a side of a shadow map
_FAR = np.float32(1e9)


def film_person(name: ClipName, poses: Poses, size: int, *, held_out: bool) -> Footage:
  """Films poses as danced by the person of a clip.

  Args:
    name: determines the person, the place and the camera.
    poses: one per frame.
    size: of the square frames, in pixels.
    held_out: whether the place is one for testing.
  """
  rng = np.random.default_rng(seed("people", str(name)))
  person = draw_person(str(name))
  curl = rng.uniform(0.1, 0.8, 2)
  posed = pose(person, poses, (float(curl[0]), float(curl[1])))
  lens = draw_lens(rng, size)
  camera = draw_camera(rng, name.camera, person.shape.height, size, lens.shown)
  place = draw_backdrop(rng, camera, held_out=held_out)
  lights = draw_lights(rng, camera, place)
  noise = np.random.default_rng(seed("noise", str(name)))

  mesh = person.mesh
  sole = np.float32(-min(float(mesh.rest[:, 1].min()), 0.0))  # shoes raise the person
  points = np.empty((len(posed.turn), *mesh.rest.shape), np.float32)
  for t, frame in enumerate(points):
    raster.move(mesh.rest, mesh.bone, mesh.weight, posed.turn[t], posed.shift[t], frame)
  points[..., 1] += sole
  spots = project(camera, points)
  studio = _Studio(person, camera, place.floor, lights)
  samples = np.float32([SUBPIXELS, SUBPIXELS, 1])
  middle = np.float32([(SUBPIXELS - 1) / 2] * 2 + [0])
  num, shows = len(points), lens.shows((size, size))
  frames = np.empty((num, size, size, 3), np.uint8)
  triangle = np.full((num, size, size), -1, np.int32)
  spot = np.zeros((num, size, size, 2), np.float32)
  depth = np.zeros((num, size, size), np.float32)
  for t in range(num):
    fine = (size * SUBPIXELS, size * SUBPIXELS)
    near, face = np.full(fine, _FAR), np.full(fine, -1, np.int32)
    weights = np.zeros((*fine, 2), np.float32)
    raster.fill(
      spots[t] * samples + middle, mesh.faces, mesh.cover, near, face, weights
    )
    image = studio.light(points[t], posed.bend[t], face, weights, place.light)
    frames[t] = lens.develop(mean_of_samples(image), noise)
    triangle[t], spot[t], depth[t] = _seen(face, weights, near)
    triangle[t][~shows], depth[t][~shows] = -1, 0
  joints = coco_joints(posed.skeleton)
  joints[:, :5] = posed.landmarks
  joints[..., 1] += sole
  part = np.append(0, _parts_of(person))  # 0 off the body
  ends, radii = capsules(posed.skeleton, as_dancer(person))
  ends[..., 1] += sole
  flat = camera.project(ends)
  pose_2d = np.concatenate(
    [flat[..., :2], (radii * camera.focal / flat[..., 2])[..., None]], -1
  )
  return Footage(
    frames,
    joints.astype(np.float32),
    camera.project(joints)[..., :2].astype(np.float32),
    part[triangle + 1].astype(np.uint8),
    pose_2d.reshape(num, len(PARTS), 6).astype(np.float32),
    _compact(triangle, spot, mesh.faces, spots, depth),
  )


def project(
  camera: Camera, points: Float32[np.ndarray, "*n 3"]
) -> Float32[np.ndarray, "*n 3"]:
  """Projects points as `Camera.project` does, in single precision."""
  away = [points[..., i] - np.float32(camera.position[i]) for i in range(3)]
  axes = np.float32(camera.axes)
  right, down, ahead = (a[0] * away[0] + a[1] * away[1] + a[2] * away[2] for a in axes)
  scale = np.float32(camera.focal) / np.maximum(ahead, np.float32(1))
  x = right * scale + np.float32((camera.width - 1) / 2)
  y = down * scale + np.float32((camera.height - 1) / 2)
  return np.stack([x, y, ahead], -1)


class _Studio:
  """Lights one person in front of one camera."""

  def __init__(self, person: Person, camera: Camera, floor, lights) -> None:
    self.person, self.lights, self.floor = person, lights, floor
    self.eye = np.float32(camera.position)
    self.ground = floor_points(camera).astype(np.float32)
    self.scale = _MAP_SIZE / _MAP_SPAN
    self.maps = np.empty((len(lights.towards), _MAP_SIZE, _MAP_SIZE), np.float32)

  def light(
    self,
    points: Float32[np.ndarray, "n 3"],
    bend: Float32[np.ndarray, "b"],
    face: Int32[np.ndarray, "h2 w2"],
    weights: Float32[np.ndarray, "h2 w2 2"],
    backdrop: Float32[np.ndarray, "h2 w2 3"],
  ) -> Float32[np.ndarray, "h2 w2 3"]:
    """Returns the backdrop with the person and the shadow on the floor, in light."""
    mesh, lights = self.person.mesh, self.lights
    # Between samples of a map, so that shadows do not crawl over a still person.
    centre = np.float32((points.min(0) + points.max(0)) / 2)
    local = points - centre
    normal = np.empty_like(points)
    raster.normals(points, mesh.faces, normal)
    raster.shadow_maps(
      local[mesh.coarse_points], mesh.coarse_faces, mesh.cover[mesh.coarse_points],
      lights.towards, lights.axes, self.scale, self.maps,
    )  # fmt: skip
    share = np.ones((*self.floor.shape, 3), np.float32)
    shading.floor_light(
      self.floor, self.ground - centre[[0, 2]], float(-centre[1]), lights.towards,
      lights.radiance, lights.axes, self.maps, self.scale, share,
    )  # fmt: skip
    share = blur(share, 0.7).repeat(SUBPIXELS, 0).repeat(SUBPIXELS, 1)
    image = backdrop * share
    fold = mesh.crease * (np.float32(0.6) + np.minimum(bend[mesh.joint], 1))
    shading.shade(
      face, weights, mesh.faces, mesh.material, local, normal, mesh.rest, mesh.colour,
      fold, self.person.materials, self.eye - centre, lights.towards, lights.radiance,
      lights.axes, self.maps, self.scale, lights.bounce, noise_volume(), image,
    )  # fmt: skip
    return np.minimum(image, np.float32(1.8))


def _seen(face, weights, near) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns triangle, place and depth of each pixel: of its first sample on the body.

  A pixel belongs to the body if half of its samples do.
  """
  size = face.shape[0] // SUBPIXELS
  split = (size, SUBPIXELS, size, SUBPIXELS)
  samples = face.reshape(split).transpose(0, 2, 1, 3).reshape(size, size, -1)
  first = (samples >= 0).argmax(-1)[..., None]
  is_body = (samples >= 0).sum(-1) * 2 >= SUBPIXELS**2
  triangle = np.take_along_axis(samples, first, -1)[..., 0]
  depth = near.reshape(split).transpose(0, 2, 1, 3).reshape(size, size, -1)
  depth = np.take_along_axis(depth, first, -1)[..., 0]
  place = weights.reshape(*split, 2).transpose(0, 2, 1, 3, 4)
  place = place.reshape(size, size, -1, 2)
  place = np.take_along_axis(place, first[..., None], 2)[:, :, 0]
  return np.where(is_body, triangle, -1), place, np.where(is_body, depth, _FAR)


def _compact(triangle, place, faces, spots, depth) -> Surfaces:
  """Keeps the triangles that are seen in any frame, and their corners."""
  counts = np.bincount(triangle.ravel() + 1, minlength=len(faces) + 1)[1:]
  seen = np.flatnonzero(counts)
  index = np.append(np.cumsum(counts > 0) - 1, -1)[triangle]
  used, corners = number(faces[seen], spots.shape[1])
  return Surfaces(
    triangle=index.astype(np.int32),
    place=place,
    corners=corners.astype(np.int32),
    points=np.ascontiguousarray(spots[:, used]),
    depth=depth,
  )


_BONE_PARTS = {
  "pelvis": "hips", "spine_01": "waist", "spine_02": "torso", "spine_03": "torso",
  "neck_01": "neck", "head": "head", "clavicle": "shoulders", "thigh": "thigh",
  "calf": "shin", "foot": "foot", "ball": "foot", "upperarm": "upper_arm",
  "lowerarm": "forearm", "hand": "hand",
}  # fmt: skip


def _parts_of(person: Person) -> np.ndarray:
  """Returns 1 + the index in PARTS of each triangle, by the bone that moves it most."""
  ids = []
  for bone in anatomy().bones:
    stem, _, side = bone.rpartition("_")
    part = _BONE_PARTS.get(bone) or _BONE_PARTS.get(stem) or "hand"
    if f"left_{part}" in PARTS:
      part = f"{'left' if side == 'l' else 'right'}_{part}"
    ids.append(1 + PARTS.index(part))
  mesh = person.mesh
  return np.array(ids)[mesh.bone[mesh.faces[:, 0], 0]]

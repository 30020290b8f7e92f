"""Films a dance: the same poses in one of several looks.

| look | what dances | where |
|---|---|---|
| `figures` | capsules in plain colours | in the studio, seen by its nine cameras |
| `figures_backdrops` | the same | in rooms, outdoors and in panoramas, hand-held |
| `people` | dressed people who pass for photographs | the same |
"""

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline import aist
from data_pipeline.aist import ClipName
from data_pipeline.errors import UserError
from data_pipeline.synthdance.backdrops.backdrop import draw_backdrop
from data_pipeline.synthdance.backdrops.colours import levels_to_light, to_levels
from data_pipeline.synthdance.backdrops.lens import draw_lens
from data_pipeline.synthdance.backdrops.viewpoint import draw_camera
from data_pipeline.synthdance.body import coco_joints, dancer, pose_skeleton
from data_pipeline.synthdance.choreography import Poses, seed
from data_pipeline.synthdance.footage import Footage
from data_pipeline.synthdance.kernels import compile_kernels
from data_pipeline.synthdance.people.clip import film_person
from data_pipeline.synthdance.renderer import render
from data_pipeline.synthdance.studio import background, make_camera

LOOKS = ("figures", "figures_backdrops", "people")


def film(
  look: str, name: ClipName, poses: Poses, framing: str, frame_size: int | None
) -> Footage:
  """Films poses in a look.

  Args:
    look: one of LOOKS.
    name: determines who dances, where, and from which side it is filmed.
    poses: one per frame.
    framing: "close" or "aist"; only the studio has the latter.
    frame_size: width in pixels; 128 for `close` and 256 for `aist` if None.

  Raises:
    UserError: look, framing or size is invalid, or there is no such camera.
  """
  if look not in LOOKS:
    raise UserError(f"Unknown look {look!r}; expected one of {LOOKS}.")
  if look == "figures":
    return _film_in_studio(name, poses, framing, frame_size)
  if framing != "close":
    raise UserError(f"The look {look} is filmed close; framing {framing!r} is not.")
  # The studio's camera checks the name and the size.
  size = make_camera(name.camera, framing, 168.0, frame_size).width
  compile_kernels()
  if look == "people":
    return film_person(name, poses, size, held_out=is_held_out(name))
  return _film_before_backdrop(name, poses, size)


def _film_in_studio(
  name: ClipName, poses: Poses, framing: str, frame_size: int | None
) -> Footage:
  performer = dancer(name.dancer)
  skeleton = pose_skeleton(poses, performer)
  camera = make_camera(name.camera, framing, performer.height, frame_size)
  gain = np.float32(_exposure(name))

  def develop(image: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    image = np.minimum(image * gain + np.float32(0.5), np.float32(255))
    return image.astype(np.uint8)

  drawn = render(skeleton, performer, camera, background(camera), develop)
  joints = coco_joints(skeleton)
  joints2d = camera.project(joints)[..., :2].astype(np.float32)
  return Footage(
    drawn.frames,
    joints.astype(np.float32),
    joints2d,
    drawn.part_map,
    drawn.part_pose,
  )


def _exposure(name: ClipName) -> tuple[float, float, float]:
  """Draws the exposure of a video: slightly brighter or darker, warmer or cooler."""
  rng = np.random.default_rng(seed("exposure", str(name)))
  light, warm = rng.uniform(0.90, 1.0), rng.uniform(-0.02, 0.02)
  return light * (1 + warm), light, light * (1 - warm)


def _film_before_backdrop(name: ClipName, poses: Poses, size: int) -> Footage:
  performer = dancer(name.dancer)
  skeleton = pose_skeleton(poses, performer)
  rng = np.random.default_rng(seed("backdrop", str(name)))
  lens = draw_lens(rng, size)
  camera = draw_camera(rng, name.camera, performer.height, size, lens.shown)
  place = draw_backdrop(rng, camera, held_out=is_held_out(name))
  noise = np.random.default_rng(seed("noise", str(name)))

  def develop(image: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return lens.develop(levels_to_light(image), noise)

  drawn = render(skeleton, performer, camera, to_levels(place.pixels()), develop)
  joints = coco_joints(skeleton)
  joints2d = camera.project(joints)[..., :2].astype(np.float32)
  return Footage(
    drawn.frames,
    joints.astype(np.float32),
    joints2d,
    drawn.part_map * lens.shows((size, size)),
    drawn.part_pose,
  )


def is_held_out(name: ClipName) -> bool:
  """Returns whether a clip may be used for testing only.

  That depends on the dancer: clips for training never have a held-out dancer, and clips
  for testing always do (`data_pipeline.synthdance.presets`), whatever the test tracks.
  """
  return name.dancer in aist.held_out_dancers()

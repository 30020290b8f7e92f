"""Draws the frames of a dance: the person of a scene as a moving layer over its plate.

A person whose landmarks are known moves as pieces on a skeleton, by the joints of the
dance. Anything else moves by the generated flow itself.
"""

import concurrent.futures
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Float, UInt8

from dabfusion_jax.people.bounds import Bounds
from dabfusion_jax.people.cut_off import CutOff
from dabfusion_jax.people.footing import Footing
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.piece import draw_pieces
from dabfusion_jax.people.puppet import Puppet
from dabfusion_jax.people.scene import Scene, blend
from dabfusion_jax.people.shadow import Shadow
from dabfusion_jax.people.skeleton import (
  Affine,
  Joints,
  Skeleton,
  face_forward,
  shifted,
  trunk_length,
)
from dabfusion_jax.people.skirt import SKIRT
from dabfusion_jax.people.squares import Square
from dabfusion_jax.people.track import Track
from data_pipeline.workers import count_cores

_MAX_THREADS = 4  # that draw frames
_AT_ONCE = 10  # generated frames whose frames are held at once
_CELLS = 24  # per side of the mesh that flow moves
_STANDING = 0.07  # within which a foot stands, relative to the trunk
_BACKGROUND_LEVELS = 24  # by which a codec may change a background

Moves = Mapping[str, Affine]  # of each piece, by its name


class PieceDrawer:
  """Moves and draws a person by the joints of generated frames, part by part.

  Joints are smoothed over time, so the last frames of a part are drawn with the next.
  """

  def __init__(
    self,
    scene: Scene,
    puppet: Puppet,
    frame: Square,
    rest: Landmarks,
    frame_size: int,
    times: int = 1,
    ease_in: int = 0,
  ) -> None:
    """Stands the person into the scene.

    Args:
      scene: with landmarks.
      puppet: the person of the scene.
      frame: where the generated frames lie in the scene.
      rest: landmarks of the frame without motion, in its pixels.
      frame_size: pixels per side of a generated frame.
      times: frames that are drawn per generated frame.
      ease_in: generated frames over which the dance sets out from the picture's pose.
    """
    self._scale = lambda points: frame.to_picture(points / frame_size)
    self._rest = self._before = self._scale(rest.points)
    self._pieces, joints = puppet.pieces, puppet.joints
    has_skirt = any(piece.name == SKIRT for piece in puppet.pieces)
    self._skeleton = Skeleton(joints, self._rest, puppet.held, has_skirt)
    reach = _STANDING * trunk_length(joints)
    self._footing = Footing(reach, self._skeleton.feet(self._rest), times)
    height, width = scene.plate.shape[:2]
    self.plate, self._origin = scene.shown(scene.plate), np.zeros(2)
    self._shadow = None
    if scene.shade is not None:
      self._shadow = Shadow(scene.shade, joints, (width, height))
    self._bounds: Bounds | CutOff
    if scene.window is None:
      self._bounds = Bounds(self._pieces, joints, (width, height), puppet.held)
    else:
      centred = dataclasses.replace(scene.landmarks, points=joints)
      scene = dataclasses.replace(scene, landmarks=centred)
      self._bounds = CutOff(scene, self._pieces)
      self._origin = np.array(scene.window[:2], float)
    self._track, self._times = Track(times, self._rest, ease_in), times

  def follow(
    self, dance: Sequence[Landmarks], is_last: bool
  ) -> Iterator[Sequence[Moves]]:
    """Yields how pieces move in the frames whose neighbours in time are known.

    Args:
      dance: landmarks of the next generated frames, at least one.
      is_last: whether no more follow; all frames that are left then follow.

    Yields:
      Moves of some frames.
    """
    joints = np.stack([self._scale(x.points) for x in dance])
    joints = face_forward(joints, self._rest, self._before)
    self._before = joints[-1]
    confidence = np.stack([x.confidence for x in dance])
    poses = self._track.add(joints, confidence, is_last)
    num = _AT_ONCE * self._times
    for first in range(0, len(poses), num):
      yield [self._move(pose) for pose in poses[first : first + num]]

  def cast(
    self, plate: UInt8[np.ndarray, "h w 3"], moves: Moves
  ) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a background with the shadow of the person where they have moved."""
    return plate if self._shadow is None else self._shadow.cast(plate, moves)

  def over(
    self, picture: UInt8[np.ndarray, "h w 3"], moves: Moves
  ) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture with the person before it."""
    return _over(picture, draw_pieces(self._pieces, moves, picture.shape[1::-1]))

  def _move(self, pose: Joints) -> dict[str, Affine]:
    """Returns how the pieces move to the next pose."""
    feet = self._footing.follow(self._skeleton.feet(pose))
    moves = self._bounds.fit(self._skeleton.pose(pose, feet))
    return {name: shifted(move, -self._origin) for name, move in moves.items()}


def draw_people(
  drawers: Sequence[PieceDrawer], moves: Sequence[Sequence[Moves]]
) -> UInt8[np.ndarray, "t h w 3"]:
  """Draws people over the background of the first of them.

  Args:
    drawers: of each, those in front last.
    moves: of each, of as many frames.
  """
  plate, num_frames = drawers[0].plate, len(moves[0])
  frames = np.empty((num_frames, *plate.shape), np.uint8)

  def draw_one(i):
    frame = plate
    for drawer, of_person in zip(drawers, moves, strict=True):
      frame = drawer.cast(frame, of_person[i])
    for drawer, of_person in zip(drawers, moves, strict=True):
      frame = drawer.over(frame, of_person[i])
    frames[i] = frame

  # Pillow releases the GIL. Each thread holds a canvas.
  workers = min(_MAX_THREADS, count_cores())
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    list(pool.map(draw_one, range(num_frames)))
  return frames


def draw_flow(
  scene: Scene,
  frame: Square,
  flow: Float[np.ndarray, "t s s 2"],
  occlusion: Float[np.ndarray, "t s s 1"],
  decoded: UInt8[np.ndarray, "t n n 3"],
  background: UInt8[np.ndarray, "n n 3"],
  gain: float,
) -> UInt8[np.ndarray, "t h w 3"]:
  """Draws a dance by generated flow.

  Args:
    scene: landmarks are not needed.
    frame: where the generated frames lie in the scene.
    flow: sampling grids in [-1, 1].
    occlusion: in [0, 1]; 0 where the picture does not show what is needed.
    decoded: the generated frames. They fill in what the picture does not show.
    background: what the network was shown behind the person.
    gain: of the colours of the scene over those the network was shown.
  """
  height, width = scene.plate.shape[:2]
  alpha = np.round(scene.alpha * 255).astype(np.uint8)
  layer = PIL.Image.fromarray(np.dstack([scene.colours, alpha]), "RGBA")
  person = cut_map(scene.alpha, frame, flow.shape[1])
  scale = decoded.shape[1] / frame.side
  to_frame = (scale, 0, -frame.left * scale, 0, scale, -frame.top * scale)
  frames = []
  for t in range(len(flow)):
    person_again = _generated_person(decoded[t], occlusion[t, ..., 0], background, gain)
    canvas = person_again.transform(
      (width, height), PIL.Image.AFFINE, to_frame, PIL.Image.BICUBIC
    )
    mesh = _mesh(spread_flow(flow[t], person), frame, layer.getbbox(), layer.size)
    canvas.alpha_composite(
      layer.transform(layer.size, PIL.Image.MESH, mesh, PIL.Image.BICUBIC)
    )
    frames.append(_over(scene.plate, canvas))
  return np.stack(frames)


def cut_map(
  values: Float[np.ndarray, "h w"], frame: Square, size: int
) -> Float[np.ndarray, "{size} {size}"]:
  """Returns the means of a map of a picture over the cells of a square."""
  fine = 8 * size
  scale = frame.side / fine
  matrix = (scale, 0, frame.left, 0, scale, frame.top)
  image = PIL.Image.fromarray(np.asarray(values, np.float32))
  cut = image.transform((fine, fine), PIL.Image.AFFINE, matrix, PIL.Image.BILINEAR)
  return np.asarray(cut).reshape(size, 8, size, 8).mean((1, 3))


def spread_flow(
  flow: Float[np.ndarray, "s s 2"], person: Float[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s 2"]:
  """Lets the motion of the person reach beyond their outline.

  Beside the person the flow falls to that of the still background, which would draw out
  the edges of a layer. There, it becomes the mean of the person's motion nearby.

  Args:
    flow: a sampling grid in [-1, 1].
    person: how much of each cell of the picture is the person.
  """
  size = len(person)
  still = np.linspace(-1, 1, size)
  still = np.stack(np.meshgrid(still, still), -1)
  at = (flow[..., ::-1] + 1) / 2 * (size - 1)
  weight = scipy.ndimage.map_coordinates(person, at.transpose(2, 0, 1), order=1)
  weight = np.clip(weight, 1e-3, 1)[..., None]
  blur = lambda x: scipy.ndimage.gaussian_filter(x, (1, 1, 0))
  around = blur((flow - still) * weight) / blur(weight)
  return still + weight * (flow - still) + (1 - weight) * around


def _mesh(
  grid: np.ndarray,
  frame: Square,
  person: tuple[int, int, int, int],
  size: tuple[int, int],
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
  """Returns rectangles of a picture and the quadrangles that they come from.

  Args:
    grid: a sampling grid in [-1, 1].
    frame: where it lies in the picture.
    person: the box that holds all that is not transparent; others are left out.
    size: width and height of the picture.
  """
  width, height = size
  cells = len(grid)
  edges = [
    np.unique(np.clip(np.round(np.linspace(low, low + frame.side, _CELLS + 1)), 0, end))
    for low, end in ((frame.left, width), (frame.top, height))
  ]
  # Positions in cells: -1 and 1 are the centres of the outer ones.
  to_cells = lambda edge, low: (edge - low) / frame.side * cells - 0.5
  x, y = to_cells(edges[0], frame.left), to_cells(edges[1], frame.top)
  at = np.stack(np.meshgrid(y, x, indexing="ij"))
  source = [
    scipy.ndimage.map_coordinates(grid[..., i], at, order=3, mode="nearest")
    for i in (0, 1)
  ]
  source = [((s + 1) / 2 * (cells - 1) + 0.5) / cells * frame.side for s in source]
  source = np.stack([source[0] + frame.left, source[1] + frame.top], -1)
  columns, rows = (edge.astype(int).tolist() for edge in edges)
  corners = np.stack(
    [source[:-1, :-1], source[1:, :-1], source[1:, 1:], source[:-1, 1:]], 2
  )
  is_near = (corners.max(2) >= person[:2]).all(-1)
  is_near &= (corners.min(2) <= person[2:]).all(-1)
  mesh = []
  for i in range(len(rows) - 1):
    for j in range(len(columns) - 1):
      if not is_near[i, j]:
        continue
      box = (columns[j], rows[i], columns[j + 1], rows[i + 1])
      mesh.append((box, tuple(corners[i, j].ravel().tolist())))
  return mesh


def _generated_person(
  decoded: np.ndarray, occlusion: np.ndarray, background: np.ndarray, gain: float
) -> PIL.Image.Image:
  """Returns the person of a generated frame where the picture cannot show them."""
  size = len(decoded)
  differs = np.abs(decoded.astype(np.float32) - background).max(-1)
  person = np.clip((differs - _BACKGROUND_LEVELS) / _BACKGROUND_LEVELS, 0, 1)
  hidden = PIL.Image.fromarray((1 - occlusion).astype(np.float32))
  hidden = np.asarray(hidden.resize((size, size), PIL.Image.BILINEAR))
  alpha = 255 * person * np.clip(hidden, 0, 1)
  rgba = np.round(np.dstack([np.clip(decoded * gain, 0, 255), alpha]))
  return PIL.Image.fromarray(rgba.astype(np.uint8), "RGBA")


def _over(plate: np.ndarray, canvas: PIL.Image.Image) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a canvas over the plate."""
  frame = plate.copy()
  box = canvas.getbbox()
  if box is not None:
    layer = np.asarray(canvas.crop(box))
    window = (slice(box[1], box[3]), slice(box[0], box[2]))
    alpha = layer[..., 3] / np.float32(255)
    frame[window] = blend(plate[window], layer[..., :3], alpha)
  return frame

"""Stands a person into a scene, at the size and place of a dancer (paper, sec. 4.4).

The scene is the person's own picture, a plain studio, or another picture, whose dancer
is replaced. In each, the background behind the person is known or filled in once.
"""

import dataclasses

import numpy as np
import PIL.Image
from jaxtyping import Float, Float32, Int, Shaped, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.background import clear, hole_of
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.regions import outlines
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.shadow import Shade
from dabfusion_jax.people.skeleton import HEAD, trunk_length
from dabfusion_jax.people.squares import Square
from dabfusion_jax.people.studio import DANCER_FLOOR, DANCER_HEIGHT

_TINT = 0.15  # exponent of the ratio of colours
_GAIN = (0.75, 1.35)  # bounds of what light matching may do to a colour
_SHOULDER = 160.0  # grey level above which more light makes less and less difference
# Around a picture: over how many trunks a person who is cut off goes straight on above,
# to the sides and below; how wide the body is farther below, of its outlines; and how
# far below the picture anything may come into it.
_ABOVE, _ASIDE, _STRAIGHT, _SLIM, _REACH = 0.2, 0.6, 0.25, 0.6, 0.6
_MOST = 0.5  # widths of a picture, to the sides of it
# In trunks: how far the chin is below the ears, and the sides of the neck from their
# middle. What is seen of clothes beyond goes on around the picture.
_CHIN, _NECK = 0.28, 0.15
_SOLID = 0.95  # alpha of a pixel that is not mixed with the background
_SHOWN_TRUNK = 150.0  # pixels, at most, of a person whom the network is shown


@dataclasses.dataclass(frozen=True)
class Scene:
  """A person as a layer over a background.

  Attributes:
    plate: the background without the person.
    colours, alpha: of the person.
    landmarks: of the person, in the pixels of the plate; None if not recognised.
    shade: the light that the person leaves to the plate, if that is known and moves
      with them (`shadow.find_shades`).
    window: left, top, right and bottom of what is shown, the last two outside, if the
      person goes on beyond it; None: all is shown.
  """

  plate: UInt8[np.ndarray, "h w 3"]
  colours: UInt8[np.ndarray, "h w 3"]
  alpha: Float32[np.ndarray, "h w"]
  landmarks: Landmarks | None
  shade: Shade | None = None
  window: tuple[int, int, int, int] | None = None

  @property
  def picture(self) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Returns the person in the scene, as far as it is shown."""
    return self.shown(blend(self.plate, self.colours, self.alpha))

  def shown(
    self, values: Shaped[np.ndarray, "h w *c"]
  ) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """Returns the part of a map of the scene that is shown."""
    left, top, right, bottom = self.window or (0, 0, *values.shape[1::-1])
    return values[top:bottom, left:right]


def own_scene(
  picture: UInt8[np.ndarray, "h w 3"],
  person: Person,
  plate: UInt8[np.ndarray, "h w 3"] | None = None,
  shade: Shade | None = None,
) -> Scene:
  """Returns a picture as a scene of its own.

  A person who is cut off goes on beyond it.

  Args:
    picture: in which they are.
    person: who dances.
    plate: the background, if it is known.
    shade: of them on this plate.
  """
  if plate is None:
    plate, (shade,) = clear(picture, [person])
  # At the outline the person is mixed with the background: colours from further inside.
  solid = person.alpha > _SOLID
  inner = fill_smoothly(
    picture.astype(np.float32), solid if solid.any() else hole_of(person)
  )
  inner = np.clip(np.round(inner), 0, 255).astype(np.uint8)
  layered = Scene(plate, inner, person.alpha, person.landmarks, shade)
  return _continue(layered, _REACH) if person.is_cut_off else layered


def _continue(scene: Scene, below: float) -> Scene:
  """Returns a scene whose person goes on beyond the picture, in the colours beside.

  Of the dance, only what lies in the picture is seen.

  Args:
    scene: a picture.
    below: how far the person goes on below it, in trunks, at most to the toes.
  """
  unit = trunk_length(scene.landmarks.points)
  rows, columns = scene.alpha.shape
  above, straight = int(_ABOVE * unit), int(_STRAIGHT * unit)
  aside = int(min(_ASIDE * unit, _MOST * columns))
  landmarks = scene.landmarks.moved(1.0, np.array([aside, above], float))
  points = landmarks.points
  floor = int(np.ceil(points[[lm.LEFT_TOE, lm.RIGHT_TOE], 1].max()))
  last = int(min(floor, above + rows + below * unit))
  legs = max(0, last - above - rows - straight)

  x, y = scene.landmarks.points[[lm.LEFT_EAR, lm.RIGHT_EAR]].mean(0)
  mirror = np.ix_(
    _mirrored(rows, 0, 0.0, straight, rows - y - _CHIN * unit),
    _mirrored(columns, aside, x - _NECK * unit, aside, columns - x - _NECK * unit),
  )

  edge = np.ix_(
    np.clip(np.arange(rows + straight), 0, rows - 1),
    np.clip(np.arange(-aside, columns + aside), 0, columns - 1),
  )

  def pad(values, around, far):
    depth = [(0, 0)] * (values.ndim - 2)  # of colours
    values = np.pad(values[around], [(above, 0), (0, 0), *depth], "edge")
    return np.pad(values, [(0, legs), (0, 0), *depth], far)

  colours = pad(scene.colours, mirror, "edge")
  # Shoulders may begin below a place where the picture shows the background.
  clothes = pad(scene.alpha, mirror, "edge") > _SOLID
  clothes[: above + max(int(y + _CHIN * unit), 0)] = True
  clothes[above : above + rows, aside : aside + columns] = True
  if not clothes.all():
    colours = fill_smoothly(colours.astype(np.float32), clothes)
    colours = np.clip(np.round(colours), 0, 255).astype(np.uint8)
  alpha = pad(scene.alpha, edge, "constant")
  outside = alpha[above + rows :]
  shapes = outlines(points - [0, above + rows], unit, outside.shape)
  body = np.min([shapes[name] for name in shapes if name != HEAD], 0) < _SLIM
  np.maximum(outside, body, out=outside)
  return Scene(
    pad(scene.plate, edge, "edge"),
    colours,
    alpha,
    landmarks,
    window=(aside, above, aside + columns, above + rows),
  )


def _mirrored(
  size: int, before: int, first: float, after: int, last: float
) -> Int[np.ndarray, "n"]:
  """Returns the indices that extend an axis by mirroring it at both ends.

  Args:
    size: of the axis.
    before, after: by how much it is extended.
    first, last: how much at its ends is mirrored, to and fro.
  """

  def beyond(num, depth):
    period = max(2 * round(min(depth, size)), 2)
    steps = np.arange(num) % period
    return np.minimum(steps, period - 1 - steps)

  low, high = beyond(before, first)[::-1], size - 1 - beyond(after, last)
  return np.concatenate([low, np.arange(size), high])


def _whole(scene: Scene) -> tuple[Scene, float]:
  """Returns a scene with the whole person, for the network, and its relative size.

  Somebody whom the picture shows larger than the network's studio is reduced.
  """
  if scene.window is None:
    return scene, 1.0
  scale = min(1.0, _SHOWN_TRUNK / trunk_length(scene.landmarks.points))

  def reduce(values):
    image = PIL.Image.fromarray(np.ascontiguousarray(scene.shown(values)))
    size = [max(round(side * scale), 1) for side in image.size]
    return np.asarray(image.resize(size, PIL.Image.BOX))

  picture = Scene(
    *(reduce(values) for values in (scene.plate, scene.colours, scene.alpha)),
    scene.landmarks.moved(scale, -scale * np.array(scene.window[:2])),
  )
  return _continue(picture, np.inf), scale


def stand_in(
  scene: Scene,
  plate: UInt8[np.ndarray, "h w 3"],
  dancer: Square,
  shade: Shade | None = None,
) -> Scene:
  """Stands the person of a scene into another one.

  Args:
    scene: whose person it is.
    plate: the background of the new scene.
    dancer: the frame of a dancer in it (`frame_of`).
    shade: of that dancer on the plate.
  """
  scene, _ = _whole(scene)
  frame = _frame(scene.alpha)
  height, width = plate.shape[:2]
  scale = dancer.side / frame.side
  offset = np.array([dancer.left, dancer.top]) - scale * np.array(
    [frame.left, frame.top]
  )

  def move(values, mode):
    # Reduced in steps first: the transform itself does not average.
    image = PIL.Image.fromarray(values)
    factor = max(1, int(1 / scale))
    image = image.reduce(factor)
    matrix = (1 / scale / factor, 0, -offset[0] / scale / factor)
    matrix += (0, 1 / scale / factor, -offset[1] / scale / factor)
    return np.asarray(
      image.transform((width, height), PIL.Image.AFFINE, matrix, PIL.Image.BICUBIC)
    )

  alpha = move((scene.alpha * 255).round().astype(np.uint8), "L") / np.float32(255)
  colours = match_light(move(scene.colours, "RGB"), scene.plate, plate)
  landmarks = scene.landmarks
  if landmarks is not None:
    landmarks = landmarks.moved(scale, offset)
  return Scene(plate, colours, alpha, landmarks, shade)


def frame_of(scene: Scene) -> Square:
  """Returns the square in which the person stands as a dancer in a frame."""
  whole, scale = _whole(scene)
  frame = _frame(whole.alpha)
  if scene.window is None:
    return frame
  left, top = (
    (at - first) / scale + origin
    for at, first, origin in zip(
      (frame.left, frame.top), whole.window[:2], scene.window[:2], strict=True
    )
  )
  return Square(left, top, frame.side / scale)


def _frame(alpha: Float32[np.ndarray, "h w"]) -> Square:
  mask = alpha > 0.5
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  top, bottom = float(rows[0]), float(rows[-1] + 1)
  # Arms to the sides or a wide dress must fit in, too.
  width = float(columns[-1] + 1 - columns[0])
  side = max((bottom - top) / DANCER_HEIGHT, width / DANCER_HEIGHT)
  centre = float(np.median(np.nonzero(mask)[1])) + 0.5
  return Square(centre - side / 2, bottom - DANCER_FLOOR * side, side)


def match_light(
  colours: UInt8[np.ndarray, "h w 3"],
  before: UInt8[np.ndarray, "h1 w1 3"],
  after: UInt8[np.ndarray, "h2 w2 3"],
) -> UInt8[np.ndarray, "h w 3"]:
  """Brings colours from the light of one background halfway to that of another.

  Of the ratio of their brightness the half, as a factor, because a background is not
  all there is to see of its light; of that of their colours less: a meadow is green in
  white light.
  """
  means = [plate.reshape(-1, 3).mean(0) + 1 for plate in (before, after)]
  brightness = means[1].mean() / means[0].mean()
  tint = means[1] / means[0] / brightness
  gain = np.clip(np.sqrt(brightness) * tint**_TINT, *_GAIN)
  lit = colours * gain
  # What becomes lighter than most does so the less, the lighter it is, as on film: cut
  # off at white, a face or a shirt would have no shape.
  top = 255 * np.maximum(gain, 1)
  share = np.clip((lit - _SHOULDER) / (top - _SHOULDER), 0, 1)
  power = (top - _SHOULDER) / (255 - _SHOULDER)
  soft = _SHOULDER + (255 - _SHOULDER) * (1 - (1 - share) ** power)
  return np.round(np.where(lit > _SHOULDER, soft, lit)).astype(np.uint8)


def blend(
  plate: UInt8[np.ndarray, "h w 3"],
  colours: UInt8[np.ndarray, "h w 3"],
  alpha: Float[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns colours over a plate, which stays bit for bit where alpha is 0."""
  weight = np.asarray(alpha, np.float32)[..., None]
  mixed = plate + weight * (colours.astype(np.float32) - plate)
  return np.where(weight > 0, np.round(mixed), plate).astype(np.uint8)

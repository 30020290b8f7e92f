"""The shadow of a person on a plain background, and how it moves with them.

A picture is taken for the product of a background in even light and the share of light
that a person leaves to it. Along a row, a plain background goes on evenly from one
border to the other; where the picture is darker around a person, that is their shadow.
It is smooth, so it is kept at a small size.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import scipy.ndimage
import scipy.special
from jaxtyping import Bool, Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import skeleton
from dabfusion_jax.people.fill import fill_smoothly
from dabfusion_jax.people.skeleton import FEET, TORSO, Affine, Joints

_SIZE = 256  # pixels of the longer side, at most, at which shadows are found and kept
# All in trunks. How far from a person shadows fall to the sides, and above and below;
# what brightness is averaged over; what edges are looked for in; and how far the
# background above and below a row counts.
_ASIDE, _ALONG, _BLUR, _NEAR, _AROUND = 0.5, 0.6, 0.03, 0.08, 0.3
_SHARED = 0.1  # trunks, over which the shadow of one person ends and another begins
_TIGHT = 0.25  # trunks; in less room beside a person, all may be shadow
_MAX_SHARE = 0.5  # of the room beside a person that may be shadow
_MIN_KNOWN = 3  # pixels of a row beside a person and their shadow, for a line
# Rms of the logarithm of brightness: of a plain row, at most, and of one in which
# nothing is taken for a shadow. What is darker by less than so many times that is no
# shadow, and by twice as much it surely is.
_EVEN, _UNEVEN, _DOUBT = 0.04, 0.08, 1.0
_LEAST_ERROR = 1e-3  # of a row without noise
_DARKEST = 0.2  # share of light that is left, at least
_FAINT = 0.96  # what leaves more light is no shadow
_SPREADS = (0.6, 1.6)  # by which a shadow between two feet may become wider
_LEAST = 0.2  # trunks between two feet; nearer ones count as that

Shade = Float32[np.ndarray, "h2 w2"]


def find_shades(
  picture: UInt8[np.ndarray, "h w 3"],
  holes: Sequence[Bool[np.ndarray, "h w"]],
  trunk: float,
  others: Bool[np.ndarray, "h w"] | None = None,
) -> list[Shade] | None:
  """Returns the share of light that each person leaves to the background, or None.

  Args:
    picture: of them.
    holes: where each of them hides the background.
    trunk: pixels of the trunk of a person.
    others: where people are who stay.

  Returns:
    Values in (0, 1], also where nothing is seen of the background, at a size of at most
    `_SIZE`; together, the light is their product. None if there is no shadow, or the
    background is not plain.
  """
  height, width = picture.shape[:2]
  scale = min(1.0, _SIZE / max(height, width))
  size = [max(round(side * scale), 1) for side in (width, height)]
  reduce = lambda x: np.asarray(PIL.Image.fromarray(x).resize(size, PIL.Image.BOX))
  each = [reduce(hole.astype(np.float32)) > 0 for hole in holes]
  staying = [] if others is None else [reduce(others.astype(np.float32)) > 0]
  hidden = np.any(each + staying, 0)
  if hidden.all():
    return None
  unit = max(trunk * scale, 1.0)
  brightness = reduce(picture).mean(-1, dtype=np.float32) + 1
  beside = np.all([_beside(x, unit) for x in each], 0) & ~hidden
  shade = _find_shade(brightness, hidden, beside, unit)
  if shade.min() > _FAINT:
    return None
  distances = [scipy.ndimage.distance_transform_edt(~x) for x in each]
  shares = scipy.special.softmax(np.stack(distances) / (-_SHARED * unit), 0)
  return list((shade**shares).astype(np.float32))


def _find_shade(
  brightness: Float32[np.ndarray, "h w"],
  hidden: Bool[np.ndarray, "h w"],
  beside: Bool[np.ndarray, "h w"],
  unit: float,
) -> Float32[np.ndarray, "h w"]:
  """Returns the share of light that all people leave.

  Args:
    brightness: of a picture, positive.
    hidden: where they are.
    beside: where neither they nor their shadows are.
    unit: pixels of a trunk.
  """
  seen = (~hidden).astype(np.float32)

  def mean(values, reach):
    blur = lambda x: scipy.ndimage.gaussian_filter(x, reach * unit)
    return blur(values * seen) / np.maximum(blur(seen), 1e-3)

  light = np.maximum(mean(brightness, _BLUR), 1)
  # Local contrast: high at the edges of objects, low in soft shadows.
  edges = np.sqrt(mean(np.log(brightness / light) ** 2, _NEAR))
  even, error = _continue_rows(light, beside)
  # A row is as uneven as the worst around it.
  error = scipy.ndimage.maximum_filter1d(error, 2 * int(_AROUND * unit) + 1)
  error = scipy.ndimage.gaussian_filter1d(error, _AROUND * unit / 2)[:, None]
  darker = np.log(even / np.where(hidden, even, light))
  sure = np.clip((_UNEVEN - error) / (_UNEVEN - _EVEN), 0, 1)
  sure = sure * np.clip(darker / error / _DOUBT - 1, 0, 1)
  shade = np.where(beside, 1, np.maximum(np.exp(-sure * darker), _DARKEST))
  # Pixels that an edge separates from the background may belong to an object.
  reached = scipy.ndimage.binary_propagation(beside, mask=~hidden & (edges < _EVEN))
  shade = fill_smoothly(shade[..., None].astype(np.float32), reached)[..., 0]
  return scipy.ndimage.gaussian_filter(shade, _BLUR * unit)


def _beside(hidden: Bool[np.ndarray, "h w"], unit: float) -> Bool[np.ndarray, "h w"]:
  """Returns the pixels of each row that neither a person nor their shadow reaches."""
  along = 2 * int(_ALONG * unit) + 1
  tall = scipy.ndimage.maximum_filter1d(hidden, along, axis=0)
  beside = np.ones_like(hidden)
  width = hidden.shape[1]
  for y in np.flatnonzero(tall.any(1)):
    columns = np.flatnonzero(tall[y])
    left, right = int(columns[0]), int(columns[-1]) + 1
    start, end = left - _reach(left, unit), right + _reach(width - right, unit)
    beside[y, start:end] = False
  return beside


def _reach(room: int, unit: float) -> int:
  """Returns how far shadows fall beside a person, given the pixels up to the border."""
  if room < _TIGHT * unit:
    return room
  return int(min(_ASIDE * unit, _MAX_SHARE * room))


def _continue_rows(
  light: Float32[np.ndarray, "h w"], beside: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h"]]:
  """Continues the rows of a background evenly.

  Returns:
    The brightness without a person; and how far that of each row is from a straight
    line, in logarithms (rms), at most `_UNEVEN`.
  """
  even, error = light.copy(), np.full(len(light), _UNEVEN, np.float32)
  columns = np.arange(light.shape[1])
  for y, row in enumerate(beside):
    known = np.flatnonzero(row)
    if len(known) < _MIN_KNOWN:
      continue
    brightness = np.log(light[y, known])
    line = np.polynomial.Polynomial.fit(known, brightness, 1)
    off = np.sqrt(np.mean((brightness - line(known)) ** 2))
    error[y] = np.clip(off, _LEAST_ERROR, _UNEVEN)
    even[y] = np.interp(columns, known, light[y, known])
  return even, error


def without_shade(
  picture: UInt8[np.ndarray, "h w 3"], shade: Shade
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture in even light."""
  return _times(picture, 1 / shade)


def with_shade(
  picture: UInt8[np.ndarray, "h w 3"], shade: Shade
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture in even light with the shadow of a person."""
  return _times(picture, shade)


def _times(
  picture: UInt8[np.ndarray, "h w 3"], factor: Shade
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns a picture times an enlarged map; where that is nearly 1, bit for bit.

  Args:
    picture: of any size.
    factor: no larger than the picture.
  """
  changed = np.abs(factor - 1) > 1e-4
  if not changed.any():
    return picture
  # Enlarged, a value reaches as far as the middle of the next one.
  around = scipy.ndimage.binary_dilation(changed, np.ones((3, 3)))
  scale = np.array(picture.shape[:2]) / factor.shape[:2]
  box = []
  for axis in (0, 1):
    lines = np.flatnonzero(around.any(1 - axis))
    low, high = lines[0] * scale[axis], (lines[-1] + 1) * scale[axis]
    box.append((int(np.floor(low)), min(int(np.ceil(high)), picture.shape[axis])))
  (top, bottom), (left, right) = box
  part = (slice(top, bottom), slice(left, right))
  of_map = (left / scale[1], top / scale[0], right / scale[1], bottom / scale[0])
  image = PIL.Image.fromarray(factor)
  large = image.resize((right - left, bottom - top), PIL.Image.BILINEAR, box=of_map)
  values = picture[part] * np.asarray(large)[..., None]
  values += 0.5  # in place: the picture of a camera is large
  result = picture.copy()
  result[part] = np.clip(values, 0, 255, out=values)
  return result


class Shadow:
  """A shadow that moves with a person.

  On the floor it follows the feet, and at the height of the hips and above it follows
  these, to the sides. It goes up and down with the lower foot.
  """

  def __init__(self, shade: Shade, joints: Joints, size: tuple[int, int]) -> None:
    """Begins with a person at rest.

    Args:
      shade: as the picture shows it (`find_shades`).
      joints: of the picture, in its pixels.
      size: width and height of the picture.
    """
    self._shade, self._joints = shade, joints
    self._scale = np.array(shade.shape[::-1]) / size
    self._rest = self._anchors({name: np.eye(2, 3) for name in (TORSO, *FEET)})

  def cast(
    self, plate: UInt8[np.ndarray, "h w 3"], moves: Mapping[str, Affine]
  ) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a background on which the shadow has moved; at rest, bit for bit.

    Args:
      plate: with the shadow as the picture shows it.
      moves: how the pieces of the person move.
    """
    return _times(plate, self._moved(moves) / self._shade)

  def _anchors(self, moves: Mapping[str, Affine]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle of the hips, and both feet, in pixels of the shade."""
    hips = self._joints[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
    feet = [skeleton.apply(moves[name], self._joints[at]) for name, at in FEET.items()]
    hips = skeleton.apply(moves[TORSO], hips)
    return hips * self._scale, np.stack(feet) * self._scale

  def _moved(self, moves: Mapping[str, Affine]) -> Shade:
    """Returns the share of light that the person leaves when they have moved."""
    (hips, feet), (own_hips, own_feet) = self._anchors(moves), self._rest
    height, width = self._shade.shape
    rows = np.arange(height) + 0.5 - (feet[:, 1].max() - own_feet[:, 1].max())
    columns = np.arange(width) + 0.5
    legs = max(own_feet[:, 1].max() - own_hips[1], 1.0)
    down = np.clip((rows - own_hips[1]) / legs, 0, 1)[:, None]
    between = lambda hips, feet: (1 - down) * hips + down * feet
    wide = between(1.0, self._spread(feet[0, 0] - feet[1, 0]))
    own_middle = between(own_hips[0], own_feet[:, 0].mean())
    middle = between(hips[0], feet[:, 0].mean())
    at = np.broadcast_arrays(rows[:, None], own_middle + (columns - middle) / wide)
    return scipy.ndimage.map_coordinates(
      self._shade, np.array(at) - 0.5, order=1, mode="nearest"
    )

  def _spread(self, apart: float) -> float:
    """Returns by how much the shadow between feet is wider, given their distance."""
    own = self._rest[1][0, 0] - self._rest[1][1, 0]
    least = _LEAST * skeleton.trunk_length(self._joints) * self._scale[0]
    wider = (apart - own) / np.copysign(max(abs(own), least), own)
    return float(np.clip(1 + wider, *_SPREADS))

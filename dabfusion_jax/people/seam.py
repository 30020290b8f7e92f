"""Seams of pieces, where they are drawn in the colours below."""

import dataclasses

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Bool, Float

from dabfusion_jax.people.limbs import outwards
from dabfusion_jax.people.skeleton import Joints

_FULL_TURN = 0.6  # radians, over which a shoulder loses its own colours
# An arm that seems to turn further inwards was raised by more than half a turn.
_MOST_INWARDS = 2.0
# The seam of a shoulder: from the outline of the arm to so far inside, and so far
# around the joint, in trunks; both with a soft end.
_WIDTH, _REACH, _SOFT = 0.03, 0.3, (0.05, 0.1)

Mask = Bool[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class Seam:
  """The part of a piece that takes the colours below it, so that no edge is seen.

  The edge of an upper arm, often lit from behind, would be a line across the shoulder
  once the arm is raised. At an elbow or a knee, two pieces fade into each other.

  Attributes:
    image: L, the share of the colours below in each pixel of the piece.
    outwards: the sign of turns that raise an arm beside the trunk; None: of an elbow or
      a knee.
    below: the piece whose colours are taken; None: whatever is below.
  """

  image: PIL.Image.Image
  outwards: int | None = None
  below: str | None = None

  def share(self, turn: float) -> float:
    """Returns the strength of the seam, in [0, 1].

    An arm that turns inwards, across the trunk, keeps its outline.

    Args:
      turn: of the piece against the trunk, in radians from -pi to pi.
    """
    if self.outwards is None:
      return 1.0
    turn = turn * self.outwards
    turn = max(turn, -_MOST_INWARDS - turn)
    return float(np.clip(turn / _FULL_TURN, 0, 1))

  def cut(self, box: tuple[int, int, int, int]) -> "Seam":
    """Returns the seam of a part of the picture (left, top, right, bottom)."""
    return dataclasses.replace(self, image=self.image.crop(box))


def seam_at_shoulder(arm: Mask, joints: Joints, shoulder: int, unit: float) -> Seam:
  """Returns the seam of an upper arm: its outline near the shoulder.

  Args:
    arm: pixels of the piece.
    joints: of the picture.
    shoulder: which of them it is.
    unit: length of the trunk in pixels.
  """
  depth = scipy.ndimage.distance_transform_edt(np.pad(arm, 1))[1:-1, 1:-1] / unit
  y, x = np.mgrid[: arm.shape[0], : arm.shape[1]] + 0.5
  reach = np.hypot(x - joints[shoulder][0], y - joints[shoulder][1]) / unit
  ends = zip((_WIDTH, _REACH), (depth, reach), _SOFT, strict=True)
  near = [np.clip(1 + (end - value) / soft, 0, 1) for end, value, soft in ends]
  return Seam(_image(near[0] * near[1]), outwards(joints, shoulder))


def seam_at_bend(
  own: Mask, behind: Mask, hidden: Mask, radius: float, name: str
) -> Seam:
  """Returns the seam of a piece at an elbow or a knee, across the disc around it.

  Args:
    own: pixels of the piece.
    behind: of the one below it.
    hidden: what that has behind limbs, which end there with an edge.
    radius: of the disc, in pixels.
    name: of the one below it.
  """
  beyond = scipy.ndimage.distance_transform_edt(~own)
  beyond -= scipy.ndimage.distance_transform_edt(~behind)
  share = np.clip(0.5 + beyond / (2 * radius), 0, 1)
  return Seam(_image(np.where(hidden, 0, share)), below=name)


def _image(values: Float[np.ndarray, "h w"]) -> PIL.Image.Image:
  return PIL.Image.fromarray(np.round(values * 255).astype(np.uint8))

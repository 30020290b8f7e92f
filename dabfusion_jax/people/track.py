"""The joints of a dance over time: smoothed, in between, and without flips of arms."""

import numpy as np
from jaxtyping import Float

from dabfusion_jax.people.skeleton import (
  ARMS,
  LIMBS,
  SMOOTHING_REACH,
  Joints,
  smooth_joints,
)

_NEEDED = 2  # frames after a frame, by which the joints between it and the next bend
_BONES = [name for arm in ARMS.values() for name in arm]  # upper arms first
# The most that a bone of an arm turns from one frame to the next; it is less if it is
# shorter than this share of its length in the picture.
_MOST_TURN, _SHORT = np.deg2rad(100), 0.5


class Track:
  """Takes joints part by part, and gives them back when those after them are known.

  Between two frames, joints follow a Catmull-Rom spline: through the joints of both,
  without a jump of velocity. After the last frame they stay where they are.

  A forearm that swings past the direction of the view is at once the other way round,
  and its hand, as it is drawn at half its length at least, would jump. So bones of arms
  turn as fast as arms can, and follow.
  """

  def __init__(self, times: int, rest: Joints, ease_in: int = 0) -> None:
    """Begins a track.

    Args:
      times: poses per frame; the first of them is that of the frame.
      rest: joints of the picture.
      ease_in: number of first frames whose joints are between `rest` and those added.
    """
    self._times, self._rest = times, rest
    self._share = _smoothstep(np.arange(ease_in) / max(ease_in, 1))
    self._delay = SMOOTHING_REACH + (_NEEDED if times > 1 else 0)
    # The joints of frames that are not given back yet, and of those before them that
    # smoothing and bending need.
    self._joints: np.ndarray | None = None
    self._confidence: np.ndarray | None = None
    self._num_given = 0
    self._angles: dict[str, float] = {}  # of the arms in the last pose
    ends = [rest[list(LIMBS[name])] for name in _BONES]
    lengths = [max(float(np.hypot(*(last - first))), 1e-6) for first, last in ends]
    self._lengths = dict(zip(_BONES, lengths, strict=True))

  def add(
    self,
    joints: Float[np.ndarray, "t 33 2"],
    confidence: Float[np.ndarray, "t 33"],
    is_last: bool,
  ) -> list[Joints]:
    """Returns the poses whose neighbours in time are known.

    Args:
      joints: of the next frames, at least one.
      confidence: of their joints, in [0, 1].
      is_last: whether no more follow; all poses that are left are then returned.
    """
    share, self._share = np.split(self._share, [len(joints)])
    eased = self._rest + share[:, None, None] * (joints[: len(share)] - self._rest)
    joints = np.concatenate([eased, joints[len(share) :]])
    if self._joints is not None:
      joints = np.concatenate([self._joints, joints])
      confidence = np.concatenate([self._confidence, confidence])
    end = len(joints) if is_last else max(len(joints) - self._delay, self._num_given)
    smooth = smooth_joints(joints, confidence)
    poses = [
      self._steady(_between(smooth, i, part / self._times))
      for i in range(self._num_given, end)
      for part in range(self._times)
    ]
    first = max(end - 1 - SMOOTHING_REACH, 0)
    self._joints, self._confidence = joints[first:], confidence[first:]
    self._num_given = end - first
    return poses

  def _steady(self, pose: Joints) -> Joints:
    """Returns the next pose, whose arms have turned no farther than they can."""
    steady, fastest = pose.copy(), _MOST_TURN / self._times
    for name in _BONES:
      first, last = LIMBS[name]
      bone = pose[last] - pose[first]
      wanted = np.arctan2(bone[1], bone[0])
      before = self._angles.get(name, wanted)
      turn = (wanted - before + np.pi) % (2 * np.pi) - np.pi
      length = np.hypot(*bone)
      # The shorter a bone is seen, the less its direction says.
      most = fastest * min(length / (_SHORT * self._lengths[name]), 1)
      self._angles[name] = wanted
      if abs(turn) > most:
        angle = self._angles[name] = before + np.copysign(most, turn)
        bone = length * np.array([np.cos(angle), np.sin(angle)])
      steady[last] = steady[first] + bone
    return steady


def _smoothstep(x: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """Returns 3 x^2 - 2 x^3, whose slope is 0 at 0 and 1."""
  return x**2 * (3 - 2 * x)


def _between(smooth: Float[np.ndarray, "t 33 2"], index: int, share: float) -> Joints:
  """Returns the joints at `share` of the way from a frame to the next one."""
  last = len(smooth) - 1
  if not share or index == last:
    return smooth[index]
  before, here, then, after = (
    smooth[np.clip(index + i, 0, last)] for i in (-1, 0, 1, 2)
  )
  speed, speed_then = (then - before) / 2, (after - here) / 2
  change = then - here
  return (
    here
    + share * speed
    + share**2 * (3 * change - 2 * speed - speed_then)
    + share**3 * (speed + speed_then - 2 * change)
  )

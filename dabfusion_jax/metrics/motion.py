"""How much, how smoothly and when a video moves; numpy float64 on the host.

Times are in seconds. A speed v[i] belongs to the step from frame i to frame i + 1, so
its time is (i + 0.5) / fps.
"""

import numpy as np
import scipy.signal
from jaxtyping import Bool, Float, Float64, Shaped


def grid_speed(
  flow: Float[np.ndarray, "t h w 2"],
  size: tuple[int, int],
  weights: Shaped[np.ndarray, "t h w"] | None = None,
) -> Float[np.ndarray, "steps"]:
  """Returns the mean speed of sampling grids, t - 1 values in pixels per frame.

  Args:
    flow: (x, y) in [-1, 1], where -1 and 1 are the centres of the border pixels.
    size: (height, width) of the image in pixels.
    weights: of the points in the mean, such as a body mask or an occlusion map. Without
      them a background at rest dilutes the speed. If all weights of a step are zero,
      its speed is nan.
  """
  return _weighted_mean(_grid_difference(flow, size, order=1), weights, 1)


def grid_jitter(
  flow: Float[np.ndarray, "t h w 2"],
  size: tuple[int, int],
  weights: Shaped[np.ndarray, "t h w"] | None = None,
) -> Float[np.ndarray, "steps"]:
  """Returns the mean change of the grids' velocity, t - 2 values in pixels per frame^2.

  It is zero for steady motion and tells dancing from trembling: grids of independent
  noise have sqrt(3) times as much jitter as speed, smooth motion much less. Arguments
  are those of `grid_speed`.
  """
  return _weighted_mean(_grid_difference(flow, size, order=2), weights, 2)


def _grid_difference(
  flow: Float[np.ndarray, "t h w 2"], size: tuple[int, int], order: int
) -> Float64[np.ndarray, "steps h w"]:
  """Returns the length in pixels of the difference of some order in time."""
  height, width = size
  pixels = np.asarray(flow, np.float64) * [(width - 1) / 2, (height - 1) / 2]
  return np.linalg.norm(np.diff(pixels, n=order, axis=0), axis=-1)


def _weighted_mean(
  values: Float64[np.ndarray, "steps h w"],
  weights: Shaped[np.ndarray, "t h w"] | None,
  order: int,
) -> Float64[np.ndarray, "steps"]:
  """Returns the mean over pixels of a difference of some order in time."""
  if weights is None:
    return values.mean(axis=(1, 2))
  # A point has its smallest weight among the frames that the difference spans.
  weights = np.asarray(weights, np.float64)
  spans = [weights[i : len(weights) - order + i] for i in range(order + 1)]
  weights = np.minimum.reduce(spans)
  total = weights.sum(axis=(1, 2))
  mean = (values * weights).sum(axis=(1, 2)) / np.where(total > 0, total, 1)
  return np.where(total > 0, mean, np.nan)


def joint_speed(
  joints: Float[np.ndarray, "t joints 2"], visible: Bool[np.ndarray, "t joints"]
) -> Float[np.ndarray, "steps"]:
  """Returns the mean speed of joints, t - 1 values in pixels per frame.

  It is over joints that are visible in both frames of a step, and nan if there are
  none. Missing poses are not interpolated: a straight line has constant speed, and
  rounding noise would then decide where its minima are.
  """
  both = visible[1:] & visible[:-1]
  joints = np.where(visible[..., None], np.asarray(joints, np.float64), 0.0)
  steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
  count = both.sum(axis=1)
  mean = (steps * both).sum(axis=1) / np.maximum(count, 1)
  return np.where(count > 0, mean, np.nan)


def kinematic_beats(
  speed: Float[np.ndarray, "steps"],
  fps: float | int,
  prominence: float | int | None = None,
  *,
  subframe: bool = False,
) -> Float[np.ndarray, "beats"]:
  """Returns the times in seconds at which the motion pauses: minima of the speed.

  A flat minimum counts once, at its middle (the earlier of two): at 10 fps, exactly
  periodic motion has two equal speeds at every pause, so there are no strict minima.
  Ends and minima next to a nan do not count.

  Args:
    speed: nan where it is unknown.
    fps: frames per second.
    prominence: the least depth of a minimum, in units of the speed.
    subframe: whether to place a minimum at the vertex of the parabola through its three
      speeds, between frames.
  """
  speed = np.asarray(speed, np.float64)
  known = np.flatnonzero(np.isfinite(speed))
  runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
  minima = [
    run[0] + scipy.signal.find_peaks(-speed[run], prominence=prominence)[0]
    for run in runs
    if len(run) >= 3
  ]
  indices = np.concatenate(minima) if minima else np.zeros(0, int)
  if subframe:
    before, here, after = (speed[indices + i] for i in (-1, 0, 1))
    bend = before - 2 * here + after
    # The vertex of two equal speeds is between them; three have no bend.
    shift = np.where(bend > 0, (before - after) / 2 / np.where(bend > 0, bend, 1), 0)
    indices = indices + np.clip(shift, -0.5, 0.5)
  return (indices + 0.5) / fps


def strict_kinematic_beats(
  speed: Float[np.ndarray, "steps"], fps: float | int
) -> Float[np.ndarray, "beats"]:
  """Returns the times in seconds of deep minima of the speed, placed between frames.

  A minimum counts if it is at least half a standard deviation of the clip's own speed
  deep. The rule was chosen on real clips alone, as the one that separates beats from
  half-beats best in latent flow (`docs/measures.md`).

  Args:
    speed: of latent flow over the whole picture (`grid_speed`).
    fps: frames per second.
  """
  depth = 0.5 * float(np.std(speed)) if len(speed) else None
  return kinematic_beats(speed, fps, depth, subframe=True)

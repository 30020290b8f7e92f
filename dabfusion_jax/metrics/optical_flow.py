"""Motion from pixels: Farneback's optical flow, in pixels per frame."""

import numpy as np
from jaxtyping import Float64, UInt8

# Pyramid scale, levels, window, iterations, poly n, sigma, flags: those of TempoTokens'
# `av_align.py`.
SETTINGS = (0.5, 3, 15, 3, 5, 1.2, 0)


def flow_motion(
  frames: UInt8[np.ndarray, "t h w 3"],
) -> tuple[Float64[np.ndarray, "steps"], Float64[np.ndarray, "fewer"]]:
  """Returns the speed [t - 1] and jitter [t - 2] of a clip, means over all pixels.

  Jitter is the mean length of the change of the flow from step to step, in pixels per
  frame^2: 0 for steady motion, and larger than the speed for trembling.
  """
  import cv2  # of the extra `eval`

  grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in frames]
  speed, jitter, before = [], [], None
  for a, b in zip(grey[:-1], grey[1:], strict=True):
    flow = cv2.calcOpticalFlowFarneback(a, b, None, *SETTINGS)
    speed.append(np.linalg.norm(flow, axis=-1).mean(dtype=np.float64))
    if before is not None:
      jitter.append(np.linalg.norm(flow - before, axis=-1).mean(dtype=np.float64))
    before = flow
  return np.asarray(speed, np.float64), np.asarray(jitter, np.float64)

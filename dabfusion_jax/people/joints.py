"""The landmarks that the joint reader of stage 2 takes and gives."""

import numpy as np
from jaxtyping import Float

from dabfusion_jax.people import landmarks as lm

# In the order of `body_parts.JOINTS` of data_pipeline.records, without the head.
BODY = (
  *(lm.LEFT_SHOULDER, lm.LEFT_ELBOW, lm.LEFT_WRIST),
  *(lm.RIGHT_SHOULDER, lm.RIGHT_ELBOW, lm.RIGHT_WRIST),
  *(lm.LEFT_HIP, lm.LEFT_KNEE, lm.LEFT_ANKLE),
  *(lm.RIGHT_HIP, lm.RIGHT_KNEE, lm.RIGHT_ANKLE),
)
_EARS = (lm.LEFT_EAR, lm.RIGHT_EAR)  # the head is between them


def joints_of(points: Float[np.ndarray, "33 2"]) -> Float[np.ndarray, "13 2"]:
  """Returns the joints of landmarks."""
  return np.concatenate(
    [points[list(BODY)], points[list(_EARS)].mean(0, keepdims=True)]
  )


def with_joints(
  points: Float[np.ndarray, "33 2"], joints: Float[np.ndarray, "13 2"]
) -> Float[np.ndarray, "33 2"]:
  """Returns landmarks moved to other joints; the ears keep their distance."""
  moved = points.copy()
  moved[list(BODY)] = joints[:-1]
  moved[list(_EARS)] += joints[-1] - joints_of(points)[-1]
  return moved

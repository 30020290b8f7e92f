"""Joints of a body in the picture plane."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# In the order of `body_parts.JOINTS` in data_pipeline.records.
JOINTS = (
  *("left_shoulder", "left_elbow", "left_wrist"),
  *("right_shoulder", "right_elbow", "right_wrist"),
  *("left_hip", "left_knee", "left_ankle"),
  *("right_hip", "right_knee", "right_ankle", "head"),
)


def trunk_length(joints: Float[Array | np.ndarray, "*b j 2"]) -> Float[Array, "*b"]:
  """Returns the distances of the middles of hips and shoulders."""
  middle = lambda joint: (
    joints[..., JOINTS.index(f"left_{joint}"), :]
    + joints[..., JOINTS.index(f"right_{joint}"), :]
  )
  axis = (middle("shoulder") - middle("hip")) / 2
  return jnp.maximum(jnp.sqrt(jnp.square(axis).sum(-1)), 1e-6)

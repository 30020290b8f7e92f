"""What a joint reader is shown of clips in training, and its error."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dabfusion_jax.ops.joints import trunk_length

NUM_FRAMES = 8  # of a clip
# Samples are not as clean as true motion, nor are the joints found in a picture. In
# trunks; that of the occlusion in its own range.
_FLOW_NOISE, _OCCLUSION_NOISE, _JOINT_NOISE = 0.1, 0.3, 0.05


def pick_frames(
  keys: Key[Array, "b"],
  flow: Float[Array, "b t s s 2"],
  occlusion: Float[Array, "b t s s 1"],
  joints: Float[Array, "b t j 2"],
  picture_joints: Float[Array, "b j 2"],
) -> tuple[
  Float[Array, "b n s s 2"],
  Float[Array, "b n s s 1"],
  Float[Array, "b n j 2"],
  Float[Array, "b n j 2"],
]:
  """Picks up to `NUM_FRAMES` of each clip.

  Returns:
    Flow, occlusion and joints of the frames, and the joints of their pictures.
  """

  def one_clip(key, still, *clip):
    frames = jax.random.permutation(key, joints.shape[1])[:NUM_FRAMES]
    flow, occlusion, moved = (x[frames] for x in clip)
    return flow, occlusion, moved, jnp.broadcast_to(still, moved.shape)

  return jax.vmap(one_clip)(keys, picture_joints, flow, occlusion, joints)


def add_noise(
  keys: Key[Array, "b"],
  flow: Float[Array, "b n s s 2"],
  occlusion: Float[Array, "b n s s 1"],
  picture_joints: Float[Array, "b n j 2"],
) -> tuple[
  Float[Array, "b n s s 2"], Float[Array, "b n s s 1"], Float[Array, "b n j 2"]
]:
  """Adds noise of another size to each clip; most clips are nearly clean."""

  def one_clip(key, flow, occlusion, still):
    keys = jax.random.split(key, 4)
    share = jnp.square(jax.random.uniform(keys[0], (2,)))
    trunk = trunk_length(still)[0]
    sizes = (
      _FLOW_NOISE * trunk * share[0],
      _OCCLUSION_NOISE * share[1],
      _JOINT_NOISE * trunk,
    )
    return tuple(
      x + size * jax.random.normal(key, x.shape)
      for key, size, x in zip(keys[1:], sizes, (flow, occlusion, still), strict=True)
    )

  return jax.vmap(one_clip)(keys, flow, occlusion, picture_joints)


def joint_error(
  read: Float[Array | np.ndarray, "*b j 2"],
  joints: Float[Array | np.ndarray, "*b j 2"],
  picture_joints: Float[Array | np.ndarray, "*b j 2"],
) -> Float[Array, ""]:
  """Returns the mean distance of read joints from the true ones, in trunks."""
  distance = jnp.sqrt(jnp.square(read - joints).sum(-1) + 1e-8)
  return (distance / trunk_length(picture_joints)[..., None]).mean()

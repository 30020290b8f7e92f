"""What a joint reader is shown of clips, and its error."""

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.losses import joints as losses
from dabfusion_jax.ops.joints import JOINTS, trunk_length
from data_pipeline.records import body_parts

_NUM_FRAMES = 2 * losses.NUM_FRAMES


def keys(count):
  return jax.random.split(jax.random.key(0), count)


def body(shoulders=-0.3, hips=0.1):
  """Returns joints with a trunk of the given height, all others in the middle."""
  joints = np.zeros((len(JOINTS), 2), np.float32)
  for side, x in (("left", 0.2), ("right", -0.2)):
    joints[JOINTS.index(f"{side}_shoulder")] = (x, shoulders)
    joints[JOINTS.index(f"{side}_hip")] = (x, hips)
  return joints


def test_networks_and_data_mean_the_same_joints():
  assert JOINTS == body_parts.JOINTS


def test_the_trunk_reaches_from_the_hips_to_the_shoulders():
  np.testing.assert_allclose(trunk_length(body()[None]), [0.4], rtol=1e-6)


def test_frames_keep_their_joints_and_each_is_picked_once():
  numbers = jnp.arange(2.0 * _NUM_FRAMES).reshape(2, _NUM_FRAMES)
  like = lambda *shape: jnp.broadcast_to(
    numbers.reshape(2, -1, *[1] * len(shape)), (2, _NUM_FRAMES, *shape)
  )
  still = jnp.stack([jnp.full((13, 2), 100.0), jnp.full((13, 2), 200.0)])
  given = keys(2), like(3, 3, 2), like(3, 3, 1), like(13, 2), still
  picked = jax.jit(losses.pick_frames)(*given)
  flow, occlusion, joints, stills = map(np.asarray, picked)
  found = joints[:, :, 0, 0]
  np.testing.assert_array_equal(flow[:, :, 0, 0, 0], found)
  np.testing.assert_array_equal(occlusion[:, :, 0, 0, 0], found)
  for clip, own in enumerate(found):
    assert len(set(own)) == losses.NUM_FRAMES
    assert set(own) <= set(np.asarray(numbers[clip]))
  np.testing.assert_array_equal(stills[:, :, 0, 0], [[100] * 8, [200] * 8])


def test_noise_grows_with_the_body_and_differs_from_clip_to_clip():
  flow, seen = jnp.zeros((2, 8, 4, 4, 2)), jnp.ones((2, 8, 4, 4, 1))
  sizes = {}
  for scale in (1.0, 2.0):
    still = jnp.broadcast_to(scale * body(), (2, 8, 13, 2))
    noisy = jax.jit(losses.add_noise)(keys(2), flow, seen, still)
    sizes[scale] = [
      np.asarray(x - y).std((1, 2, 3)[: x.ndim - 2])
      for x, y in zip(noisy, (flow, seen, still), strict=True)
    ]
  for part, factor in ((0, 2.0), (1, 1.0), (2, 2.0)):
    np.testing.assert_allclose(sizes[2.0][part], factor * sizes[1.0][part], rtol=1e-3)
  assert not np.allclose(sizes[1.0][0][0], sizes[1.0][0][1], rtol=0.05)


def test_the_error_is_a_distance_in_trunks():
  still = np.stack([body(), body(-0.7)])  # trunks of 0.4 and 0.8
  error = losses.joint_error(still + [0.04, 0], still, still)
  np.testing.assert_allclose(error, (0.1 + 0.05) / 2, rtol=1e-2)

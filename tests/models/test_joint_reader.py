"""A reader of joints sees where a flow comes from, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.joints import JOINTS, trunk_length

_SIZE = 8


@pytest.fixture(scope="module")
def reader():
  model = JointReader(channels=6, num_blocks=2)
  flow = jnp.broadcast_to(identity_grid(_SIZE, _SIZE), (2, _SIZE, _SIZE, 2))
  seen = jnp.ones((2, _SIZE, _SIZE, 1))
  joints = jax.random.uniform(jax.random.key(0), (2, len(JOINTS), 2), minval=-0.5)
  params = jax.jit(model.init)(jax.random.key(1), flow, seen, joints)
  return jax.jit(lambda *x: model.apply(params, *x)), flow, seen, joints


def test_joints_stay_within_reach_of_the_grid(reader):
  read, flow, seen, joints = reader
  found = np.asarray(read(flow, seen, joints))
  assert found.shape == joints.shape and np.abs(found).max() < 3


def test_votes_are_in_trunks_from_the_cell_that_gives_them(reader):
  _, flow, seen, joints = reader
  model = JointReader(channels=6, num_blocks=2)
  shapes = jax.eval_shape(model.init, jax.random.key(1), flow, seen, joints)
  params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  params["params"]["votes"]["bias"] = jnp.ones(3 * len(JOINTS))
  found = jax.jit(model.apply)(params, flow, seen, joints)  # mean cell: the middle
  trunk = trunk_length(joints)[:, None, None]
  np.testing.assert_allclose(found, jnp.broadcast_to(trunk, found.shape), rtol=1e-5)


def test_each_input_counts(reader):
  read, flow, seen, joints = reader
  plain = np.asarray(read(flow, seen, joints))
  for other in (
    (flow.at[0, 3, 3].add(0.3), seen, joints),
    (flow, seen.at[0, 3, 3].set(0), joints),
    (flow, seen, joints.at[0, 2].add(0.3)),
  ):
    found = np.asarray(read(*other))
    assert not np.allclose(found[0], plain[0], atol=1e-6)
    np.testing.assert_allclose(found[1], plain[1], atol=1e-6)  # frames are apart

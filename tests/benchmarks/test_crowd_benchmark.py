"""Two people stand as far apart as is asked, the lower one in front."""

import dancers
import numpy as np

from benchmarks import crowd
from dabfusion_jax.people import scene
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import neck, trunk_length


def test_people_are_put_beside_each_other_at_a_distance():
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  alone = scene.own_scene(picture, person)
  unit = trunk_length(dancers.joints())
  made, masks, joints = crowd.together(alone, alone, 0.8)
  left, right = (neck(points) for points in joints)
  np.testing.assert_allclose(right - left, [0.8 * unit, crowd._DEPTH * unit], atol=1)
  assert masks[1].sum() > masks[0].sum() > 0.5 * mask.sum()  # the lower one is in front
  assert not (masks[0] & masks[1]).any()
  np.testing.assert_array_equal(made[masks[1]].max(0), picture[mask].max(0))
  assert crowd.overlap(masks[0], masks[0]) == 1
  assert crowd.overlap(masks[0], masks[1]) == 0

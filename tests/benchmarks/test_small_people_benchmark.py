"""A person is put before a background at the size and place that are asked for."""

import dancers
import numpy as np
import pytest

from benchmarks import small_people
from dabfusion_jax.people import scene
from dabfusion_jax.people.masks import box_of
from dabfusion_jax.people.segmenter import Person


@pytest.mark.parametrize("height", [24, 60, 150])
def test_a_person_stands_where_and_as_large_as_asked(height):
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  alone = scene.own_scene(picture, person)
  plate = small_people.landscape(np.full((90, 300, 3), 7, np.uint8))
  made, there = small_people.put(alone, plate, height, (200.0, 300.0))
  left, top, right, bottom = box_of(there)
  assert (bottom - top, bottom) == pytest.approx((height, 300), abs=1)
  assert (left + right) / 2 == pytest.approx(200, abs=1)
  assert (made[~there] == 7).mean() > 0.95 and (made[there] != 7).mean() > 0.95


def test_a_background_is_enlarged_from_its_middle():
  plate = np.zeros((400, 100, 3), np.uint8)
  plate[200 - 37 : 200 + 38] = 255  # three quarters of its width
  made = small_people.landscape(plate)
  assert made.shape == (384, 512, 3) and made.mean() > 250

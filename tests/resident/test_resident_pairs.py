"""Pairs that the device makes are those that the host makes."""

import jax
import numpy as np
import pytest

from dabfusion_jax.parallel import sharding
from dabfusion_jax.resident import pairs as resident_pairs
from dabfusion_jax.resident.pairs import ResidentPairs
from data_pipeline.errors import UserError
from data_pipeline.records import pairs
from data_pipeline.records.body_parts import PARTS
from data_pipeline.records.surfaces import Surfaces

SIZE, FRAMES = 16, 4


@pytest.fixture(scope="module")
def clips():
  """Returns clips of different meshes that partly hide and leave the picture."""
  rng = np.random.default_rng(0)
  return [make_clip(rng, i) for i in range(5)]


def make_clip(rng, index):
  num_points, num_triangles = 12 + index, 8 + 2 * index
  shape = (FRAMES, SIZE, SIZE)
  place = rng.random((*shape, 2), np.float32) / 2
  points = rng.uniform(-4, SIZE + 4, (FRAMES, num_points, 3)).astype(np.float32)
  surfaces = Surfaces(
    triangle=rng.integers(-1, num_triangles, shape, dtype=np.int32),
    place=place,
    corners=rng.integers(0, num_points, (num_triangles, 3), dtype=np.int32),
    points=points,
    depth=rng.uniform(0, 8, shape).astype(np.float32),
  )
  return {
    "frames": rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
    "part_map": rng.integers(0, 1 + len(PARTS), shape, dtype=np.uint8),
    "part_pose": rng.uniform(0, SIZE, (FRAMES, len(PARTS), 6)).astype(np.float32),
    "surfaces": surfaces.encode(),
    "example_id": np.int32(index),
  }


def one_device():
  return sharding.one_device_mesh()


def test_the_device_makes_the_pairs_of_the_host(clips):
  draws = pairs.draw_pairs(np.random.default_rng(1), 16, FRAMES)
  assert {True, False} == set(draws["is_mirrored"].tolist())
  clip = np.arange(16, dtype=np.int32) % len(clips)
  arrays = resident_pairs.read_arrays(clips)
  make = jax.jit(jax.vmap(resident_pairs.make_pair, in_axes=(None, 0)))
  found = jax.device_get(make(arrays, draws | {"clip": clip}))
  for i in range(16):
    record = clips[clip[i]]
    record = record | {"surfaces": Surfaces.decode(record["surfaces"])}
    pair = pairs.make_pair(record, {key: value[i] for key, value in draws.items()})
    assert pair.keys() | {"example_id"} == found.keys()
    for key in ("ref_image", "driving_frame", "part_pose"):
      np.testing.assert_allclose(found[key][i], pair[key], atol=2e-6)
    np.testing.assert_allclose(found["motion"][i], pair["motion"], atol=1e-4)
    np.testing.assert_array_equal(found["part_map"][i], pair["part_map"])
    assert 0.05 < pair["is_visible"].mean() < 0.95
    assert (found["is_visible"][i] != pair["is_visible"]).mean() < 0.01
    assert found["example_id"][i] == clip[i]


def test_every_clip_is_in_an_epoch_once_and_a_position_is_exact(clips):
  data = ResidentPairs(clips, 2, seed=3, mesh=one_device())
  batches = iter(data)
  first = [jax.device_get(next(batches)) for _ in range(5)]
  ids = np.concatenate([batch["example_id"] for batch in first])
  assert sorted(ids[:5]) == sorted(ids[5:]) == list(range(5))
  assert ids[:5].tolist() != ids[5:].tolist()
  again = iter(data)
  again.set_state({"next_index": 3})
  later = jax.device_get(next(again))
  assert again.get_state() == {"next_index": 4}
  jax.tree.map(np.testing.assert_array_equal, later, first[3])
  other = jax.device_get(next(iter(ResidentPairs(clips, 2, 4, one_device()))))
  assert not np.array_equal(other["ref_image"], first[0]["ref_image"])


def test_clips_without_motion_give_pairs_without(clips):
  frames = [{"frames": clip["frames"]} for clip in clips]
  batch = next(iter(ResidentPairs(frames, 7, 0, one_device(), augment=False)))
  assert batch.keys() == {"ref_image", "driving_frame", "example_id"}
  levels = np.asarray(batch["ref_image"]) * 255
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)  # not jittered


def test_a_batch_is_split_over_the_devices(clips):
  mesh = sharding.make_mesh((("data", -1), ("fsdp", 1)))
  size = 2 * mesh.size
  batch = next(iter(ResidentPairs(clips, size, 0, mesh)))
  whole = sharding.to_global_batch(batch, sharding.batch_sharding(mesh))
  assert whole["motion"] is batch["motion"]
  assert batch["motion"].sharding.is_equivalent_to(sharding.batch_sharding(mesh), 4)


def test_figures_are_refused(clips):
  figures = [{k: v for k, v in c.items() if k != "surfaces"} for c in clips]
  with pytest.raises(UserError, match="on_device"):
    ResidentPairs(figures, 2, 0, one_device())

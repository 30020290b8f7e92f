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
    depth=rng.uniform(0, 16, shape).astype(np.float32),
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


def test_batches_draw_other_frames_and_colours():
  frames = np.full((8, SIZE, SIZE, 3), (100, 60, 20), np.uint8)
  frames[:, 0, 0] = np.arange(8)[:, None]  # which frame it is
  batches = iter(ResidentPairs([{"frames": frames}], 16, 0, one_device()))
  plain = iter(ResidentPairs([{"frames": frames}], 16, 0, one_device(), augment=False))
  drawn = [np.asarray(next(plain)["driving_frame"])[:, 0, 0, 0] for _ in range(2)]
  assert len(np.unique(np.round(drawn[0] * 255))) > 3
  assert not np.array_equal(*drawn)
  colours = [np.asarray(next(batches)["ref_image"])[:, 5, 5] for _ in range(2)]
  assert len(np.unique(np.concatenate(colours), axis=0)) == 32


def test_the_order_of_clips_and_the_draws_have_streams_of_their_own(clips, monkeypatch):
  keys = set()
  draw = np.random.default_rng
  monkeypatch.setattr(
    resident_pairs.np.random, "default_rng", lambda key: keys.add(key) or draw(key)
  )
  data = ResidentPairs(clips, 2, 3, one_device())
  for index in range(6):
    data.batch(index)
  numbers = {tuple(draw(key).random(4)) for key in keys}
  assert len(keys) == len(numbers) == 6 + 3  # batches, epochs


def refused(clips, message, batch_size=2, mesh=None):
  with pytest.raises(UserError, match=message):
    ResidentPairs(clips, batch_size, 0, mesh or one_device())


def test_clips_that_do_not_belong_together_are_refused(clips):
  refused([], "no clips")
  figures = [{k: v for k, v in c.items() if k != "surfaces"} for c in clips]
  refused(figures, "figures.*on_device=False")
  frames = {"frames": clips[0]["frames"]}
  refused([*clips, frames], "some clips have their true motion")
  refused([frames, *clips], "some clips have their true motion")


def test_what_the_devices_cannot_take_is_refused_in_one_line(clips, monkeypatch):
  mesh = sharding.make_mesh((("data", -1), ("fsdp", 1)))
  assert mesh.size > 1
  refused(clips, "does not divide over", 2 * mesh.size + 1, mesh)

  def place(*unused):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

  with monkeypatch.context() as patch:
    patch.setattr(jax, "device_put", place)
    refused(clips, "5 clips take .* GiB, more than.*on_device=False")
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  refused(clips, "one process")

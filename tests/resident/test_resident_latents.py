"""Batches of latents that the device makes are those that the host makes."""

import jax
import numpy as np
import pytest

from dabfusion_jax.parallel import sharding
from dabfusion_jax.resident.latents import ResidentLatents
from data_pipeline.errors import UserError
from data_pipeline.records import latent_record
from data_pipeline.records.latent_record import LatentError
from data_pipeline.records.slow_motion import SlowMotion, slow_down

FRAMES, SIZE, CLIPS, FPS = 10, 4, 5, 10.0
SILENCE = np.full(3, 9.0, np.float32)


@pytest.fixture(scope="module")
def source():
  return [make_blob(seed) for seed in range(CLIPS)]


def make_blob(seed):
  rng = np.random.default_rng(seed)
  record = {
    "flow": rng.uniform(-1, 1, (FRAMES, SIZE, SIZE, 2)).astype(np.float32),
    "occlusion": rng.random((FRAMES, SIZE, SIZE, 1), np.float32),
    "z": rng.random((SIZE, SIZE, 3), np.float32),
    "music": np.full(3, seed, np.float32),
    "librosa_beats": np.sort(rng.random(4)),
    "joints": rng.random((FRAMES, 13, 2), np.float32),
    "picture_joints": rng.random((13, 2), np.float32),
  }
  return latent_record.encode(record, str(seed))


def make_resident(source, slow=0.0, silent=0.0, **options):
  options = {"beats": "librosa", "fps": FPS} | options
  mesh = sharding.one_device_mesh()
  motion = SlowMotion(slow, silent, SILENCE)
  return ResidentLatents(source, 2 * CLIPS, 3, mesh, slow_motion=motion, **options)


def expected(source, clip, speed):
  record = slow_down(latent_record.decode(source[clip]), speed)
  return latent_record.to_example(record, beats="librosa", fps=FPS)


def test_clips_at_full_speed_are_those_of_the_host(source):
  batch = jax.device_get(make_resident(source).batch(0))
  assert sorted(batch["music"][:, 0].tolist()) == sorted(2 * list(range(CLIPS)))
  for i, clip in enumerate(batch["music"][:, 0].astype(int)):
    example = expected(source, clip, 1.0)
    assert batch.keys() == example.keys()
    for key, value in example.items():
      np.testing.assert_allclose(batch[key][i], value, atol=1e-6, err_msg=key)


def test_slow_clips_are_slowed_down_with_their_beats(source):
  batch = jax.device_get(make_resident(source, slow=1.0).batch(4))
  speeds = []
  for i, clip in enumerate(batch["music"][:, 0].astype(int)):
    # The second frame tells how fast the clip is shown.
    record = latent_record.decode(source[clip])
    first, second = record["joints"][:2].reshape(2, -1)[:, 0]
    later = batch["joints"][i, 1].ravel()[0]
    speeds.append(float((later - first) / (second - first)))
    for key, value in expected(source, clip, speeds[-1]).items():
      np.testing.assert_allclose(batch[key][i], value, atol=1e-4, err_msg=key)
  assert 0.4 <= min(speeds) < max(speeds) - 0.2 <= 0.8


def test_silent_clips_have_no_beats_and_hardly_move(source):
  batch = jax.device_get(make_resident(source, silent=1.0).batch(0))
  assert not batch["beats"].any() and not batch["beat_features"].any()
  np.testing.assert_array_equal(batch["music"], np.tile(SILENCE, (2 * CLIPS, 1)))
  moves = np.abs(np.diff(batch["flow"], axis=1)).mean()
  still = make_resident(source).batch(0)
  assert moves < 0.3 * np.abs(np.diff(still["flow"], axis=1)).mean()


def test_a_position_is_exact_and_batches_differ(source):
  data = make_resident(source, slow=0.5)
  batches = iter(data)
  first = [jax.device_get(next(batches)) for _ in range(3)]
  again = iter(data)
  again.set_state({"next_index": 2})
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(next(again)), first[2])
  assert again.get_state() == batches.get_state() == {"next_index": 3}
  assert np.abs(first[0]["flow"] - first[1]["flow"]).max() > 0.1


def test_what_cannot_be_placed_is_refused(source, monkeypatch):
  with pytest.raises(LatentError, match="no 'truth' beats"):
    make_resident(source, beats="truth")
  with pytest.raises(UserError, match="no clips"):
    make_resident([])
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(UserError, match="one process.*on_device=False"):
    make_resident(source)

"""Cached latents: complete, bound to what they come from, shared by processes."""

import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clip_examples import make_record
from fresh_weights import draw_variables
from stores import objects

from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.inference import latent_cache, latent_shards
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.storage import saved_stage
from data_pipeline import files
from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.errors import UserError
from data_pipeline.records import clip_record, latent_record
from data_pipeline.records.body_parts import JOINTS
from data_pipeline.records.latent_record import LatentError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
NUM_FRAMES, SIZE, CLIPS = 3, 32, 7


@pytest.fixture(scope="module", autouse=True)
def two_devices():
  """Two devices in place of eight."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "local_devices", lambda: jax.devices()[:2])
    yield


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
  settings = load_config(_CONFIGS / "autoencoder.py", "smoke")
  model = make_autoencoder(settings.model)
  image = jnp.zeros((1, SIZE, SIZE, 3))
  variables = draw_variables(model.init, image, image)
  params, batch_stats = variables["params"], variables["batch_stats"]
  digest = saved_stage.digest_of(params, batch_stats)
  folder = tmp_path_factory.mktemp("stage1") / "published"
  saved = saved_stage.SavedStage(settings, params, batch_stats, 1, digest)
  saved_stage.save_stage(saved, folder)
  return folder


def write_data(folder, seeds, content, has_truth=True, truth=None):
  """Writes a data set of a record per seed, the first two of them in test as well.

  The truth of a record is that of `make_record`, changed by `truth`.
  """
  records = {
    seed: clip_record.encode(
      make_record(seed, has_truth, NUM_FRAMES, SIZE) | (truth or {})
    )
    for seed in seeds
  }
  splits = {
    "train": [(str(seed), record) for seed, record in records.items()],
    "test": [(str(seed), records[seed]) for seed in seeds[:2]],
  }
  write_shards(folder / "shards", records[seeds[0]], splits)
  settings = {
    "schema_version": clip_record.SCHEMA_VERSION,
    "num_frames": NUM_FRAMES,
    "fps": 10,
  }
  settings |= {"frame_size": SIZE, "framing": "person"}
  settings |= {"encoder": {"name": "spectral"}, "source": {"name": "folder"}}
  counts = {split: {"clips": len(clips)} for split, clips in splits.items()}
  manifest = {"settings": settings, "beats": ["librosa", "truth"], "counts": counts}
  names = [f"{record['name']}.{record['window']}" for record in records.values()]
  manifest |= {"content_sha256": content, "splits": {"train": names}}
  (folder / "manifest.json").write_text(json.dumps(manifest))
  (folder / "silence.json").write_text(json.dumps([0.0, 1.0]))
  return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return write_data(tmp_path_factory.mktemp("data"), range(CLIPS), "abc")


@pytest.fixture(scope="module")
def cache(tmp_path_factory, stage1, data):
  output = tmp_path_factory.mktemp("cache") / "latents"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(latent_cache, "CLIPS_PER_SHARD", 3)
    latent_cache.cache_latents(stage1, data, output)
  return output


def names_and_records(folder, split):
  found = {}
  for blob in latent_record.open_latents(folder, split):
    record = latent_record.decode(blob)
    found[record["music"].tobytes()] = record
  return found


def test_every_clip_is_there_and_is_what_stage_one_says(cache, stage1, data):
  loaded = saved_stage.load_stage(stage1, "autoencoder")
  model = make_autoencoder(loaded.settings.model)
  analyse = jax.jit(
    lambda frames: model.apply(loaded.variables, frames, method="analyse_clip")
  )
  found = names_and_records(cache, "train")
  assert len(found) == CLIPS and len(names_and_records(cache, "test")) == 2
  for seed in (0, CLIPS - 1):
    clip = make_record(seed, True, NUM_FRAMES, SIZE)
    record = found[clip["music"].tobytes()]
    motion, z = analyse(clip["frames"].astype(np.float32) / 255)
    np.testing.assert_allclose(record["flow"], motion.flow, atol=1e-3)
    np.testing.assert_allclose(record["occlusion"], motion.occlusion, atol=1e-3)
    np.testing.assert_allclose(record["z"], z, atol=2e-3)
    np.testing.assert_array_equal(record["truth_beats"], clip["true_beat_times"])


def test_the_picture_of_a_training_clip_may_be_any_of_its_frames(
  stage1, data, tmp_path
):
  latent_cache.cache_latents(stage1, data, tmp_path / "a", elsewhere=1.0)

  def pictures(split):
    for record in names_and_records(tmp_path / "a", split).values():
      still = np.asarray(identity_grid(*record["flow"].shape[1:3]))
      moves = np.abs(record["flow"] - still).max((1, 2, 3))
      yield np.flatnonzero(moves < 1e-6)

  of_training = list(pictures("train"))
  assert all(len(frames) == 1 for frames in of_training)
  assert any(frames != 0 for frames in of_training)
  assert all(frames == 0 for frames in pictures("test"))


def test_the_motion_may_be_that_of_the_generated_body(stage1, cache, tmp_path):
  part_map = np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8)
  part_map[:, 12:20, 8:24] = 1
  pose = np.tile(np.float32([8, 16, 4, 24, 16, 4]), (NUM_FRAMES, 21, 1))
  pose[1:, :, [0, 3]] += 2.0  # two pixels to the right of where it is at first
  truth = {"part_map": part_map, "part_pose": pose}
  data = write_data(tmp_path / "data", range(3), "abd", truth=truth)
  latent_cache.cache_latents(stage1, data, tmp_path / "true", has_true_motion=True)
  still = np.asarray(identity_grid(SIZE // 4, SIZE // 4))
  found = names_and_records(cache, "train")
  for key, record in names_and_records(tmp_path / "true", "train").items():
    pixels = (record["flow"] - still) * (SIZE - 1) / 2
    np.testing.assert_allclose(pixels[0], 0, atol=1e-3)
    np.testing.assert_allclose(pixels[1, 4, 4], (-2, 0), atol=0.1)
    np.testing.assert_allclose(pixels[1, 0, 0], 0, atol=1e-3)
    np.testing.assert_allclose(record["z"], found[key]["z"], atol=2e-3)
    # The joints beside, in the same coordinates.
    still_joints = record["picture_joints"]
    pixels = (record["joints"] - still_joints) * (SIZE - 1) / 2
    assert pixels.shape == (NUM_FRAMES, len(JOINTS), 2)
    np.testing.assert_allclose(pixels[0], 0, atol=1e-3)
    np.testing.assert_allclose(pixels[1:] - [2.0, 0.0], 0, atol=1e-3)
    shoulder = (still_joints[0] + 1) * (SIZE - 1) / 2
    np.testing.assert_allclose(shoulder, (8, 16), atol=1e-3)
    assert "joints" not in found[key]
  with pytest.raises(LatentError, match="true_motion, joints differ"):
    latent_cache.cache_latents(stage1, data, tmp_path / "true")


def test_training_clips_may_be_cached_in_a_mirror_too(stage1, cache, data, tmp_path):
  latent_cache.cache_latents(stage1, data, tmp_path / "both", mirrored=True)
  manifest = latent_record.read_manifest(tmp_path / "both")
  assert manifest["counts"] == {"train": 2 * CLIPS, "test": 2}
  source = latent_record.open_latents(tmp_path / "both", "train")
  assert len(source) == 2 * CLIPS
  plain, seen = (latent_record.decode(source[i]) for i in (0, CLIPS))
  names = [latent_record.name_of(source[i]) for i in (0, CLIPS)]
  assert names[0].replace(".", ".mirrored.") == names[1]
  np.testing.assert_array_equal(plain["music"], seen["music"])
  assert np.abs(plain["z"] - seen["z"]).max() > 0.1
  before = names_and_records(cache, "train")[plain["music"].tobytes()]
  np.testing.assert_allclose(plain["z"], before["z"], atol=2e-3)
  with pytest.raises(LatentError, match="mirrored differ"):
    latent_cache.cache_latents(stage1, data, tmp_path / "both")


def test_motion_that_is_not_known_cannot_be_cached(stage1, tmp_path):
  data = write_data(tmp_path / "data", range(2), "abe", has_truth=False)
  with pytest.raises(LatentError, match="does not hold the true motion"):
    latent_cache.cache_latents(stage1, data, tmp_path / "true", has_true_motion=True)


def test_processes_share_the_work_and_a_killed_one_resumes(
  cache, stage1, data, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(latent_cache, "CLIPS_PER_SHARD", 3)
  output = tmp_path / "latents"
  latent_cache.cache_latents(stage1, data, output, 1, 2)
  assert "waits for the other" in capsys.readouterr().out
  with pytest.raises(LatentError, match="no finished"):
    latent_record.open_latents(output, "train")
  mine = {p: p.stat().st_mtime_ns for p in output.glob("*.array_record")}
  assert len(mine) == 2  # of four: one of test, three of train
  # What a process leaves that died in the middle of a shard:
  (output / "train-00000-of-00003.array_record.77.tmp").write_bytes(b"half")
  latent_cache.cache_latents(stage1, data, output, 0, 2)
  assert "kB per clip" in capsys.readouterr().out
  assert all(path.stat().st_mtime_ns == stamp for path, stamp in mine.items())
  manifests = [json.loads((f / "manifest.json").read_text()) for f in (cache, output)]
  assert manifests[0] == manifests[1] and manifests[0]["framing"] == "person"
  for split in ("train", "test"):
    ours, theirs = names_and_records(output, split), names_and_records(cache, split)
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
      for name, value in record.items():
        np.testing.assert_array_equal(value, theirs[key][name], err_msg=name)


def test_a_cache_may_lie_on_another_machine(cache, stage1, data, tmp_path, monkeypatch):
  monkeypatch.setattr(latent_cache, "CLIPS_PER_SHARD", 3)
  monkeypatch.setenv(files.VARIABLE, str(tmp_path))
  with objects(monkeypatch) as store:
    latent_cache.cache_latents(stage1, data, "gs://bucket/latents", 0, 2)
    with pytest.raises(LatentError, match="no finished"):
      latent_record.open_latents("gs://bucket/latents", "train")
    before = {name: id(store.store[f"gs://{name}"]) for name in store.names()}
    latent_cache.cache_latents(stage1, data, "gs://bucket/latents", 1, 2)
    assert all(id(store.store[f"gs://{name}"]) == i for name, i in before.items())
    there = names_and_records("gs://bucket/latents", "train")
  for key, record in names_and_records(cache, "train").items():
    for name, value in record.items():
      np.testing.assert_array_equal(value, there[key][name], err_msg=name)


def test_what_is_no_cache_or_damaged_is_told_in_one_line(cache, stage1, data, tmp_path):
  with pytest.raises(LatentError, match="is no latent cache; name the output of"):
    latent_record.read_manifest(data)
  shutil.copytree(cache, tmp_path / "cut")
  shard = sorted((tmp_path / "cut").glob("train*.array_record"))[0]
  os.truncate(shard, 3000)
  with pytest.raises(UserError, match="cut is damaged .*; delete .* make it again"):
    latent_record.open_latents(tmp_path / "cut", "train")
  # A folder of something else that knows the data set, such as an export.
  identity = json.loads((cache / "manifest.json").read_text())
  (tmp_path / "export").mkdir()
  manifest = tmp_path / "export" / "manifest.json"
  manifest.write_text(json.dumps({"data": identity["data"]}))
  with pytest.raises(LatentError, match="holds other files"):
    latent_cache.cache_latents(stage1, data, tmp_path / "export")


def test_another_stage_or_data_is_refused(cache, stage1, data, tmp_path):
  manifest = json.loads((data / "manifest.json").read_text())
  form = manifest["settings"] | {"frame_size": 64}
  for number, change in enumerate(
    ({"splits": {"train": ["nobody.0"]}}, {"settings": form})
  ):
    other = tmp_path / f"data{number}"
    other.mkdir()
    changed = manifest | {"content_sha256": "def"} | change
    (other / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(LatentError, match="other latents.*data"):
      latent_cache.cache_latents(stage1, other, cache)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.txt").write_text("mine")
  with pytest.raises(LatentError, match="holds other files"):
    latent_cache.cache_latents(stage1, data, tmp_path / "full")
  with pytest.raises(LatentError, match="no process 2 of 2"):
    latent_cache.cache_latents(stage1, data, tmp_path / "new", 2, 2)


def test_what_has_changed_in_the_data_is_made_anew_and_nothing_else(
  stage1, data, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(latent_cache, "CLIPS_PER_SHARD", 3)
  ours, theirs = tmp_path / "ours", tmp_path / "theirs"
  latent_cache.cache_latents(stage1, data, ours)
  # Two clips left, one came, and all moved to other places.
  changed = tmp_path / "changed"
  changed.mkdir()
  write_data(changed, [CLIPS, *range(2, CLIPS)], "def")
  made = []
  record_of = latent_shards._record_of

  def count(clip, outputs):
    made.append(int(clip["name"].removeprefix("clip")))
    return record_of(clip, outputs)

  monkeypatch.setattr(latent_shards, "_record_of", count)
  latent_cache.cache_latents(stage1, changed, ours, 1, 2)  # the other process died
  assert len(names_and_records(ours, "train")) == CLIPS  # can still be used
  latent_cache.cache_latents(stage1, changed, ours)
  said = capsys.readouterr().out
  assert "has changed; what is new" in said and " of them kept" in said
  assert set(made) == {CLIPS}
  latent_cache.cache_latents(stage1, changed, theirs)
  manifests = [json.loads((f / "manifest.json").read_text()) for f in (ours, theirs)]
  assert manifests[0] == manifests[1]
  assert {p.name for p in ours.iterdir()} == {p.name for p in theirs.iterdir()}
  for path in theirs.glob("*.array_record"):
    assert (ours / path.name).read_bytes() == path.read_bytes()


def test_latents_are_made_again_if_only_the_truth_has_changed():
  clip = make_record(truth=False)
  moved = clip | {"part_pose": np.ones((3, 21, 6), np.float32)}
  others = [moved, moved | {"part_pose": 2 * moved["part_pose"]}]
  digests = {latent_shards.clip_digest(x, 0) for x in (clip, *others)}
  assert len(digests) == 3

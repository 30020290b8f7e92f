"""Exports: the same samples on any devices, resumable, sound and truth beside them."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax import export
from dabfusion_jax.config import (
  make_autoencoder,
  make_diffusion_stage,
  resolve_diffusion,
)
from dabfusion_jax.evaluation.reading import clip_files, clips
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.storage import saved_stage
from data_pipeline.errors import UserError
from data_pipeline.media import reader
from data_pipeline.music import beats
from data_pipeline.synthdance.generate import write_wav

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
_SIZE, _FRAMES, _RATE = 32, 8, 8000


def _record(index):
  rng = np.random.default_rng(index)
  beat_times = np.arange(3) * 0.5 - 0.1
  grid = (beat_times, 0.0, _FRAMES, 10.0)
  return {
    "name": f"gBR_sBM_c0{index + 1}_d04_mBR0_ch03",
    "window": 0,
    "example_id": np.int32(index),
    "fps": 10.0,
    "frames": rng.integers(0, 256, (_FRAMES, _SIZE, _SIZE, 3), np.uint8),
    "audio": rng.integers(-900, 900, _RATE * _FRAMES // 10).astype(np.int16),
    "sample_rate": _RATE,
    "music": rng.standard_normal(512).astype(np.float32),
    "beat_times": beat_times,
    "true_beat_times": beat_times + 0.01,
    "part_map": rng.integers(0, 3, (_FRAMES, _SIZE, _SIZE), np.uint8),
    "joints2d": rng.random((_FRAMES, 17, 2), np.float32),
    "beats": beats.beat_vector(*grid),
    "beat_features": beats.beat_features(*grid),
  }


@pytest.fixture(scope="module")
def source():
  return [_record(i) for i in range(3)]


def _random_variables(init, *args):
  """Weights of the right shapes, drawn on the host: nothing has to be compiled."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(init, jax.random.key(0), *args)
  draw = lambda s: (
    np.abs(rng.normal(0, 0.05, s.shape)).astype(np.float32)
    * (rng.choice([-1, 1], s.shape).astype(np.float32) if len(s.shape) > 1 else 1)
  )
  return jax.tree.map(lambda s: jnp.asarray(draw(s)), shapes)


@pytest.fixture(scope="module")
def pipeline(source):
  """Both stages of the smoke variant at random weights."""
  settings1 = load_config(_CONFIGS / "autoencoder.py", "smoke")
  model = make_autoencoder(settings1.model)
  image = jnp.zeros((1, _SIZE, _SIZE, 3))
  variables = _random_variables(model.init, image, image)
  stage1 = saved_stage.SavedStage(
    settings1, variables["params"], variables["batch_stats"], 0, "hash"
  )
  latents = {
    "autoencoder": "hash",
    "data": "hash",
    "num_frames": _FRAMES,
    "fps": 10,
    "encoder": {"name": "spectral", "version": 1, "size": 512},
    "framing": "letterbox",
    "statistics": {"residual_rms": 0.05, "residual_max": 0.5},
    "silence": [0.0] * 512,
  }
  settings2 = load_config(_CONFIGS / "diffusion.py", "smoke")
  unet = dataclasses.replace(settings2.unet, channel_multipliers=(1,))  # compiles soon
  settings2 = dataclasses.replace(settings2, unet=unet)
  settings2 = resolve_diffusion(settings2, stage1, latents)
  stage = make_diffusion_stage(settings2, stage1)
  z = np.zeros((1, _SIZE // 4, _SIZE // 4, settings2.latents.z_channels))
  keys = ("music", "beats", "beat_features")
  batch = {key: jnp.asarray(source[0][key])[None] for key in keys}
  batch["z"] = jnp.asarray(z, jnp.float32)
  x = jnp.zeros((1, _FRAMES, *z.shape[1:3], 3), np.float32)
  params = _random_variables(
    stage.unet.init, x, jnp.zeros(1, jnp.int32), batch["z"], *stage.condition(batch)
  )["params"]
  return DancePipeline(stage, params, settings2, settings1, {"diffusion": "hash"})


def _frames(pipeline, source, indices, *, devices, **settings):
  pipeline = dataclasses.replace(pipeline, devices=tuple(devices))
  records = [source[i] for i in indices]
  return np.stack([f for _, f in pipeline.sample_records(records, **settings)])


@pytest.mark.parametrize(
  "way",
  [pytest.param("record by record", marks=pytest.mark.slow), "compiled ahead"],
)
def test_weights_of_another_network_are_refused_in_one_line(
  pipeline, source, way, tmp_path
):
  params = dict(sorted(pipeline.params.items())[1:])
  other = dataclasses.replace(pipeline, params=params)
  with pytest.raises(UserError, match="do not fit the config.json") as error:
    if way == "record by record":
      list(other.sample_records([source[0]], seed=0, batch_size=1))
    else:
      song = tmp_path / "song.wav"
      write_wav(song, np.zeros((22_050, 2), np.float32))
      other(source[0]["frames"][0], song, beats=[0.5], drawing="decoder")
  assert "\n" not in str(error.value)


@pytest.mark.slow
def test_samples_depend_neither_on_devices_nor_on_the_rest_of_the_batch(
  pipeline, source
):
  devices = jax.local_devices()
  one = _frames(pipeline, source, [0, 1, 2], seed=0, batch_size=1, devices=devices[:1])
  many = _frames(pipeline, source, [0, 1, 2], seed=0, batch_size=1, devices=devices[:4])
  alone = _frames(pipeline, source, [2], seed=0, batch_size=1, devices=devices[:1])
  np.testing.assert_array_equal(many, one)
  np.testing.assert_array_equal(alone[0], one[2])
  # Two rows a device, as many as devices: split twice, they would be no batch at all.
  two = dict(seed=0, batch_size=2)
  one_by_two = _frames(pipeline, source, [0, 1, 2], **two, devices=devices[:1])
  two_by_two = _frames(pipeline, source, [0, 1, 2], **two, devices=devices[:2])
  np.testing.assert_array_equal(two_by_two, one_by_two)
  # Another size of batch is another program: sums may round differently.
  assert np.abs(one_by_two.astype(int) - one).max() <= 1
  assert (one[0] != one[1]).any()


def _export(pipeline, source, folder, indices, **changes):
  manifest = {"format": 2, "seed": 0} | changes
  return export.export(
    pipeline, source, folder, manifest, seed=0, indices=indices, batch_size=1
  )


def test_an_export_continues_and_its_parts_make_the_whole(pipeline, source, tmp_path):
  assert _export(pipeline, source, tmp_path, [0, 2]) == 2
  assert _export(pipeline, source, tmp_path, [1]) == 1
  assert _export(pipeline, source, tmp_path, [0, 1, 2]) == 0
  names = {f"gBR_sBM_c0{i}_d04_mBR0_ch03-w0" for i in (1, 2, 3)}
  found = clip_files.find_clips(tmp_path, "samples")
  assert set(found) == set(clip_files.find_clips(tmp_path, "references")) == names
  lost = tmp_path / "samples" / "gBR_sBM_c02_d04_mBR0_ch03-w0.npz"
  before = lost.read_bytes()
  lost.unlink()
  assert _export(pipeline, source, tmp_path, [0, 1, 2]) == 1
  assert lost.read_bytes() == before
  with pytest.raises(export.ExportError, match="seed is 0 there and 1 here"):
    _export(pipeline, source, tmp_path, [0], seed=1)
  assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 0


def test_an_export_holds_frames_sound_and_truth(pipeline, source, tmp_path):
  _export(pipeline, source, tmp_path, [1])
  (sample,) = clip_files.find_clips(tmp_path, "samples").values()
  (reference,) = clip_files.find_clips(tmp_path, "references").values()
  generated, real = clips.read_clip(sample), clips.read_clip(reference)
  (expected,) = _frames(
    pipeline, source, [1], seed=0, batch_size=1, devices=jax.local_devices()[:1]
  )
  np.testing.assert_array_equal(generated.frames, expected)
  np.testing.assert_array_equal(real.frames, source[1]["frames"])
  np.testing.assert_array_equal(real.truth["part_map"], source[1]["part_map"])
  assert real.truth["beat_tracker"] == pipeline.settings.data.beats
  assert abs(len(generated.audio) / clips.SAMPLE_RATE - 0.8) < 0.03
  video = reader.read_video(sample.video)
  assert len(video.frames) == _FRAMES and np.isclose(video.times[1], 0.1)


@pytest.mark.parametrize("argument", ["--num_clips=0", "--batch_size=-1"])
def test_numbers_out_of_range_are_usage_errors(argument, tmp_path, capsys):
  needed = ["--checkpoint=x", "--data=y", f"--output={tmp_path / 'out'}"]
  with pytest.raises(SystemExit) as stopped:
    export.main([*needed, argument])
  assert stopped.value.code == 2
  name, value = argument.split("=")
  assert f"argument {name}: must be at least 1, not {value}" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()

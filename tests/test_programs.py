"""The real programs at smoke size, as a user runs them: in their own processes."""

import dataclasses
import functools
import importlib.resources
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import PIL.Image
import pytest

from dabfusion_jax import publish, sample, train
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings.config_files import load_config
from dabfusion_jax.storage import saved_stage
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training.progress import SPEED
from data_pipeline.errors import UserError
from data_pipeline.media import reader, writer
from data_pipeline.synthdance.generate import write_wav

_ROOT = pathlib.Path(__file__).parent.parent


class Place:
  """A folder in which programs run."""

  def __init__(self, folder):
    self.folder = folder
    self.environment = {
      **os.environ,
      "PYTHONPATH": str(_ROOT),
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": "1",  # compiles fastest
    }

  def start(self, module, *arguments):
    return subprocess.Popen(
      [sys.executable, "-m", module, *arguments],
      cwd=self.folder,
      env=self.environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def run(self, module, *arguments):
    """Returns (exit status, everything printed)."""
    process = self.start(module, *arguments)
    try:
      printed, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
      process.kill()
      raise
    return process.returncode, printed

  def train(self, stage, workdir, **config):
    changes = [f"--config.{key}={value}" for key, value in config.items()]
    config = f"--config={_ROOT}/configs/{stage}.py:smoke"
    return "dabfusion_jax.train", config, f"--workdir={workdir}", *changes


# Steps enough to be killed between, pictures at the end only, and a U-Net that compiles
# in half the time.
_DANCE = {"num_steps": 6, "checkpoint_every": 2, "picture_every": 99}
_DANCE |= {"unet.channel_multipliers": "(1,)"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder in which both stages are trained, by the commands of `make miniature`."""
  place = Place(tmp_path_factory.mktemp("programs"))
  data, latents = "data/synthdance_smoke", "data/smoke_latents"
  for command in (
    ("data_pipeline.build", "--source=synthdance", "--preset=smoke",
     f"--output={data}", "--frame_size=32", "--num_frames=8", "--workers=1"),
    place.train("autoencoder", "runs/smoke_autoencoder"),
    ("dabfusion_jax.latents", "--checkpoint=runs/smoke_autoencoder",
     f"--data={data}", f"--output={latents}"),
    place.train("diffusion", "runs/dance", **_DANCE),
  ):  # fmt: skip
    done, printed = place.run(*command)
    assert done == 0, printed
  return place


@pytest.fixture(scope="module")
def inputs(place):
  """A picture and a song of a dancer who was not trained on."""
  name = "gLO_sBM_c01_d15_mLO2_ch02"
  done, printed = place.run(
    "data_pipeline.synthdance.generate", f"--name={name}", "--output=in", "--seconds=3"
  )
  assert done == 0, printed
  return place.folder / "in" / f"{name}.png", place.folder / "in" / f"{name}.wav"


def _history(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  return [{k: v for k, v in r.items() if k not in SPEED} for r in records]


def test_the_commands_build_train_cache_and_train(place):
  runs = place.folder / "runs"
  for name, num_steps in (("smoke_autoencoder", 4), ("dance", 6)):
    run = runs / name
    history = _history(run)
    trained = [record for record in history if "loss" in record]
    assert [record["step"] for record in trained] == [*range(1, num_steps + 1)]
    assert all(np.isfinite(record["loss"]) for record in trained)
    held_out = [record for record in history if "eval/loss" in record]
    assert [record["step"] for record in held_out] == [*range(2, num_steps + 1, 2)]
    assert list((run / "pictures").glob("*.png"))
  assert (runs / "dance" / "autoencoder" / "model.safetensors").is_file()


@pytest.fixture(scope="module")
def dance(place):
  """What `sample --checkpoint=runs/dance --drawing=decoder` calls, in this process."""
  pipeline = DancePipeline.from_pretrained(place.folder / "runs/dance")
  return functools.partial(pipeline, drawing="decoder")


def test_sample_makes_a_video_with_sound(place, inputs, dance):
  image, music = inputs
  done, printed = place.run(
    "dabfusion_jax.sample", "--checkpoint=runs/dance", f"--image={image}",
    f"--music={music}", "--seed=3", "--drawing=decoder", "--output=out/a.mp4",
  )  # fmt: skip
  assert done == 0, printed
  video = reader.read_video(place.folder / "out/a.mp4")
  assert video.frames.shape == (8, 32, 32, 3)
  np.testing.assert_allclose(np.diff(video.times), 0.1, atol=1e-3)
  audio = reader.read_audio(place.folder / "out/a.mp4", 44_100)
  assert abs(len(audio) / 44_100 - 0.8) < 0.03 and np.abs(audio).max() > 0.05
  settings = json.loads((place.folder / "out/a.json").read_text())
  assert settings["seed"] == 3 and settings["weights"]["diffusion"]
  again = [dance(image, music, seed=3) for _ in range(2)]
  assert (again[0].frames == again[1].frames).all()  # same seed, same dance
  again[0].save(place.folder / "out/b.mp4")
  sheets = [PIL.Image.open(place.folder / f"out/{n}.png") for n in "ab"]
  # The program has one device, this process eight: rounding differs.
  levels = np.abs(np.subtract(*(np.asarray(s, np.int16) for s in sheets)))
  assert levels.max() <= 2


def test_beats_can_be_given_and_silence_has_none(place, inputs, dance):
  image, music = inputs
  (place.folder / "beats.txt").write_text("0.1\n0.6\n1.1\n")
  on_beats = lambda made: [note for note in made.notes if "beats" in note]
  given = dance(image, music, beats=place.folder / "beats.txt")
  assert given.settings["beat_times"] == [0.1, 0.6, 1.1] and not on_beats(given)
  late = dance(image, music, beats=[0.4, 0.9])
  assert (given.flow != late.flow).any()
  silence = place.folder / "silence.wav"
  write_wav(silence, np.zeros((44_100, 2), np.float32))
  calm = dance(image, silence)
  assert calm.settings["beat_times"] == [] and "No beats" in on_beats(calm)[0]
  assert not on_beats(dance(image, silence, beats=[0.4]))


def test_details_are_added_if_the_codec_loses_much(inputs, dance):
  image, music = inputs
  shown = dance(image, music)
  assert shown.settings["details"] and "dB only" in shown.notes[0]
  alone = dance(image, music, details=False)
  assert not alone.settings["details"] and not alone.notes
  assert (shown.flow == alone.flow).all() and (shown.frames != alone.frames).any()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_published_model_opens_like_its_run(place, dtype):
  folder = place.folder / f"published_{dtype}"
  publish.publish(place.folder / "runs/dance", folder, dtype)
  published = DancePipeline.from_pretrained(folder)
  original = DancePipeline.from_pretrained(place.folder / "runs/dance")
  assert (published.digests == original.digests) == (dtype == "float32")
  assert published.settings.unet == original.settings.unet
  # Folders are published by their names alone.
  assert "/" not in published.settings.data.autoencoder.removeprefix("runs/")


def test_without_arguments_the_bundled_weights_and_inputs_dance(place, monkeypatch):
  package, files = place.folder / "package", importlib.resources.files
  for name in saved_stage.SHIPPED:
    folder = package / "demo_weights" / name
    publish.publish(place.folder / "runs/dance", folder, "int8", share_stage1=True)
  monkeypatch.setattr(
    importlib.resources,
    "files",
    lambda name: package if name == "dabfusion_jax" else files(name),
  )
  monkeypatch.setenv("DABFUSION_CACHE", str(place.folder / "cache"))
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(place.folder / "nowhere"))
  output = place.folder / "own.mp4"
  sample.main([f"--output={output}", "--duration=2"])
  assert reader.read_video(output).frames.shape == (20, 32, 32, 3)
  settings = json.loads(output.with_suffix(".json").read_text())
  expected = saved_stage.load_stage(saved_stage.shipped(), "diffusion").digest
  assert settings["weights"]["diffusion"] == expected
  # What was heard of the song is there for the next dance.
  kept = (place.folder / "cache" / "music").iterdir()
  assert {path.suffix for path in kept} == {".json", ".f32"}


@pytest.mark.parametrize(
  ("name", "look"), [(saved_stage.PEOPLE, "people"), ("dance_e", "figures")]
)
def test_the_example_is_a_person_if_people_can_be_found(monkeypatch, name, look):
  def example(folder, asked):
    raise UserError(f"look: {asked}")

  monkeypatch.setattr(sample, "default_weights", lambda shows_decoded: name)
  monkeypatch.setattr(sample, "example_inputs", example)
  with pytest.raises(SystemExit, match=f"look: {look}"):
    sample.main([])


@pytest.mark.slow
def test_evaluate_prints_every_figure_beside_its_null(place):
  done, printed = place.run(
    "dabfusion_jax.evaluate", "--checkpoint=runs/dance", "--data=data/synthdance_smoke",
    "--metrics=paired,alignment,motion", "--num_clips=2", "--output=evaluation",
  )  # fmt: skip
  assert done == 0, printed
  assert "frozen first frame" in printed and "real clips" in printed
  result = json.loads((place.folder / "evaluation" / "result.json").read_text())
  protocol, rows = result["protocol"], result["summary"]["all"]
  assert protocol["fps"] == 10 and protocol["num_frames"] == 8
  assert protocol["num_paired"] == 2 and len(protocol["stage1"]) == 64
  data = json.loads((place.folder / "data/synthdance_smoke/manifest.json").read_text())
  assert result["subject"]["manifest"]["data"] == data["content_sha256"]
  for name in ("psnr", "stage1_psnr", "stage1_psnr_mask", "stage1_ssim"):
    assert rows[name]["n"] == rows[name]["nulls"]["frozen"]["n"] == 2


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"image": "missing.png"}, "missing.png"),
    ({"image": "empty.png"}, "empty.png"),
    ({"image": "dot.png"}, "dot.png"),
    ({"music": "text.wav"}, "text.wav"),
    ({"music": "short.wav"}, "0.10 s"),
    ({"music": "silent.mp4"}, "no sound"),
    ({"music_start": "inf"}, "music_start"),
    ({"checkpoint": "nowhere"}, "nowhere"),
    ({"checkpoint": "runs/smoke_autoencoder"}, "'autoencoder'"),
    ({"output": "dance.avi"}, ".mp4, .webm, .gif"),
    ({"image": "dot.png", "output": "../dot.mp4"}, "overwrite"),
    ({"num_inference_steps": "0"}, "sample: num_inference_steps must be from 1 to"),
    ({"num_frames": "9"}, "8 frames"),
    ({"num_frames": "0"}, "num_frames must be at least 2"),
    ({"music_start": "-1"}, "music_start"),
    ({"guidance_scale": "nan"}, "guidance_scale must be from 0 to 20"),
    ({"seed": "-1"}, "seed"),
    ({"fps": "61"}, "from 1 to 60"),
    ({"fps": "25"}, "10, 20, 30, 40, 50, 60; not 25"),
    ({"fps": "30", "drawing": "decoder"}, "fps belongs to layers"),
    ({"fps": "30", "output": "dance.gif"}, "leave out --fps"),
    ({"eta": "nan"}, "from 0 to 1"),
    ({"eta": "1", "method": "ddpm"}, "not to ddpm"),
    ({"bpm": "0"}, "from 30 to 300"),
    ({"beats": "text.wav"}, "line 1: 'no'"),
    ({"beats": "text.wav", "bpm": "120"}, "one of them"),
    ({"text": "Break dance"}, "does not encode text"),
    ({"encoder": "clap"}, "'spectral', not with 'clap'"),
  ],
)
def test_bad_input_is_one_clear_line(place, inputs, change, message):
  """The real `main`, in this process: so many programs would be slow to start."""
  folder = place.folder
  bad = folder / "bad"
  bad.mkdir(exist_ok=True)
  (folder / "empty.png").touch()
  (folder / "text.wav").write_text("no music")
  PIL.Image.new("RGB", (1, 1)).save(folder / "dot.png")
  frames = np.zeros((8, 32, 32, 3), np.uint8)
  writer.write_video(folder / "silent.mp4", frames, 10, None, 44_100)
  write_wav(folder / "short.wav", np.zeros((4_410, 2), np.float32))
  image, music = inputs
  given = {"image": image, "music": music, "checkpoint": "runs/dance"}
  given |= {"output": "dance.mp4"} | change
  for key in ("image", "music", "checkpoint", "beats"):
    if key in given:
      given[key] = folder / given[key]
  given["output"] = bad / given["output"]
  with pytest.raises(SystemExit) as stopped:
    sample.main([f"--{key}={value}" for key, value in given.items()])
  text = str(stopped.value)
  assert text.startswith("sample: ") and message in text and "\n" not in text
  assert not list(bad.iterdir())


def test_a_wrong_config_key_or_variant_is_named(place):
  done, printed = place.run(*place.train("diffusion", "x", **{"unet.bas_channels": 3}))
  assert done == 2 and "base_channels" in printed
  done, printed = place.run(*place.train("autoencoder", "x", **{"unet.remat": True}))
  assert done == 2 and printed.endswith("There is no setting 'unet'\n")
  done, printed = place.run(
    "dabfusion_jax.train", f"--config={_ROOT}/configs/diffusion.py:big"
  )
  assert done == 2 and "paper, people, medium, demo, smoke" in printed
  assert printed.count("\n") == 1, printed


def test_a_run_without_a_checkpoint_takes_another_stage_1(place, monkeypatch):
  monkeypatch.chdir(place.folder)
  monkeypatch.setattr(train, "start", lambda *unused, on_begin: on_begin())
  run = pathlib.Path("runs/begun")

  def copy_after_a_start():
    shutil.rmtree(run / "autoencoder", ignore_errors=True)
    other = "runs/smoke_autoencoder/checkpoints/2"
    publish.publish(other, run / "autoencoder", "float32")
    settings = load_config(_ROOT / "configs/diffusion.py", "smoke")
    unet = dataclasses.replace(settings.unet, channel_multipliers=(1,))
    train.train_diffusion(dataclasses.replace(settings, unet=unet), RunFolder(run))
    return saved_stage.load_stage(run / "autoencoder", "autoencoder").step

  with pytest.raises(UserError, match="holds other weights"):
    copy_after_a_start()  # no run has begun here
  assert [path.name for path in run.iterdir()] == ["autoencoder"]
  shutil.copy("runs/dance/config.json", run)
  assert copy_after_a_start() == 4
  (run / "model.safetensors").touch()
  with pytest.raises(UserError, match="holds other weights"):
    copy_after_a_start()  # it is a published folder


def test_training_on_the_device_takes_the_batches_of_the_host(place, monkeypatch):
  monkeypatch.chdir(place.folder)
  settings = load_config(_ROOT / "configs/diffusion.py", "smoke")
  batches = {}

  def first_batch(stage, dataset, held_out, settings, run, on_begin):
    batches[settings.data.on_device] = next(iter(dataset))

  monkeypatch.setattr(train, "start", first_batch)
  for on_device in (False, True):
    data = dataclasses.replace(settings.data, on_device=on_device)
    run = RunFolder(pathlib.Path(f"runs/on_device_{on_device}"))
    train.train_diffusion(dataclasses.replace(settings, data=data), run)
  assert isinstance(batches[True]["flow"], jax.Array)
  host, device = (
    {np.asarray(song).tobytes(): i for i, song in enumerate(batches[k]["music"])}
    for k in (False, True)
  )
  assert host.keys() == device.keys() and len(host) == 6  # clips, two of them twice
  for key, value in batches[False].items():
    assert batches[True][key].shape == value.shape
    for song, i in host.items():
      there = batches[True][key][device[song]]
      np.testing.assert_allclose(there, value[i], atol=1e-6, err_msg=key)


def test_joining_without_others_is_one_line(place):
  done, printed = place.run(*place.train("autoencoder", "x"), "--distributed")
  last = printed.strip().splitlines()[-1]
  assert done == 1 and last.startswith("train: --distributed: coordinator_address")


def test_the_first_command_people_type_says_what_is_missing(place):
  done, printed = place.run(
    "dabfusion_jax.train", f"--config={_ROOT}/configs/diffusion.py"
  )
  assert done == 1
  last = printed.strip().splitlines()[-1]
  assert "dabfusion_jax.latents" in last and "autoencoder.py:paper" in last
  assert "make miniature" in last


@pytest.mark.slow
def test_a_killed_training_resumes_bit_for_bit(place):
  killed = place.folder / "runs/killed"
  command = place.train("diffusion", "runs/killed", **_DANCE | {"picture_every": 0})
  process = place.start(*command)
  while process.poll() is None and not (killed / "checkpoints/2").is_dir():
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  done, printed = place.run(*command)
  assert done == 0 and "continues after step" in printed, printed
  assert _history(killed) == _history(place.folder / "runs/dance")

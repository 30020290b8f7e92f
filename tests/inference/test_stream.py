"""A dance of any length is made part by part, and what is made is kept."""

import contextlib
import contextvars
import dataclasses
import json
import threading

import dancers
import numpy as np
import pytest
import toys

from dabfusion_jax import __version__
from dabfusion_jax.inference import dance_files, layers, subject
from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.people.joints import joints_of
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.settings.diffusion import JointSettings
from data_pipeline.errors import UserError
from data_pipeline.media import reader

_FRAME, _LATENT = toys.FRAME, toys.LATENT


def stream(pipeline, music, **options):
  picture = np.full((_FRAME, _FRAME, 3), 90, np.uint8)
  options = {"drawing": "decoder", "beats": [0.5, 1.0], "details": False} | options
  return pipeline.stream(picture, music, **options)


def test_a_full_dance_lasts_as_long_as_its_music(pipeline, toy, music, tmp_path):
  dance = stream(pipeline, music, duration="full")
  assert abs(dance.num_frames / 10 - 13.37) <= 0.1
  path, sheet, settings = dance.save(tmp_path / "a.mp4", side_by_side=True)
  video = reader.read_video(path)
  assert video.frames.shape == (dance.num_frames, _FRAME, 2 * _FRAME, 3)
  np.testing.assert_allclose(video.frames[:, :, : _FRAME - 4], 90, atol=4)
  sound = reader.read_audio(path, 44_100)
  assert abs(len(sound) / 44_100 - dance.num_frames / 10) < 0.05
  told = json.loads(settings.read_text())
  assert told["total_frames"] == dance.num_frames
  assert (told["checkpoint"], told["dabfusion_jax"]) == ("dance_e", __version__)


def test_a_window_is_drawn_as_one_and_a_longer_dance_begins_with_it(
  pipeline, toy, music
):
  one = stream(pipeline, music).collect()
  assert len(one.frames) == len(one.flow) == len(one.occlusion) == 40
  assert len(one.audio) == 4 * 44_100
  longer = stream(pipeline, music, duration=9).collect()
  assert len(longer.frames) == len(longer.flow) == 90
  np.testing.assert_array_equal(longer.flow[:30], one.flow[:30])
  np.testing.assert_array_equal(longer.audio[: 4 * 44_100], one.audio)
  again = stream(pipeline, music, duration=9).collect()
  np.testing.assert_array_equal(longer.frames, again.frames)


@pytest.mark.parametrize(("joining", "later"), [("windows", False), ("chain", True)])
def test_only_windows_of_a_chain_begin_with_their_picture(
  pipeline, toy, music, joining, later
):
  stream(pipeline, music, duration=9, joining=joining).collect()
  assert len(toy.begins) > 1
  assert toy.begins == [True] + [later] * (len(toy.begins) - 1)


def test_a_chain_says_that_it_is_drawn_by_the_decoder(pipeline, toy, music):
  said = "decoder's frames of 64 x 64 pixels"
  for drawing, told in ((None, True), ("decoder", False)):
    dance = stream(pipeline, music, joining="chain", drawing=drawing)
    assert any(said in note for note in dance.notes) == told


def test_memory_holds_few_frames_whatever_the_length(pipeline, toy, music, tmp_path):
  dance = stream(pipeline, music, duration=60, short_music="loop")
  dance.save(tmp_path / "a.mp4")
  assert dance.num_frames == 600 and toy.most_held <= 120


@pytest.mark.parametrize("joining", ["windows", "chain"])
def test_every_step_is_counted_once(pipeline, toy, music, joining):
  seen = []
  dance = stream(
    pipeline,
    music,
    duration="full",
    joining=joining,
    callback=lambda done, total: seen.append((done, total)),
  )
  assert sum(len(part.frames) for part in dance.parts) == dance.num_frames
  assert seen == [(i, len(seen)) for i in range(1, len(seen) + 1)]


def test_a_stream_is_made_once(pipeline, toy, music, tmp_path):
  dance = stream(pipeline, music)
  dance.save(tmp_path / "a.mp4")
  for again in (dance.collect, lambda: dance.save(tmp_path / "b.mp4")):
    with pytest.raises(UserError, match="made once"):
      again()


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"num_inference_steps": 0}, "num_inference_steps must be from 1 to 1000, not 0"),
    ({"num_inference_steps": 2.5}, "num_inference_steps must be a whole number"),
    ({"num_frames": 2.5}, "num_frames must be a whole number, not 2.5"),
    ({"num_frames": 1}, "num_frames must be at least 2, not 1"),
  ],
)
def test_what_the_model_cannot_count_is_called_as_the_user_called_it(
  pipeline, toy, music, options, said, unchecked_types
):
  with pytest.raises(UserError, match=f"^{said}"):
    stream(pipeline, music, **options)


def test_the_next_window_is_drawn_while_a_part_is_used(pipeline, toy, music):
  drawn = threading.Event()
  watch = lambda done, total: done == 4 and drawn.set()  # two steps per window
  dance = stream(pipeline, music, duration=9, callback=watch)
  assert not drawn.is_set()
  next(dance.parts)
  assert drawn.wait(timeout=20)


def test_a_dance_that_nobody_wants_any_more_is_drawn_no_further(pipeline, toy, music):
  seen, goes_on = [], threading.Event()

  def watch(done, total):
    seen.append(done)
    if done == 3:  # the first of the second window
      goes_on.wait(timeout=20)

  dance = stream(pipeline, music, duration="full", callback=watch)
  next(dance.parts)
  threading.Timer(0.2, goes_on.set).start()
  dance.parts.close()
  assert seen[-1] <= 3
  assert not any(x.name.startswith("ThreadPool") for x in threading.enumerate())


def test_callbacks_know_the_context_of_who_reads_the_dance(pipeline, toy, music):
  user, seen = contextvars.ContextVar("user", default="nobody"), set()
  watch = lambda done, total: seen.add(user.get())
  dance = stream(pipeline, music, duration=9, callback=watch)
  user.set("somebody")
  dance.collect()
  assert seen == {"somebody"}


def test_a_model_that_reads_joints_decodes_no_frame_of_a_person(
  pipeline, toy, music, monkeypatch
):
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), dancers.landmarks(), 0)
  monkeypatch.setattr(subject, "_segmenter", lambda: lambda picture, pick: person)
  shapes, given = set(), []

  def read_joints(flow, occlusion, joints):
    shapes.add(flow.shape)
    given.append(joints)
    return np.broadcast_to(joints, (len(flow), *joints.shape))

  toy.read_joints = read_joints
  for needless in ("decode", "rebuild"):
    monkeypatch.setattr(toy, needless, lambda *unused: pytest.fail("not needed"))
  monkeypatch.setattr(layers, "_landmark_network", lambda: pytest.fail("not needed"))
  settings = dataclasses.replace(pipeline.settings, joints=JointSettings(1.0))
  reading = dataclasses.replace(pipeline, settings=settings)
  dance = reading.stream(picture, music, beats=[0.5, 1.0], duration=5.5)
  made = dance.collect()
  assert made.frames.shape == (165, *picture.shape)
  assert len(made.flow) == len(made.occlusion) == 55
  assert (made.fps, made.motion_fps) == (30, 10)
  assert len(made.audio) == round(5.5 * 44_100)
  settings = made.settings
  assert (settings["fps"], settings["motion_fps"]) == (30, 10)
  assert settings["total_frames"] == dance.num_frames == 165
  # At rest as in a window: whatever the length, nothing is compiled again.
  assert shapes == {(40, _LATENT, _LATENT, 2)}
  # Ankles are where the reference shows them; -1 and 1 are centres of outer pixels.
  made, _ = layers.make_layers(picture, layers.OWN, None, 1, True)
  corner = [made.frame.left, made.frame.top]
  pixels = (joints_of(dancers.joints()) - corner) / made.frame.side * _FRAME - 0.5
  np.testing.assert_allclose(given[-1], pixels / ((_FRAME - 1) / 2) - 1, atol=1e-6)
  rows = np.flatnonzero((made.reference(_FRAME) < 90).all(-1).any(1))
  np.testing.assert_allclose(rows[-1], pixels[:, 1].max(), atol=4)


def test_what_is_cut_out_without_arms_and_legs_has_the_frames_of_its_motion(
  pipeline, toy, music, monkeypatch
):
  picture, mask = dancers.draw()
  person = Person(mask.astype(np.float32), None, 0)
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(person))
  dance = pipeline.stream(picture, music, beats=[0.5], drawing="layers")
  assert (dance.fps, dance.num_frames) == (10, 40)
  assert len(dance.collect().frames) == 40


def test_what_has_no_joints_has_the_frames_of_its_motion(pipeline, toy, music):
  picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
  dance = pipeline.stream(picture, music, beats=[0.5], fps=30)
  assert (dance.fps, dance.num_frames) == (10, 40)
  assert any("10 frames per second" in note for note in dance.notes)
  silent = pipeline.stream(picture, music, beats=[0.5])
  assert not any("frames per second" in note for note in silent.notes)
  with pytest.raises(UserError, match="10, 20, 30, 40, 50, 60; not 25"):
    pipeline.stream(picture, music, beats=[0.5], fps=25)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_ctrl_c_keeps_what_was_made(pipeline, toy, music, tmp_path, suffix):
  def stop(done, total):
    if done == 5:  # in the third window
      raise KeyboardInterrupt

  path = tmp_path / f"a{suffix}"
  with pytest.raises(KeyboardInterrupt, match="has the first 6.0 s"):
    stream(pipeline, music, duration="full", callback=stop).save(path)
  settings = json.loads(path.with_suffix(".json").read_text())
  assert settings["total_frames"] == 60 and settings["interrupted"]
  if suffix == ".mp4":
    assert len(reader.read_video(path).frames) == 60
  with pytest.raises(KeyboardInterrupt):
    nothing = lambda *unused: stop(5, 0)
    stream(pipeline, music, callback=nothing).save(tmp_path / f"b{suffix}")
  assert not list(tmp_path.glob("*b.*"))


class SlowVideo:
  """Stands for a video whose parts are written once `begun` is set."""

  def __init__(self):
    self.begun, self.widths, self.num_frames = threading.Event(), [], 0

  def write(self, frames, audio):
    assert self.begun.wait(timeout=20)
    self.widths.append(len(frames))
    self.num_frames += len(frames)
    if self.num_frames > 60:
      raise UserError("The disk is full.")


def test_a_part_is_written_while_the_next_is_made(tmp_path, monkeypatch):
  video = SlowVideo()
  opened = lambda *unused, **options: contextlib.nullcontext(video)
  monkeypatch.setattr(dance_files.writer, "open_video", opened)

  def make(count):
    motion = np.zeros((1, 2, 2, 3), np.float32)
    frames = np.zeros((20, 4, 4, 3), np.uint8)
    silence = np.zeros((9, 2), np.float32)
    for i in range(count):
      if i == 1:
        video.begun.set()  # the first part waits for this
      yield dance_files.Part(frames, motion[..., :2], motion[..., :1], silence)

  settings = {"total_frames": 60, "motion_fps": 10}
  dance_files.save_dance(tmp_path / "a.mp4", make(3), 10.0, 44_100, settings)
  assert video.widths == [20, 20, 20]
  with pytest.raises(UserError, match="The disk is full"):
    dance_files.save_dance(tmp_path / "b.mp4", make(1), 10.0, 44_100, settings)
  assert not list(tmp_path.glob("b*"))


def test_weights_without_the_reader_of_their_config_are_one_line(pipeline):
  stage = dataclasses.replace(pipeline.stage, joint_reader=JointReader())
  reading = dataclasses.replace(pipeline, stage=stage)
  with pytest.raises(UserError, match="hold no joint reader.*get the folder again"):
    _ = reading.batch_sampler.read_joints

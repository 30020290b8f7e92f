"""What a dance compiles: each program once, and nothing at all for the next one."""

import contextlib
import shutil
import threading

import jax
import numpy as np
import pytest

from dabfusion_jax.config import make_sampling_plan
from dabfusion_jax.inference.picture import PEOPLE_SIZE
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.ops.joints import JOINTS
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline.media import reader
from data_pipeline.music import encoders, onsets
from data_pipeline.synthdance.generate import write_wav

_COMPILED = "/jax/core/compile/backend_compile_duration"
_PROGRAMS = 5  # of a dance: encoder, still decoder, term of z, step, decoder


@pytest.fixture(scope="module")
def pipeline():
  return DancePipeline.from_pretrained(saved_stage.shipped())


@contextlib.contextmanager
def compilations():
  """Yields (program, whether the main thread waited for it) of all compilations."""
  main, found = threading.main_thread(), []

  def listen(event, seconds, **about):
    if event == _COMPILED:
      found.append((about.get("fun_name"), threading.current_thread() is main))

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def _dance(pipeline, folder, seed):
  """Returns a dance of a picture and song of its own."""
  rng = np.random.default_rng(seed)
  song = folder / f"{seed}.wav"
  write_wav(song, 0.1 * rng.standard_normal((44_100, 2)).astype(np.float32))
  picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
  return pipeline(
    picture,
    song,
    beats=[0.1, 0.2 + seed / 10],
    drawing="decoder",
    num_frames=8,
    duration=0.8,
    num_inference_steps=2 + seed,
    seed=seed,
  )


def test_programs_compile_beside_the_listening_and_the_next_dance_compiles_none(
  pipeline, tmp_path
):
  with compilations() as first:
    _dance(pipeline, tmp_path, 0)
  # Compiled for other shapes or shardings than the dance's, they would be there twice.
  assert first.count(("jit(run)", False)) == _PROGRAMS
  assert ("jit(run)", True) not in first
  with compilations() as second:
    _dance(pipeline, tmp_path, 1)
  assert second == []


def test_the_reader_of_joints_compiles_beside_the_listening():
  people = DancePipeline.from_pretrained(saved_stage.shipped(saved_stage.PEOPLE))
  assert people.frame_size == PEOPLE_SIZE
  sampler, settings = people.batch_sampler, people.settings
  # The step takes longest, and does not matter here.
  vars(sampler)["_step_fn"] = lambda *unused: jax.jit(lambda *unused: 0)
  plan = make_sampling_plan(settings.diffusion, settings.sampling)
  size = people.frame_size, 4, people.encoder.size, plan, 1.0
  with compilations() as first, sampler.compiling(1, *size, decodes=False):
    pass
  assert first.count(("jit(read_joints)", False)) == 1
  flow = np.zeros((4, 16, 16, 2), np.float32)
  with compilations() as second:
    sampler.read_joints(flow, flow[..., :1], np.zeros((len(JOINTS), 2), np.float32))
  assert second == []


@pytest.mark.slow
def test_a_dance_does_not_depend_on_those_drawn_beside_it(pipeline, tmp_path):
  pairs = []
  for seed in range(2):
    rng = np.random.default_rng(seed)
    song = tmp_path / f"{seed}.wav"
    write_wav(song, 0.1 * rng.standard_normal((44_100, 2)).astype(np.float32))
    pairs.append((rng.integers(0, 256, (64, 64, 3), np.uint8), song))
  options = {"beats": [0.1, 0.3], "drawing": "decoder", "num_frames": 8}
  options |= {"duration": 0.8, "num_inference_steps": 2, "seed": 4}
  alone = pipeline(*pairs[1], **options)
  _, together = pipeline.stream_all(pairs, **options)
  made = together.collect()
  np.testing.assert_allclose(made.flow, alone.flow, atol=1e-4)
  difference = np.abs(made.frames.astype(int) - alone.frames)
  assert difference.max() <= 2


def test_a_song_that_was_heard_is_not_listened_to_again(tmp_path, monkeypatch):
  song, picture = tmp_path / "song.wav", np.full((64, 64, 3), 200, np.uint8)
  clicks = np.zeros((4 * 44_100, 2), np.float32)
  clicks[::26_460] = 0.9  # 100 per minute
  write_wav(song, clicks)
  monkeypatch.setattr(
    BatchSampler, "compiling", lambda *unused: contextlib.nullcontext()
  )
  z, rebuilt = jax.numpy.zeros((1, 16, 16, 8)), np.full((1, 64, 64, 3), 200, np.uint8)
  monkeypatch.setattr(BatchSampler, "encode", lambda *unused: z)
  monkeypatch.setattr(BatchSampler, "rebuild", lambda *unused: rebuilt)

  def hear():
    """Returns what a new process hears, or hears of."""
    people = DancePipeline.from_pretrained(
      saved_stage.shipped(), music_folder=tmp_path / "kept"
    )
    dance = people.stream(
      picture, song, bpm=100.0, beat_tracker="librosa", drawing="decoder", duration=1.0
    )
    sound = reader.read_audio(song, people.encoder.sample_rate)
    return dance.settings["beat_times"], people.encoder(sound, 22_050)

  def listen():
    raise AssertionError("listened again")

  first = hear()
  for module in (onsets, encoders):
    monkeypatch.setattr(module, "compile_librosa", listen)
  second = hear()
  assert first[0] == second[0] and len(first[0]) > 1
  np.testing.assert_array_equal(first[1], second[1])
  shutil.rmtree(tmp_path / "kept")
  with pytest.raises(AssertionError, match="listened again"):
    hear()

"""All parts of the study, with made-up models: one follows its beats, one does not."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.evaluation.reading import features
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.scoring import paired
from dabfusion_jax.evaluation.scoring.baselines import period_seconds
from dabfusion_jax.evaluation.study import (
  beat_grids,
  beats,
  claim,
  comparisons,
  control,
  lengths,
  parts,
  replay,
  stage1,
  steps,
)
from dabfusion_jax.evaluation.study.cached_sampler import CachedSampler, Latents
from dabfusion_jax.evaluation.study.frame_scores import FrameScores
from dabfusion_jax.evaluation.study.held_out import HeldOutClips
from dabfusion_jax.evaluation.study.latent_motion import STRICT, LatentMotion
from dabfusion_jax.evaluation.study.study import Study
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.settings.diffusion import SamplingSettings

_FRAMES, _SIZE, _FPS = 40, 64, 10.0


def _dance(times, num_frames=_FRAMES):
  """Returns a flow that swings and rests on every beat; almost still without any."""
  now = np.arange(num_frames) / _FPS
  period, first, reach = 0.57, 0.0, 0.02
  if len(times) > 1:
    period, first, reach = period_seconds(times), times[0], 0.2
  swing = reach * np.cos(np.pi * (now - first) / period)
  line = np.linspace(-1, 1, 4, dtype=np.float32)
  grid = np.stack(np.meshgrid(line, line), -1)
  flow = np.repeat(grid[None], num_frames, 0)
  flow[..., 0] += swing[:, None, None].astype(np.float32)
  return flow


def _film(flow):
  """Returns frames of a grey that follows the flow, uint8 [t, h, w, 3]."""
  grey = np.uint8(127 + 100 * flow[..., 0].mean((1, 2)))
  return np.repeat(grey, 3 * _SIZE**2).reshape(len(flow), _SIZE, _SIZE, 3)


class _Model(DancePipeline):
  """A trained model that draws in numpy; `batches` counts the clips it was given."""

  def __init__(self, name, follows_beats):
    values = {
      "digests": {"diffusion": name, "autoencoder": "one"},
      "follows_beats": follows_beats,
      "batches": [],
      "batch_sampler": self,
      "encoder": lambda sound, sample_rate: np.zeros(4, np.float32),
    }
    for key, value in values.items():
      object.__setattr__(self, key, value)

  fps = _FPS

  def encode(self, ref_images):
    return jnp.zeros((len(ref_images), 4, 4, 1), jnp.float32)

  def draw(self, batch, example_ids, sampling, seed, callback=None):
    self.batches.append(len(example_ids))
    num_frames = batch["beats"].shape[1]
    flows = []
    now = np.arange(num_frames) / _FPS
    # Seconds since the last beat; all are zero without beats.
    since_beat = batch["beat_features"][..., 3]
    for since, example_id in zip(since_beat, example_ids, strict=True):
      times = np.unique(np.round(now - since, 3)) if np.any(since) else np.zeros(0)
      if not self.follows_beats:
        rng = np.random.default_rng(int(example_id) + seed)
        times = np.arange(rng.uniform(-0.6, 0), 4.5, rng.uniform(0.45, 0.75))
      flows.append(_dance(times, num_frames))
    flow = np.stack(flows)
    return flow, np.ones((*flow.shape[:-1], 1), np.float32)

  def decode(self, z, flow, occlusion):
    return np.stack([_film(one) for one in flow])


@pytest.fixture(scope="module")
def clips():
  rng = np.random.default_rng(0)
  capsule = np.tile(np.float32([30, 20, 10, 30, 40, 10]), (_FRAMES, 21, 1))
  shifts = np.arange(_FRAMES)[:, None, None] * np.float32([1, 0, 0, 1, 0, 0])
  records = []
  for i in range(14):
    period = rng.uniform(0.45, 0.7)
    times = np.arange(rng.uniform(-period, 0), _FRAMES / _FPS + period, period)
    part_map = np.zeros((_FRAMES, _SIZE, _SIZE), np.uint8)
    part_map[:, 20:41, 20:40] = np.arange(1, 22, dtype=np.uint8)[:, None]
    records.append(
      {
        "name": f"gBR_sBM_c01_d06_mBR{i % 5}_ch{i + 1:02d}",
        "window": 0,
        "example_id": np.int32(i),
        "frames": _film(_dance(times)),
        "music": np.ones(4, np.float32),
        "beat_times": times + 0.02,
        "true_beat_times": times,
        "part_map": part_map,
        "part_pose": np.float32(capsule + 0.5 * shifts),  # half a pixel per frame
      }
    )
  flow = np.stack([_dance(record["true_beat_times"]) for record in records])
  occlusion = np.ones((*flow.shape[:-1], 1), np.float32)
  z = np.zeros((len(flow), 4, 4, 1), np.float32)
  latents = Latents(flow, occlusion, z, [f"real {i}" for i in range(len(flow))])
  return HeldOutClips(records, latents, "data", "truth", _FPS)


def _sampler(folder, name, follows_beats):
  sampling = SamplingSettings("ddim", 2, 0.0, 1.0)
  model = _Model(name, follows_beats)
  return CachedSampler(model, FeatureCache(folder), sampling, 0)


def _fake_image_scores(frames, reference, include_first):
  """Returns scores of a picture that is nearer to the real one if its grey is."""
  distance = np.abs(frames.astype(float) - reference.clip.frames).mean()
  scores = dict.fromkeys(paired.IMAGE_METRICS, np.float64(30 - distance))
  return scores | {"n_inf": np.float64(0)}


@pytest.fixture
def study(clips, tmp_path, monkeypatch):
  """Returns a study without networks: its features are the grey of the frames."""

  def logits(variables, videos, resize):
    values = np.zeros((len(videos), 400), np.float32)
    values[:, :8] = videos.mean((2, 3, 4))[:, ::5][:, :8]
    return values

  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  monkeypatch.setattr(features.i3d, "i3d_logits", logits)
  monkeypatch.setattr(paired, "_image_scores", _fake_image_scores)
  monkeypatch.setattr(
    paired.lpips, "clip_lpips", lambda variables, net, a, b: np.full(len(a), 0.1)
  )
  networks = Networks({"i3d": "x", "alex": "x"}, {})
  samplers = {
    "e": _sampler(tmp_path, "e", True),
    "b": _sampler(tmp_path, "b", False),
  }
  scores = FrameScores(clips, networks, FeatureCache(tmp_path), 0)
  return Study(samplers, clips, scores, 0, "data", "latents", ("ddim", "unipc"), (250,))


def _claims(part):
  return {entry.key: entry for entry in part.claims}


def _holds(part, key):
  return claim.holds(part.name, _claims(part)[key])


def test_a_model_that_follows_the_beats_passes_and_another_fails(study):
  part = beats.measure(study)
  assert _holds(part, f"e.{STRICT}.fraction")
  assert _holds(part, f"{STRICT}.e_minus_b")
  assert abs(_claims(part)[f"b.{STRICT}.fraction"].value.mean) < 0.3
  only_b = dataclasses.replace(study, samplers={"e": study.samplers["b"]})
  assert _holds(beats.measure(only_b), f"e.{STRICT}.fraction") is False


def test_beats_of_the_real_clips_have_their_nulls(study):
  claims = _claims(beats.measure(study))
  assert claims[f"real.{STRICT}"].value.mean > 0.9
  assert claims[f"real.{STRICT}.half_beat"].value.mean < 0.1
  for null in ("half_beat", "shuffled"):  # beside real clips measured in the same way
    real = claims[f"real.{STRICT}.{null}"].value.mean
    assert claims[f"e.{STRICT}.{null}"].real.mean == real
  shuffled = claims[f"real.{STRICT}.shuffled"]
  assert shuffled.value.mean == pytest.approx(shuffled.null.mean, abs=0.1)


def test_a_model_that_follows_the_beats_is_led_by_them(study):
  part = control.measure(study)
  assert _holds(part, "half_beat.fraction")
  assert _holds(part, "half_beat.own_above_chance")
  assert _holds(part, "tempo_0.5.fraction")
  claims = _claims(part)
  slowed = claims["tempo_0.5.real_slowed"]
  assert slowed.value.mean > 3 * slowed.null.mean
  assert claims["tempo_0.5.slowed_fraction"].value.mean > 0.8
  assert _holds(part, "silence.speed_ratio")
  only_b = dataclasses.replace(study, samplers={"e": study.samplers["b"]})
  part = control.measure(only_b)
  assert _holds(part, "half_beat.fraction") is False
  assert _holds(part, "silence.speed_ratio") is False


def test_what_was_drawn_is_not_drawn_again(clips, study):
  sampler = study.samplers["e"]
  batches = sampler.pipeline.batches
  first = clips.draw(sampler)
  assert batches == [4, 4, 4, 4]  # one shape, the last one filled up
  again = clips.draw(sampler)
  assert len(batches) == 4
  np.testing.assert_array_equal(first.flow, again.flow)
  clips.draw(sampler, clips.conditions([times + 0.1 for times in clips.given_beats]))
  assert len(batches) == 8
  more_steps = dataclasses.replace(sampler.sampling, num_inference_steps=3)
  clips.draw(sampler, sampling=more_steps)
  assert len(batches) == 12


def test_a_chain_stays_on_the_beat(clips, study):
  """Each segment takes one frame less than it has: its first was the last before."""
  times = [beat_grids.continued(beats, 17.0) for beats in clips.true_beats]
  segments = lengths.chain(study, study.dances["e"], times)
  assert len(segments) == lengths.NUM_SEGMENTS
  speeds = [clips.motion(segment).speeds for segment in segments]
  motion = LatentMotion(np.concatenate(speeds, axis=1), _FPS)
  assert motion.speeds.shape[1] == lengths.NUM_SEGMENTS * (_FRAMES - 1)
  assert motion.alignment(times).mean() > 0.9


def test_longer_dances_are_measured_to_their_end(study):
  claims = _claims(lengths.measure(study))
  for key in ("double", "chain_2", "chain_4"):
    assert claims[key].value.mean > 0.9
  assert claims["chain_4.fvd"].value.n == 14


def test_comparisons_tell_the_models_apart(study, monkeypatch):
  claims = _claims(comparisons.models(study))
  assert claims["e.fvd"].value.mean < 1 < claims["b.fvd"].value.mean
  assert claims["fvd.e_minus_b"].value.mean < 0
  assert claims["psnr.e_minus_b"].value.mean > 0
  keys = set(_claims(comparisons.groups(study)))
  assert {"camera_c01.e.alignment", "genre_BR.b.alignment", "camera_c01.b.fvd"} <= keys
  assert "genre_BR.b.fvd" not in keys
  vectors = {"BR": np.full(4, 0.5, np.float32)}
  monkeypatch.setattr(comparisons, "style_vectors", lambda data: vectors)
  same = _claims(comparisons.styles(study))["e.style_minus_music"]
  assert same.value.mean == 0  # this model does not use the music
  gap = _claims(comparisons.trackers(study))["tracked_minus_true"]
  assert gap.value.mean < 0  # 20 ms late


def test_stage_1_that_rebuilds_its_clips_beats_the_frozen_frame(study):
  part = stage1.measure(study)
  claims = _claims(part)
  assert claims["psnr_mask"].value.mean > claims["psnr_mask"].null.mean
  assert claims["psnr_mask_gain"].value.mean > 0
  # The body moves by half a pixel per frame, over 39 frames.
  assert claims["body.error"].null.mean == pytest.approx(10, rel=1e-3)
  assert {"ssim", "ssim_mask.frozen"} <= set(part.values)


def _training_clips(flows, names=None):
  """Returns what stands for `latent_record`: a cache of these flows."""
  names = names or [f"video{i}.0" for i in range(len(flows))]
  return types.SimpleNamespace(
    open_latents=lambda folder, split: list(zip(names, flows, strict=True)),
    name_of=lambda blob: blob[0],
    decode=lambda blob: {"flow": blob[1]},
  )


def test_a_copied_training_clip_is_nearer_than_real_clips_are(study, monkeypatch):
  """The training clips are the very dances of one model, and other ones."""
  flows = np.concatenate([study.dances["b"].flow, study.dances["e"].flow[:, ::-1]])
  monkeypatch.setattr(replay, "latent_record", _training_clips(flows))
  part = replay.measure(study)
  claims = _claims(part)
  assert claims["b.nearest_training"].value.mean < 0.01
  assert _holds(part, "b.nearest_training") is False
  assert claims["real.nearest_training"].value.mean > 0.1


def test_a_training_clip_is_compared_with_other_videos_only(study, monkeypatch):
  flows = study.dances["e"].flow
  names = [f"video{i}.0" for i in range(len(flows))]
  again = [
    f"video{i}{kind}" for i in range(len(flows)) for kind in (".1", ".mirrored.0")
  ]
  order = np.random.default_rng(0).permutation(3 * len(flows))  # as shards have any
  clips = np.concatenate([flows, flows.repeat(2, 0)])[order]
  latents = _training_clips(clips, [(names + again)[i] for i in order])
  monkeypatch.setattr(replay, "latent_record", latents)
  claims = _claims(replay.measure(study))
  # All windows of a video, and their mirror images, are equal here.
  assert claims["training.nearest_training"].value.mean > 0.1


def test_the_fewest_steps_within_the_noise_are_chosen(clips, study):
  measure = lambda name, number: steps.measure_setting(
    study.scores, study.samplers[name], "ddim", number
  )
  settings = [measure("e", number) for number in (20, 5, 50)]
  chosen, losses = steps.choose(settings, clips)
  assert chosen.num_steps == 5  # all are the same
  assert [loss["alignment"] for loss in losses] == [0, 0, 0]
  settings[1] = measure("b", 5)
  chosen, _ = steps.choose(settings, clips)
  assert chosen.num_steps == 20


def test_the_study_of_steps_covers_all_samplers(study):
  part = steps.measure(study)
  assert len(part.claims) == 4 * (4 * 2 + 4)
  assert part.extra["chosen"]["num_steps"] == 5
  assert len(part.extra["settings"]) == 8
  assert "unipc" in part.charts["steps.svg"]


def test_every_expectation_is_about_a_claim_that_is_made(study, monkeypatch):
  vectors = {"BR": np.full(4, 0.5, np.float32)}
  monkeypatch.setattr(comparisons, "style_vectors", lambda data: vectors)
  latents = _training_clips(study.dances["e"].flow)
  monkeypatch.setattr(replay, "latent_record", latents)
  for name, expectations in claim.EXPECTATIONS.items():
    part = parts.PARTS[name].measure(study)
    assert part.name == name
    assert set(expectations) <= set(_claims(part))

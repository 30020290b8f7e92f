"""Stage 2 as a stage: its loss, its conditions and its samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_weights import draw_variables

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.schedule import cosine_schedule
from dabfusion_jax.models.flow_autoencoder import FlowAutoencoder
from dabfusion_jax.models.joint_reader import JointReader
from dabfusion_jax.models.unet3d import UNet3D
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.joints import JOINTS
from dabfusion_jax.stages.diffusion import READER, DiffusionStage

_FRAMES, _SIZE = 4, 8


@pytest.fixture(scope="module")
def setting():
  model = FlowAutoencoder(
    num_keypoints=2,
    detector_features=2,
    motion_features=2,
    hourglass_max_features=4,
    hourglass_blocks=1,
    codec_features=2,
    num_residual=1,
  )
  image = jnp.zeros((1, 4 * _SIZE, 4 * _SIZE, 3))
  schedule = cosine_schedule(1000)
  stage = DiffusionStage(
    unet=UNet3D(
      base_channels=8,
      channel_multipliers=(1,),
      z_channels=8,
      num_heads=2,
      head_dim=4,
      beat_mode="per_frame_film",
    ),
    schedule=schedule,
    music_scale=2.0,
    drop_probability=0.1,
    prediction="v",
    velocity_weight=0.0,
    flow_param="residual",
    flow_scale=10.0,
    threshold=None,
    latent_bound=3.0,
    plan=samplers.make_plan(schedule, "ddim", 2),
    autoencoder=model,
    autoencoder_variables=draw_variables(model.init, image, image),
  )
  keys = jax.random.split(jax.random.key(1), 5)
  grid = identity_grid(_SIZE, _SIZE)[None, None]
  batch = {
    "flow": grid + 0.1 * jax.random.normal(keys[0], (3, _FRAMES, _SIZE, _SIZE, 2)),
    "occlusion": jax.random.uniform(keys[1], (3, _FRAMES, _SIZE, _SIZE, 1)),
    "z": jax.random.normal(keys[2], (3, _SIZE, _SIZE, 8)),
    "music": jax.random.normal(keys[3], (3, 6)),
    "beats": jnp.ones((3, _FRAMES)),
    "beat_features": jax.random.normal(keys[4], (3, _FRAMES, 5)),
  }
  params, _ = draw_variables(stage.init, batch)
  draw = lambda p, b, keys, scale: stage.sample(p, b, keys, stage.plan, scale)
  jitted = jax.jit(draw, static_argnums=3)
  sample = lambda p, b, keys, scale=1.0: jitted(p, b, keys, scale)
  return stage, params, batch, sample


def _keys(*ids):
  return process.example_keys(jax.random.key(7), jnp.asarray(ids, jnp.int32))


def test_latent_and_flow_are_inverse(setting):
  stage, _, batch, _ = setting
  flow, occlusion = jax.jit(lambda x: stage.to_flow(stage.latent(x)))(batch)
  np.testing.assert_allclose(flow, batch["flow"], atol=1e-5)
  np.testing.assert_allclose(occlusion, batch["occlusion"], atol=1e-5)


def test_initial_loss_is_finite_and_depends_on_the_key_alone(setting):
  stage, params, batch, _ = setting
  loss = jax.jit(stage.loss)
  first, (_, metrics) = loss(params, {}, {}, batch, jax.random.key(3))
  again, _ = loss(params, {}, {}, batch, jax.random.key(3))
  other, _ = loss(params, {}, {}, batch, jax.random.key(4))
  assert np.isfinite(first) and first == again and first != other
  parts = 2 * metrics["flow_error"] + metrics["occlusion_error"]
  np.testing.assert_allclose(first, parts / 3, rtol=1e-5)


def test_a_dance_begins_with_its_picture_if_it_is_to(setting):
  stage, params, batch, sample = setting
  anywhere = dataclasses.replace(stage, begins_anywhere=True)
  draw = jax.jit(
    lambda batch: anywhere.sample(params, batch, _keys(0, 1, 2), stage.plan)
  )
  free = np.asarray(draw(batch)[0])
  np.testing.assert_allclose(free, sample(params, batch, _keys(0, 1, 2))[0], atol=1e-4)
  begins = jnp.array([True, False, True])
  begun, seen = map(np.asarray, draw(batch | {"begins": begins}))
  still = np.asarray(identity_grid(_SIZE, _SIZE))
  for i in (0, 2):
    np.testing.assert_allclose(begun[i, 0], still, atol=1e-5)
    np.testing.assert_allclose(seen[i, 0], 1, atol=1e-5)
    assert np.abs(begun[i, 1:] - free[i, 1:]).max() > 1e-4  # the rest follows from it
  np.testing.assert_allclose(begun[1], free[1], atol=1e-4)
  assert np.abs(free[:, 0] - still).max() > 1e-2


def test_held_out_loss_drops_no_condition(setting):
  stage, params, batch, _ = setting

  def loss(stage, train):
    loss, (stats, _) = jax.jit(functools.partial(stage.loss, train=train))(
      params, {}, {}, batch, jax.random.key(3)
    )
    assert stats == {}
    return float(loss)

  drops_none, drops_all = (
    dataclasses.replace(stage, drop_probability=p) for p in (0.0, 1.0)
  )
  expected = loss(drops_none, train=True)
  np.testing.assert_allclose(loss(drops_all, train=False), expected, rtol=1e-6)
  assert abs(loss(drops_all, train=True) - expected) > 1e-4


def test_velocity_error_is_of_changes_between_frames_only(setting, monkeypatch):
  stage, params, batch, _ = setting
  stage = dataclasses.replace(stage, velocity_weight=2.0)
  x0 = np.asarray(stage.latent(batch))

  def loss(error):
    """Returns the error of a U-Net whose x0 is off by `error` [t] for any noise."""

    def apply(unet, variables, x_t, t, *args, **kwargs):
      alpha = jnp.asarray(stage.schedule.alpha_bar, jnp.float32)[t][:, None, None]
      alpha = alpha[..., None, None]
      x0_hat = x0 + jnp.asarray(error, jnp.float32).reshape(1, -1, 1, 1, 1)
      return (jnp.sqrt(alpha) * x_t - x0_hat) / jnp.sqrt(1 - alpha)

    monkeypatch.setattr(UNet3D, "apply", apply)
    loss = jax.jit(lambda key: stage.loss(params, {}, {}, batch, key))
    total, (_, metrics) = loss(jax.random.key(3))
    mean = (2 * metrics["flow_error"] + metrics["occlusion_error"]) / 3
    np.testing.assert_allclose(total - mean, 2 * metrics["velocity_error"], 1e-3, 1e-4)
    return float(metrics["velocity_error"])

  assert loss([0.5, 0.5, 0.5, 0.5]) < 1e-4
  np.testing.assert_allclose(loss([0.0, 0.5, 0.0, 0.5]), 0.25, rtol=1e-2)


def test_eps_has_no_velocity(setting):
  with pytest.raises(ValueError, match="velocity_weight needs prediction v"):
    dataclasses.replace(setting[0], prediction="eps", velocity_weight=1.0)


@pytest.mark.parametrize(
  "method", ["ddim", pytest.param("ddpm", marks=pytest.mark.slow)]
)
def test_steps_on_the_host_equal_the_scan(setting, method):
  stage, params, batch, _ = setting
  plan = samplers.make_plan(stage.schedule, method, 3)
  expected = jax.jit(lambda p, b, keys: stage.sample(p, b, keys, plan, 2.0))(
    params, batch, _keys(0, 1, 2)
  )
  step_fn = jax.jit(
    functools.partial(
      stage.sample_step, guidance_scale=2.0, is_stochastic=plan.is_stochastic
    )
  )
  z_term = stage.z_term(params, batch["z"])
  carry = stage.first_carry(batch, _keys(0, 1, 2))
  for i in range(3):
    carry = step_fn(params, plan.at(i), batch, z_term, _keys(0, 1, 2), carry)
  for drawn, scanned in zip(stage.to_flow(carry.x), expected, strict=True):
    np.testing.assert_allclose(drawn, scanned, atol=1e-5)


def test_a_sample_does_not_depend_on_its_neighbours(setting):
  stage, params, batch, sample = setting
  together, _ = sample(params, batch, _keys(5, 6, 7))
  backwards = {name: value[::-1] for name, value in batch.items()}
  reversed_, _ = sample(params, backwards, _keys(7, 6, 5))
  np.testing.assert_allclose(reversed_[::-1], together, atol=1e-5)


def test_a_sample_depends_on_music_beats_and_picture(setting):
  stage, params, batch, sample = setting
  flow, _ = sample(params, batch, _keys(0, 1, 2))
  for name in ("music", "beat_features", "z"):
    changed = batch | {name: batch[name] + 1.0}
    other, _ = sample(params, changed, _keys(0, 1, 2))
    assert np.abs(other - flow).max() > 1e-4, name


def test_guidance_zero_ignores_music_and_beats(setting):
  stage, params, batch, sample = setting
  changed = batch | {
    "music": -batch["music"],
    "beat_features": batch["beat_features"] + 1,
  }
  flows = [sample(params, b, _keys(0, 1, 2), 0.0)[0] for b in (batch, changed)]
  np.testing.assert_array_equal(*flows)


def test_one_step_recovers_the_true_flow_from_the_true_noise(setting, monkeypatch):
  stage, params, batch, _ = setting
  x0 = stage.latent(batch)

  def true_eps(self, params, batch, z_term, x_t, t, guidance_scale):
    signal, noise = process.signal_and_noise(stage.schedule, t, x_t.ndim)
    return (x_t - signal * x0) / noise

  monkeypatch.setattr(DiffusionStage, "eps", true_eps)
  flow, occlusion = stage.denoise_once(params, batch, _keys(0, 1, 2))
  inside = np.abs(x0[..., :2]) < stage.latent_bound
  np.testing.assert_allclose(flow[inside], batch["flow"][inside], atol=1e-4)
  np.testing.assert_allclose(occlusion, batch["occlusion"], atol=1e-4)


@pytest.mark.parametrize("num_frames", [3, 8, 11])  # a CPU draws 8 at a time
def test_the_frames_of_a_clip_are_those_that_the_autoencoder_draws(setting, num_frames):
  stage, _, batch, _ = setting
  motion = [
    jnp.concatenate([batch[name]] * 3, axis=1)[:2, :num_frames]
    for name in ("flow", "occlusion")
  ]
  frames = jax.jit(stage.decode)(stage.autoencoder_variables, batch["z"][:2], *motion)
  assert frames.shape[:2] == (2, num_frames)
  draw = jax.jit(
    functools.partial(
      stage.autoencoder.apply, stage.autoencoder_variables, method="decode"
    )
  )
  for z, flow, occlusion, found in zip(batch["z"], *motion, frames, strict=False):
    for i in range(num_frames):
      one = draw(z[None], flow[i][None], occlusion[i][None])[0]
      np.testing.assert_allclose(found[i], one, atol=1e-5)


def test_pictures_show_truth_one_step_and_sample_of_each_clip(setting):
  stage, params, batch, _ = setting
  sheet = stage.pictures(params, {}, batch, jax.random.key(0))["dance"]
  assert sheet.shape == (3 * 3 * 4 * _SIZE, 4 * _SIZE, 3) and sheet.dtype == np.uint8
  rows = sheet.reshape(3, 3, 4 * _SIZE, 4 * _SIZE, 3)
  latents = (batch[n] for n in ("z", "flow", "occlusion"))
  true = stage.decode(stage.autoencoder_variables, *latents)[:, 0]
  np.testing.assert_allclose(rows[:, 0] / 255, true, atol=0.51 / 255)
  other = stage.pictures(params, {}, batch, jax.random.key(1))["dance"]
  assert (other != sheet).any()
  assert stage._draw_rows._cache_size() == 1  # compiled once


def test_samples_are_within_the_bound(setting):
  stage, params, batch, sample = setting
  flow, occlusion = sample(params, batch, _keys(0, 1, 2))
  residual = np.abs(flow - identity_grid(_SIZE, _SIZE)[None, None])
  assert residual.max() <= 3.0 / 10.0 + 1e-5
  assert occlusion.min() >= 0 and occlusion.max() <= 1


def test_the_condition_follows_the_beat_mode_of_the_network(setting):
  stage, _, batch, _ = setting
  in_mode = lambda mode: dataclasses.replace(
    stage, unet=dataclasses.replace(stage.unet, beat_mode=mode)
  )
  music, frames = in_mode("none").condition(batch)
  np.testing.assert_allclose(music, 2.0 * batch["music"])
  assert frames is None
  both, frames = in_mode("global_concat").condition(batch)
  np.testing.assert_array_equal(both, jnp.concatenate([music, batch["beats"]], -1))
  assert frames is None
  _, frames = stage.condition(batch)
  np.testing.assert_array_equal(frames, batch["beat_features"])


def test_decoding_the_identity_flow_repeats_one_picture(setting):
  stage, _, batch, _ = setting
  grid = jnp.broadcast_to(identity_grid(_SIZE, _SIZE), batch["flow"].shape)
  seen = jnp.ones_like(batch["occlusion"])
  decode = jax.jit(stage.decode)
  video = decode(stage.autoencoder_variables, batch["z"], grid, seen)
  assert video.shape == (3, _FRAMES, 4 * _SIZE, 4 * _SIZE, 3)
  np.testing.assert_allclose(video[:, 1:], video[:, :-1], atol=1e-5)


def test_a_joint_reader_is_trained_beside_the_unet(setting):
  stage, params, batch, _ = setting
  reading = dataclasses.replace(
    stage, joint_reader=JointReader(channels=4, num_blocks=1), joint_weight=0.5
  )
  still = jax.random.uniform(jax.random.key(3), (3, len(JOINTS), 2), minval=-0.5)
  joints = jnp.broadcast_to(still[:, None], (3, _FRAMES, len(JOINTS), 2))
  batch = batch | {"joints": joints + 0.1, "picture_joints": still}
  both, _ = draw_variables(reading.init, batch)
  assert both.keys() == params.keys() | {READER}
  both = both | params  # the same U-Net

  @jax.jit
  def slopes_of_reader(reader):
    loss = lambda p: reading.loss(both | {READER: p}, {}, {}, batch, jax.random.key(5))
    return jax.value_and_grad(loss, has_aux=True)(reader)

  (loss, (_, metrics)), slopes = slopes_of_reader(both[READER])
  of_unet = (2 * metrics["flow_error"] + metrics["occlusion_error"]) / 3
  np.testing.assert_allclose(loss, of_unet + 0.5 * metrics["joint_error"], rtol=1e-5)
  sizes = jax.tree.map(lambda x: float(np.abs(x).max()), slopes)
  assert all(size > 0 for size in jax.tree.leaves(sizes))

  error = jax.jit(reading._joint_error, static_argnums=3)
  noisy, again, clean, other = (
    float(error(both, batch, jax.random.key(seed), train))
    for seed, train in ((5, True), (5, True), (5, False), (6, False))
  )
  assert noisy == again and abs(noisy - clean) > 1e-5
  np.testing.assert_allclose(other, clean, rtol=1e-5)  # all frames, in another order


def test_without_a_reader_joints_cannot_be_read(setting):
  stage, params, batch, _ = setting
  with pytest.raises(ValueError, match="without a joint reader"):
    stage.read_joints(
      params, batch["flow"][:, 0], batch["occlusion"][:, 0], np.zeros((3, 13, 2))
    )

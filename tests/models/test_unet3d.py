"""The U-Net: parameter counts, the effect of each input, of remat and of bfloat16."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.models.unet3d import InputConv, UNet3D

FRAMES, SIZE, Z, MUSIC = 3, 8, 5, 6
TINY = dict(
  base_channels=8,
  channel_multipliers=(1, 2),
  z_channels=Z,
  num_heads=2,
  head_dim=4,
  num_groups=4,
)


def _inputs(batch=2, num_frames=FRAMES):
  keys = jax.random.split(jax.random.key(1), 3)
  x_t = jax.random.normal(keys[0], (batch, num_frames, SIZE, SIZE, 3))
  z = jax.random.normal(keys[1], (batch, SIZE, SIZE, Z))
  condition = jax.random.normal(keys[2], (batch, MUSIC))
  return x_t, jnp.array([3, 700])[:batch], z, condition


def _frame_condition():
  return jax.random.normal(jax.random.key(2), (2, FRAMES, 5))


@functools.cache
def _tiny(**fields):
  """Returns (variables, compiled apply) of TINY with other fields.

  Parameters are drawn by shape: compiling `init` would take longer than the tests.
  """
  model = UNet3D(**TINY | fields)
  extra = (_frame_condition(),) if fields.get("beat_mode") else ()
  shapes = jax.eval_shape(model.init, jax.random.key(0), *_inputs(), *extra)
  rng = np.random.default_rng(0)
  draw = lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype)
  return jax.tree.map(draw, shapes), jax.jit(model.apply)


@functools.cache
def _baseline():
  variables, apply = _tiny()
  return apply(variables, *_inputs())


def _count(model, music_size, frame_features=None):
  shape = lambda *s, dtype=jnp.float32: jax.ShapeDtypeStruct(s, dtype)
  variables = jax.eval_shape(
    model.init,
    jax.random.key(0),
    shape(1, 40, 32, 32, 3),
    shape(1, dtype=jnp.int32),
    shape(1, 32, 32, 256),
    shape(1, music_size),
    frame_features and shape(1, 40, frame_features),
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  return sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
  ("mode", "music_size", "frame_features", "count"),
  [
    ("none", 512, None, 40_699_587),
    ("global_concat", 552, None, 41_017_027),
    ("global_concat", 592, None, 41_334_467),
    ("per_frame_film", 512, 5, 40_716_611),
  ],
)
def test_paper_size_has_the_published_number_of_parameters(
  mode, music_size, frame_features, count
):
  model = UNet3D(beat_mode=mode, remat=True, dtype=jnp.bfloat16)
  assert _count(model, music_size, frame_features) == count


def test_split_first_convolution_equals_the_plain_one():
  x_t, _, z, _ = _inputs()
  layer = InputConv(8, Z)
  variables = layer.init(jax.random.key(0), x_t, z, None)
  assert variables["params"]["kernel"].shape == (1, 7, 7, 3 + Z, 8)
  split = layer.apply(variables, x_t, z, None)
  over_frames = jnp.broadcast_to(z[:, None], (*x_t.shape[:-1], Z))
  plain = nn.Conv(8, (1, 7, 7), padding="SAME").apply(
    variables, jnp.concatenate([x_t, over_frames], axis=-1)
  )
  np.testing.assert_allclose(split, plain, atol=1e-5)


def test_output_is_a_finite_video_and_depends_on_every_input():
  variables, apply = _tiny()
  inputs = _inputs()
  y = _baseline()
  assert y.shape == inputs[0].shape and y.dtype == jnp.float32
  assert np.all(np.isfinite(y))
  for i in range(4):
    changed = [x if i != j else x + jnp.ones_like(x) for j, x in enumerate(inputs)]
    assert np.abs(apply(variables, *changed) - y).max() > 1e-4


def test_examples_do_not_mix():
  variables, apply = _tiny()
  x_t, t, z, condition = _inputs()
  x_t, z = x_t.at[1].multiply(3.0), z.at[1].multiply(3.0)
  y = apply(variables, x_t, t, z, condition)
  np.testing.assert_allclose(y[0], _baseline()[0], atol=1e-5)


def test_a_precomputed_picture_shared_by_two_clips_equals_passing_it_twice():
  variables, apply = _tiny()
  x_t, t, z, condition = _inputs()
  plain = apply(variables, x_t, t, jnp.repeat(z[:1], 2, axis=0), condition)
  term = UNet3D(**TINY).z_term(variables["params"], z[:1])
  shared = apply(variables, x_t, t, None, condition, None, term)
  np.testing.assert_allclose(shared, plain, atol=2e-5)


def test_a_finer_picture_is_averaged_over_the_cells_of_the_flow():
  variables, apply = _tiny()
  x_t, t, z, condition = _inputs()
  fine = jnp.repeat(jnp.repeat(z, 2, axis=1), 2, axis=2)
  fine = fine.at[:, ::2].add(1.0).at[:, 1::2].add(-1.0)  # the same means
  pooled = UNet3D(**TINY, z_pool=2)
  term = pooled.z_term(variables["params"], fine)
  np.testing.assert_allclose(
    term, UNet3D(**TINY).z_term(variables["params"], z), atol=1e-5
  )
  shape = jax.eval_shape(pooled.apply, variables, x_t, t, fine, condition).shape
  assert shape == x_t.shape


def test_per_frame_film_with_a_zero_last_layer_equals_the_model_without_beats():
  """It is initialised so (`test_conditioning`)."""
  variables, _ = _tiny()
  with_beats, apply = _tiny(beat_mode="per_frame_film")
  beats = with_beats["params"]["beats"]
  fresh = beats | {"dense_1": jax.tree.map(jnp.zeros_like, beats["dense_1"])}
  with_params = lambda beats: {"params": {**variables["params"], "beats": beats}}
  y = apply(with_params(fresh), *_inputs(), 10 * _frame_condition())
  np.testing.assert_allclose(y, _baseline(), atol=2e-5)
  y = apply(with_params(beats), *_inputs(), _frame_condition())
  assert np.abs(y - _baseline()).max() > 1e-3


def test_every_parameter_has_a_gradient():
  small = TINY | {"channel_multipliers": (1,)}
  variables, _ = _tiny(channel_multipliers=(1,))
  x_t, t, z, condition = _inputs()
  inputs = (x_t[:, :2, :4, :4], t, z[:, :4, :4], condition)
  loss = lambda variables: jnp.square(UNet3D(**small).apply(variables, *inputs)).mean()
  for path, leaf in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables)):
    assert np.abs(leaf).max() > 0, f"no gradient at {jax.tree_util.keystr(path)}"


def test_remat_recomputes_the_levels_and_keeps_all_names():
  plain, remat = UNet3D(**TINY), UNet3D(**TINY, remat=True)
  plain_shapes, shapes = (
    jax.eval_shape(model.init, jax.random.key(0), *_inputs())
    for model in (plain, remat)
  )
  assert jax.tree.structure(shapes) == jax.tree.structure(plain_shapes)
  count = lambda model: len(
    re.findall(
      r"= (?:remat|checkpoint)", str(jax.make_jaxpr(model.apply)(shapes, *_inputs()))
    )
  )
  # Attention layers recompute their intermediates in both.
  assert count(remat) == count(plain) + 4


def test_bfloat16_convolves_in_bfloat16_with_float32_parameters():
  model = UNet3D(**TINY, dtype=jnp.bfloat16)
  variables, _ = _tiny()
  program = str(jax.make_jaxpr(model.apply)(variables, *_inputs()))
  convolutions = re.findall(r":(\w+)\[[\d,]*\] = conv_general_dilated", program)
  assert len(convolutions) > 10 and set(convolutions) == {"bf16"}
  assert set(re.findall(r":(\w+)\[[\d,]*\] = exp ", program)) == {"f32"}  # softmax
  # So are the last layers: a rounded noise prediction is amplified in x0.
  heads = rf":(\w+)\[2,{FRAMES},{SIZE},{SIZE},[12]\] = dot_general"
  assert re.findall(heads, program) == ["f32", "f32"]
  assert jax.eval_shape(model.apply, variables, *_inputs()).dtype == jnp.float32


def test_constrain_is_applied_at_every_level():
  shapes = []

  def constrain(x):
    shapes.append(x.shape[2:])
    return x

  model = UNet3D(**TINY, constrain=constrain)
  jax.eval_shape(model.apply, _tiny()[0], *_inputs())
  assert set(shapes) == {(8, 8, 8), (4, 4, 8), (4, 4, 16), (4, 4, 8), (8, 8, 8)}


def test_longer_clips_have_the_same_parameters():
  variables, apply = _tiny()
  y = jax.eval_shape(apply, variables, *_inputs(num_frames=90))
  assert y.shape == (2, 90, SIZE, SIZE, 3)


def test_inputs_that_do_not_fit_are_refused():
  model = UNet3D(**TINY)
  x_t, t, z, condition = _inputs()
  beats = _frame_condition()

  def check(message, *args, model=model):
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(model.init, jax.random.key(0), *args)

  check("divisible by 2", x_t[:, :, :7], t, z[:, :7], condition)
  check("z has 4 channels, but z_channels is 5", x_t, t, z[..., :4], condition)
  check("either `z` or `z_term`", x_t, t, None, condition)
  check("'global_concat' and frame_condition given", x_t, t, z, condition, beats)
  missing = "'per_frame_film' and frame_condition absent"
  film = UNet3D(**TINY, beat_mode="per_frame_film")
  check(missing, x_t, t, z, condition, model=film)
  check("'drum'", x_t, t, z, condition, model=UNet3D(**TINY, beat_mode="drum"))
  uneven = UNet3D(**TINY | {"num_groups": 3})
  check("8 channels do not divide into 3 groups", x_t, t, z, condition, model=uneven)

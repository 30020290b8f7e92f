"""Windows cover a dance of any length and join without a seam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.diffusion.schedule import cosine_schedule
from dabfusion_jax.diffusion.windows import Joiner, Windows

WINDOWS = Windows(size=12, overlap=4)


@pytest.mark.parametrize("num_frames", [2, 12, 13, 20, 21, 100])
def test_the_kept_frames_of_all_windows_are_the_dance(num_frames):
  count = WINDOWS.count(num_frames)
  ends = []
  for index in range(count):
    kept = WINDOWS.num_kept(index, num_frames)
    assert 0 < kept <= WINDOWS.size
    assert WINDOWS.start(index) == (ends[-1] if ends else 0)
    ends.append(WINDOWS.start(index) + kept)
  assert ends[-1] == num_frames
  assert (count == 1) == (num_frames <= WINDOWS.size)


def test_windows_overlap_by_half_at_most():
  for overlap in (0, 7):
    with pytest.raises(ValueError, match="cannot overlap"):
      Windows(12, overlap)


@pytest.mark.parametrize("overlap", [1, 2, 5])
def test_the_weights_of_both_windows_are_mirrored_and_rise_as_a_squared_sine(overlap):
  weight = Windows(12, overlap).weight
  np.testing.assert_allclose(weight + weight[::-1], 1, atol=1e-6)
  angle = np.pi / 2 * np.arange(1, overlap + 1) / (overlap + 1)
  np.testing.assert_allclose(weight, np.sin(angle) ** 2, atol=1e-6)


def draw(num_windows, eps_fn, method="ddim", eta=0.0, num_steps=4, joined=True):
  """Draws windows of 2 examples by a toy network; returns [windows, 2, 12, 1, 1, 1]."""
  plan = samplers.make_plan(cosine_schedule(100), method, num_steps, eta)
  joiner = Joiner(WINDOWS)
  windows, held = [], []
  for index in range(num_windows):
    ids = jnp.array([2 * index, 2 * index + 1], jnp.int32)
    keys = process.example_keys(jax.random.key(0), ids)
    carry = samplers.first_carry(keys, (WINDOWS.size, 1, 1, 1))
    if joined:
      joiner.begin(keys)
      carry = joiner.join(carry, None)
    for i in range(num_steps):
      step = plan.at(i)
      network = lambda x, t, index=index: eps_fn(x, t, index)
      carry = samplers.sample_step(
        network, carry, keys, step, plan.is_stochastic, threshold=None, bound=100.0
      )
      if joined:
        carry = joiner.join(carry, step)
    windows.append(np.asarray(carry.x))
    held.append(sum(x.shape[1] for state in joiner._states for x in state))
  return np.stack(windows), held


def smoothing(x, t, index):
  """Predicts noise such that x0 is smooth in time, about a level of the window."""
  del t
  mean = jnp.broadcast_to(x.mean(axis=1, keepdims=True), x.shape)
  return x - 0.5 * mean - 0.1 * index


@pytest.mark.parametrize(
  ("method", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("unipc", 0.0)]
)
def test_shared_frames_pass_smoothly_from_one_window_to_the_next(method, eta):
  joined, _ = draw(3, smoothing, method, eta)
  alone, _ = draw(3, smoothing, method, eta, joined=False)
  np.testing.assert_array_equal(joined[0], alone[0])

  def gaps(windows):
    late, early = windows[:-1, :, -WINDOWS.overlap :], windows[1:, :, : WINDOWS.overlap]
    return np.abs(late - early).mean((0, 1, 3, 4, 5))

  assert (np.diff(gaps(joined)) > 0).all()  # least where the earlier window weighs most
  assert gaps(joined)[0] < 0.15 * gaps(alone).mean()


def test_the_noise_of_shared_frames_is_drawn_once():
  """A mean of two draws would have less variance; with none predicted, x is noise."""
  silent = lambda x, t, index: jnp.zeros_like(x)
  joined, _ = draw(2, silent, "ddpm", num_steps=2)
  shared = slice(0, WINDOWS.overlap)
  np.testing.assert_allclose(
    joined[1, :, shared], joined[0, :, -WINDOWS.overlap :], atol=1e-5
  )


def test_a_longer_dance_begins_as_a_shorter_one_and_holds_no_more():
  short, held = draw(2, smoothing)
  long, held_longer = draw(6, smoothing)
  np.testing.assert_array_equal(long[:2], short)
  assert set(held_longer) == set(held) == {3 * 5 * WINDOWS.overlap}

"""Hand-held clips have varied places, keep test places apart, and hide bars."""

import hashlib

import numpy as np
import pytest

from data_pipeline import aist
from data_pipeline.aist import ClipName
from data_pipeline.synthdance import presets
from data_pipeline.synthdance.backdrops import colours, panorama
from data_pipeline.synthdance.backdrops.backdrop import draw_backdrop
from data_pipeline.synthdance.backdrops.lens import draw_lens
from data_pipeline.synthdance.backdrops.viewpoint import draw_camera
from data_pipeline.synthdance.film import is_held_out
from data_pipeline.synthdance.generate import make_clip

# sha256 of three frames and part maps. An intended change of the picture changes them;
# put the new ones here and say so in the commit.
GOLDEN = {
  "gBR_sBM_c01_d04_mBR0_ch03": "8c14b11fc8a4",
  "gWA_sFM_c09_d26_mWA4_ch05": "36e00b4152d5",
  "gJB_sFM_c04_d08_mJB2_ch02": "82a6bd3e13c8",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_frames_before_backdrops_are_the_same_on_every_machine(name):
  clip = make_clip(
    ClipName.parse(name), seconds=0.3, frame_size=64, look="figures_backdrops"
  )
  digest = hashlib.sha256(clip.frames.tobytes())
  digest.update(clip.truth.part_map.tobytes())
  assert digest.hexdigest()[:12] == GOLDEN[name]


def test_places_for_training_and_testing_have_no_panorama_in_common():
  assert not set(panorama.TRAIN) & set(panorama.TEST)
  camera = draw_camera(np.random.default_rng(0), "c01", 170.0, 32)
  for held_out, names in ((True, panorama.TEST), (False, panorama.TRAIN)):
    for seed in range(8):
      place = draw_backdrop(np.random.default_rng(seed), camera, held_out=held_out)
      assert any(place.surround is panorama.panorama(name) for name in names)


@pytest.mark.parametrize("name", panorama.TRAIN + panorama.TEST)
def test_the_brightest_light_is_not_blue(name):
  light = panorama.panorama(name).light.reshape(-1, 3)
  red, _, blue = light[light.sum(-1).argmax()]
  assert blue < 4 * red


@pytest.mark.parametrize("preset", ["backdrops_smoke", "backdrops"])
def test_what_is_held_out_is_seen_in_test_clips_only(preset):
  tracks, dancers = aist.held_out_tracks(), aist.held_out_dancers()
  splits = set()
  for spec in presets.clips_of_preset(preset):
    split = aist.split_of(spec.name, tracks, dancers)
    assert is_held_out(spec.name) == (split == "test")
    splits.add(split)
  assert splits == {"train", "test"}


def test_a_third_of_the_dancers_stand_at_first_and_that_tells_nothing_of_the_beats():
  specs = presets.clips_of_preset("backdrops")
  stands = [spec for spec in specs if spec.delay_beats]
  assert 0.28 < len(stands) / len(specs) < 0.38
  phase = [spec.start_seconds * spec.name.bpm / 60 % 1 for spec in stands]
  counts, _ = np.histogram(phase, 8, (0, 1))
  assert counts.min() > 0.6 * counts.mean()
  spec = stands[0]
  clip = make_clip(
    spec.name, seconds=4, start_seconds=spec.start_seconds, frame_size=32,
    look=spec.look, delay_beats=spec.delay_beats,
  )  # fmt: skip
  wrists = clip.truth.joints3d[:, 9:11]
  assert (wrists[0, :, 1] < clip.truth.joints3d[0, 5:7, 1] - 35).all()  # arms down
  assert np.abs(wrists - wrists[0]).max() > 20  # and it dances later


def test_nothing_is_drawn_or_known_in_the_black_bars():
  rng = np.random.default_rng(3)
  lenses = [draw_lens(rng, 64) for _ in range(40)]
  barred = [lens for lens in lenses if not lens.shows((64, 64)).all()]
  assert 0.1 < len(barred) / len(lenses) < 0.6
  light = np.full((64, 64, 3), 0.5, np.float32)
  for lens in barred:
    image, shows = lens.develop(light, rng), lens.shows((64, 64))
    assert (image[~shows] == 0).all() and (image[shows] > 60).mean() > 0.95
  name = next(
    spec.name
    for spec in presets.clips_of_preset("backdrops")
    if (make_clip(spec.name, seconds=0.1, frame_size=32, look=spec.look).frames[0, :, 0]
        == 0).all()
  )  # fmt: skip
  clip = make_clip(name, seconds=2, frame_size=32, look="figures_backdrops")
  black = (clip.frames == 0).all((0, 3))
  assert not clip.truth.part_map[:, black].any()


def test_levels_and_light_are_each_others_inverse_below_the_highlights():
  levels = np.linspace(0, 210, 300, dtype=np.float32)
  back = colours.to_levels(colours.levels_to_light(levels))
  np.testing.assert_allclose(back, levels, atol=0.3)


def test_pictures_are_as_detailed_and_as_varied_as_photographs():
  """Photographs taken outdoors have a mean gradient of 23, studios of 7 levels."""
  gradients, means = [], []
  for seed in range(40):
    rng = np.random.default_rng(seed)
    camera = draw_camera(rng, "c01", 170.0, 64)
    place = draw_backdrop(rng, camera, held_out=False)
    image = draw_lens(rng, 64).develop(place.pixels(), rng).mean(-1)
    image = image[:, image.max(0) > 8]
    steps = [np.abs(np.diff(image, axis=axis)).mean() for axis in (0, 1)]
    gradients.append(sum(steps))
    means.append(image.mean())
  assert 12 < np.mean(gradients) < 30
  assert np.percentile(gradients, 10) < 8 and np.percentile(gradients, 90) > 25
  assert 90 < np.mean(means) < 160 and np.std(means) > 15

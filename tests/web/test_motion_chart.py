"""The chart shows each beat at its time and each pause of the dance."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dabfusion_jax.web import chart, preview

FPS = 10.0


def draw(beats, speed, audio=None):
  if audio is None:
    audio = np.sin(np.arange(44_100) / 50)[:, None].repeat(2, 1).astype(np.float32)
  return chart.draw_dance(audio, np.asarray(beats, float), np.asarray(speed), FPS)


def test_beats_stand_at_their_times():
  drawn = draw([0.0, 1.0, 3.0], np.ones(39))
  assert ElementTree.fromstring(drawn).get("aria-label").startswith("3 beats")
  places = [float(x) for x in re.findall(r'class="beat" x1="([\d.]+)"', drawn)]
  np.testing.assert_allclose(places, np.array([0, 1, 3]) / 4 * chart.WIDTH, atol=0.1)


def test_pauses_of_the_motion_are_marked_and_rest_has_none():
  times = (np.arange(39) + 0.5) / FPS
  drawn = draw([], 1 + np.cos(2 * np.pi * times))
  places = [float(x) for x in re.findall(r'class="pause" cx="([\d.]+)"', drawn)]
  expected = np.array([0.5, 1.5, 2.5, 3.5]) / 4 * chart.WIDTH
  np.testing.assert_allclose(places, expected, atol=2)
  assert 'class="pause"' not in draw([], np.zeros(39))


@pytest.mark.parametrize("samples", [0, 5])
def test_silence_and_short_sound_can_be_drawn(samples):
  drawn = ElementTree.fromstring(draw([], [1.0], np.zeros((samples, 2), np.float32)))
  assert drawn.tag.endswith("svg")


def test_an_outline_surrounds_a_person_and_covers_nothing_of_them():
  mask = np.zeros((20, 20), bool)
  mask[5:15, 8:12] = True
  line = preview.outline(mask, 2)
  assert line.any() and not (line & mask).any()
  assert line[4, 10] and line[10, 13] and not line[1, 10]


def test_the_frame_of_the_network_is_enlarged_by_whole_pixels():
  frame = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
  shown = preview.enlarge(frame)
  assert shown.shape == (256, 256, 3)
  np.testing.assert_array_equal(shown[::4, ::4], frame)

"""Arms are compared with true ones by the colours that are on the wrong side."""

import numpy as np
import pytest

from benchmarks import pieces
from data_pipeline.records.body_parts import PARTS


def test_only_the_parts_of_arms_are_arms():
  names = [part for i, part in enumerate(PARTS) if pieces._ARMS[1 + i]]
  sides = ("left", "right")
  kinds = ("upper_arm", "forearm", "hand")
  assert sorted(names) == sorted(f"{side}_{kind}" for side in sides for kind in kinds)
  assert not pieces._ARMS[0]  # the background


def test_overlap_is_intersection_over_union():
  found, true = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
  found[:, :4], true[:, 2:6] = True, True
  assert pieces.overlap(found, true) == pytest.approx(1 / 3)
  assert pieces.overlap(found & False, true & False) == 0


def test_colours_on_the_wrong_side_count_by_how_far_off_they_are():
  body = np.ones((32, 32), bool)
  true, found = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
  true[:, 16:], found[:, 12:] = True, True  # 4 of 16 columns too many
  picture = np.full((32, 32, 3), 100, np.uint8)
  assert pieces.colour_errors(picture, found, true, body) == (0, 0)
  picture[:, 16:] = 151  # a fifth of the range brighter
  along, left = pieces.colour_errors(picture, found, true, body)
  assert along == pytest.approx(100 * 0.2 * 4 / 16, rel=0.05)
  assert left == 0
  along, left = pieces.colour_errors(picture, true & (np.arange(32) > 19), true, body)
  assert along == 0
  assert left == pytest.approx(100 * 0.2 * 4 / 16, rel=0.05)


def test_clips_are_of_held_out_people_who_stand_at_first(monkeypatch):
  asked = []
  monkeypatch.setattr(pieces, "make_clip", lambda name, **kw: asked.append((name, kw)))
  names = pieces.choose_clips(3)
  assert len(set(map(str, names))) == 3
  assert len(pieces.choose_clips(1000)) < 1000
  for name in names:
    pieces.film_clip(name, 64)
  for name, settings in asked:
    assert pieces.is_held_out(name)
    assert settings["look"] == "people"
    assert settings["delay_beats"] == 1
    assert settings["frame_size"] == 64

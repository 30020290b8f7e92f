"""A dancer of a film is drawn from one frame, and compared with others."""

import dancers
import numpy as np
import pytest

from benchmarks import film_pieces
from benchmarks.film_pieces import LATER, Film
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person

_ASIDE = (dancers.HEIGHT - dancers.WIDTH) // 2  # pixels beside the picture, in a square


def _square(values):
  """Returns a map of the person's picture, which is high, padded to a square."""
  aside = [(0, 0)] * values.ndim
  aside[1] = (_ASIDE, _ASIDE)
  return np.pad(values, aside, "edge")


def _film(num_frames=LATER[-1] + 1, lost=()):
  """Returns a film of somebody who raises an arm."""
  frames, people = [], []
  for t in range(num_frames):
    points = dancers.joints()
    angle = np.deg2rad(-60 * t / LATER[-1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    arm = [lm.LEFT_ELBOW, lm.LEFT_WRIST, *lm.LEFT_HAND]
    shoulder = points[lm.LEFT_SHOULDER]
    points[arm] = shoulder + (points[arm] - shoulder) @ turn.T
    picture, mask = dancers.draw(points)
    found = Landmarks(points + [_ASIDE, 0], np.ones(lm.NUM_LANDMARKS), 1.0)
    picture, mask = _square(picture), _square(mask)
    frames.append(picture)
    person = Person(mask.astype(np.float32), found, 0)
    people.append(None if t in lost else person)
  return Film("raised", np.stack(frames), people)


@pytest.fixture
def distances(monkeypatch):
  squares = lambda weights, net, shown, true: ((shown - 1.0 * true) ** 2).mean(
    (1, 2, 3)
  )
  monkeypatch.setattr(film_pieces.lpips, "clip_lpips", squares)


def test_a_raised_arm_is_nearer_to_the_film_than_the_first_frame(distances):
  drawn = film_pieces.draw(_film(), 0)
  assert drawn.frames.shape == (len(LATER), *drawn.first[0].shape)
  measured = film_pieces.measure(drawn, None)
  better, relative, outline, frozen = measured.values()
  assert better > 3 and relative < 0.5
  assert outline > 0.95 > frozen
  assert film_pieces.sheet(drawn).shape[1] == 7 * drawn.first[0].shape[1]


def test_the_last_frame_is_followed_backwards(distances):
  film = _film()
  drawn = film_pieces.draw(film, LATER[-1])
  true = [frame for frame, _ in drawn.true]
  for t, frame in zip(LATER, true, strict=True):
    np.testing.assert_array_equal(frame, film.frames[LATER[-1] - t])
  assert film_pieces.measure(drawn, None)["outline, IoU"] > 0.9


def test_frames_without_a_person_are_not_compared():
  drawn = film_pieces.draw(_film(lost=(LATER[0], 5)), 0)
  assert len(drawn.true) == len(drawn.frames) == len(LATER) - 1


def test_a_film_that_is_too_short_or_whose_person_is_not_found_is_left_out():
  assert film_pieces.draw(_film(num_frames=6), 3) is None
  assert film_pieces.draw(_film(lost=(0,)), 0) is None
  assert film_pieces.draw(_film(lost=LATER), 0) is None

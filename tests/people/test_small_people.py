"""People who are small in a picture are looked for in parts of it."""

import dataclasses

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import crowd
from dabfusion_jax.people.finder import Finder
from dabfusion_jax.people.landmarks import NUM_LANDMARKS, Landmarks
from dabfusion_jax.people.squares import Square

_SIZE = 256  # of masks
HEIGHT, WIDTH = 300, 400
PERSON = (slice(140, 168), slice(92, 100))  # a speck of the picture
BAG = (slice(160, 168), slice(106, 110))  # beside
AROUND = Square(82.0, 140.0, 28.0)  # as the detector says


class Networks:
  """See a person only if it is large enough in what they are shown, and things."""

  def __init__(self, found_at, presence=1.0, thing=None, detects_thing=False):
    self.found_at, self.presence = found_at, presence
    self.thing, self.detects_thing = thing, detects_thing
    self.asked = []

  def mask(self, picture, square):
    there = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    if square.side < 100:
      there[PERSON] = there[BAG] = 255
    elif self.thing is not None:
      there[self.thing] = 255
    return square.cut(there, _SIZE)[..., 0] / np.float32(255)

  def __call__(self, picture, square):
    is_thing = self.thing is not None and square.left > 150
    if is_thing and self.detects_thing:
      rows, columns = self.thing
      return [Square(columns.start - 20.0, rows.start - 10.0, 60.0)]
    return [AROUND] if square.side < 100 and not is_thing else []

  def in_parts(self, picture, share):
    self.asked.append(share)
    return [AROUND] if share == self.found_at else []

  def find(self, picture, square):
    presence = self.presence if square.left < 150 else 0.0
    points = np.zeros((NUM_LANDMARKS, 2))
    return Landmarks(points, np.ones(NUM_LANDMARKS), presence)


def find(networks):
  look = dancers.finder(networks.mask, networks, networks)
  return look(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


@pytest.mark.parametrize("share", [1 / 2, 1 / 4])
def test_they_are_found_in_the_largest_parts_that_show_them(share):
  networks = Networks(share)
  (part,) = find(networks)
  true = np.zeros((HEIGHT, WIDTH), bool)
  true[PERSON] = True
  assert (part.there & true).sum() > 0.8 * (part.there | true).sum()
  square = part.squares[0]
  centre = (square.left + square.side / 2, square.top + square.side / 2)
  assert centre == pytest.approx((96, 154), abs=1)
  assert networks.asked == [1 / 2, 1 / 4][: 1 if share == 1 / 2 else 2]


def test_what_is_no_body_is_nobody():
  assert find(Networks(1 / 2, presence=0.94)) == []


THING = (slice(150, 190), slice(280, 300))


def test_somebody_small_is_found_beside_a_thing():
  (part,) = find(Networks(1 / 2, thing=THING))
  assert part.there[PERSON].mean() > 0.9 and not part.there[THING].any()


def test_a_thing_is_kept_if_there_is_nobody():
  networks = Networks(None, thing=THING)
  (part,) = find(networks)
  assert part.there[THING].mean() > 0.9 and networks.asked == [1 / 2, 1 / 4]


@pytest.mark.parametrize(
  "networks",
  [
    Networks(1 / 2, thing=THING, detects_thing=True),
    # As large as a drawing that fills the picture.
    Networks(1 / 2, thing=(slice(100, 250), slice(280, 390))),
  ],
)
def test_nobody_is_looked_for_beside_a_subject(networks):
  (part,) = find(networks)
  assert not part.there[PERSON].any() and networks.asked == []


def test_several_are_found_the_largest_first():
  class Two(Networks):
    def mask(self, picture, square):
      there = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
      if square.side < 100:
        there[PERSON] = there[130:172, 20:32] = 255
      return square.cut(there, _SIZE)[..., 0] / np.float32(255)

    def __call__(self, picture, square):
      return [AROUND, Square(5.0, 130.0, 42.0)] if square.side < 100 else []

    def in_parts(self, picture, share):
      return self(picture, AROUND)

  first, second = find(Two(1 / 2))
  assert first.there[130:172, 20:32].mean() > 0.9 and not first.there[PERSON].any()
  assert second.there[PERSON].mean() > 0.9
  assert not (first.own & second.own).any()


def test_somebody_unsure_in_the_whole_picture_is_kept():
  networks = Networks(1 / 2, thing=THING)
  found = networks.find
  networks.find = lambda picture, square: (
    found(picture, square)
    if square.left < 150
    else Landmarks(np.zeros((NUM_LANDMARKS, 2)), np.ones(NUM_LANDMARKS), 0.6)
  )
  (part,) = find(networks)
  assert part.there[THING].mean() > 0.9 and networks.asked == []


class Alone(Networks):
  def mask(self, picture, square):
    there = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    there[140:180, 86:110] = 255
    return square.cut(there, _SIZE)[..., 0] / np.float32(255)


@pytest.mark.parametrize(
  ("bodies", "beside", "is_mixed"), [(1, 4, False), (1, 12, True), (0, 4, True)]
)
def test_one_body_that_is_seen_twice_in_one_place_is_one_person(
  monkeypatch, bodies, beside, is_mixed
):
  class Twice(Alone):
    def __call__(self, picture, square):
      return [AROUND, Square(AROUND.left + beside, AROUND.top, AROUND.side)]

  body = dancers.landmarks().moved(0.3, np.zeros(2))  # whose trunk has 16 pixels
  monkeypatch.setattr(crowd, "find_bodies", lambda *args: [body] * bodies)
  monkeypatch.setattr(Finder, "_compiled_landmarks", Networks(None))
  (part,) = find(Twice(None))
  assert part.is_mixed == is_mixed and part.own.all()
  (square,) = part.squares
  assert square.side == pytest.approx(40 * 1.25, abs=2)


@pytest.mark.parametrize("presence", [0.0, 0.6, 0.95])
def test_a_foot_apart_belongs_to_the_person(presence):
  """What the detector and the landmarks do not know is nobody, and has no place."""
  is_somebody = presence > 0.9
  foot = (slice(184, 202), slice(84, 112))

  class Apart(Networks):
    def mask(self, picture, square):
      there = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
      there[100:180, 76:116] = there[foot] = 255
      return square.cut(there, _SIZE)[..., 0] / np.float32(255)

    def __call__(self, picture, square):
      return [AROUND] if square.side > 60 else []

    def find(self, picture, square):
      body = super().find(picture, square)
      return dataclasses.replace(body, presence=presence if square.side < 60 else 1.0)

  parts = find(Apart(None))
  assert len(parts) == 1 + is_somebody
  assert parts[0].own[foot].all() != is_somebody


def test_a_thing_beside_somebody_is_nobody_however_large():
  class Both(Networks):
    def mask(self, picture, square):
      there = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
      there[100:180, 76:116] = there[60:280, 280:390] = 255
      return square.cut(there, _SIZE)[..., 0] / np.float32(255)

    def __call__(self, picture, square):
      return [AROUND] if square.left < 150 else []

  (part,) = find(Both(None))
  assert part.there[120:170, 80:110].all() and not part.there[:, 280:].any()


def test_the_square_of_the_detector_is_a_second_one_if_it_sees_one():
  class Seen(Alone):
    def __call__(self, picture, square):
      return self.seen

  networks = Seen(None)
  networks.seen = [AROUND]
  (part,) = find(networks)
  assert len(part.squares) == 2 and part.squares[1] == AROUND
  networks.seen = []
  (part,) = find(networks)
  assert len(part.squares) == 1

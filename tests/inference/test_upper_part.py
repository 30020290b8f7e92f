"""People who sit, or whose legs are hidden, dance above the waist in a cut picture."""

import dataclasses

import dancers
import numpy as np
import pytest

from dabfusion_jax.inference import layers, subject
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import reference
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person

DESK = 150  # row below which nothing of the person is seen
LEGS = [lm.LEFT_KNEE, lm.RIGHT_KNEE, lm.LEFT_ANKLE, lm.RIGHT_ANKLE]
LEGS += [lm.LEFT_TOE, lm.RIGHT_TOE]


def landmarks(sits, confidence):
  points = dancers.joints()
  if sits:
    points[[lm.LEFT_KNEE, lm.RIGHT_KNEE], 1] = points[lm.LEFT_HIP, 1] + 10
  sure = np.ones(lm.NUM_LANDMARKS)
  sure[LEGS] = confidence
  return Landmarks(points, sure, 1.0)


class Networks:
  """Find somebody who sits or stands behind a desk, on the right of another."""

  def __init__(
    self,
    sits=False,
    completes=True,
    has_other=False,
    vanishes=False,
    takes_desk=False,
  ):
    _, mask = dancers.draw()
    self.mask = mask.astype(np.float32)
    if not sits:
      self.mask[DESK:] = float(takes_desk)
    self.found = landmarks(sits, 1.0 if sits else 0.2)
    self.completes, self.has_other = completes, has_other
    self.vanishes = vanishes  # once the picture is cut
    self.takes_desk = takes_desk  # for a part of the person, at first
    self.outside = 0.0  # pixels, by which shoulders are beyond the cut picture

  def people(self, picture):
    rows = len(picture)
    alpha = np.zeros(picture.shape[:2], np.float32)
    alpha[:, -dancers.WIDTH :] = self.mask[:rows]
    shift = np.array([picture.shape[1] - dancers.WIDTH, 0.0])
    person = Person(alpha, self.found.moved(1.0, shift), int(self.has_other))
    other = np.zeros_like(alpha)
    other[10:90, :40] = 1
    beside = dataclasses.replace(person, alpha=other)
    if not self.has_other:
      return [person]
    # The other is smaller in the whole picture, and larger once the legs are cut off.
    return [person, beside] if rows == dancers.HEIGHT else [beside, person]

  def __call__(self, picture, pick):
    assert len(picture), "networks cannot look at nothing"
    people = self.people(picture)
    if self.vanishes and len(picture) < dancers.HEIGHT:
      people[0].alpha[:] = 0
    return people[pick - 1] if pick <= len(people) else None

  def complete(self, person):
    is_whole = len(person.alpha) == dancers.HEIGHT
    if not self.completes or (is_whole and not self.takes_desk):
      return None
    if is_whole:
      alpha = person.alpha.copy()
      alpha[DESK:] = 0
      person = dataclasses.replace(person, alpha=alpha)
    shift = np.array([person.alpha.shape[1] - dancers.WIDTH, 0.0])
    whole = dancers.landmarks().moved(1.0, shift + [self.outside, 0.0])
    return dataclasses.replace(person, landmarks=whole, is_cut_off=True)


def make(networks, monkeypatch, place=layers.OWN, is_whole=False):
  monkeypatch.setattr(subject, "_segmenter", lambda: networks)
  picture, _ = dancers.draw()
  picture = np.pad(picture, ((0, 0), (60, 0), (0, 0)), "edge")
  return layers.make_layers(picture, place, None, 1, True, is_whole=is_whole)


def test_behind_a_desk_a_person_dances_above_it(monkeypatch):
  made, notes = make(Networks(), monkeypatch)
  rows = len(made.scene.picture)
  assert 0.9 * DESK < rows < DESK - 2 and rows % 2 == 0  # the end of a mask is unsure
  assert made.scene.window is not None and "is cut off there" in notes[0]
  assert any("a part of the person" in note for note in notes)


def test_a_desk_that_is_taken_for_the_person_is_left_out(monkeypatch):
  made, notes = make(Networks(takes_desk=True), monkeypatch)
  alone, _ = make(Networks(), monkeypatch)
  np.testing.assert_array_equal(made.scene.alpha, alone.scene.alpha)
  assert "is cut off there" in notes[0]


def test_who_sits_dances_above_the_hips(monkeypatch):
  made, notes = make(Networks(sits=True), monkeypatch)
  hips = dancers.joints()[lm.LEFT_HIP, 1]
  assert len(made.scene.picture) == hips // 2 * 2 and "is cut off there" in notes[0]


def test_the_same_person_dances_if_somebody_else_is_larger_then(monkeypatch):
  made, _ = make(Networks(has_other=True), monkeypatch)
  alone, _ = make(Networks(), monkeypatch)
  np.testing.assert_array_equal(made.scene.alpha, alone.scene.alpha)


def test_people_are_counted_as_they_can_be_picked(monkeypatch):
  """Once the legs are cut off, networks may see more of them."""

  class Crowd(Networks):
    def people(self, picture):
      others = 0 if len(picture) == dancers.HEIGHT else 5
      return [dataclasses.replace(x, others=others) for x in super().people(picture)]

  _, notes = make(Crowd(), monkeypatch)
  assert not any("people dances" in note for note in notes)


@pytest.mark.parametrize(
  ("networks", "options", "message"),
  [
    (Networks(completes=False), {}, "cut off below the hips"),
    (Networks(sits=True, completes=False), {}, "sitting or crouching"),
    (Networks(vanishes=True), {}, "cut off below the hips"),
    (Networks(takes_desk=True), {"place": layers.STUDIO}, "cut off below the hips"),
    (Networks(), {"place": layers.STUDIO}, "cut off below the hips"),
    (Networks(sits=True), {"is_whole": True}, "sitting or crouching"),
  ],
)
def test_otherwise_the_reason_is_that_of_the_whole_picture(
  monkeypatch, networks, options, message
):
  with pytest.raises(InputError, match=message):
    make(networks, monkeypatch, **options)


def test_somebody_who_is_cut_off_at_the_side_as_well_is_refused(monkeypatch):
  networks = Networks()
  networks.outside = 100.0
  with pytest.raises(InputError, match="cut off below the hips"):
    make(networks, monkeypatch)


def test_somebody_whose_hips_are_at_the_upper_border_is_refused(monkeypatch):
  networks = Networks(sits=True)
  hips = dancers.joints()[lm.LEFT_HIP, 1]
  networks.found = networks.found.moved(1.0, np.array([0.0, 1.0 - hips]))
  with pytest.raises(InputError, match="head is cut off|sitting or crouching"):
    make(networks, monkeypatch)


def test_of_others_nothing_is_cut_off():
  mask = dancers.draw()[1].astype(np.float32)
  stands = Person(mask, dancers.landmarks(), 0)
  assert reference.find_waist(stands) is None
  assert reference.find_waist(Person(mask, None, 0)) is None
  half = Person(mask[:120], landmarks(False, 0.2), 0)
  assert half.ends_at_border and reference.find_waist(half) is None
  sits = Person(mask, landmarks(True, 1.0), 0)
  assert reference.find_waist(sits) == dancers.joints()[lm.LEFT_HIP, 1]
  assert reference.find_waist(dataclasses.replace(sits, is_cut_off=True)) is None

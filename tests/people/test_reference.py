"""What is wrong with a picture as a first frame is said in one line."""

import dataclasses

import dancers
import numpy as np
import pytest

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import reference
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import trunk_length


def person(points=None, rows=slice(None), columns=slice(None)):
  """Returns the person of a part of the picture."""
  points = dancers.joints() if points is None else points
  _, mask = dancers.draw(points)
  start = [columns.start or 0, rows.start or 0]
  found = Landmarks(points - start, np.ones(lm.NUM_LANDMARKS), 1.0)
  return Person(mask[rows, columns].astype(np.float32), found, 0)


def sitting():
  points = dancers.joints()
  for side in ("LEFT", "RIGHT"):
    knee, ankle, toe = (getattr(lm, f"{side}_{n}") for n in ("KNEE", "ANKLE", "TOE"))
    points[[knee, ankle, toe]] -= [0, 26]
  return points


def lying():
  points = dancers.joints()
  return np.stack([points[:, 1] * 0.75, 190 - 0.4 * points[:, 0]], 1)


@pytest.mark.parametrize(
  ("faulty", "message"),
  [
    (person(rows=slice(0, 70)), "cut off below the chest"),
    (person(rows=slice(0, 120)), "cut off below the hips"),
    (person(rows=slice(0, 160)), "cut off below the knees"),
    (person(rows=slice(0, 181)), "feet are cut off"),
    (person(rows=slice(28, 200)), "head is cut off"),
    (person(columns=slice(82, 160)), "cut off at the side"),
    (person(sitting()), "sitting or crouching"),
    (person(lying()), "lying or bent over"),
    (person(dancers.joints() * [1, -1] + [0, 205]), "upside down"),
  ],
)
def test_a_faulty_picture_gets_its_line(faulty, message):
  fault = reference.find_fault(faulty, 1.0)
  assert message in fault and "\n" not in fault and "give a picture" in fault


def test_landmarks_too_unsure_to_move_by_still_tell_what_is_cut_off():
  half = person(rows=slice(0, 120))
  unsure = Person(half.alpha, None, 0, half.landmarks)
  assert "is cut off, and no arms and legs" in reference.find_fault(unsure, 1.0)
  whole = person()
  assert (
    reference.find_fault(Person(whole.alpha, None, 0, whole.landmarks), 1.0) is None
  )


def test_knees_that_the_network_only_guesses_are_not_there():
  # As in a portrait, whose knees are guessed to lie beside the hips.
  found = person(sitting(), rows=slice(0, 140))
  legs = [getattr(lm, f"{s}_{n}") for s in ("LEFT", "RIGHT") for n in ("KNEE", "ANKLE")]
  found.landmarks.confidence[legs] = 0.6
  assert "cut off below the hips" in reference.find_fault(found, 1.0)


def test_a_standing_person_has_no_fault():
  assert reference.find_fault(person(), 1.0) is None


def test_a_person_is_measured_in_the_pixels_of_the_given_picture():
  assert "only 35 pixels high" in reference.find_fault(person(), 0.2)
  assert reference.find_fault(person(), 0.3) is None


def test_a_back_is_recognised():
  points = dancers.joints()
  turned = points.copy()
  for left, right in lm.PAIRS:
    turned[[left, right]] = points[[right, left]]
  seen = [
    reference.is_from_behind(Landmarks(p, np.ones(33), 1.0)) for p in (points, turned)
  ]
  assert seen == [False, True]


def test_a_part_of_a_person_is_only_judged_by_what_can_be_seen():
  half = person(rows=slice(0, 120))
  known = Person(half.alpha, half.landmarks, 0, is_cut_off=True)
  assert reference.find_fault(known, 1.0) is None
  headless = person(rows=slice(28, 120))
  known = Person(headless.alpha, headless.landmarks, 0, is_cut_off=True)
  assert "head is cut off" in reference.find_fault(known, 1.0)


def test_who_seems_to_lie_may_go_on_below_but_not_who_is_upside_down():
  whole, half = person(), person(rows=slice(0, 120))
  assert reference.may_go_on(half, 1.0)
  assert reference.may_go_on(Person(half.alpha, None, 0), 1.0)
  assert reference.may_go_on(person(lying()), 1.0)
  assert not reference.may_go_on(whole, 1.0)
  assert not reference.may_go_on(half, 0.1)  # much too small
  turned = person(dancers.joints() * [1, -1] + [0, 205])
  assert not reference.may_go_on(turned, 1.0)


def test_half_a_person_may_spread_their_arms():
  points = dancers.joints()
  for side, sign in (("LEFT", 1), ("RIGHT", -1)):
    shoulder, elbow, wrist = (
      getattr(lm, f"{side}_{name}") for name in ("SHOULDER", "ELBOW", "WRIST")
    )
    points[elbow] = points[shoulder] + [sign * 20, 2]
    points[wrist] = points[shoulder] + [sign * 40, 2]
  half = person(points, rows=slice(0, 80))
  left, top, right, bottom = half.box
  assert right - left > 1.3 * (bottom - top)
  known = Person(half.alpha, half.landmarks, 0, is_cut_off=True)
  assert reference.find_fault(known, 1.0) is None


def test_the_shoulder_of_half_a_person_may_be_a_little_outside():
  points = dancers.joints()
  unit = trunk_length(points)
  for beyond, is_fault in ((0.1, False), (0.3, True)):
    columns = int(points[lm.LEFT_SHOULDER, 0] - beyond * unit)
    part = person(rows=slice(0, 96), columns=slice(0, columns))
    known = Person(part.alpha, part.landmarks, 0, is_cut_off=True)
    fault = reference.find_fault(known, 1.0)
    assert ("at the side" in fault) if is_fault else (fault is None)


@pytest.mark.parametrize(("spread", "is_refused"), [(1.4, False), (1.8, True)])
def test_who_is_wide_as_in_a_kick_dances_but_not_who_lies(spread, is_refused):
  whole = person()
  alpha = np.zeros((100, 200), np.float32)
  alpha[10:90, 20 : 20 + round(80 * spread)] = 1
  points = dancers.joints() * 0.4 + [20, 10]
  wide = Person(alpha, dataclasses.replace(whole.landmarks, points=points), 0)
  fault = reference.find_fault(wide, 1.0)
  assert (fault is not None and "lying" in fault) == is_refused


def test_whose_feet_are_far_apart_does_not_sit():
  points = sitting()
  points[lm.LEFT_ANKLE, 0] += 40
  assert "sitting" in reference.find_fault(person(sitting()), 1.0)
  assert reference.find_fault(person(points), 1.0) is None

"""What of a person does not dance, and why, is said in one line each."""

import dancers
import numpy as np
import pytest

from dabfusion_jax.inference.person_notes import person_notes
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import scene
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.segmenter import Person


def notes_of(points=None, rows=None, alike=False, drawn=None):
  points = dancers.joints() if points is None else points
  picture, mask = dancers.draw(points if drawn is None else drawn)
  if alike:  # nothing has the colour of the face
    picture[60:] = (10, 200, 10)
  found = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
  alpha = mask[:rows].astype(np.float32)
  person = Person(alpha, found, 0, is_cut_off=rows is not None)
  layered = scene.own_scene(picture[:rows], person)
  return person_notes(layered, cut_puppet(layered))


def test_of_a_person_with_arms_at_the_sides_nothing_is_said():
  assert notes_of() == ()


def test_of_a_grey_picture_it_is_said_that_hands_may_be_in_pockets(monkeypatch):
  draw = dancers.draw
  grey = lambda points: (draw(points)[0][..., :1].repeat(3, -1), draw(points)[1])
  monkeypatch.setattr(dancers, "draw", grey)
  (note,) = notes_of()
  assert note.startswith("Without colours, hands in pockets are not known")


def test_hands_that_are_hidden_at_the_hip_are_named():
  (note,) = notes_of(dancers.hands_at_hips(), alike=True)
  assert note.startswith("The left and right hands are hidden, in a pocket or behind")


def test_hands_below_the_picture_are_named():
  part, cut = notes_of(rows=96)
  assert part.startswith("The picture shows a part of the person")
  assert (
    cut == "The picture cuts off the left and right hands: these arms swing a little."
  )


def test_of_an_arm_that_is_cut_off_no_guess_is_told():
  points = dancers.joints()
  points[lm.LEFT_WRIST] = (88, 100)
  notes = notes_of(points, rows=90)
  assert len(notes) == 2 and "before the body" not in "".join(notes)


def test_arms_that_are_cut_above_the_elbow_do_not_swing():
  _, cut = notes_of(rows=76)
  assert cut == "The picture cuts off the arms: they move with the trunk."


def test_an_arm_before_the_body_is_named():
  points = dancers.joints()
  points[lm.RIGHT_ELBOW] = (56, 88)
  points[lm.RIGHT_WRIST] = (80, 86)
  points[[18, 20]] = (86, 85)
  (note,) = notes_of(points)
  assert note.startswith(
    "The right arm is before the body, and what it hides is a guess"
  )


def test_an_arm_that_would_come_apart_is_named_once():
  points = dancers.joints()
  points[lm.RIGHT_ELBOW] = points[lm.RIGHT_SHOULDER] + [-10, -24]
  points[lm.RIGHT_WRIST] = points[lm.RIGHT_SHOULDER] + [-34, -46]
  (note,) = notes_of(points, drawn=dancers.joints())
  assert note == "The right arm is not seen as a whole, and moves with the trunk."


def test_of_an_arm_before_the_body_that_is_hidden_no_guess_is_told():
  points = dancers.hands_at_hips()
  points[lm.LEFT_WRIST] = (88, 100)
  notes = notes_of(points, alike=True)
  assert [note.partition(",")[0] for note in notes] == [
    "The left and right hands are hidden"
  ]


def test_folded_arms_are_named_once():
  (note,) = notes_of(dancers.folded_arms())
  assert note.startswith("The arms are folded or touch each other: they move with")


def test_of_folded_arms_the_one_that_is_cut_off_is_named_once():
  points = dancers.folded_arms()
  points[lm.LEFT_ELBOW] = (106, 115)
  _, cut, touches = notes_of(points, rows=100)
  assert cut == "The picture cuts off the left arm: it moves with the trunk."
  assert touches == "The right arm touches the other: it moves with the trunk."


@pytest.mark.parametrize(("beside", "is_small"), [(520, False), (560, True)])
def test_a_person_who_is_small_is_told_how_to_see_more(beside, is_small):
  picture, mask = dancers.draw()
  around = ((0, 0), (0, beside))
  alpha = np.pad(mask.astype(np.float32), around)
  person = Person(alpha, dancers.landmarks(), 0)
  wide = np.pad(picture, (*around, (0, 0)), "edge")
  height = np.flatnonzero(mask.any(1)).size
  assert (height < 0.25 * wide.shape[1]) == is_small
  layered = scene.own_scene(wide, person)
  notes = person_notes(layered, cut_puppet(layered))
  assert [note.startswith("The person is small") for note in notes] == [True] * is_small

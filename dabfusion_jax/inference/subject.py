"""Finds the person of a picture who dances, and says in one line if nobody can."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.inference.inputs import PictureError
from dabfusion_jax.people import reference, segmenter
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.pretrained import store

OWN = "own"  # a person's own picture, as the scene they dance in
ALL = "all"  # instead of a number: everybody dances
IMPORT = f"python -m dabfusion_jax.weights import {' '.join(segmenter.WEIGHTS)}"
DECODER = " (or take it as it is: --drawing=decoder)"
_WITHOUT_SCENE = " (or leave out --scene: in their own picture, half a person dances)"


def find_person(picture: UInt8[np.ndarray, "h w 3"], pick: int) -> Person | None:
  """Returns a person of a picture, or None; asked again at once, it is remembered.

  Raises:
    MissingWeightsError: the networks have not been imported.
  """
  return _find_once(_segmenter(), picture.tobytes(), picture.shape, pick)


def read_person(
  picture: UInt8[np.ndarray, "h w 3"],
  scale: float,
  place: str,
  pick: int,
  is_asked: bool,
  is_whole: bool,
) -> tuple[Person | None, tuple[str, ...]]:
  """Returns the person of a picture who dances, and notes for the user.

  Args:
    picture: at the size of the dance.
    scale: pixels of the picture as given, per pixel of that size.
    place: where they dance; `OWN`: in this picture.
    pick: which person; 1 is the largest.
    is_asked: whether layers were asked for; otherwise a picture without a person, and
      missing weights, are no errors.
    is_whole: whether the whole person has to be in the picture, for a frame of its own.

  Returns:
    The person, or None if the decoder draws the picture; and notes.

  Raises:
    PictureError: the person cannot be used, in one line.
  """
  try:
    person = find_person(picture, pick)
  except store.MissingWeightsError:
    return _without_networks(picture, scale, pick, is_asked or place != OWN, is_whole)
  advice = "" if is_whole else DECODER
  if person is None:
    first = find_person(picture, 1) if pick > 1 else None
    if first is not None and pick > first.others + 1:
      there = f"are {first.others + 1} people" if first.others else "is only one person"
      raise PictureError(f"pick is {pick}, but there {there} in this picture.")
    if first is not None:
      person = f"Person number {pick} of this picture cannot be cut out"
      raise PictureError(f"{person}; give another picture{advice}.")
    return None, _nobody(pick, is_asked or place != OWN or pick > 1, advice)
  fault = reference.find_fault(person, scale)
  if reference.may_go_on(person, scale) and not is_whole:
    half = _segmenter().complete(person)
    goes_on = half is not None and half.ends_at_border
    if goes_on and place == OWN:
      person, fault = half, reference.find_fault(half, scale)
    elif goes_on and not reference.find_fault(half, scale):
      advice = _WITHOUT_SCENE
  if fault:
    raise PictureError(f"In this picture {fault}{advice}.")
  if person.landmarks is None:
    unknown = "No arms and legs were recognised in this picture"
    if not is_asked and place == OWN and is_left_to_decoder(person, pick):
      return None, (f"{unknown}: the decoder draws it.",)
    return person, (f"{unknown}: what was cut out moves as a whole.",)
  if reference.is_from_behind(person.landmarks):
    return person, (
      "The person is seen from behind, and dances with their back to you.",
    )
  return person, ()


def read_upper_part(
  picture: UInt8[np.ndarray, "h w 3"], scale: float, pick: int
) -> tuple[UInt8[np.ndarray, "h2 w 3"], Person, tuple[str, ...]] | None:
  """Returns a picture without what is below the waist, and its person with notes.

  Args:
    picture: at the size of the dance, in which the person cannot be used.
    scale: see `read_person`.
    pick: which person; 1 is the largest.

  Returns:
    None if the person does not sit and nothing hides their legs, or if their upper part
    cannot be used either.
  """
  try:
    whole = find_person(picture, pick)
  except store.MissingWeightsError:
    return None
  row = reference.find_waist(whole) if whole else None
  if whole is not None and whole.ends_at_border:
    # Looked at as half a person, they may end above it, as behind a lectern.
    settled = _segmenter().complete(whole)
    if settled is not None and not settled.ends_at_border:
      row = reference.lower_end(settled)
  if row is None or row * scale < reference.MIN_HEIGHT:
    return None
  upper = picture[: row // 2 * 2]
  # Cut off, another one may be the largest.
  seen = whole.alpha[: len(upper)] > 0.5
  first = find_person(upper, 1)
  people = [find_person(upper, i + 1) for i in range(first.others + 1 if first else 0)]
  shared = [(x.alpha[seen] > 0.5).sum() if x else 0 for x in people]
  if not any(shared):
    return None
  half = _segmenter().complete(people[int(np.argmax(shared))])
  if half is None or not half.ends_at_border or reference.find_fault(half, scale):
    return None
  half = dataclasses.replace(half, others=whole.others)  # who can be picked
  cut = "The person sits, or something hides the legs: the picture is cut off there"
  return upper, half, (f"{cut}.",)


def is_left_to_decoder(person: Person, pick: int) -> bool:
  """Returns whether a person is probably a drawing, which the decoder draws best.

  Args:
    person: as found; who reaches the lower border may be half a person.
    pick: which of the picture; only the whole picture can be left to the decoder.
  """
  return person.landmarks is None and not person.ends_at_border and pick == 1


def _without_networks(
  picture: np.ndarray, scale: float, pick: int, is_asked: bool, is_whole: bool
) -> tuple[Person | None, tuple[str, ...]]:
  """Returns what stands out from a plain wall, if layers are asked for."""
  if not is_asked:
    note = f"The picture is drawn by the decoder; to keep its sharpness run: {IMPORT}"
    return None, (note,)
  person = segmenter.find_by_contrast(picture) if pick == 1 else None
  advice = "" if is_whole else DECODER
  if person is None:
    return None, _nobody(pick, True, advice)
  if fault := reference.find_lasting_fault(person, scale):
    raise PictureError(f"In this picture {fault}{advice}.")
  note = (
    "Without the weights of the segmenter, whatever stands out from a plain wall is"
    f" taken for the person; run: {IMPORT}"
  )
  return person, (note,)


def _nobody(pick: int, is_error: bool, advice: str) -> tuple[str, ...]:
  who = "no person" if pick == 1 else f"no person number {pick}"
  found = f"There is {who} in this picture who could be cut out"
  if is_error:
    raise PictureError(f"{found}; give another picture{advice}.")
  return (f"{found}: it moves as a whole.",)


@functools.cache
def _segmenter() -> segmenter.Segmenter:
  return segmenter.Segmenter()


@functools.lru_cache(maxsize=1)
def _find_once(
  find: Callable[..., Person | None],
  pixels: bytes,
  shape: tuple[int, ...],
  pick: int,
) -> Person | None:
  return find(np.frombuffer(pixels, np.uint8).reshape(shape), pick)

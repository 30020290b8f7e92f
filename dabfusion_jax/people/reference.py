"""Says in one line why a picture of a person makes a poor first frame of a dance."""

import numpy as np

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import Joints, trunk_length

MIN_HEIGHT = 40  # pixels of a person, below which there is nothing to draw
_SITTING = 0.45  # thighs this short, relative to the trunk, point at the camera
_ASTRIDE = 1.0  # trunks between the ankles, as of a kick; who sits has at most 0.65
_ASIDE = 0.15  # trunks, by which the shoulder of half a person may be outside
_EDGE = 0.03  # of a person, by which the end of a mask is unsure
_LYING = 1.6  # width over height; stretched arms and a leg that kicks reach 1.3
_WHOLE = "; give a picture that shows the whole person, from head to feet"
# Joints from the feet upwards, and what is missing if they are not in the picture.
_LEVELS = (
  ((lm.LEFT_HIP, lm.RIGHT_HIP), "the chest"),
  ((lm.LEFT_KNEE, lm.RIGHT_KNEE), "the hips"),
  ((lm.LEFT_ANKLE, lm.RIGHT_ANKLE), "the knees"),
)


def find_fault(person: Person, pixels_per_pixel: float) -> str | None:
  """Returns what is wrong with a person as a reference, or None.

  Args:
    person: as found in the picture at the size it is drawn at.
    pixels_per_pixel: of the picture as given, per pixel of that size.
  """
  lasting = find_lasting_fault(person, pixels_per_pixel)
  if lasting:
    return lasting
  if person.landmarks is None and person.ends_at_border:
    return f"the person is cut off, and no arms and legs were recognised{_WHOLE}"
  landmarks = person.landmarks or person.unsure
  if landmarks is None:
    return None
  # Not of a drawing, whose legs are no legs to the network.
  is_known = person.landmarks is not None and not person.is_cut_off
  below = _cut_off_below(person, landmarks) if is_known else None
  return below or _cut_off(person, landmarks) or _posture(person, landmarks)


def may_go_on(person: Person, pixels_per_pixel: float) -> bool:
  """Returns whether it is worth looking for a person who goes on below the picture.

  What is not in the picture makes the network see the rest wrongly: somebody who stands
  may seem to lie. Only what is wrong with them whatever goes on below is final.

  Args:
    person, pixels_per_pixel: see `find_fault`.
  """
  if find_lasting_fault(person, pixels_per_pixel):
    return False
  return person.landmarks is None or find_fault(person, pixels_per_pixel) is not None


def find_lasting_fault(person: Person, pixels_per_pixel: float) -> str | None:
  """Returns what is wrong with a person whatever goes on below the picture, or None.

  Args:
    person, pixels_per_pixel: see `find_fault`.
  """
  _, top, _, bottom = person.box
  height = (bottom - top) * pixels_per_pixel
  if height < MIN_HEIGHT:
    return (
      f"the person is only {height:.0f} pixels high; at least {MIN_HEIGHT} are needed,"
      " so come closer or give a larger picture"
    )
  landmarks = person.landmarks or person.unsure
  if landmarks is not None and _is_upside_down(landmarks):
    return "the person is upside down; give a picture of somebody who stands"
  if person.part is not None and person.part.is_mixed:
    return "people hide one another; give one in which they stand side by side"
  return None


def find_waist(person: Person) -> int | None:
  """Returns the row above which a person can dance who cannot as a whole, or None.

  Such a person sits, or something that stands before them hides the legs.
  """
  landmarks = person.landmarks
  if landmarks is None or person.is_cut_off:
    return None
  if _cut_off_below(person, landmarks):
    if person.ends_at_border:
      return None
    return lower_end(person)
  if _is_sitting(landmarks.points):
    return int(landmarks.points[[lm.LEFT_HIP, lm.RIGHT_HIP], 1].mean())
  return None


def lower_end(person: Person) -> int:
  """Returns the row above which a person is seen whom something hides below.

  Landmarks of what is hidden are pressed into what is seen: the mask tells.
  """
  _, top, _, bottom = person.box
  return int(bottom - _EDGE * (bottom - top))


def _cut_off_below(person: Person, landmarks: Landmarks) -> str | None:
  rows = len(person.alpha)
  points, confidence = landmarks.points, landmarks.confidence
  for joints, where in _LEVELS:
    joints = list(joints)
    outside = (points[joints, 1] > rows) | (confidence[joints] < lm.MIN_CONFIDENCE)
    if outside.all():
      return f"the person is cut off below {where}{_WHOLE}"
  if person.ends_at_border and (points[[lm.LEFT_TOE, lm.RIGHT_TOE], 1] > rows).any():
    return f"the person's feet are cut off{_WHOLE}"
  return None


def _cut_off(person: Person, landmarks: Landmarks) -> str | None:
  (rows, columns), points = person.alpha.shape, landmarks.points
  # The top of the head is as far above the ears as the shoulders are below.
  ears = points[[lm.LEFT_EAR, lm.RIGHT_EAR], 1].mean()
  if person.box[1] <= 1 and ears < 0.1 * trunk_length(points):
    return f"the person's head is cut off{_WHOLE}"
  beyond = np.maximum(-points[:, 0], points[:, 0] - columns)
  is_out = beyond > 0.02 * columns
  if person.is_cut_off:  # who stays before the camera, and whose hips may be below
    is_out = beyond > _ASIDE * trunk_length(points)
    is_out[[lm.LEFT_HIP, lm.RIGHT_HIP]] &= points[[lm.LEFT_HIP, lm.RIGHT_HIP], 1] < rows
  if is_out[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP]].any():
    return f"the person is cut off at the side{_WHOLE}"
  return None


def _posture(person: Person, landmarks: Landmarks) -> str | None:
  left, top, right, bottom = person.box
  points = landmarks.points
  hips = points[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  neck = points[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]].mean(0)
  # The box of somebody who is cut off is often wide.
  is_wide = not person.is_cut_off and right - left > _LYING * (bottom - top)
  if is_wide or abs(neck[0] - hips[0]) > abs(neck[1] - hips[1]):
    return "the person is lying or bent over; give a picture of somebody who stands"
  if _is_sitting(points):
    return "the person is sitting or crouching; give a picture of somebody who stands"
  return None


def _is_sitting(points: Joints) -> bool:
  hips = points[[lm.LEFT_HIP, lm.RIGHT_HIP], 1].mean()
  thighs = points[[lm.LEFT_KNEE, lm.RIGHT_KNEE], 1] - hips
  ankles = np.hypot(*(points[lm.LEFT_ANKLE] - points[lm.RIGHT_ANKLE]))
  unit = trunk_length(points)
  return bool((thighs < _SITTING * unit).all() and ankles < _ASTRIDE * unit)


def _is_upside_down(landmarks: Landmarks) -> bool:
  shoulders, hips = (
    landmarks.points[list(pair), 1].mean()
    for pair in ((lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER), (lm.LEFT_HIP, lm.RIGHT_HIP))
  )
  return bool(shoulders > hips + 0.5 * trunk_length(landmarks.points))


def is_from_behind(landmarks: Landmarks) -> bool:
  """Returns whether the person turns their back: left and right are exchanged."""
  points = landmarks.points
  pairs = ((lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER), (lm.LEFT_HIP, lm.RIGHT_HIP))
  widths = np.array([points[left, 0] - points[right, 0] for left, right in pairs])
  return bool((widths < -0.1 * trunk_length(points)).all())

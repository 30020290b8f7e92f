"""Says in one line why a picture of a person makes a poor first frame of a dance."""

import numpy as np

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.people.skeleton import trunk_length

MIN_HEIGHT = 40  # pixels of a person, below which there is nothing to draw
_SITTING = 0.45  # thighs this short, relative to the trunk, point at the camera
_LYING = 1.3  # width over height, which stretched arms do not reach
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
  _, top, _, bottom = person.box
  height = (bottom - top) * pixels_per_pixel
  if height < MIN_HEIGHT:
    return (
      f"the person is only {height:.0f} pixels high; at least {MIN_HEIGHT} are needed,"
      " so come closer or give a larger picture"
    )
  landmarks = person.landmarks or person.unsure
  if landmarks is None:
    return None
  if _is_upside_down(landmarks):
    return "the person is upside down; give a picture of somebody who stands"
  below = None if person.is_cut_off else _cut_off_below(person, landmarks)
  return below or _cut_off(person, landmarks) or _posture(person, landmarks)


def may_go_on(person: Person, fault: str | None) -> bool:
  """Returns whether a person may go on below the picture.

  Args:
    person: as found in the picture.
    fault: of `find_fault`. Of a part of a person it may be any.
  """
  is_at_border = person.box[3] >= len(person.alpha) - 1
  return is_at_border and (fault is not None or person.landmarks is None)


def _cut_off_below(person: Person, landmarks: Landmarks) -> str | None:
  rows = len(person.alpha)
  points, confidence = landmarks.points, landmarks.confidence
  for joints, where in _LEVELS:
    joints = list(joints)
    outside = (points[joints, 1] > rows) | (confidence[joints] < lm.MIN_CONFIDENCE)
    if outside.all():
      return f"the person is cut off below {where}{_WHOLE}"
  is_at_border = person.box[3] >= rows - 1
  if is_at_border and (points[[lm.LEFT_TOE, lm.RIGHT_TOE], 1] > rows).any():
    return f"the person's feet are cut off{_WHOLE}"
  return None


def _cut_off(person: Person, landmarks: Landmarks) -> str | None:
  columns, points = person.alpha.shape[1], landmarks.points
  # The top of the head is as far above the ears as the shoulders are below.
  ears = points[[lm.LEFT_EAR, lm.RIGHT_EAR], 1].mean()
  if person.box[1] <= 1 and ears < 0.1 * trunk_length(points):
    return f"the person's head is cut off{_WHOLE}"
  sides = (points[:, 0] < -0.02 * columns) | (points[:, 0] > 1.02 * columns)
  if sides[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER, lm.LEFT_HIP, lm.RIGHT_HIP]].any():
    return f"the person is cut off at the side{_WHOLE}"
  return None


def _posture(person: Person, landmarks: Landmarks) -> str | None:
  left, top, right, bottom = person.box
  points = landmarks.points
  trunk = trunk_length(points)
  hips = points[[lm.LEFT_HIP, lm.RIGHT_HIP]].mean(0)
  neck = points[[lm.LEFT_SHOULDER, lm.RIGHT_SHOULDER]].mean(0)
  knees = points[[lm.LEFT_KNEE, lm.RIGHT_KNEE]]
  is_wide = right - left > _LYING * (bottom - top)
  if is_wide or abs(neck[0] - hips[0]) > abs(neck[1] - hips[1]):
    return "the person is lying or bent over; give a picture of somebody who stands"
  if (knees[:, 1] - hips[1] < _SITTING * trunk).all():
    return "the person is sitting or crouching; give a picture of somebody who stands"
  return None


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

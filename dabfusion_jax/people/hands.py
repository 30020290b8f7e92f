"""Finds hidden hands and arms: what covers them must not move as if it were them."""

import numpy as np
from jaxtyping import Float32, UInt8

from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people.cut_off import cut_arms
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.skeleton import trunk_length

_SIDES = {
  "left": (lm.LEFT_WRIST, lm.LEFT_HAND, lm.LEFT_HIP),
  "right": (lm.RIGHT_WRIST, lm.RIGHT_HAND, lm.RIGHT_HIP),
}
_ELBOWS = {"left": lm.LEFT_ELBOW, "right": lm.RIGHT_ELBOW}
# Confidence of elbow and wrist of an arm that is hidden, at most; and that of a wrist
# of which nothing is seen, whatever is seen of the elbow.
_UNSEEN, _GONE = 0.5, 0.2
_FLANKS = ((lm.LEFT_SHOULDER, lm.LEFT_HIP), (lm.RIGHT_SHOULDER, lm.RIGHT_HIP))
# Relative to the trunk: how far a hidden hand is from its hip at most, and the radii of
# the discs in which the colours of hands and face are looked at.
_NEAR_HIP, _HAND, _FACE = 0.4, 0.09, 0.11
# By which the shares of red and of green in a colour may differ: those of a hand in the
# shade of trees do by 0.037, of trousers by 0.058 (the nearest tenth of the pixels).
_SAME_SKIN = 0.045
_SEEN = 0.1  # share of a visible hand that has the colour of the face, at least
_TOUCHING, _SAMPLES = 0.1, 33  # trunks between forearms; points along each
_FROM_THE_SIDE = 0.35  # trunks between the shoulders of a person seen from the side
_SOLID = 0.95  # alpha of a pixel that is not mixed with the background


def held_arms(scene: Scene) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", whose arm moves with the trunk.

  Such an arm, or its hand, is hidden in the picture, or the arms are folded.
  """
  hands = hidden_hands(scene.colours, scene.alpha, scene.landmarks)
  held = {*hands} - {*cut_arms(scene)}
  # A hand that is tucked in may be guessed beyond the picture.
  held |= {*folded_arms(scene), *hidden_arms(scene)}
  return tuple(side for side in _SIDES if side in held)


def folded_arms(scene: Scene) -> tuple[str, ...]:
  """Returns both sides if the forearms cross or touch each other, and none otherwise.

  They hide much of each other and of the body, and what is there is not known. Of a
  person seen from the side, arms that hang down touch only in the picture.
  """
  joints, unit = scene.landmarks.points, trunk_length(scene.landmarks.points)
  ends = [lm.LEFT_ELBOW, lm.RIGHT_ELBOW, lm.LEFT_WRIST, lm.RIGHT_WRIST]
  shoulders = joints[lm.LEFT_SHOULDER] - joints[lm.RIGHT_SHOULDER]
  is_seen = (scene.landmarks.confidence[ends] >= _UNSEEN).all()
  if not is_seen or abs(shoulders[0]) < _FROM_THE_SIDE * unit:
    return ()
  height, width = scene.alpha.shape
  low, high = np.reshape(scene.window or (0, 0, width, height), (2, 2))
  forearms = []
  for side, elbow in _ELBOWS.items():
    along = np.linspace(joints[elbow], lm.fingertips(joints, side), _SAMPLES)
    forearms.append(along[((along >= low) & (along < high)).all(1)])
  gaps = np.hypot(*(forearms[0][:, None] - forearms[1]).T)
  return tuple(_SIDES) if (gaps < _TOUCHING * unit).any() else ()


def hidden_arms(scene: Scene) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", whose arm is hidden.

  It is behind the body, for example: neither elbow nor wrist is seen, or surely not the
  wrist. Those of `cut_arms` are not meant.
  """
  confidence, cut = scene.landmarks.confidence, cut_arms(scene)
  hidden = []
  for side, (wrist, _, _) in _SIDES.items():
    unseen = confidence[[_ELBOWS[side], wrist]] < _UNSEEN
    if side not in cut and (unseen.all() or confidence[wrist] < _GONE):
      hidden.append(side)
  return tuple(hidden)


def arms_before_trunk(landmarks: lm.Landmarks) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", whose wrist is before the trunk.

  What such an arm covers is not known.
  """
  joints = landmarks.points
  found = []
  for side, (wrist, _, _) in _SIDES.items():
    x, y = joints[wrist]
    flanks = []  # where they are at the height of the wrist
    for shoulder, hip in _FLANKS:
      top, bottom = joints[shoulder], joints[hip]
      if top[1] < y < bottom[1]:
        flanks.append(np.interp(y, [top[1], bottom[1]], [top[0], bottom[0]]))
    if len(flanks) == 2 and min(flanks) < x < max(flanks):
      found.append(side)
  return tuple(found)


def hidden_hands(
  picture: UInt8[np.ndarray, "h w 3"],
  alpha: Float32[np.ndarray, "h w"],
  landmarks: lm.Landmarks,
) -> tuple[str, ...]:
  """Returns the sides, of "left" and "right", whose hand is hidden at the hip.

  A hand is hidden if it is near the hip and has not the colour of the face. Brightness
  does not count: hands are often in the shade.
  """
  joints = landmarks.points
  unit = trunk_length(joints)
  y, x = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
  solid = alpha > _SOLID

  def disc(centre, radius):
    return solid & (np.hypot(x - centre[0], y - centre[1]) < radius * unit)

  face = disc(joints[lm.NOSE], _FACE)
  if not face.any():
    return ()
  skin = _shares(np.median(picture[face], axis=0))
  hidden = []
  for side, (wrist, knuckles, hip) in _SIDES.items():
    hand = (joints[wrist] + joints[list(knuckles)].mean(0)) / 2
    seen = disc(hand, _HAND)
    if np.hypot(*(joints[wrist] - joints[hip])) > _NEAR_HIP * unit or not seen.any():
      continue
    difference = np.hypot(*(_shares(picture[seen]) - skin).T)
    if (difference < _SAME_SKIN).mean() < _SEEN:
      hidden.append(side)
  return tuple(hidden)


def _shares(colours: np.ndarray) -> np.ndarray:
  """Returns the shares of red and green in colours."""
  colours = np.asarray(colours, np.float32) + 1
  return (colours / colours.sum(-1, keepdims=True))[..., :2]

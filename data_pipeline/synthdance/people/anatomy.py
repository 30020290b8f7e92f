"""Knows the human body: its shapes, its skeleton, and the meshes that clothes follow.

The data are MakeHuman's (`make_body`). Units are cm, y is up, the face looks along +z,
and the left hand is at +x. The person stands with arms slightly raised to the sides.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer

ASSET = pathlib.Path(__file__).parent / "body.npz"
RACES = ("caucasian", "african", "asian")
GROUPS = (
  "body", "helper-tights", "helper-skirt", "helper-hair", "helper-l-eye",
  "helper-r-eye", "helper-l-eyelashes-1", "helper-l-eyelashes-2",
  "helper-r-eyelashes-1", "helper-r-eyelashes-2",
)  # fmt: skip


# Arrays that the file holds as `differences`.
STEPS = ("fine", "coarse", "place", *(f"quads.{group}" for group in GROUPS))


def _both(name: str) -> tuple[str, str]:
  return f"{name}-decr", f"{name}-incr"


# Shapes beside sex, age, muscle, weight, height and proportions, each between -1 (the
# first target) and 1 (the second). {side} stands for both sides of the body.
DETAILS = {
  "head_age": _both("head/head-age"),
  "head_fat": _both("head/head-fat"),
  "head_width": _both("head/head-scale-horiz"),
  "head_height": _both("head/head-scale-vert"),
  "head_depth": _both("head/head-scale-depth"),
  "head_round": ("head/head-rectangular", "head/head-round"),
  "head_oval": ("head/head-square", "head/head-oval"),
  "head_triangle": ("head/head-triangular", "head/head-invertedtriangular"),
  "forehead": _both("forehead/forehead-scale-vert"),
  "chin_width": _both("chin/chin-width"),
  "chin_height": _both("chin/chin-height"),
  "chin_prominent": _both("chin/chin-prominent"),
  "nose_width": _both("nose/nose-scale-horiz"),
  "nose_length": _both("nose/nose-scale-vert"),
  "nose_depth": _both("nose/nose-scale-depth"),
  "nose_hump": _both("nose/nose-hump"),
  "mouth_width": _both("mouth/mouth-scale-horiz"),
  "lower_lip": _both("mouth/mouth-lowerlip-volume"),
  "upper_lip": _both("mouth/mouth-upperlip-volume"),
  "cheek_bones": _both("cheek/{side}-cheek-bones"),
  "cheeks": _both("cheek/{side}-cheek-volume"),
  "eyes": _both("eyes/{side}-eye-scale"),
  "neck": _both("neck/neck-scale-horiz"),
  "torso_width": _both("torso/torso-scale-horiz"),
  "torso_depth": _both("torso/torso-scale-depth"),
  "torso_vshape": _both("torso/torso-vshape"),
  "hip_width": _both("hip/hip-scale-horiz"),
  "shoulders": _both("torso/measure-shoulder-dist"),
  "waist": _both("torso/measure-waist-circ"),
  "bust": _both("torso/measure-bust-circ"),
  "belly": _both("stomach/stomach-pregnant"),
  "buttocks": _both("buttocks/buttocks-volume"),
}


@dataclasses.dataclass(frozen=True)
class Build:
  """What shapes a body; values are in 0..1 unless noted.

  Attributes:
    male: sex.
    old: 0 is about 25 years, 1 about 85.
    muscle, weight, height, proportions: 0.5 is the average.
    races: shares of RACES, which sum to 1.
    details: values in -1..1 of some of DETAILS.
  """

  male: bool
  old: float
  muscle: float
  weight: float
  height: float
  proportions: float
  races: Mapping[str, float]
  details: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Shape:
  """The points of one body, standing on y = 0."""

  points: Float64[np.ndarray, "v 3"]
  heads: Float64[np.ndarray, "b 3"]  # where the bones begin
  tails: Float64[np.ndarray, "b 3"]  # and end
  mouth: Float64[np.ndarray, "3"]

  @property
  def height(self) -> float:
    """Returns the height from the soles to the top of the head, in cm."""
    return float(self.points[members("body"), 1].max())


@dataclasses.dataclass(frozen=True)
class Anatomy:
  """What all bodies share.

  Attributes:
    quads: corners of the faces of each of GROUPS.
    bones: names, parents first.
    parents: of the bones, -1 for the first.
    weights: by which the points follow the bones; each row sums to 1.
    bone, weight: the same: the four bones that move a point most, and how much.
  """

  quads: Mapping[str, Int64[np.ndarray, "q 4"]]
  bones: tuple[str, ...]
  parents: tuple[int, ...]
  weights: Float32[np.ndarray, "v b"]
  bone: Int32[np.ndarray, "v 4"]
  weight: Float32[np.ndarray, "v 4"]
  _targets: Mapping[str, int]
  _base: Float64[np.ndarray, "m 3"]
  _components: Float64[np.ndarray, "k m 3"]
  _coefficients: Float64[np.ndarray, "t k"]
  _place: Int64[np.ndarray, "v"]

  def shape(self, build: Build) -> Shape:
    """Returns the body of that build."""
    mixed = np.zeros(self._coefficients.shape[1])
    for name, amount in _target_shares(build).items():
      mixed += amount * self._coefficients[self._targets[name]]
    rows = self._base.copy()
    for amount, component in zip(mixed.tolist(), self._components, strict=True):
      rows += amount * component
    side = np.where(self._place < 0, -1 - self._place, self._place)
    points = rows[side]
    points[self._place < 0, 0] *= -1
    b = len(self.bones)
    joints = rows[-2 * b - 1 :]
    floor = points[members("body"), 1].min()
    # Rounded to hide last bits that differ between processors.
    points, joints = (np.round(p - [0, floor, 0], 4) for p in (points, joints))
    return Shape(points, joints[:b], joints[b : 2 * b], joints[2 * b])


def _target_shares(build: Build) -> dict[str, float]:
  """Returns how much of each target makes a body."""
  sex = "male" if build.male else "female"
  shares: dict[str, float] = {}

  def levels(value: float, kind: str) -> dict[str, float]:
    parts = {
      f"min{kind}": max(0.0, 1 - 2 * value),
      f"average{kind}": 1 - abs(1 - 2 * value),
      f"max{kind}": max(0.0, 2 * value - 1),
    }
    return {name: share for name, share in parts.items() if share > 1e-3}

  for age, age_share in (("young", 1 - build.old), ("old", build.old)):
    if age_share < 1e-3:
      continue
    for race, share in build.races.items():
      shares[f"macrodetails/{race}-{sex}-{age}"] = age_share * share
    for muscle, a in levels(build.muscle, "muscle").items():
      for weight, b in levels(build.weight, "weight").items():
        key, share = f"{sex}-{age}-{muscle}-{weight}", age_share * a * b
        shares[f"macrodetails/universal-{key}"] = share
        for value, folder, low, high in (
          (build.height, "height", "minheight", "maxheight"),
          (
            build.proportions,
            "proportions",
            "uncommonproportions",
            "idealproportions",
          ),
        ):
          end = high if value > 0.5 else low
          shares[f"macrodetails/{folder}/{key}-{end}"] = share * abs(2 * value - 1)
  for name, value in build.details.items():
    shares[DETAILS[name][value > 0]] = abs(value)
  return shares


def differences(array: Integer[np.ndarray, "*n d"]) -> Integer[np.ndarray, "..."]:
  """Returns integers as steps from point to point, which files hold in fewer bytes."""
  steps = np.moveaxis(array, -2, -1) if array.ndim > 1 else array
  return np.diff(steps, axis=-1, prepend=steps.dtype.type(0))


def from_differences(steps: Integer[np.ndarray, "*n d"]) -> Integer[np.ndarray, "..."]:
  """Returns the integers of which `differences` has made steps."""
  array = np.cumsum(steps, -1, dtype=steps.dtype)  # too large sums come back to where
  return np.moveaxis(array, -1, -2) if array.ndim > 1 else array  # they came from


@functools.cache
def members(group: str) -> Int64[np.ndarray, "u"]:
  """Returns the points of a group, in order; the array is shared."""
  return np.unique(anatomy().quads[group])


@functools.cache
def anatomy() -> Anatomy:
  """Reads the data of `make_body`."""
  with np.load(ASSET, allow_pickle=False) as file:
    arrays = dict(file)
  arrays |= {name: from_differences(arrays[name]) for name in STEPS}
  fine, coarse = arrays["fine"] / 32767.0, arrays["coarse"] / 127.0
  bones = tuple(arrays["bones"].tolist())
  share = arrays["share"] / arrays["share"].sum(1, keepdims=True, dtype=np.float64)
  weights = np.zeros((len(share), len(bones)), np.float32)
  np.put_along_axis(weights, arrays["bone"].astype(np.int64), share, 1)
  return Anatomy(
    quads={g: arrays[f"quads.{g}"].astype(np.int64) for g in GROUPS},
    bones=bones,
    parents=tuple(arrays["parents"].tolist()),
    weights=weights,
    bone=arrays["bone"].astype(np.int32),
    weight=share.astype(np.float32),
    _targets={name: i for i, name in enumerate(arrays["targets"].tolist())},
    _base=arrays["base"].astype(np.float64),
    _components=np.concatenate([fine, coarse]),
    _coefficients=arrays["coefficients"].astype(np.float64),
    _place=arrays["place"].astype(np.int64),
  )

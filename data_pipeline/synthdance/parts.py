"""Turns a skeleton into the tapered capsules and colours that are rendered."""

import numpy as np
from jaxtyping import Float64

from data_pipeline.records.body_parts import PARTS
from data_pipeline.synthdance.body import JOINTS, Dancer, Skeleton


def capsules(
  skeleton: Skeleton, dancer: Dancer
) -> tuple[Float64[np.ndarray, "t p 2 3"], Float64[np.ndarray, "p 2"]]:
  """Returns the body as tapered capsules, one for each of PARTS.

  Returns:
    The positions of their two ends per frame, and the radii at the ends, in cm.
  """
  j = {name: skeleton.joints[:, i] for i, name in enumerate(JOINTS)}
  up = j["head"] - j["neck"]
  nape = j["head"] - 4.0 * skeleton.facing
  sleeve = 0.8 if dancer.long_sleeves else 0.0
  leg = 0.9 if dancer.long_trousers else 0.0
  hair = (nape + 0.1 * up, nape - 0.95 * up, 7.2, 5.0)
  if not dancer.long_hair:  # short hair stays within the head
    hair = (nape + 0.2 * up, nape, 6.0, 6.0)
  rise = 0.24 * (j["chest"] - j["pelvis"])  # the hem of the top
  parts = {
    "hips": (j["left_hip"], j["right_hip"], 9.6, 9.6),
    "waist": (
      0.75 * j["left_hip"] + 0.25 * j["pelvis"] + rise,
      0.75 * j["right_hip"] + 0.25 * j["pelvis"] + rise,
      9.2,
      9.2,
    ),
    "torso": (0.5 * j["pelvis"] + 0.5 * j["chest"], j["chest"], 11.6, 12.8),
    "shoulders": (j["left_shoulder"], j["right_shoulder"], 6.9, 6.9),
    "neck": (j["neck"] - 0.2 * up, j["head"], 5.2, 5.4),
    "head": (j["head"] - 0.12 * up, j["head"] + 0.2 * up, 8.4, 9.2),
    "hair": hair,
  }
  for side in ("left", "right"):
    hip, knee, ankle = j[f"{side}_hip"], j[f"{side}_knee"], j[f"{side}_ankle"]
    shoulder, elbow, wrist = (
      j[f"{side}_shoulder"], j[f"{side}_elbow"], j[f"{side}_wrist"]
    )  # fmt: skip
    chest_side = 0.8 * shoulder + 0.2 * j["chest"]
    parts |= {
      f"{side}_flank": (0.55 * hip + 0.45 * j["chest"], chest_side, 9.2, 8.2),
      f"{side}_thigh": (hip, knee, 8.8, 6.2),
      f"{side}_shin": (knee, ankle, 5.6 + leg, 4.0 + 1.4 * leg),
      f"{side}_foot": (ankle, j[f"{side}_toe"], 4.4, 3.3),
      f"{side}_upper_arm": (shoulder, elbow, 5.6 + 0.4 * sleeve, 4.5 + 0.4 * sleeve),
      f"{side}_forearm": (elbow, wrist, 4.1 + sleeve, 3.1 + sleeve),
      f"{side}_hand": (wrist, j[f"{side}_hand"], 3.4, 3.1),
    }
  ends = np.stack([np.stack(parts[name][:2], 1) for name in PARTS], 1)
  radii = np.array([parts[name][2:] for name in PARTS])
  return np.round(ends, 3), np.round(radii * dancer.girth, 3)


def part_colours(dancer: Dancer) -> dict[str, tuple[int, int, int]]:
  """Returns the colour of each part, as 8-bit RGB."""
  sleeve = dancer.top if dancer.long_sleeves else dancer.skin
  shin = dancer.trousers if dancer.long_trousers else dancer.skin
  by_word = {
    "hips": dancer.trousers, "thigh": dancer.trousers, "shin": shin,
    "foot": dancer.shoes, "neck": dancer.skin, "head": dancer.skin,
    "hair": dancer.hair, "forearm": sleeve, "hand": dancer.skin,
  }  # fmt: skip
  return {name: by_word.get(name.split("_")[-1], dancer.top) for name in PARTS}

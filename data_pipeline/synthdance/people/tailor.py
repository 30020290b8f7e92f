"""Measures a body and cuts cloth to it.

Cloth is cut out of the mesh "tights", which follows every body shape, by a cover value
per point: sleeves, hems and necklines of any length cost nothing. It hangs from what
sticks out above it instead of following the skin.
"""

import numpy as np
from jaxtyping import Float64

from data_pipeline.synthdance.people.anatomy import Shape, anatomy, members
from data_pipeline.synthdance.people.mesh import noise, smooth, unit

_FINGERS = ("index", "middle", "ring", "pinky", "thumb")
_ROWS, _COLUMNS = 48, 24  # of the table of the trunk's radii
NOWHERE = -9.0  # cover of points that a garment never reaches


class Tailor:
  """The measures of one body; lengths in cm.

  Attributes:
    shape, points: the body, and its points.
    at: where each bone begins, by name.
    arm, leg, head: how much the points belong to the arms, the legs and the head.
    along: distance from the shoulder or hip along the limb, per point.
    axis: the nearest place inside the limb, per point.
    hip, knee, ankle: heights.
    elbow, wrist: distances from the shoulder.
    neck: where it begins.
  """

  def __init__(self, shape: Shape) -> None:
    """Takes the measures."""
    body = anatomy()
    self.shape, self.points = shape, shape.points
    self.at = dict(zip(body.bones, shape.heads, strict=True))
    self.arm = self._belongs("upperarm", "lowerarm", "hand", *_FINGERS)
    self.leg = self._belongs("thigh", "calf", "foot", "ball")
    self.head = self._belongs("head")
    self.trunk = np.clip(1 - self.arm - self.leg, 0, 1)
    self.along = np.zeros(len(self.points))
    self.axis = np.zeros_like(self.points)
    for side, sign in (("l", 1), ("r", -1)):
      on = self.points[:, 0] * sign >= 0
      for mine, other, chain in (
        (self.arm, self.leg, ("upperarm", "lowerarm", "hand")),
        (self.leg, self.arm, ("thigh", "calf", "foot")),
      ):
        ends = np.stack([self.at[f"{name}_{side}"] for name in chain])
        self._follow(on & (mine > 0.02) & (mine >= other), ends)
    self.hip, self.knee = self.at["thigh_l"][1], self.at["calf_l"][1]
    self.ankle, self.neck = self.at["foot_l"][1], self.at["neck_01"]
    upper, lower = (
      self.at[f"{end}_l"] - self.at[f"{start}_l"]
      for start, end in (("upperarm", "lowerarm"), ("lowerarm", "hand"))
    )
    self.elbow = float(np.sqrt((upper**2).sum()))
    self.wrist = self.elbow + float(np.sqrt((lower**2).sum()))

  def _belongs(self, *starts: str) -> Float64[np.ndarray, "v"]:
    body = anatomy()
    columns = [i for i, name in enumerate(body.bones) if name.startswith(starts)]
    return body.weights[:, columns].sum(1, dtype=np.float64)

  def _follow(self, mine: np.ndarray, ends: Float64[np.ndarray, "3 3"]) -> None:
    """Finds place and distance along a limb of two bones."""
    points = self.points[mine]
    upper, lower = ends[1] - ends[0], ends[2] - ends[1]
    length, size = (float(np.sqrt((v * v).sum())) for v in (upper, lower))
    s = ((points - ends[0]) * upper).sum(-1) / length
    t = ((points - ends[1]) * lower).sum(-1) / size
    beyond = s > length
    self.along[mine] = np.where(beyond, length + np.maximum(t, 0), s)
    near = ends[0] + np.clip(s, 0, length)[:, None] * upper / length
    far = ends[1] + np.clip(t, 0, size)[:, None] * lower / size
    self.axis[mine] = np.where(beyond[:, None], far, near)

  def top_cover(
    self, sleeve: float, hem: float, neckline: float, scoop: float
  ) -> Float64[np.ndarray, "v"]:
    """Returns the cover of a top.

    Args:
      sleeve: length from the shoulder joint.
      hem: above the hip joint.
      neckline: above the beginning of the neck.
      scoop: by how much it is lower in front.
    """
    p = self.points
    front = np.clip((p[:, 2] - self.neck[2]) / 6, 0, 1)
    rise = 0.18 * np.abs(p[:, 0])
    below = self.neck[1] + neckline + rise - scoop * front - p[:, 1]
    trunk = np.minimum(p[:, 1] - self.hip - hem, below)
    cover = np.where(self.arm > 0.5, np.minimum(sleeve - self.along, 30), trunk)
    return np.where(self.head > 0.5, NOWHERE, cover)

  def bottom_cover(self, hem: float, waist: float) -> Float64[np.ndarray, "v"]:
    """Returns the cover of trousers, up to `waist` above the hip joint."""
    p = self.points
    cover = np.minimum(p[:, 1] - hem, self.hip + waist - p[:, 1])
    return np.where((self.arm > 0.3) | (self.head > 0.1), NOWHERE, cover)

  def drape(
    self,
    rng: np.random.Generator,
    *,
    ease: float,
    looseness: float,
    taper: float,
    rounds: int,
    wrinkle: float,
    arm_radius: Float64[np.ndarray, "v"] | float = 0.0,
    leg_radius: Float64[np.ndarray, "v"] | float = 0.0,
  ) -> Float64[np.ndarray, "v 3"]:
    """Returns where the points of the tights are as cloth; others stay.

    Args:
      rng: source of wrinkles.
      ease: cm between skin and cloth.
      looseness: of the trunk; 0 follows the skin, 1 hangs from what sticks out above.
      taper: cm that hanging cloth comes closer to the body per cm downwards.
      rounds: of smoothing.
      wrinkle: height of wrinkles.
      arm_radius, leg_radius: least radii of sleeves and trouser legs.
    """
    quads = anatomy().quads["helper-tights"]
    mine = members("helper-tights")
    p, out = self.points, self.points.copy()
    on = mine[self.trunk[mine] > 0.02]
    wide, flat, radius = self._hang(on, ease, looseness, taper)
    moved = p[on] + flat / np.maximum(radius, 0.5)[:, None] * (wide - radius)[:, None]
    share = self.trunk[on, None]
    out[on] = moved * share + p[on] * (1 - share)
    for belongs, least in ((self.arm, arm_radius), (self.leg, leg_radius)):
      on = mine[belongs[mine] > 0.02]
      ray = p[on] - self.axis[on]
      size = np.maximum(np.sqrt((ray * ray).sum(-1)), 0.5)
      goal = np.broadcast_to(least, len(p))[on]
      grow = np.maximum(size + ease * 0.8, goal) - size
      out[on] += ray / size[:, None] * (grow * belongs[on])[:, None]
    out = smooth(out, quads, rounds)
    middle = np.where(
      self.trunk[mine, None] > 0.5,
      self.neck * [0, 0, 1] + out[mine] * [0, 1, 0],
      self.axis[mine],
    )
    ray = unit(out[mine] - middle)
    shift = rng.uniform(0, 99, 3)
    rough = noise(out[mine] * [1, 0.7, 1] + shift, 7.0) + 0.5 * noise(
      out[mine] * [1, 0.6, 1] + shift, 3.4
    )
    out[mine] += ray * (wrinkle * rough)[:, None]
    return out

  def _hang(
    self, on: np.ndarray, ease: float, looseness: float, taper: float
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns radii of cloth around the trunk, and offsets and radii of the skin."""
    p = self.points[on]
    low, high = p[:, 1].min(), p[:, 1].max() + 0.1
    row = ((p[:, 1] - low) / (high - low) * _ROWS).astype(int)
    filled = np.maximum(np.bincount(row, minlength=_ROWS), 1)
    centre = np.bincount(row, p[:, 2], minlength=_ROWS) / filled
    flat = np.stack([p[:, 0], np.zeros(len(on)), p[:, 2] - centre[row]], -1)
    radius = np.sqrt((flat * flat).sum(-1))
    turn = np.arctan2(flat[:, 0], flat[:, 2]) / (2 * np.pi) + 0.5
    column = (turn * (_COLUMNS - 0.01)).astype(int)
    table = np.zeros((_ROWS, _COLUMNS))
    core = self.trunk[on] > 0.6
    np.maximum.at(table, (row[core], column[core]), radius[core])
    sides = 0.5 * (np.roll(table, 1, 1) + np.roll(table, -1, 1))
    table = np.maximum(table, sides)
    step = (high - low) / _ROWS
    for i in range(_ROWS - 2, -1, -1):
      table[i] = np.maximum(table[i], table[i + 1] - taper * step)
    hang = np.minimum(np.maximum(table[row, column], radius), radius + 9)
    return radius + ease + looseness * (hang - radius), flat, radius

"""Makes dances: key poses on the beats, and feet that stay while they carry weight.

A dance is a sequence of keys, one per beat (every second beat for ballet jazz). Phrases
of four keys are drawn from the genre's `Style`, danced, danced mirrored, and repeated.
Feet are not interpolated like the rest: between two keys at most one foot moves (both
in a jump), in the middle of the interval, while the other carries the weight. A foot
that carries weight is at the same place in every frame.

Basic dances (sBM, 16 beats) are shared by the dancers of a genre; advanced ones (sFM,
64 beats) belong to one dancer. Each dancer makes slightly larger or smaller movements,
slightly earlier or later.
"""

import dataclasses
import zlib

import numpy as np
from jaxtyping import Bool, Float64

from data_pipeline.aist import SITUATIONS, ClipName
from data_pipeline.synthdance.moves import ARM_POSES, CHANGES_SIDES, STYLES, Style

KEYS_PER_PHRASE = 4
_MIRRORED = np.array([-1, 1, 1, -1, -1, 1, -1, -1, 1.0])  # signs of `Poses.torso`
LOADED = 0.82  # fraction of the weight on the standing foot
# When a foot moves and when the weight follows, as fractions of the interval.
_SWING = (0.10, 0.74)
_SHIFT = (0.22, 0.92)


def seed(*parts: str) -> int:
  """Returns a seed for what the strings identify, the same on every machine."""
  return zlib.crc32("|".join(parts).encode())


@dataclasses.dataclass(frozen=True)
class Poses:
  """A dance at given times; lengths in body heights, angles in radians.

  The columns of `torso` are sway to the side and to the front, crouch, yaw, lean to the
  side and to the front, twist, yaw and nod of the head. x is the dancer's left.
  """

  torso: Float64[np.ndarray, "t 9"]
  hands: Float64[np.ndarray, "t 2 3"]  # from the shoulder, in arm lengths
  feet: Float64[np.ndarray, "t 2 2"]  # on the floor: x, z
  feet_yaw: Float64[np.ndarray, "t 2"]
  lift: Float64[np.ndarray, "t 2"]  # of the feet above the floor
  free: Float64[np.ndarray, "t 2"]  # 1 for a foot in the air, 0 on the floor
  load: Float64[np.ndarray, "t 2"]  # fraction of the weight on each foot
  planted: Bool[np.ndarray, "t 2"]  # carries weight and does not move


@dataclasses.dataclass(frozen=True)
class _Move:
  """One key of a phrase, as if its first free foot were the left."""

  kind: str
  spot: np.ndarray  # where the moving foot is set down: x, z
  lift: float
  torso: np.ndarray  # [9]
  hands: np.ndarray  # [2, 3]
  turn: float  # radians the front turns by


@dataclasses.dataclass(frozen=True)
class _Keys:
  """All keys of a dance."""

  torso: np.ndarray  # [k, 9], yaw includes the front
  hands: np.ndarray  # [k, 2, 3]
  feet: np.ndarray  # [k, 2, 2]
  feet_yaw: np.ndarray  # [k, 2]
  lift: np.ndarray  # [k, 2]
  load: np.ndarray  # [k], of the left foot
  jump: np.ndarray  # [k], 1 if both feet leave the floor before this key


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
  """Draws a key with probability proportional to its weight."""
  edges = np.cumsum(list(weights.values()))
  return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], "right"))]


def _arms(rng: np.random.Generator, style: Style, before: np.ndarray) -> np.ndarray:
  """Draws the hands of the next key: elsewhere, but not across the whole reach."""
  best, best_cost = before, np.inf
  for _ in range(6):
    pair = style.arms[int(rng.integers(len(style.arms)))]
    if rng.random() < 0.5:
      pair = pair[::-1]
    hands = np.array([ARM_POSES[p] for p in pair]) * [[1, 1, 1], [-1, 1, 1]]
    hands = hands + rng.uniform(-0.09, 0.09, (2, 3))
    distance = np.sqrt(((hands - before) ** 2).sum(-1)).mean()
    cost = abs(distance - 0.85) + 0.15 * rng.random()
    if cost < best_cost:
      best, best_cost = hands, cost
  return best


def _phrase(
  rng: np.random.Generator, style: Style, hands: np.ndarray, is_turn: bool
) -> list[_Move]:
  """Draws four moves that change sides an odd number of times, so can be mirrored."""
  kinds = [_pick(rng, style.footwork) for _ in range(KEYS_PER_PHRASE)]
  if is_turn:
    kinds = ["step", "step", "step", "touch"]
  for i in range(1, KEYS_PER_PHRASE):
    if kinds[i - 1] == "kick":
      kinds[i] = "step"  # the foot in the air comes down
  if kinds[-1] == "kick":
    kinds[-1] = "step"
  if sum(k in CHANGES_SIDES for k in kinds) % 2 == 0:
    kinds[-1] = "touch" if kinds[-1] in CHANGES_SIDES else "step"
  moves = []
  for index, kind in enumerate(kinds):
    apart = rng.uniform(*style.stance)
    spot = np.array([apart / 2, rng.uniform(-0.05, 0.05)])
    lift = 0.0
    if kind == "cross":
      spot = np.array([-0.25 * apart, rng.uniform(0.05, 0.10)])
    elif kind == "touch":
      spot *= [rng.uniform(0.1, 1.3), 1.0]
    elif kind == "kick":
      lift = style.kick_height * rng.uniform(0.5, 1.0)
      spot = np.array([rng.uniform(0.03, 0.16), rng.uniform(0.08, 0.20)])
    crouch = style.knees * rng.random()
    if kind in ("drop", "jump"):
      crouch += rng.uniform(*style.drop) * (1.0 if kind == "drop" else 0.5)
    degrees = np.array([style.yaw, style.lean, style.lean, style.twist, 30.0, 12.0])
    angles = np.radians(degrees) * rng.uniform(-1, 1, 6)
    angles[2] = np.radians(style.lean) * rng.uniform(-0.2, 0.9)  # rarely backward
    angles[2] += 1.6 * max(crouch - 0.05, 0.0)  # a deep crouch needs balance
    if is_turn:
      angles[:4] *= 0.4
    sway = style.sway * rng.uniform(-1, 1, 2)
    torso = np.array([*sway, crouch, *angles])
    hands = _arms(rng, style, hands)
    turn = np.radians(120.0) if is_turn and index < 3 else 0.0
    scale = 0.75 if is_turn else 1.0  # arms are closer to the body in a turn
    moves.append(_Move(kind, spot, lift, torso, hands * scale, turn))
  return moves


def _mirror_hands(hands: np.ndarray) -> np.ndarray:
  return hands[::-1] * [-1.0, 1.0, 1.0]


def _rotate(spot: np.ndarray, yaw: float) -> np.ndarray:
  c, s = np.cos(yaw), np.sin(yaw)
  return np.array([c * spot[0] + s * spot[1], -s * spot[0] + c * spot[1]])


def _dance(moves: list[tuple[_Move, int]], style: Style) -> _Keys:
  """Performs the moves, keeping track of where the feet are and which one stands.

  Args:
    moves: each with 1, or -1 to mirror it.
    style: of the genre.
  """
  width = style.stance[0]
  feet = np.array([[width / 2, 0.0], [-width / 2, 0.0]])
  lift, load, front = np.zeros(2), 0.5, 0.0
  feet_yaw = np.radians([16.0, -16.0])
  torso, hands = np.zeros(9), np.array([[0.3, -0.86, 0.16], [-0.3, -0.86, 0.16]])
  rows = [(torso, hands, feet, feet_yaw, lift, load, 0.0)]
  free = 0
  for move, sign in moves:
    feet, lift, feet_yaw = feet.copy(), np.zeros(2), feet_yaw.copy()
    side = np.array([1.0 if free == 0 else -1.0, 1.0])
    front += sign * move.turn
    mirrored_torso = move.torso * (_MIRRORED if sign < 0 else 1.0)
    toe_out = np.radians(16.0) * side[0]
    if move.kind == "jump":
      feet[free] = _rotate(move.spot * side, front)
      feet[1 - free] = _rotate(move.spot * side * [-1, 1], front)
      feet_yaw[:] = front + np.radians([16.0, -16.0])
    elif move.kind not in ("shift", "hold"):
      feet[free] = _rotate(move.spot * side, front)
      feet_yaw[free] = front + toe_out
      lift[free] = move.lift
    if move.turn:  # the standing foot turns in place
      feet_yaw[1 - free] = front - toe_out
    if move.kind in ("stand", "drop", "jump"):
      load = 0.5
    elif move.kind in CHANGES_SIDES:
      load = LOADED if free == 0 else 1 - LOADED
    elif move.kind == "kick":
      load = 0.0 if free == 0 else 1.0
    elif move.kind == "touch":
      load = 1 - LOADED if free == 0 else LOADED
    if move.kind in CHANGES_SIDES:
      free = 1 - free
    torso = mirrored_torso.copy()
    torso[3] += front
    hands = _mirror_hands(move.hands) if sign < 0 else move.hands
    rows.append((torso, hands, feet, feet_yaw, lift, load, move.kind == "jump"))
  return _Keys(*(np.array(column, np.float64) for column in zip(*rows, strict=True)))


class Choreography:
  """The dance of one sequence.

  Attributes:
    style: of the genre.
    beat_seconds: length of a beat.
    num_beats: of the sequence, 16 (sBM) or 64 (sFM).
    hits: times at which this dancer is in the key poses, in seconds.
  """

  def __init__(self, name: ClipName) -> None:
    """Makes the dance of a clip; the camera does not matter."""
    self.style = style = STYLES[name.genre]
    self.beat_seconds = 60.0 / name.bpm
    self.num_beats = SITUATIONS[name.situation]
    owner = [name.genre, name.situation, name.choreography]
    if name.situation == "sFM":
      owner.append(name.dancer)
    rng = np.random.default_rng(seed("dance", *owner))
    num_keys = round(self.num_beats * style.keys_per_beat)
    moves: list[tuple[_Move, int]] = []
    hands = np.array([[0.3, -0.86, 0.16], [-0.3, -0.86, 0.16]])
    while len(moves) < num_keys:
      first = _phrase(rng, style, hands, rng.random() < style.turns)
      second = _phrase(rng, style, first[-1].hands, rng.random() < style.turns)
      for phrase in (first, second):
        moves += [(m, 1) for m in phrase] + [(m, -1) for m in phrase]
      hands = second[-1].hands
    keys = _dance(moves[:num_keys], style)
    # The manner of the dancer: size and timing of the movements.
    own = np.random.default_rng(seed("manner", name.dancer, name.music, *owner))
    torso = keys.torso.copy()
    torso[:, [0, 1, 2, 4, 5, 6, 7, 8]] *= 1 + 0.12 * own.uniform(-1, 1, 8)
    arms = keys.hands * (1 + 0.06 * own.uniform(-1, 1)) + 0.05 * own.uniform(
      -1, 1, (1, 2, 3)
    )
    feet = keys.feet * (1 + 0.08 * own.uniform(-1, 1))
    self._keys = dataclasses.replace(keys, torso=torso, hands=arms, feet=feet)
    late = 0.015 * own.uniform(-1, 1) + 0.008 * own.uniform(-1, 1, num_keys + 1)
    grid = np.arange(num_keys + 1) * self.beat_seconds / style.keys_per_beat
    self.hits = grid + late

  @property
  def seconds(self) -> float:
    """Returns the length of the sequence."""
    return self.num_beats * self.beat_seconds

  def poses(self, times: Float64[np.ndarray, "t"]) -> Poses:
    """Returns the poses at `times`, in seconds from the start of the sequence."""
    keys, style = self._keys, self.style
    j = np.clip(np.searchsorted(self.hits, times, "right") - 1, 0, len(self.hits) - 2)
    u = np.clip((times - self.hits[j]) / (self.hits[j + 1] - self.hits[j]), 0.0, 1.0)
    ease = _smooth(u, style.hold / 2, 1 - style.hold / 2)

    def between(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
      weight = weight.reshape(-1, *[1] * (values.ndim - 1))
      return values[j] * (1 - weight) + values[j + 1] * weight

    torso = between(keys.torso, ease)
    beat = times / self.beat_seconds
    bounce = 0.5 + 0.5 * np.cos(2 * np.pi * beat)  # down on the beat
    bounce[beat < -0.5] = 0  # who waits does not tell the beats
    torso[:, 2] += style.bounce * bounce
    torso[:, 8] += np.radians(7.0) * bounce
    hands = between(keys.hands, ease)
    path = np.sqrt(((keys.hands[j + 1] - keys.hands[j]) ** 2).sum(-1))
    bulge = (4 * ease * (1 - ease))[:, None] * path * style.arc
    hands = hands + bulge[..., None] * [[0.8, 0.25, 0.5], [-0.8, 0.25, 0.5]]

    swing = _smooth(u, *_SWING)[:, None]
    feet = between(keys.feet, swing[:, 0])
    lift = between(keys.lift, swing[:, 0])
    jump = keys.jump[j + 1][:, None] > 0
    step = np.abs(keys.feet[j + 1] - keys.feet[j]).max(-1) > 1e-9
    moves = step | (keys.lift[j + 1] != keys.lift[j]) | jump
    air = np.where(moves, 4 * swing * (1 - swing), 0.0)
    height = np.where(jump, 0.07, style.step_height)
    # A kick lifts the foot already; for a step it must be lifted.
    height = np.maximum(height - 0.5 * np.maximum(keys.lift[j], keys.lift[j + 1]), 0)
    lift = lift + height * air
    free = np.maximum(air, np.clip(lift / 0.03, 0, 1))
    left = between(keys.load, _smooth(u, *_SHIFT))
    load = np.stack([left, 1 - left], -1)
    on_floor = ~moves | (swing <= 0.0) | (swing >= 1.0)
    planted = on_floor & (lift <= 0.0) & (load >= 0.3)
    feet_yaw = between(keys.feet_yaw, ease)
    return Poses(torso, hands, feet, feet_yaw, lift, free, load, planted)


def _smooth(u: np.ndarray, low: float, high: float) -> np.ndarray:
  """Returns 0 up to `low` and 1 from `high`, with zero slope at both ends."""
  v = np.clip((u - low) / (high - low), 0.0, 1.0)
  return v * v * (3.0 - 2.0 * v)

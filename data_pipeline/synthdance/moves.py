"""Defines the arm poses, the footwork and the style of movement of the ten genres.

An arm pose is the position of the hand relative to the shoulder: (outward, up, forward)
in arm lengths. Footwork is a choice among a few changes of weight (see below). The
genres are conventions of this generator, modelled on how the dances look; they are no
authority on dance.
"""

import dataclasses

ARM_POSES = {
  "low": (0.30, -0.86, 0.16),
  "hip": (-0.02, -0.72, 0.16),
  "back": (0.36, -0.74, -0.34),
  "side_low": (0.72, -0.58, 0.18),
  "side": (0.95, -0.02, 0.14),
  "side_up": (0.68, 0.64, 0.12),
  "up": (0.16, 0.92, 0.12),
  "fifth": (-0.16, 0.86, 0.24),
  "second": (0.84, -0.22, 0.30),
  "first": (-0.26, -0.50, 0.48),
  "front": (0.06, -0.02, 0.88),
  "front_low": (0.08, -0.60, 0.58),
  "front_up": (0.14, 0.52, 0.70),
  "guard": (0.14, -0.24, 0.50),
  "chest": (-0.22, -0.22, 0.42),
  "cross": (-0.52, -0.34, 0.46),
  "clap": (-0.33, -0.06, 0.58),
  "head": (0.22, 0.30, 0.26),
  "square": (0.56, 0.36, 0.26),
  "square_down": (0.58, -0.40, 0.22),
}

# What can happen between two keys. The free foot is the one with little weight.
#   step   it moves and takes the weight        cross  the same, across the other foot
#   touch  it moves, the weight stays           kick   it is in the air at the key
#   shift  nothing moves but the weight         hold   not even the weight
#   stand  it moves, the weight is on both      drop   the same, into a crouch
#   jump   both leave the floor and land apart
CHANGES_SIDES = frozenset({"step", "cross", "shift", "stand", "drop", "jump"})


@dataclasses.dataclass(frozen=True)
class Style:
  """How a genre moves. Lengths are in body heights, angles in degrees."""

  arms: tuple[tuple[str, str], ...]  # pairs of `ARM_POSES`, left and right
  footwork: dict[str, float]  # kind (see above) -> weight
  stance: tuple[float, float]  # distance between the feet
  bounce: float  # how far the body sinks on every beat
  drop: tuple[float, float] = (0.05, 0.10)  # depth of a crouch
  knees: float = 0.0  # largest bend of the knees at ordinary keys
  step_height: float = 0.045
  kick_height: float = 0.18
  sway: float = 0.02  # pelvis away from the point that carries the weight
  lean: float = 10.0  # of the torso, sideways and forward
  twist: float = 18.0  # of the shoulders against the pelvis
  yaw: float = 25.0  # of the whole body against its front
  turns: float = 0.15  # fraction of phrases with a full turn
  hold: float = 0.2  # fraction of an interval spent in the pose
  arc: float = 0.25  # how far hands swing outward between poses
  keys_per_beat: float = 1.0


STYLES = {
  "BR": Style(  # break: top rock with crossing steps and kicks, drops
    arms=(
      ("cross", "cross"), ("side", "side"), ("guard", "side_low"),
      ("side_low", "side_low"), ("chest", "square_down"), ("low", "cross"),
    ),
    footwork={"cross": 3.0, "kick": 2.0, "step": 3.0, "drop": 1.2, "jump": 0.5},
    stance=(0.20, 0.30), bounce=0.022, drop=(0.12, 0.22), knees=0.03,
    lean=16.0, twist=24.0, yaw=30.0, turns=0.1, hold=0.18, kick_height=0.16,
  ),
  "PO": Style(  # pop: straight lines and right angles, long holds, little travel
    arms=(
      ("square", "square_down"), ("side", "square"), ("front", "square_down"),
      ("side", "side"), ("chest", "side"), ("square_down", "square_down"),
      ("front", "low"),
    ),
    footwork={"shift": 3.0, "touch": 2.0, "step": 2.0, "stand": 1.5, "hold": 0.5},
    stance=(0.15, 0.22), bounce=0.006, drop=(0.02, 0.04), lean=9.0, twist=26.0,
    yaw=32.0, turns=0.08, hold=0.34, arc=0.08, sway=0.025,
  ),
  "LO": Style(  # lock: points, claps, wrist rolls, kicks, jumps into a crouch
    arms=(
      ("up", "hip"), ("side", "hip"), ("clap", "clap"), ("square", "square"),
      ("front", "side_low"), ("side_up", "low"), ("head", "side"), ("low", "low"),
    ),
    footwork={"kick": 2.5, "step": 3.0, "drop": 1.2, "touch": 1.5, "jump": 1.0},
    stance=(0.17, 0.26), bounce=0.014, drop=(0.06, 0.11), lean=13.0, twist=18.0,
    yaw=24.0, turns=0.12, hold=0.3, kick_height=0.24,
  ),
  "MH": Style(  # middle hip-hop: low arms, deep groove on both feet
    arms=(
      ("guard", "guard"), ("front_low", "back"), ("side_low", "chest"),
      ("low", "guard"), ("chest", "chest"), ("square_down", "front_low"),
      ("side_low", "side_low"),
    ),
    footwork={"step": 3.0, "shift": 3.0, "touch": 1.5, "stand": 1.5, "drop": 0.8},
    stance=(0.20, 0.29), bounce=0.022, drop=(0.05, 0.09), lean=14.0, twist=20.0,
    yaw=24.0, turns=0.06, hold=0.16, sway=0.03,
  ),
  "LH": Style(  # LA-style hip-hop: sharp shapes at chest height
    arms=(
      ("chest", "side"), ("square", "front_low"), ("side_low", "square"),
      ("front", "front"), ("cross", "low"), ("head", "side_low"),
      ("side", "front_up"),
    ),
    footwork={"step": 3.0, "touch": 2.0, "shift": 2.0, "stand": 1.5, "cross": 1.0},
    stance=(0.18, 0.28), bounce=0.018, drop=(0.04, 0.08), lean=13.0, twist=24.0,
    yaw=30.0, turns=0.15, hold=0.26,
  ),
  "HO": Style(  # house: a step on every beat, loose arms
    arms=(
      ("guard", "guard"), ("side_low", "guard"), ("low", "side_low"),
      ("square_down", "square_down"), ("front_low", "back"), ("guard", "side"),
    ),
    footwork={"step": 4.0, "cross": 3.0, "touch": 2.0, "kick": 1.0},
    stance=(0.14, 0.24), bounce=0.016, lean=10.0, twist=18.0, yaw=28.0, turns=0.2,
    hold=0.1, kick_height=0.12, step_height=0.055,
  ),
  "WA": Style(  # waack: arms whirl over and behind the head, hips, poses
    arms=(
      ("side_up", "hip"), ("fifth", "side"), ("head", "side_up"), ("up", "side"),
      ("side", "side"), ("square", "up"), ("hip", "side_up"), ("head", "head"),
    ),
    footwork={"step": 3.0, "touch": 3.0, "shift": 2.0, "cross": 1.0},
    stance=(0.13, 0.21), bounce=0.010, lean=9.0, twist=18.0, yaw=30.0, turns=0.18,
    hold=0.14, arc=0.5, sway=0.035,
  ),
  "KR": Style(  # krump: wide stance, stomps, arm swings, chest
    arms=(
      ("guard", "up"), ("side_up", "guard"), ("front", "square_down"),
      ("square", "square"), ("cross", "side_low"), ("side_low", "front_up"),
      ("chest", "chest"),
    ),
    footwork={
      "step": 3.0, "kick": 1.0, "stand": 2.0, "shift": 1.0, "drop": 1.6, "jump": 0.6,
    },
    stance=(0.24, 0.33), bounce=0.026, drop=(0.07, 0.12), knees=0.025, lean=18.0,
    twist=22.0, yaw=22.0, turns=0.05, hold=0.24, step_height=0.10, kick_height=0.14,
  ),
  "JS": Style(  # street jazz: long lines, kicks, turns
    arms=(
      ("side", "side"), ("up", "hip"), ("side_up", "side_low"), ("second", "fifth"),
      ("chest", "side"), ("side_up", "side_up"), ("hip", "hip"), ("front_up", "low"),
    ),
    footwork={"step": 3.0, "touch": 2.5, "kick": 1.5, "cross": 1.5, "stand": 1.0},
    stance=(0.14, 0.26), bounce=0.008, drop=(0.04, 0.08), lean=12.0, twist=20.0,
    yaw=35.0, turns=0.25, hold=0.2, kick_height=0.26, arc=0.35,
  ),
  "JB": Style(  # ballet jazz: a pose on every second beat, curved arms, legs up
    arms=(
      ("second", "second"), ("fifth", "second"), ("first", "fifth"),
      ("first", "first"), ("side_up", "second"), ("fifth", "fifth"),
      ("front_up", "second"),
    ),
    footwork={"step": 3.0, "kick": 3.0, "touch": 3.0, "cross": 1.0},
    stance=(0.10, 0.22), bounce=0.0, lean=9.0, twist=12.0, yaw=40.0, turns=0.3,
    hold=0.06, kick_height=0.30, arc=0.4, keys_per_beat=0.5,
  ),
}  # fmt: skip

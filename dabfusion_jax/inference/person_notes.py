"""What a user is told of a person of whom not everything dances."""

import numpy as np

from dabfusion_jax.people.cut_off import cut_arms, cut_upper_arms
from dabfusion_jax.people.hands import arms_before_trunk, folded_arms
from dabfusion_jax.people.puppet import Puppet
from dabfusion_jax.people.scene import Scene

_SMALL = 0.25  # of the longer side, below which a person is small in a picture
_GREY = 8  # levels between the channels of a picture without colours, mostly


def person_notes(layered: Scene, puppet: Puppet) -> tuple[str, ...]:
  """Returns notes on what a picture does not show of a person, and what follows.

  Args:
    layered: with landmarks.
    puppet: the person of the scene.
  """
  notes: tuple[str, ...] = ()
  shown = layered.shown(layered.alpha)
  if (shown > 0.5).any(1).sum() < _SMALL * max(shown.shape):
    notes += (
      "The person is small in the picture; crop it to them to see more of the dance.",
    )
  colours = layered.colours[layered.alpha > 0.5]
  if (
    len(colours)
    and np.percentile(np.ptp(colours, axis=-1), 95) <= _GREY
    and not puppet.held
  ):
    notes += (
      "Without colours, hands in pockets are not known: they would move with the arms.",
    )
  if layered.window is not None:
    notes += ("The picture shows a part of the person; the rest dances out of sight.",)
  cut = cut_upper_arms(layered)
  if len(cut) == 1:
    notes += (f"The picture cuts off the {cut[0]} arm: it moves with the trunk.",)
  elif cut:
    notes += ("The picture cuts off the arms: they move with the trunk.",)
  hands = [side for side in cut_arms(layered) if side not in puppet.held]
  if sides := [side for side in hands if side not in cut]:
    swing = "that arm swings" if len(sides) == 1 else "these arms swing"
    hands = f"{' and '.join(sides)} {'hand' if len(sides) == 1 else 'hands'}"
    notes += (f"The picture cuts off the {hands}: {swing} a little.",)
  folded = [x for x in folded_arms(layered) if x in puppet.held and x not in cut]
  if len(folded) == 2:
    notes += (
      "The arms are folded or touch each other: they move with the trunk; with arms at"
      " the sides people dance best.",
    )
  elif folded:
    notes += (f"The {folded[0]} arm touches the other: it moves with the trunk.",)
  told = {*cut, *folded, *puppet.torn}
  if sides := [side for side in puppet.held if side not in told]:
    move = "that arm moves" if len(sides) == 1 else "these arms move"
    are = "hand is" if len(sides) == 1 else "hands are"
    hidden = f"The {' and '.join(sides)} {are} hidden, in a pocket or behind the body"
    notes += (f"{hidden}: {move} with the trunk.",)
  if sides := puppet.torn:
    arms = "arm is" if len(sides) == 1 else "arms are"
    notes += (
      f"The {' and '.join(sides)} {arms} not seen as a whole, and"
      f" {'moves' if len(sides) == 1 else 'move'} with the trunk.",
    )
  still = {*puppet.held, *cut_arms(layered)}
  before = arms_before_trunk(layered.landmarks)
  if not folded and (sides := [side for side in before if side not in still]):
    arms, they = (
      ("arm is", "it hides") if len(sides) == 1 else ("arms are", "they hide")
    )
    covers = f"The {' and '.join(sides)} {arms} before the body, and what {they}"
    notes += (f"{covers} is a guess; with arms at the sides people dance best.",)
  return notes

"""What a user is told of a person of whom not everything dances."""

from collections.abc import Sequence

from dabfusion_jax.people.cut_off import cut_arms
from dabfusion_jax.people.hands import held_arms
from dabfusion_jax.people.scene import Scene


def person_notes(layered: Scene) -> tuple[str, ...]:
  """Returns notes on what a picture does not show of a person, and what follows."""
  if layered.landmarks is None:
    return ()
  notes: tuple[str, ...] = ()
  if layered.window is not None:
    notes += ("The picture shows a part of the person; the rest dances out of sight.",)
  if sides := cut_arms(layered):
    swing = "that arm swings" if len(sides) == 1 else "these arms swing"
    notes += (f"The {_hands(sides)} not in the picture: {swing} a little.",)
  if sides := held_arms(layered):
    move = "that arm moves" if len(sides) == 1 else "these arms move"
    hidden = f"The {_hands(sides)} hidden, in a pocket perhaps"
    notes += (f"{hidden}: {move} with the trunk.",)
  return notes


def _hands(sides: Sequence[str]) -> str:
  return f"{' and '.join(sides)} {'hand is' if len(sides) == 1 else 'hands are'}"

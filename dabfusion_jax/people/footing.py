"""Keeps standing feet still although the joints that are read tremble."""

import dataclasses

import numpy as np
from jaxtyping import Float

Feet = Float[np.ndarray, "2 2"]  # left and right ankle, (x, y) in pixels


@dataclasses.dataclass
class Footing:
  """Lets feet stand still until what is read of them has left their place for good.

  A foot stays where it is as long as it is read within `reach` of there; beyond, it is
  drawn along at this distance. A step of several times the reach is hardly shortened.

  Attributes:
    reach: in pixels.
    feet: where they stand.
  """

  reach: float
  feet: Feet

  def follow(self, read: Feet) -> Feet:
    """Returns where the feet stand in the next frame, as which they are remembered.

    Args:
      read: where the frame shows them.
    """
    away = read - self.feet
    distance = np.hypot(*away.T)[:, None]
    share = np.maximum(1 - self.reach / np.maximum(distance, 1e-9), 0)
    self.feet = self.feet + share * away
    return self.feet

"""Keeps standing feet still although the joints that are read tremble."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

# The share of its lag that a moving foot keeps after one generated frame, and the lag
# at which it stands again, relative to the reach.
_LEFT, _SETTLED = 0.2, 0.25

Feet = Float[np.ndarray, "2 2"]  # left and right ankle, (x, y) in pixels


@dataclasses.dataclass
class Footing:
  """Lets feet stand still until what is read of them has left their place for good.

  A foot stays where it is as long as it is read within `reach` of there. Then it
  catches up, never farther behind than this, and stands again where it has arrived.

  Attributes:
    reach: in pixels.
    feet: where they are.
    times: frames per generated frame.
  """

  reach: float
  feet: Feet
  times: int = 1
  _moving: Bool[np.ndarray, "2 1"] = dataclasses.field(
    default_factory=lambda: np.zeros((2, 1), bool)
  )

  def follow(self, read: Feet) -> Feet:
    """Returns where the feet are in the next frame, as which they are remembered.

    Args:
      read: where the frame shows them.
    """
    behind = self.feet - read
    distance = np.hypot(*behind.T)[:, None]
    least = np.where(self._moving, _SETTLED * self.reach, self.reach)
    self._moving = distance > least
    left = _LEFT ** (1 / self.times)
    left = np.minimum(left, self.reach / np.maximum(distance, 1e-9))
    self.feet = np.where(self._moving, read + left * behind, self.feet)
    return self.feet

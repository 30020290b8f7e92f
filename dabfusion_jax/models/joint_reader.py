"""Reads from a latent flow where it moves the joints of a body."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.ops.joints import JOINTS, trunk_length

_NEAR = 0.3  # trunks, within which a cell shows what is around a joint
_MOVED = 10.0  # a cell that comes from a tenth of a trunk away has moved


class JointReader(nn.Module):
  """Tells the joints of a frame from its flow and the joints of its picture.

  A backward flow says of every cell which place of the picture it shows. So each cell
  is given how near that place is to each joint, and votes for where the joint is now. A
  departure from the paper, which has no joints.
  """

  channels: int = 48
  num_blocks: int = 4

  @nn.compact
  def __call__(
    self,
    flow: Float[Array, "b h w 2"],
    occlusion: Float[Array, "b h w 1"],
    picture_joints: Float[Array, "b j 2"],
  ) -> Float[Array, "b j 2"]:
    """Returns the joints of the frames.

    Args:
      flow: sampling grids in [-1, 1].
      occlusion: in [0, 1].
      picture_joints: `JOINTS` of the pictures, (x, y) in the same coordinates.
    """
    grid = identity_grid(*flow.shape[1:3])[None]
    trunk = trunk_length(picture_joints)[:, None, None, None]

    def near(places: Float[Array, "b h w 2"]) -> Float[Array, "b h w j"]:
      squared = jnp.square(places[..., None, :] - picture_joints[:, None, None])
      return jnp.exp(-squared.sum(-1) / (2 * jnp.square(_NEAR * trunk)))

    moved = (flow - grid) / trunk
    distance = jnp.sqrt(jnp.square(moved).sum(-1, keepdims=True) + 1e-12)
    x = [moved, jnp.tanh(_MOVED * distance), occlusion, near(flow)]
    x = jnp.concatenate([*x, near(jnp.broadcast_to(grid, flow.shape))], -1)
    x = nn.Conv(self.channels, (3, 3), name="input_conv")(x)
    for i in range(self.num_blocks):
      y = nn.gelu(nn.LayerNorm(name=f"norm_{i}")(x))
      spread = 1 + i % 2
      conv = nn.Conv(self.channels, (3, 3), kernel_dilation=spread, name=f"conv_{i}")
      x += nn.Conv(self.channels, (1, 1), name=f"out_{i}")(nn.gelu(conv(y)))
    x = nn.gelu(nn.LayerNorm(name="norm")(x))
    votes = nn.Dense(3 * len(JOINTS), name="votes")(x)
    votes = votes.reshape(*votes.shape[:3], len(JOINTS), 3)
    weight = jax.nn.softmax(votes[..., :1], axis=(1, 2))
    places = grid[..., None, :] + votes[..., 1:] * trunk[..., None]
    return (weight * places).sum((1, 2))

"""Details that the image codec cannot render, carried along by the flow."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dabfusion_jax.ops.pixels import from_uint8, to_uint8
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.warp import warp


def carry_details(
  frames: Float[Array, "t h w 3"],
  ref_image: Float[Array, "h w 3"],
  rebuilt: Float[Array, "h w 3"],
  flow: Float[Array, "t s s 2"],
) -> Float[Array, "t h w 3"]:
  """Adds to every frame what decoding lost of the picture, warped by the frame's flow.

  A departure from the paper, whose decoder sees nothing but the warped latent and blurs
  pictures unlike those it was trained on. Without motion, frames equal the picture.

  Args:
    frames: decoded frames in [0, 1].
    ref_image: the picture in [0, 1].
    rebuilt: the picture encoded and decoded without motion, in [0, 1].
    flow: sampling grids in [-1, 1]; outside, the border of the picture is repeated.

  Returns:
    The frames with details, clipped to [0, 1].
  """
  height, width = ref_image.shape[:2]
  grid = jnp.clip(resize_aligned(flow, height, width), -1.0, 1.0)
  lost = jax.vmap(warp, in_axes=(None, 0))(ref_image - rebuilt, grid)
  return jnp.clip(frames + lost, 0.0, 1.0)


_carry_details = jax.jit(carry_details)


def add_details(
  frames: UInt8[np.ndarray, "t h w 3"],
  ref_image: UInt8[np.ndarray, "h w 3"],
  rebuilt: UInt8[np.ndarray, "h w 3"],
  flow: Float[np.ndarray, "t s s 2"],
) -> UInt8[np.ndarray, "t h w 3"]:
  """Applies `carry_details` to uint8 images."""
  images = (from_uint8(x) for x in (frames, ref_image, rebuilt))
  return to_uint8(_carry_details(*images, flow))

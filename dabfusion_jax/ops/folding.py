"""Folds blocks of pixels into channels, and back."""

from jaxtyping import Array, Float


def fold(image: Float[Array, "*b h w c"], side: int) -> Float[Array, "*b sh sw d"]:
  """Returns an image whose pixels hold blocks of side x side as d = side^2 c channels.

  Raises:
    ValueError: the image does not divide into such blocks.
  """
  *batch, height, width, channels = image.shape
  if height % side or width % side:
    raise ValueError(f"{height} x {width} pixels do not divide into blocks of {side}.")
  x = image.reshape(*batch, height // side, side, width // side, side, channels)
  x = x.swapaxes(-4, -3)
  return x.reshape(*x.shape[:-3], side**2 * channels)


def unfold(image: Float[Array, "*b sh sw d"], side: int) -> Float[Array, "*b h w c"]:
  """Inverts `fold`."""
  *batch, height, width, channels = image.shape
  x = image.reshape(*batch, height, width, side, side, channels // side**2)
  x = x.swapaxes(-4, -3)
  return x.reshape(*batch, height * side, width * side, channels // side**2)

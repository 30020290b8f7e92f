"""PSNR and SSIM between a generated and a real frame.

  PSNR = 10 log10(L^2 / MSE)
  SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2))

with L the data range, C1 = (0.01 L)^2, C2 = (0.03 L)^2, an 11x11 Gaussian window of
sigma 1.5, population covariance, and only windows that lie inside the picture (Wang et
al. 2004). Tools differ here by more than papers' models do: scikit-image's defaults use
another window, torchmetrics keeps the reflected border.

A letterboxed picture is half black bars that any model gets right: pass the content
rows, or a mask of the dancer, to see what the whole frame hides.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5
PSNR_CAP = 100.0  # of identical frames, in means only; dB


def mean_squared_error(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """Per image, over all pixels or those of `mask`; nan where the mask is empty."""
  per_pixel = jnp.mean(jnp.square(a - b), axis=-1)
  return jnp.mean(per_pixel, axis=(-2, -1), where=mask)


def psnr(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  data_range: float | int,
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """PSNR per image in dB; inf for identical images, nan where the mask is empty.

  `data_range` is 255 for values of uint8, 1 for [0, 1], 2 for [-1, 1].
  """
  return 10.0 * jnp.log10(data_range**2 / mean_squared_error(a, b, mask))


def ssim(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  data_range: float | int,
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """SSIM per image: mean over channels and windows, or over windows centred in `mask`.

  nan where no window is centred in the mask. Values must start at 0: the luminance
  term is not invariant to a shift. Raises `ValueError` for sides below 11 px.
  """
  height, width = a.shape[-3:-1]
  if min(height, width) < WINDOW_SIZE:
    raise ValueError(f"SSIM needs at least {WINDOW_SIZE} px, got {height}x{width}.")
  rows, columns = _window_matrix(height), _window_matrix(width)

  def local_mean(x):
    x = jnp.einsum("ph,...hwc->...pwc", rows, x, precision="highest")
    return jnp.einsum("qw,...pwc->...pqc", columns, x, precision="highest")

  # Variances do not change with a shift and lose fewer digits near the middle.
  shift = data_range / 2
  c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
  x, y = a - shift, b - shift
  mean_x, mean_y = local_mean(x), local_mean(y)
  var_x = local_mean(x * x) - mean_x**2
  var_y = local_mean(y * y) - mean_y**2
  covariance = local_mean(x * y) - mean_x * mean_y
  mean_x, mean_y = mean_x + shift, mean_y + shift
  luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
  structure = (2 * covariance + c2) / (var_x + var_y + c2)
  if mask is not None:
    border = WINDOW_SIZE // 2
    mask = mask[..., border : height - border, border : width - border, None]
  return jnp.mean(luminance * structure, axis=(-3, -2, -1), where=mask)


def _window_matrix(size: int) -> np.ndarray:
  """[size - 10, size] float32: the 1-D Gaussian window at every valid place."""
  offset = np.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
  window = np.exp(-(offset**2) / (2 * WINDOW_SIGMA**2))
  window /= window.sum()
  matrix = np.zeros((size - WINDOW_SIZE + 1, size), np.float32)
  for row in range(len(matrix)):
    matrix[row, row : row + WINDOW_SIZE] = window
  return matrix


def paired_scores(
  generated: UInt8[np.ndarray, "t h w 3"],
  real: UInt8[np.ndarray, "_ _ _ 3"],
  *,
  rows: tuple[int, int] | None = None,
  mask: Bool[np.ndarray, "t h w"] | None = None,
  include_first: bool = False,
) -> dict[str, float | int | None]:
  """PSNR and SSIM of one clip: means over its frames, without the given frame 0.

  `rows` = (first, end) restricts both to these rows of the picture (the content of a
  letterbox); `mask` to its pixels, and frames whose mask is empty are left out.

  Returns `psnr` (identical frames counted as 100 dB), `n_inf` (how many), `psnr_pooled`
  (of the clip's pooled squared error; None for identical clips), `ssim`, `n_frames`.
  Scores are None where no frame is left. Inputs are not modified.

  Raises:
    ValueError: shapes differ, or the picture is below 11 px.
  """
  if generated.shape != real.shape:
    raise ValueError(f"Clips differ in shape: {generated.shape} and {real.shape}.")
  start = 0 if include_first else 1
  first, end = rows or (0, generated.shape[1])
  a, b = (jnp.asarray(x[start:, first:end], jnp.float32) for x in (generated, real))
  mask = jnp.ones(a.shape[:3], bool) if mask is None else mask[start:, first:end]
  if not len(a):
    return _summary(np.zeros(0), np.zeros(0), np.zeros(0))
  errors, ssims = (np.asarray(x) for x in _frame_scores(a, b, jnp.asarray(mask)))
  return _summary(errors, ssims, np.asarray(mask.sum((1, 2))))


@jax.jit
def _frame_scores(a, b, mask):
  return mean_squared_error(a, b, mask), ssim(a, b, 255.0, mask)


def _summary(errors, ssims, num_pixels) -> dict[str, float | int | None]:
  seen = num_pixels > 0
  errors, weights = errors[seen].astype(np.float64), num_pixels[seen]
  ssims = ssims[~np.isnan(ssims)].astype(np.float64)
  scores = {"psnr": None, "psnr_pooled": None, "n_inf": 0, "ssim": None}
  scores["n_frames"] = int(seen.sum())
  if len(errors):
    with np.errstate(divide="ignore"):
      per_frame = 10 * np.log10(255.0**2 / errors)
    scores["n_inf"] = int(np.isinf(per_frame).sum())
    scores["psnr"] = float(np.minimum(per_frame, PSNR_CAP).mean())
    pooled = np.average(errors, weights=weights)
    if pooled > 0:
      scores["psnr_pooled"] = float(10 * np.log10(255.0**2 / pooled))
  if len(ssims):
    scores["ssim"] = float(ssims.mean())
  return scores

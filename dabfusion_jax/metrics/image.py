"""PSNR and SSIM of a generated and a real frame.

  PSNR = 10 log10(L^2 / MSE)
  SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2))

with the data range L, C1 = (0.01 L)^2, C2 = (0.03 L)^2, an 11 x 11 Gaussian window of
sigma 1.5, population covariance, and only windows inside the image (Wang et al. 2004).
Tools differ by more than the models of papers do: the defaults of scikit-image have
another window, and torchmetrics keeps a reflected border.

Half of a letterboxed image is black bars, which any model gets right: pass the rows of
the content, or a mask of the dancer, to see what the whole frame hides.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from dabfusion_jax.ops.resize import apply_separably, filter_matrix

WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5
PSNR_CAP = 100.0  # dB; of identical frames in means


def mean_squared_error(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """Returns the error per image, over all pixels or those of `mask`.

  It is nan if the mask is empty.
  """
  per_pixel = jnp.mean(jnp.square(a - b), axis=-1)
  return jnp.mean(per_pixel, axis=(-2, -1), where=mask)


def psnr(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  data_range: float | int,
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """Returns the PSNR per image in dB.

  It is inf for identical images and nan if the mask is empty. `data_range` is 255 for
  values of uint8, 1 for [0, 1], 2 for [-1, 1].
  """
  return 10.0 * jnp.log10(data_range**2 / mean_squared_error(a, b, mask))


def ssim(
  a: Float[Array, "*b h w c"],
  b: Float[Array, "*b h w c"],
  data_range: float | int,
  mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b"]:
  """Returns the SSIM per image: mean over channels and windows, or windows in `mask`.

  Only windows centred in the mask count; without any, the SSIM is nan. Values must
  start at 0, since the luminance term is not invariant to a shift.

  Raises:
    ValueError: a side is below 11 px.
  """
  height, width = a.shape[-3:-1]
  if min(height, width) < WINDOW_SIZE:
    raise ValueError(f"SSIM needs at least {WINDOW_SIZE} px, got {height}x{width}.")
  rows, columns = (filter_matrix(_gaussian_window(), n) for n in (height, width))

  def local_mean(x: Array) -> Array:
    return apply_separably(rows, columns, x, precision="highest")

  # Variances are invariant to a shift, and more exact for values around zero.
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


def _gaussian_window() -> Float[np.ndarray, "k"]:
  """Returns the 1-D window, with a sum of 1."""
  offset = np.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
  window = np.exp(-(offset**2) / (2 * WINDOW_SIGMA**2))
  return window / window.sum()


def paired_scores(
  generated: UInt8[np.ndarray, "t h w 3"],
  real: UInt8[np.ndarray, "_ _ _ 3"],
  *,
  rows: tuple[int, int] | None = None,
  mask: Bool[np.ndarray, "t h w"] | None = None,
  include_first: bool = False,
) -> dict[str, float | int | None]:
  """Computes the PSNR and SSIM of a clip, as means over frames.

  Args:
    generated: not modified, like `real`.
    real: of the same shape.
    rows: (first, end) restricts scores to these rows, the content of a letterbox.
    mask: restricts scores to its pixels; frames with an empty mask are left out.
    include_first: whether to score frame 0, which models are given. Papers seldom say
      whether they do.

  Returns:
    `psnr` (100 dB for identical frames), `n_inf` (their number), `psnr_pooled` (of the
    squared error over the whole clip, None for identical clips), `ssim` and `n_frames`.
    Scores are None if no frame is left.

  Raises:
    ValueError: shapes differ, or the image is below 11 px.
  """
  if generated.shape != real.shape:
    raise ValueError(f"Clips differ in shape: {generated.shape} and {real.shape}.")
  start = 0 if include_first else 1
  first, end = rows or (0, generated.shape[1])
  a, b = (jnp.asarray(x[start:, first:end], jnp.float32) for x in (generated, real))
  mask = jnp.ones(a.shape[:3], bool) if mask is None else mask[start:, first:end]
  if not len(a):
    return _summary(np.zeros(0), np.zeros(0), np.zeros(0, int))
  errors, ssims = (np.asarray(x) for x in _frame_scores(a, b, jnp.asarray(mask)))
  return _summary(errors, ssims, np.asarray(mask.sum((1, 2))))


@jax.jit
def _frame_scores(
  a: Float32[Array, "t h w c"], b: Float32[Array, "t h w c"], mask: Bool[Array, "t h w"]
) -> tuple[Float32[Array, "t"], Float32[Array, "t"]]:
  """Returns the mean squared error and the SSIM of each frame."""
  return mean_squared_error(a, b, mask), ssim(a, b, 255.0, mask)


def _summary(
  errors: Float[np.ndarray, "t"],
  ssims: Float[np.ndarray, "t"],
  num_pixels: Int[np.ndarray, "t"],
) -> dict[str, float | int | None]:
  """Returns the scores of a clip, see `paired_scores`."""
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

"""Holds the figures of the paper's Tables 1-7, as printed.

MM-Diffusion is unconditional, so its paired scores have no defined reference; the tool,
frame rate, sigma and pose estimator behind the others are not stated. They are printed
beside our figures and are never a target.
"""

Figures = dict[tuple[str, ...], dict[str, float]]  # by row and column

# Columns are keys of `catalog.METRICS`, and "fvd".
_VIDEO = ("fvd", "lpips_alex", "psnr", "ssim")
_MUSIC = ("clip_score", "mm_align", "av_align")
BASELINE, ENHANCED = "DabFusion_b", "DabFusion_e"


def _rows(
  columns: tuple[str, ...], table: dict[tuple[str, ...], tuple[float | None, ...]]
) -> Figures:
  return {
    key: {c: v for c, v in zip(columns, values, strict=True) if v is not None}
    for key, values in table.items()
  }


TABLE_1 = _rows(
  _VIDEO,
  {
    ("MM-Diffusion",): (180.31, 0.025, 34.81, 0.951),
    (BASELINE,): (194.44, 0.032, 26.17, 0.957),
    (ENHANCED,): (193.98, 0.033, 26.88, 0.959),
  },
)
TABLE_2 = _rows(
  _VIDEO,
  {
    ("MM-Diffusion", "c01"): (176.93, 0.019, 35.52, 0.949),
    (BASELINE, "c01"): (158.16, 0.029, 26.41, 0.963),
    (BASELINE, "c02"): (197.01, 0.039, 25.031, 0.952),
    (BASELINE, "c03"): (158.56, 0.036, 26.30, 0.959),
    (BASELINE, "c09"): (195.83, 0.037, 25.09, 0.953),
    (ENHANCED, "c01"): (158.02, 0.027, 26.33, 0.964),
    (ENHANCED, "c02"): (198.17, 0.040, 25.23, 0.954),
    (ENHANCED, "c03"): (157.94, 0.036, 26.29, 0.960),
    (ENHANCED, "c09"): (195.17, 0.035, 25.28, 0.956),
  },
)
TABLE_3 = _rows(
  _MUSIC,
  {
    ("GT",): (0.153, 0.223, 0.152),
    (BASELINE,): (0.138, 0.202, 0.141),
    (ENHANCED,): (0.142, 0.215, 0.148),
  },
)
TABLE_4 = _rows(
  _MUSIC,
  {
    ("GT", "BR"): (0.138, 0.231, 0.226),
    (BASELINE, "BR"): (0.122, 0.212, 0.218),
    (ENHANCED, "BR"): (0.131, 0.223, 0.229),
    ("GT", "JB"): (0.063, 0.198, 0.101),
    (BASELINE, "JB"): (0.061, 0.188, 0.097),
    (ENHANCED, "JB"): (0.057, 0.193, 0.098),
    ("GT", "HO"): (0.121, 0.218, 0.134),
    (BASELINE, "HO"): (0.109, 0.198, 0.121),
    (ENHANCED, "HO"): (0.112, 0.213, 0.128),
  },
)
_ALL = (*_MUSIC, "fvd")
TABLE_5 = _rows(
  _ALL,
  {
    (ENHANCED, "40"): (0.142, 0.215, 0.148, 193.98),
    (ENHANCED, "80"): (0.153, 0.219, 0.179, 194.84),
  },
)
TABLE_6 = _rows(
  _ALL,
  {
    (BASELINE, "text"): (0.136, 0.181, 0.126, 200.54),
    (BASELINE, "music"): (0.138, 0.202, 0.141, 194.44),
  },
)
TABLE_7 = _rows(
  _ALL,
  {
    (ENHANCED, "40"): (0.142, 0.215, 0.148, 193.98),
    (ENHANCED, "80"): (0.145, 0.203, 0.139, 210.86),
    (ENHANCED, "120"): (0.131, 0.197, 0.121, 256.32),
    (ENHANCED, "160"): (0.123, 0.179, 0.101, 323.72),
  },
)

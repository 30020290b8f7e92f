"""Grids, warps and reductions in plain PyTorch, as in `ops/`; images [b c h w]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dabfusion_jax.ops.resize import gaussian_kernel


def identity_grid(height: int, width: int, like: Tensor) -> Tensor:
  """Returns the grid [h w 2] at which every pixel samples itself, (x, y) last."""
  line = lambda n: torch.linspace(-1, 1, n, device=like.device)
  y, x = torch.meshgrid(line(height), line(width), indexing="ij")
  return torch.stack([x, y], dim=-1)


def warp(image: Tensor, grid: Tensor) -> Tensor:
  """Samples [b c h w] bilinearly at a grid [b gh gw 2]; zero outside."""
  return F.grid_sample(image, grid, padding_mode="zeros", align_corners=True)


def inverse_2x2(matrix: Tensor, min_determinant: float = 1e-4) -> Tensor:
  """Inverts 2 x 2 matrices, with determinants kept away from zero."""
  (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
  determinant = a * d - b * c
  floor = torch.where(determinant < 0, -min_determinant, min_determinant)
  determinant = torch.where(determinant.abs() < min_determinant, floor, determinant)
  adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
  return adjugate / determinant[..., None, None]


def antialias_down(image: Tensor, scale: float) -> Tensor:
  """Reduces [b c h w] by a Gaussian and every (1/scale)-th pixel."""
  if scale == 1:
    return image
  line = torch.tensor(gaussian_kernel(scale), dtype=image.dtype, device=image.device)
  channels = image.shape[1]
  kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
  stride = round(1 / scale)
  return F.conv2d(image, kernel, stride=stride, padding=len(line) // 2, groups=channels)

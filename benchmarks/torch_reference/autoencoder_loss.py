"""The loss of stage 1 in plain PyTorch, as in `stages/autoencoder.py`."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.torch_reference.flow_autoencoder import FlowAutoencoder
from benchmarks.torch_reference.grids import (
  antialias_down,
  identity_grid,
  inverse_2x2,
  warp,
)
from dabfusion_jax.ops.image_features import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  VGG_FIRST_TAPS,
)
from dabfusion_jax.settings.autoencoder import AutoencoderSettings

Trunk = Mapping[str, tuple[Tensor, Tensor]]  # layer -> kernel [o i k k], bias


def stage1_loss(
  network: FlowAutoencoder,
  trunk: Trunk,
  settings: AutoencoderSettings,
  batch: Mapping[str, Tensor],
  theta: Tensor,
  coefficients: Tensor,
) -> Tensor:
  """Returns FOMM's loss: perceptual, equivariance, and the pixels' if it has a weight.

  Args:
    network: in training mode.
    trunk: of the VGG that the settings name; empty if that is "none".
    settings: of stage 1.
    batch: `ref_image` and `driving_frame`, [b h w 3] in [0, 1].
    theta, coefficients: [b 2 3] and [b p], of `ops.grid.sample_transform`.
  """
  weights, driving = settings.loss, batch["driving_frame"]
  grid = identity_grid(*driving.shape[1:3], driving).flatten(0, 1)
  grid = transform_points(grid.expand(len(driving), -1, -1), theta, coefficients)
  grid = 1 - ((grid + 1).remainder(4) - 2).abs()  # reflected at the border
  grid = grid.unflatten(1, driving.shape[1:3])
  moved = warp(driving.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)
  out = network([batch["ref_image"], driving, moved])
  points = out.last.position
  back = transform_points(points, theta, coefficients)
  rows = [
    torch.autograd.grad(back[..., i].sum(), points, create_graph=True)[0]
    for i in range(2)
  ]
  value = (out.driving.position - back).abs().mean()
  product = inverse_2x2(out.driving.jacobian) @ torch.stack(rows, -2)
  product = product @ out.last.jacobian
  slope = (torch.eye(2, device=product.device) - product).abs().mean()
  total = weights.equivariance_weight * (value + slope)
  total = total + weights.pixel_weight * (out.image - driving).abs().mean()
  if trunk:
    images = [x.permute(0, 3, 1, 2) for x in (out.image, driving)]
    for scale in weights.scales:
      ours, theirs = (vgg_features(trunk, antialias_down(x, scale)) for x in images)
      for weight, a, b in zip(weights.perceptual_weights, ours, theirs, strict=True):
        total = total + weight * (a - b.detach()).abs().mean()
  return total


def transform_points(points: Tensor, theta: Tensor, coefficients: Tensor) -> Tensor:
  """Applies affine plus thin-plate transforms to points [b n 2]."""
  side = np.linspace(-1.0, 1.0, round(coefficients.shape[-1] ** 0.5), dtype=np.float32)
  lattice = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
  lattice = torch.from_numpy(lattice).to(points.device)
  affine = points @ theta[:, :, :2].transpose(1, 2) + theta[:, None, :, 2]
  distance = (points[:, :, None] - lattice).abs().sum(-1)
  basis = distance.square() * torch.log(distance + 1e-6)
  return affine + basis @ coefficients[..., None]


def vgg_features(trunk: Trunk, images: Tensor) -> list[Tensor]:
  """Returns the maps after the first ReLU of each block of a VGG."""
  shape = lambda values: torch.tensor(values, device=images.device)[:, None, None]
  x = (images - shape(IMAGENET_MEAN)) / shape(IMAGENET_STD)
  maps, block = [], "1"
  for layer in sorted(trunk):
    if layer[4] != block:
      x, block = F.max_pool2d(x, 2), layer[4]
    x = F.relu(F.conv2d(x, *trunk[layer], padding=1))
    if layer.replace("conv", "relu") in VGG_FIRST_TAPS:
      maps.append(x)
      if len(maps) == len(VGG_FIRST_TAPS):
        break
  return maps

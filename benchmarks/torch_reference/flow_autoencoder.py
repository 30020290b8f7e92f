"""Stage 1 in plain PyTorch: the same network as `models/flow_autoencoder.py`.

For comparison only. Shapes of arguments and results are those of the Flax module, and
images are [b c h w] inside. Submodules have the names of the Flax variables
(`convert.load_variables`). Departures from the paper that add layers or change what
they see are left out, and refused.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_reference.blocks import Conv, Down, Hourglass, Residual, Same, Up
from benchmarks.torch_reference.grids import (
  antialias_down,
  identity_grid,
  inverse_2x2,
  warp,
)
from dabfusion_jax.settings.autoencoder import AutoencoderModel

_DEPARTURES = (
  "oriented_heat",
  "motion_correction",
  "keep_picture",
  "decoder_features",
  "fine_flow",
  "matching_features",
)


class Keypoints(NamedTuple):
  """Keypoints of a frame, with their local affine motion."""

  position: Tensor  # [b k 2]
  jacobian: Tensor  # [b k 2 2]


class Reconstruction(NamedTuple):
  """A driving frame rebuilt from the reference."""

  image: Tensor  # [b h w 3]
  flow: Tensor  # [b s s 2]
  occlusion: Tensor  # [b s s 1]
  z: Tensor  # [b s s c]
  driving: Keypoints
  last: Keypoints  # of the last frame


class KeypointDetector(nn.Module):
  """An hourglass on the reduced frame, with a map and a jacobian per keypoint."""

  def __init__(self, model: AutoencoderModel):
    super().__init__()
    self.scale, self.temperature = model.detector_scale, model.detector_temperature
    most, blocks = model.hourglass_max_features, model.hourglass_blocks
    self.hourglass = Hourglass(3, model.detector_features, most, blocks)
    size, inputs = model.detector_head_size, self.hourglass.outputs
    self.heatmap = Conv(inputs, model.num_keypoints, size)
    self.jacobian = Conv(inputs, 4 * model.num_keypoints, size)

  def forward(self, image: Tensor) -> Keypoints:
    x = self.hourglass(antialias_down(image, self.scale))
    logits = self.heatmap(x) / self.temperature
    heatmap = logits.flatten(2).softmax(-1)  # [b k hw]
    grid = identity_grid(*logits.shape[2:], x).flatten(0, 1)
    maps = self.jacobian(x).flatten(2).unflatten(1, (-1, 4))  # [b k 4 hw]
    jacobian = (heatmap[:, :, None] * maps).sum(-1).unflatten(-1, (2, 2))
    return Keypoints(heatmap @ grid, jacobian)


class DenseMotion(nn.Module):
  """Averages the motions of background and keypoints."""

  def __init__(self, model: AutoencoderModel):
    super().__init__()
    self.scale = 0.5 ** (model.num_down + model.motion_down)
    self.variance = model.heat_variance
    regions = model.num_keypoints + 1
    most, blocks = model.hourglass_max_features, model.hourglass_blocks
    self.hourglass = Hourglass(4 * regions, model.motion_features, most, blocks)
    self.mask = Conv(self.hourglass.outputs, regions, 7)
    self.occlusion = Conv(self.hourglass.outputs, 1, 7)

  def forward(
    self, ref_image: Tensor, reference: Keypoints, driving: Keypoints
  ) -> tuple[Tensor, Tensor]:
    """Returns flow [b h w 2] and occlusion [b 1 h w]."""
    small = antialias_down(ref_image, self.scale)
    height, width = small.shape[2:]
    grid = identity_grid(height, width, small)
    affine = reference.jacobian @ inverse_2x2(driving.jacobian)
    offset = grid - driving.position[:, :, None, None]
    local = torch.einsum("bkij,bkhwj->bkhwi", affine, offset)
    local = local + reference.position[:, :, None, None]
    background = grid.expand(len(local), 1, -1, -1, -1)
    motions = torch.cat([background, local], dim=1)  # [b r h w 2]
    regions = motions.shape[1]
    heat = self._heat(driving, grid) - self._heat(reference, grid)
    heat = F.pad(heat, (0, 0, 0, 0, 1, 0))[:, :, None]  # background: 0
    copies = small.repeat_interleave(regions, dim=0)
    deformed = warp(copies, motions.flatten(0, 1)).unflatten(0, (-1, regions))
    x = self.hourglass(torch.cat([heat, deformed], dim=2).flatten(1, 2))
    mask = self.mask(x).softmax(1)
    flow = grid + torch.einsum("brhw,brhwd->bhwd", mask, motions - grid)
    return flow, self.occlusion(x).sigmoid()

  def _heat(self, keypoints: Keypoints, grid: Tensor) -> Tensor:
    distance = (grid - keypoints.position[:, :, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * self.variance))


class ImageEncoder(nn.Module):
  """Encodes an image to z."""

  def __init__(self, model: AutoencoderModel):
    super().__init__()
    self.num_down = model.num_down
    self.first = Same(3, model.codec_features, 7)
    before = model.codec_features
    for i in range(model.num_down):
      width = min(model.codec_max_features, model.codec_features * 2 ** (i + 1))
      self.add_module(f"down_{i}", Down(before, width))
      before = width

  def forward(self, x: Tensor) -> Tensor:
    x = self.first(x)
    for i in range(self.num_down):
      x = getattr(self, f"down_{i}")(x)
    return x


class ImageDecoder(nn.Module):
  """Decodes a warped z to an image."""

  def __init__(self, model: AutoencoderModel):
    super().__init__()
    self.num_down, self.num_residual = model.num_down, model.num_residual
    before = model.z_channels
    for i in range(model.num_residual):
      self.add_module(f"residual_{i}", Residual(before))
    for i in reversed(range(model.num_down)):
      width = min(model.codec_max_features, model.codec_features * 2**i)
      self.add_module(f"up_{i}", Up(before, width))
      before = width
    self.last = Conv(before, 3, 7)

  def forward(self, x: Tensor) -> Tensor:
    for i in range(self.num_residual):
      x = getattr(self, f"residual_{i}")(x)
    for i in reversed(range(self.num_down)):
      x = getattr(self, f"up_{i}")(x)
    return self.last(x).sigmoid()


class FlowAutoencoder(nn.Module):
  """The network of stage 1.

  Raises:
    ValueError: it has a departure from the paper that is left out here.
  """

  def __init__(self, model: AutoencoderModel):
    super().__init__()
    if departures := [name for name in _DEPARTURES if getattr(model, name)]:
      raise ValueError(f"The reference in PyTorch has no {', '.join(departures)}.")
    self.detector, self.dense_motion = KeypointDetector(model), DenseMotion(model)
    self.encoder, self.decoder = ImageEncoder(model), ImageDecoder(model)

  def decode(self, z: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
    """Returns images [b h w 3] of z [b s s c], flow and occlusion [b s s 1]."""
    z, occlusion = z.permute(0, 3, 1, 2), occlusion.permute(0, 3, 1, 2)
    return self._draw(z, flow, occlusion).permute(0, 2, 3, 1)

  def forward(self, frames: list[Tensor]) -> Reconstruction:
    """Rebuilds the second of two or three frames [b h w 3] from the first."""
    ref_image, *others = (frame.permute(0, 3, 1, 2) for frame in frames)
    found = self.detector(torch.cat([ref_image, *others]))
    split = [x.chunk(len(frames)) for x in found]
    reference, driving, *more = (Keypoints(*x) for x in zip(*split, strict=True))
    flow, occlusion = self.dense_motion(ref_image, reference, driving)
    z = self.encoder(ref_image)
    image = self._draw(z, flow, occlusion)
    last = lambda x: x.permute(0, 2, 3, 1)
    return Reconstruction(
      last(image), flow, last(occlusion), last(z), driving, (more or [driving])[-1]
    )

  def _draw(self, z: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
    size = z.shape[2:]
    if flow.shape[1:3] != size:
      resize = lambda x: F.interpolate(x, size, mode="bilinear", align_corners=True)
      flow = resize(flow.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
      occlusion = resize(occlusion)
    return self.decoder(occlusion * warp(z, flow))

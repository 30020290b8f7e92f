"""Building blocks of stage 1 in plain PyTorch, as in `models/blocks.py`; [b c h w]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
  """2-D convolution of stride 1 that keeps the size."""

  def __init__(self, inputs: int, outputs: int, size: int = 3):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

  def forward(self, x: Tensor) -> Tensor:
    return self.conv(x)


class NormRelu(nn.Module):
  """Batch norm, then ReLU."""

  def __init__(self, channels: int):
    super().__init__()
    self.norm = nn.BatchNorm2d(channels)

  def forward(self, x: Tensor) -> Tensor:
    return F.relu(self.norm(x))


class Same(nn.Module):
  """Convolution, batch norm, ReLU."""

  def __init__(self, inputs: int, outputs: int, size: int = 3):
    super().__init__()
    self.conv, self.norm = Conv(inputs, outputs, size), NormRelu(outputs)

  def forward(self, x: Tensor) -> Tensor:
    return self.norm(self.conv(x))


class Down(nn.Module):
  """Convolution, batch norm, ReLU, average of 2 x 2 pixels."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.same = Same(inputs, outputs)

  def forward(self, x: Tensor) -> Tensor:
    return F.avg_pool2d(self.same(x), 2)


class Up(nn.Module):
  """Every pixel repeated 2 x 2, then convolution, batch norm, ReLU."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.same = Same(inputs, outputs)

  def forward(self, x: Tensor) -> Tensor:
    return self.same(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Residual(nn.Module):
  """Twice batch norm, ReLU, convolution, beside the input."""

  def __init__(self, channels: int):
    super().__init__()
    self.norm_1, self.conv_1 = NormRelu(channels), Conv(channels, channels)
    self.norm_2, self.conv_2 = NormRelu(channels), Conv(channels, channels)

  def forward(self, x: Tensor) -> Tensor:
    return x + self.conv_2(self.norm_2(self.conv_1(self.norm_1(x))))


class Hourglass(nn.Module):
  """`num_blocks` of Down, then as many of Up, joined by skip connections."""

  def __init__(self, inputs: int, base: int, most: int, num_blocks: int):
    super().__init__()
    widths = [inputs] + [min(most, base * 2 ** (i + 1)) for i in range(num_blocks)]
    self.outputs = base + inputs
    self.num_blocks = num_blocks
    for i in range(num_blocks):
      self.add_module(f"down_{i}", Down(widths[i], widths[i + 1]))
    before = widths[-1]
    for i in reversed(range(num_blocks)):
      width = min(most, base * 2**i)
      self.add_module(f"up_{i}", Up(before, width))
      before = width + widths[i]

  def forward(self, x: Tensor) -> Tensor:
    maps = [x]
    for i in range(self.num_blocks):
      maps.append(getattr(self, f"down_{i}")(maps[-1]))
    y = maps.pop()
    for i in reversed(range(self.num_blocks)):
      y = torch.cat([getattr(self, f"up_{i}")(y), maps.pop()], dim=1)
    return y

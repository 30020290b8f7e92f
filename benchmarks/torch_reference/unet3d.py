"""The denoiser in plain PyTorch: the same network and operations as `models/unet3d.py`.

For comparison only. Frames are folded into the batch, [(b t) c h w], so that every
convolution is a 2-D one; shapes of arguments and results are those of the Flax module.
Submodules have the names of the Flax parameters (`convert.load_params`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dabfusion_jax.ops.positions import NUM_BUCKETS, relative_buckets

FLOW_CHANNELS = 3


class Norm(nn.Module):
  """Group norm over the frames of a clip, an optional modulation, then SiLU."""

  def __init__(self, channels: int, num_groups: int):
    super().__init__()
    self.num_groups = num_groups
    self.scale = nn.Parameter(torch.ones(channels))
    self.bias = nn.Parameter(torch.zeros(channels))

  def forward(self, x: Tensor, batch: int, modulation: Tensor | None = None) -> Tensor:
    y = x.reshape(batch, -1, *x.shape[1:]).transpose(1, 2)  # [b c t h w]
    y = F.group_norm(y, self.num_groups, self.scale, self.bias, 1e-5)
    if modulation is not None:
      # [b 1 d] for a clip, [b t d] for its frames.
      scale, shift = modulation.transpose(1, 2)[..., None, None].chunk(2, dim=1)
      y = y * (1 + scale) + shift
    return F.silu(y).transpose(1, 2).reshape(x.shape).to(x.dtype)


class ResidualBlock(nn.Module):
  """Twice convolution, group norm, SiLU, beside a shortcut."""

  def __init__(self, inputs: int, outputs: int, num_groups: int, embedding: int = 0):
    super().__init__()
    self.conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1)
    self.norm_0 = Norm(outputs, num_groups)
    self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1)
    self.norm_1 = Norm(outputs, num_groups)
    if embedding:
      self.modulation = nn.Linear(embedding, 2 * outputs)
    if inputs != outputs:
      self.shortcut = nn.Conv2d(inputs, outputs, 1)

  def forward(self, x: Tensor, batch: int, embedding: Tensor | None = None) -> Tensor:
    modulation = None
    if embedding is not None:
      modulation = self.modulation(F.silu(embedding))
    y = self.norm_0(self.conv_0(x), batch, modulation)
    y = self.norm_1(self.conv_1(y), batch)
    return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Attention(nn.Module):
  """Layer norm, then attention within sequences [m s c]; returns the update."""

  def __init__(self, channels: int, num_heads: int, head_dim: int, bias: bool = False):
    super().__init__()
    self.num_heads, self.head_dim = num_heads, head_dim
    inner = num_heads * head_dim
    self.norm = nn.Parameter(torch.ones(channels))
    self.qkv = nn.Linear(channels, 3 * inner, bias=False)
    self.out = nn.Linear(inner, channels, bias=bias)

  def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values, [m n s d]."""
    y = self.qkv(F.layer_norm(x, x.shape[-1:], self.norm, eps=1e-5))
    y = y.unflatten(-1, (3, self.num_heads, self.head_dim))
    return y.permute(2, 0, 3, 1, 4).unbind(0)

  def merge(self, y: Tensor) -> Tensor:
    """Projects [m n s d] back to [m s c]."""
    return self.out(y.transpose(1, 2).flatten(2))


class SpatialAttention(Attention):
  """Softmax attention over the pixels of a frame."""

  def forward(self, x: Tensor) -> Tensor:
    y = x.permute(0, 2, 3, 1).flatten(1, 2)
    y = self.merge(F.scaled_dot_product_attention(*self.project(y)))
    return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class SpatialLinearAttention(Attention):
  """Linear attention over the pixels of a frame."""

  def forward(self, x: Tensor) -> Tensor:
    q, k, v = self.project(x.permute(0, 2, 3, 1).flatten(1, 2))
    q = q.softmax(-1, dtype=torch.float32) * self.head_dim**-0.5
    k = k.softmax(-2, dtype=torch.float32)
    context = k.to(v.dtype).transpose(-1, -2) @ v
    y = self.merge(q.to(v.dtype) @ context)
    return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class TemporalAttention(Attention):
  """Softmax attention over frames, rotary, with the shared relative bias."""

  def forward(self, x: Tensor, batch: int, bias: Tensor) -> Tensor:
    frames = len(x) // batch
    y = x.permute(0, 2, 3, 1).reshape(batch, frames, -1, x.shape[1])
    q, k, v = self.project(y.transpose(1, 2).flatten(0, 1))
    bias = bias[None].to(q.dtype)
    y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, attn_mask=bias)
    y = self.merge(y).unflatten(0, (batch, -1)).transpose(1, 2)
    return y.reshape(-1, *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


def rotate(x: Tensor) -> Tensor:
  """Applies rotary position embedding to interleaved pairs of features, [m n s d]."""
  size = x.shape[-1]
  pair = torch.arange(0, size, 2, device=x.device, dtype=torch.float32)
  position = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
  angle = position[:, None] * 10000.0 ** (-pair / size)
  angle = angle.repeat_interleave(2, dim=-1)
  rotated = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
  return x * angle.cos().to(x.dtype) + rotated * angle.sin().to(x.dtype)


class Level(nn.Module):
  """Two residual blocks, linear attention over space, attention over time."""

  def __init__(self, inputs: int, outputs: int, groups: int, embedding: int, *heads):
    super().__init__()
    self.block_0 = ResidualBlock(inputs, outputs, groups, embedding)
    self.block_1 = ResidualBlock(outputs, outputs, groups, embedding)
    self.spatial = SpatialLinearAttention(outputs, *heads, bias=True)
    self.temporal = TemporalAttention(outputs, *heads)

  def forward(self, x: Tensor, batch: int, embedding: Tensor, bias: Tensor) -> Tensor:
    x = self.block_1(self.block_0(x, batch, embedding), batch, embedding)
    x = x + self.spatial(x)
    return x + self.temporal(x, batch, bias)


class Head(nn.Module):
  """A residual block without modulation, then a 1 x 1 convolution in float32."""

  def __init__(self, inputs: int, hidden: int, outputs: int, num_groups: int):
    super().__init__()
    self.block = ResidualBlock(inputs, hidden, num_groups)
    self.conv = nn.Conv2d(hidden, outputs, 1)

  def forward(self, x: Tensor, batch: int) -> Tensor:
    x = self.block(x, batch)
    with torch.autocast(x.device.type, enabled=False):
      return self.conv(x.float())


class UNet3D(nn.Module):
  """Predicts the noise in a clip's latent flow, beat mode "none" or "global_concat"."""

  def __init__(
    self,
    condition_size: int,
    num_frames: int,
    base_channels: int = 64,
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 8),
    z_channels: int = 256,
    num_heads: int = 8,
    head_dim: int = 32,
    num_groups: int = 8,
  ):
    super().__init__()
    base, heads = base_channels, (num_heads, head_dim)
    self.base_channels = base
    widths = [base * m for m in channel_multipliers]
    embedding = 4 * base + condition_size
    self.dense_0 = nn.Linear(base, 4 * base)
    self.dense_1 = nn.Linear(4 * base, 4 * base)
    self.table = nn.Parameter(torch.randn(NUM_BUCKETS, num_heads))
    buckets = torch.from_numpy(relative_buckets(num_frames))
    self.register_buffer("buckets", buckets, persistent=False)
    self.input_conv = nn.Conv2d(FLOW_CHANNELS + z_channels, base, 7, padding=3)
    self.input_temporal = TemporalAttention(base, *heads)
    self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
    for before, width in zip([base, *widths], widths, strict=False):
      self.down.append(Level(before, width, num_groups, embedding, *heads))
    for width in widths[:-1]:
      self.downsample.append(nn.Conv2d(width, width, 4, stride=2, padding=1))
    last = widths[-1]
    self.mid_block_0 = ResidualBlock(last, last, num_groups, embedding)
    self.mid_spatial = SpatialAttention(last, *heads)
    self.mid_temporal = TemporalAttention(last, *heads)
    self.mid_block_1 = ResidualBlock(last, last, num_groups, embedding)
    self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
    before = last
    for skip, width in zip(widths[::-1], [*widths[-2::-1], base], strict=True):
      self.up.append(Level(before + skip, width, num_groups, embedding, *heads))
      before = width
    for width in widths[-2::-1]:
      upsample = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
      self.upsample.append(upsample)
    self.flow_head = Head(2 * base, base, 2, num_groups)
    self.occlusion_head = Head(2 * base, base, 1, num_groups)

  def forward(self, x_t: Tensor, timestep: Tensor, z: Tensor, condition: Tensor):
    """Returns the prediction [b t h w 3] in float32.

    Args:
      x_t: noisy latent flow [b t h w 3].
      timestep: [b].
      z: latents of the pictures [b h w c].
      condition: music and beats [b d].
    """
    batch, frames = x_t.shape[:2]
    embedding = self.dense_0(sinusoid(timestep, self.base_channels))
    embedding = self.dense_1(F.gelu(embedding))
    embedding = torch.cat([embedding, condition], dim=-1)[:, None]
    bias = self.table[self.buckets].permute(2, 0, 1)

    # The part of z is the same in every frame; convolution is linear.
    weight = self.input_conv.weight
    x = x_t.flatten(0, 1).permute(0, 3, 1, 2)
    x = F.conv2d(x, weight[:, :FLOW_CHANNELS], padding=3)
    z = F.conv2d(
      z.permute(0, 3, 1, 2), weight[:, FLOW_CHANNELS:], self.input_conv.bias, padding=3
    )
    x = x + z.repeat_interleave(frames, dim=0)
    long_skip = x
    x = x + self.input_temporal(x, batch, bias)

    skips = []
    for i, level in enumerate(self.down):
      x = level(x, batch, embedding, bias)
      skips.append(x)
      if i < len(self.downsample):
        x = self.downsample[i](x)
    x = self.mid_block_0(x, batch, embedding)
    x = x + self.mid_spatial(x)
    x = x + self.mid_temporal(x, batch, bias)
    x = self.mid_block_1(x, batch, embedding)
    for i, level in enumerate(self.up):
      x = level(torch.cat([x, skips.pop()], dim=1), batch, embedding, bias)
      if i < len(self.upsample):
        x = self.upsample[i](x)
    x = torch.cat([x, long_skip], dim=1)
    y = torch.cat([self.flow_head(x, batch), self.occlusion_head(x, batch)], dim=1)
    return y.permute(0, 2, 3, 1).unflatten(0, (batch, frames))


def sinusoid(timestep: Tensor, size: int) -> Tensor:
  """Returns sines, then cosines, of timestep * 10000^(-i / (size/2 - 1))."""
  half = size // 2
  exponent = torch.arange(half, device=timestep.device) * -math.log(10000) / (half - 1)
  angle = timestep[:, None] * exponent.exp()[None]
  return torch.cat([angle.sin(), angle.cos()], dim=-1)

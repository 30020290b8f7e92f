"""A training step of stage 2 in PyTorch: loss, Adam and moving average of ours."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.torch_reference.unet3d import UNet3D
from dabfusion_jax.diffusion.schedule import cosine_schedule
from dabfusion_jax.settings.diffusion import DiffusionSettings

Batch = dict[str, Tensor]
MUSIC_FEATURES, Z_CHANNELS, SIZE = 512, 256, 32  # of CLAP; of stage 1 at 128 px


class Training:
  """A network, its optimizer and moving average, and a step that updates them.

  Activations are bfloat16 by autocast on accelerators.
  """

  def __init__(
    self,
    settings: DiffusionSettings,
    device: torch.device,
    channels_last: bool,
    compiled: bool,
  ):
    frames, unet = settings.data.num_frames, settings.unet
    self._settings, self._device = settings, device
    self._network = UNet3D(
      MUSIC_FEATURES + frames,
      frames,
      base_channels=unet.base_channels,
      channel_multipliers=tuple(unet.channel_multipliers),
      z_channels=Z_CHANNELS,
      num_heads=unet.num_heads,
      head_dim=unet.head_dim,
    ).to(device)
    if channels_last:
      self._network.to(memory_format=torch.channels_last)
    optimizer = settings.optimizer
    self._parameters = list(self._network.parameters())
    self._optimizer = torch.optim.Adam(
      self._parameters,
      lr=optimizer.learning_rate,
      betas=(optimizer.b1, optimizer.b2),
      fused=True,
    )
    self._average = [copy.deepcopy(p.detach()) for p in self._parameters]
    alpha_bar = cosine_schedule().alpha_bar
    self._alpha_bar = torch.tensor(alpha_bar, dtype=torch.float32, device=device)
    # One graph per batch size, of fixed shapes.
    self._loss_fn = torch.compile(self._loss, dynamic=False) if compiled else self._loss

  def batch(self, batch_size: int) -> Batch:
    """Returns a random batch, which a step takes."""
    frames = self._settings.data.num_frames
    rand = lambda *shape: torch.rand(*shape, device=self._device)
    return {
      "flow": rand(batch_size, frames, SIZE, SIZE, 2),
      "occlusion": rand(batch_size, frames, SIZE, SIZE, 1),
      "z": rand(batch_size, SIZE, SIZE, Z_CHANNELS),
      "music": rand(batch_size, MUSIC_FEATURES),
      "beats": rand(batch_size, frames),
    }

  def step(self, batch: Batch) -> Tensor:
    """Updates everything once; returns the loss."""
    loss = self._loss_fn(batch)
    loss.backward()
    self._optimizer.step()
    self._optimizer.zero_grad(set_to_none=True)
    decay = self._settings.ema_decay
    torch._foreach_lerp_(self._average, [p.data for p in self._parameters], 1 - decay)
    return loss.detach()

  def _loss(self, batch: Batch) -> Tensor:
    settings = self._settings
    x0 = torch.cat([batch["flow"], 2 * batch["occlusion"] - 1], dim=-1)
    t = torch.randint(0, len(self._alpha_bar), x0.shape[:1], device=x0.device)
    alpha_bar = self._alpha_bar[t].reshape(-1, 1, 1, 1, 1)
    eps = torch.randn_like(x0)
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    condition = torch.cat(
      [batch["music"] * settings.condition.music_scale, batch["beats"]], dim=-1
    )
    drop = settings.condition.drop_probability
    keep = torch.rand(len(x0), 1, device=x0.device) >= drop
    condition = torch.where(keep, condition, 0.0)
    enabled = x0.device.type != "cpu"
    with torch.autocast(x0.device.type, dtype=torch.bfloat16, enabled=enabled):
      predicted = self._network(x_t, t, batch["z"], condition)
    return F.mse_loss(predicted.float(), eps)

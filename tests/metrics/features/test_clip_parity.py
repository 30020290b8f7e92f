"""The ports of CLIP and Wav2CLIP equal torch's networks, on small random weights.

This proves the mathematics and the names of the weight files, not the quality of any
weights. Needs the extra `clap` (torch and transformers).
"""

import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.metrics.features import clip_image, wav2clip
from dabfusion_jax.pretrained import converters

torch = pytest.importorskip("torch")


def _nest(flat):
  tree = {}
  for name, value in flat.items():
    *parents, leaf = name.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree


def _state(network):
  return {name: value.numpy() for name, value in network.state_dict().items()}


def test_image_tower_equals_transformers():
  transformers = pytest.importorskip("transformers")
  config = transformers.CLIPVisionConfig(
    hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    image_size=64, patch_size=16, projection_dim=24,
  )  # fmt: skip
  torch.manual_seed(0)
  network = transformers.CLIPVisionModelWithProjection(config).eval()
  with torch.no_grad():
    for parameter in network.parameters():
      parameter.normal_(0, 0.2)  # also of the biases, which begin at 0
    images = torch.randn(3, 3, 64, 64)
    wanted = network(images).image_embeds.numpy()
  variables = _nest(converters.convert_clip_image(_state(network)))
  port = clip_image.ClipImage(32, 2, 4, 16, 24)
  got = port.apply(variables, jnp.asarray(images.numpy().transpose(0, 2, 3, 1)))
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


class _Block(torch.nn.Module):
  def __init__(self, inputs, outputs, stride):
    super().__init__()
    conv = lambda a, size, stride: torch.nn.Conv2d(
      a, outputs, size, stride, size // 2, bias=False
    )
    self.conv1, self.bn1 = conv(inputs, 3, stride), torch.nn.BatchNorm2d(outputs)
    self.conv2, self.bn2 = conv(outputs, 3, 1), torch.nn.BatchNorm2d(outputs)
    self.downsample = None
    if stride != 1 or inputs != outputs:
      parts = conv(inputs, 1, stride), torch.nn.BatchNorm2d(outputs)
      self.downsample = torch.nn.Sequential(*parts)

  def forward(self, x):
    y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
    return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Sound(torch.nn.Module):
  """A ResNet of four stages of two blocks as Wav2CLIP names it, and its MLP."""

  def __init__(self, stages, size):
    super().__init__()
    encoder = torch.nn.Module()
    encoder.conv1 = torch.nn.Conv2d(1, stages[0], 7, 2, 3, bias=False)
    encoder.bn1 = torch.nn.BatchNorm2d(stages[0])
    inputs = stages[0]
    for i, outputs in enumerate(stages):
      blocks = _Block(inputs, outputs, 1 if i == 0 else 2), _Block(outputs, outputs, 1)
      setattr(encoder, f"layer{i + 1}", torch.nn.Sequential(*blocks))
      inputs = outputs
    encoder.fc = torch.nn.Linear(inputs, 10)  # in the file, never used
    self.audio_encoder = encoder
    self.audio_transform = torch.nn.Module()
    self.audio_transform.sequential = torch.nn.Sequential(
      torch.nn.Linear(inputs, size),
      torch.nn.ReLU(),
      torch.nn.Dropout(0.1),
      torch.nn.Linear(size, size),
    )

  def forward(self, audio):
    spectrum = torch.stft(
      audio, 512, 353, window=torch.hann_window(512), return_complex=True
    )
    x = torch.log(spectrum.abs() ** 2 + 1e-7)[:, None]
    x = (x - x.mean()) / (x.std() + 1e-9)
    net = self.audio_encoder
    x = torch.relu(net.bn1(net.conv1(x)))
    x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
    for i in range(4):
      x = getattr(net, f"layer{i + 1}")(x)
    return self.audio_transform.sequential(x.mean((2, 3)))


def test_sound_tower_equals_torch():
  torch.manual_seed(0)
  network = _Sound((4, 6, 8, 12), 12).eval()
  with torch.no_grad():
    for name, value in network.state_dict().items():
      if name.endswith(("running_mean", "bias")):
        value.normal_(0, 0.3)
      elif name.endswith("running_var"):
        value.uniform_(0.5, 2)
    audio = 0.3 * torch.randn(8000)
    wanted = network(audio[None])[0].numpy()
  variables = _nest(converters.convert_wav2clip(_state(network)))
  spectrogram = wav2clip.log_spectrogram(audio.numpy(), 16_000)[None, ..., None]
  got = wav2clip.Wav2Clip((4, 6, 8, 12), 12).apply(variables, jnp.asarray(spectrogram))[
    0
  ]
  np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)

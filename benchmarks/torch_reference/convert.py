"""Parameters of the Flax U-Net as those of its reference in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flax import traverse_util

from benchmarks.torch_reference.unet3d import UNet3D

_LISTS = ("down", "downsample", "up", "upsample")
_SAME = {
  "time/dense_0": "dense_0",
  "time/dense_1": "dense_1",
  "rel_bias/table": "table",
}


def load_params(network: UNet3D, params: Mapping[str, Any]) -> None:
  """Sets all parameters of a network from `variables["params"]` of `models.UNet3D`.

  Raises:
    RuntimeError: names or shapes of the two do not agree.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  state = dict(_convert(name, np.asarray(value)) for name, value in flat.items())
  network.load_state_dict({n: torch.tensor(v) for n, v in state.items()})


def _convert(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
  for old, new in _SAME.items():
    name = name.replace(old, new)
  *path, leaf = name.split("/")
  for word in _LISTS:
    if path and path[0].startswith(f"{word}_"):
      path[:1] = [word, path[0].removeprefix(f"{word}_")]
  if value.ndim == 5:  # (1, k, k, in, out), transposed: (1, 4, 4, out, in)
    return ".".join([*path, "weight"]), value[0].transpose(3, 2, 0, 1).copy()
  if leaf in ("kernel", "qkv", "out"):
    path = path if leaf == "kernel" else [*path, leaf]
    return ".".join([*path, "weight"]), value.T.copy()
  if leaf == "bias" and path[-1] == "spatial":
    path = [*path, "out"]  # of the projection back
  return ".".join([*path, leaf]), value

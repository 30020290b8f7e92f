"""Variables of the Flax networks as those of their references in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flax import traverse_util

from benchmarks.torch_reference.flow_autoencoder import FlowAutoencoder
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


def load_variables(network: FlowAutoencoder, variables: Mapping[str, Any]) -> None:
  """Sets all of a stage 1 from the variables of `models.FlowAutoencoder`.

  Raises:
    RuntimeError: names or shapes of the two do not agree.
  """
  leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
  leaves |= {"mean": "running_mean", "var": "running_var"}
  state = {}
  for collection in ("params", "batch_stats"):
    for path, value in traverse_util.flatten_dict(variables[collection]).items():
      value = np.asarray(value)
      if value.ndim == 4:  # HWIO
        value = value.transpose(3, 2, 0, 1)
      state[".".join([*path[:-1], leaves[path[-1]]])] = torch.tensor(value.copy())
  counts = {n: b for n, b in network.named_buffers() if n.endswith("batches_tracked")}
  network.load_state_dict(state | counts)


def load_trunk(
  trunk: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
  """Returns the kernels [o i k k] and biases of a perceptual network by layer."""
  return {
    name: (
      torch.tensor(np.asarray(layer["kernel"]).transpose(3, 2, 0, 1).copy()),
      torch.tensor(np.asarray(layer["bias"])),
    )
    for name, layer in trunk.items()
  }


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

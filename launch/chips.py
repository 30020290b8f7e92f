"""Meshes of absent chips, to compile for."""

import os

import jax
from jax.experimental import topologies

from dabfusion_jax.ops.platform import compile_for
from dabfusion_jax.parallel import sharding
from dabfusion_jax.parallel.hardware import CHIPS, Chip
from data_pipeline.errors import UserError


class TopologyError(UserError):
  """A topology without a compiler here, or of an impossible shape."""


# Two cores of a v4 chip serve as one device, as on the machine itself.
_ARGUMENTS = {"v4": {"chip_config_name": "megacore", "wrap": (True, True, True)}}
_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",  # there is no TPU machine to ask
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several compilations side by side
  # These silence warnings.
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
  "TPU_ACCELERATOR_TYPE": "v5litepod-16",
}


def find_chip(topology: str) -> Chip:
  """Returns the published rates of the chips in a topology such as "v5e:4x4".

  Raises:
    TopologyError: unknown generation.
  """
  generation, _, shape = topology.partition(":")
  if generation not in CHIPS or not shape:
    raise TopologyError(
      f"Unknown topology {topology!r}; known are {', '.join(CHIPS)} with a shape,"
      " e.g. v5e:4x4 or v4:2x2x4."
    )
  return CHIPS[generation]


def make_topology_mesh(
  topology: str, num_slices: int, axes: tuple[tuple[str, int], ...]
) -> jax.sharding.Mesh:
  """Returns a mesh of chips that exist only for the compiler.

  Args:
    topology: e.g. "v5e:16x16"; of each slice.
    num_slices: slices joined by the data centre's network.
    axes: as for `sharding.make_mesh`.

  Raises:
    TopologyError: libtpu is not installed, or it does not know the shape.
    ValueError: the axes do not fit the number of chips.
  """
  find_chip(topology)
  compile_for("tpu")
  os.environ.update(_ENVIRONMENT)
  jax.config.update("jax_platforms", "cpu")
  arguments = dict(_ARGUMENTS.get(topology.partition(":")[0], {}))
  if num_slices > 1:
    arguments["num_slices"] = num_slices
  try:
    described = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, **arguments
    )
  except Exception as error:  # whatever the plugin raises
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise TopologyError(
      f"No compiler for {topology}: {line[:200]}. It needs libtpu (pip install"
      ' "dabfusion_jax[tpu]") and a shape that exists.'
    ) from error
  return sharding.mesh_of(described.devices, axes)

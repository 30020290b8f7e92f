r"""Which layers hold a network back, and how near each is to what the device can do.

  python -m benchmarks.roofline --output=DIR [--network=unet --precision=bf16]

Every layer of the U-Net of stage 2 or of stage 1 is timed by itself at the size that
it has in the network, forward and with its gradient, warm, on one device. The bound of
a layer is the larger of its operations at the rate of a product of two large matrices,
and of the bytes of its arguments and results at the rate of a copy of a large array.
Both rates are measured before and after the layers, and the faster ones count, so that
other work on the machine does not lower a bound. Operations are those of the plain
forms, by XLA's count; where a platform has a form that needs fewer, a share can
exceed 1. What a backward pass must keep is not counted, so its bound is below what can
be reached. A layer that XLA would join to its neighbours in the network takes longer by
itself, so the sum may exceed the time of the whole, which stands below it.
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.accelerator_tasks import (
  GUIDANCE,
  PRECISIONS,
  first_device_mesh,
  read_settings,
)
from benchmarks.network_layers import Layer, functions_of, layers_of
from benchmarks.program_times import fill
from configs.common import VARIANTS
from dabfusion_jax.config import make_autoencoder
from dabfusion_jax.evaluation.reporting import markdown
from dabfusion_jax.models import unet3d
from dabfusion_jax.parallel import hardware
from data_pipeline import cli, files

PyTree = Any

_SIDES = (2048, 4096)  # of the matrices that are multiplied; the faster pair counts
_BYTES = 2**28  # of the array that is copied
_MAX_SECONDS = 1.0  # of the timed calls of one layer
_MUSIC_FEATURES = 512
_HEAD = ["layer", "in the network", "ms", "GFLOP", "MB", "bound ms", "share", "all ms"]


@dataclasses.dataclass(frozen=True)
class Cost:
  """What one call takes.

  Attributes:
    seconds: median.
    flops: of the plain form.
    bytes: of arguments and results.
  """

  seconds: float
  flops: float
  bytes: float

  def bound(self, rates: "Rates") -> float:
    """Returns the least seconds at these rates."""
    return max(self.flops / rates.flops, self.bytes / rates.bytes)


@dataclasses.dataclass(frozen=True)
class Rates:
  """What the device does per second."""

  flops: float
  bytes: float

  def or_faster(self, other: "Rates") -> "Rates":
    """Returns the larger of each rate."""
    return Rates(max(self.flops, other.flops), max(self.bytes, other.bytes))


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
  """Makes all operations take their plain forms, and forgets what is traced already."""
  jax.clear_caches()
  with mock.patch.dict(os.environ, DABFUSION_FORMS="plain"):
    yield
  jax.clear_caches()


def count_flops(function: Callable, arguments: tuple) -> float:
  """Returns the operations of a function of these shapes; use it in `plain_forms`.

  A form that takes its input in parts has a loop, of which XLA counts one turn.
  """
  return hardware.program_flops(jax.jit(function).lower(*arguments))


def measure(
  function: Callable, arguments: tuple, flops: float, mesh: jax.sharding.Mesh
) -> Cost:
  """Times a function on arrays of these shapes."""
  replicated = jax.NamedSharding(mesh, jax.P())
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)
  arguments = jax.tree.map(place, arguments)
  call = jax.jit(function).lower(*arguments).compile()
  arrays = fill(arguments)
  results = jax.block_until_ready(call(*arrays))
  times: list[float] = []
  while len(times) < 3 or sum(times) < _MAX_SECONDS:
    started = time.perf_counter()
    jax.block_until_ready(call(*arrays))
    times.append(time.perf_counter() - started)
  size = sum(x.nbytes for x in jax.tree.leaves((arrays, results)))
  return Cost(statistics.median(times), flops, size)


def measure_rates(dtype: str, mesh: jax.sharding.Mesh) -> Rates:
  """Measures products of two large matrices and a copy of a large array."""
  products = []
  for size in _SIDES:
    side = jax.ShapeDtypeStruct((size, size), dtype)
    products.append(measure(jnp.matmul, (side, side), 2.0 * size**3, mesh))
  large = jax.ShapeDtypeStruct((_BYTES // 4,), jnp.float32)
  copy = measure(lambda x: x + 1, (large,), 0.0, mesh)
  flops = max(product.flops / product.seconds for product in products)
  return Rates(flops, copy.bytes / copy.seconds)


def make_network(
  network: str, variant: str, precision: str, batch_size: int
) -> tuple[nn.Module, tuple, str]:
  """Returns a network, the arguments of a call as shapes, and its dtype."""
  settings = read_settings(variant, precision, GUIDANCE)
  stage1, stage2 = settings["autoencoder"], settings["diffusion"]
  size, frames = stage1.data.frame_size, stage2.data.num_frames
  array = lambda *shape: jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
  if network == "stage1":
    image = array(size, size, 3)
    return make_autoencoder(stage1.model), (image, image, True), stage1.model.dtype
  cells, channels = stage1.model.flow_size(size), stage1.model.z_channels
  model = unet3d.UNet3D(
    base_channels=stage2.unet.base_channels,
    channel_multipliers=tuple(stage2.unet.channel_multipliers),
    z_channels=channels,
    num_heads=stage2.unet.num_heads,
    head_dim=stage2.unet.head_dim,
    dtype=jnp.dtype(stage2.unet.dtype),
  )
  timestep = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
  condition = array(_MUSIC_FEATURES + frames)
  inputs = array(frames, cells, cells, 3), timestep, array(cells, cells, channels)
  return model, (*inputs, condition), stage2.unet.dtype


def run(args: argparse.Namespace) -> None:
  """Measures, prints the tables and writes them."""
  hardware.use_cpu_cores()
  hardware.check_backend()
  files.check_writable(args.output, is_folder=True)
  mesh = first_device_mesh()
  model, arguments, dtype = make_network(
    args.network, args.variant, args.precision, args.batch_size
  )
  rates = measure_rates(dtype, mesh)
  layers = layers_of(model, *arguments)
  whole = Layer(model, arguments)
  with plain_forms():
    flops = {
      (layer, kind): count_flops(function, values)
      for layer in (*layers, whole)
      for kind, function, values in functions_of(layer)
    }
  costs: dict[str, list[tuple[Layer, int, Cost]]] = {}
  for layer, count in layers.items():
    for kind, function, values in functions_of(layer):
      cost = measure(function, values, flops[layer, kind], mesh)
      costs.setdefault(kind, []).append((layer, count, cost))
  rates = rates.or_faster(measure_rates(dtype, mesh))
  print(
    f"{mesh.devices.flat[0].device_kind}, {dtype}, batch {args.batch_size}: products"
    f" {rates.flops / 1e9:.0f} GFLOP/s, copies {rates.bytes / 1e9:.1f} GB/s\n"
  )
  rows = {
    kind: [
      dataclasses.asdict(cost)
      | {"layer": str(layer), "count": count, "bound": cost.bound(rates)}
      for layer, count, cost in of_kind
    ]
    for kind, of_kind in costs.items()
  }
  for kind, function, values in functions_of(whole):
    print(f"{kind}\n\n" + "\n".join(table(rows[kind])))
    cost = measure(function, values, flops[whole, kind], mesh)
    print(f"\nthe whole: {1e3 * cost.seconds:.3g} ms, {cost.flops / 1e9:.3g} GFLOP\n")
    rows[kind].append(dataclasses.asdict(cost) | {"layer": "the whole", "count": 1})
  content = {"rates": dataclasses.asdict(rates), "rows": rows, "jax": jax.__version__}
  files.write_json(args.output / f"roofline_{args.network}.json", content)


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
  """Yields the lines of a table in markdown, the costliest layers first, and sums."""
  all_of = lambda key, row: row[key] * row["count"]
  lines = []
  for row in sorted(rows, key=functools.partial(all_of, "seconds"), reverse=True):
    numbers = row["seconds"] * 1e3, row["flops"] / 1e9, row["bytes"] / 1e6
    bound = 1e3 * row["bound"]
    lines.append(
      [row["layer"], str(row["count"]), *(f"{x:.3g}" for x in (*numbers, bound))]
    )
    lines[-1] += [f"{row['bound'] / row['seconds']:.0%}"]
    lines[-1] += [f"{1e3 * all_of('seconds', row):.3g}"]
  seconds, bound = (
    sum(all_of(key, row) for row in rows) for key in ("seconds", "bound")
  )
  flops = sum(all_of("flops", row) for row in rows)
  lines.append(["sum", "", "", f"{flops / 1e9:.3g}", "", f"{1e3 * bound:.3g}"])
  lines[-1] += [f"{bound / seconds:.0%}", f"{1e3 * seconds:.3g}"]
  yield markdown.table(_HEAD, lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.roofline", __doc__)
  add = parser.add_argument
  add("--output", type=cli.local_path, required=True, help="folder of the JSON")
  add("--network", choices=("unet", "stage1"), default="unet")
  add("--variant", choices=VARIANTS, default="paper", help="of the configs")
  add("--precision", choices=PRECISIONS, default="float32")
  add("--batch_size", type=cli.positive_int, default=1)
  with cli.one_line_errors("roofline"):
    args = parser.parse_args(argv)
    with jax.default_matmul_precision(PRECISIONS[args.precision][1]):
      run(args)


if __name__ == "__main__":
  main()

"""One program on several devices, each with its own examples of a batch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dabfusion_jax.parallel import compiled


class RowParallel:
  """Splits the examples of a batch over devices that do not exchange anything.

  Every device runs the same program, so the result is bitwise the same for any number
  of devices. A batch must divide by that number.
  """

  def __init__(self, devices: Sequence[jax.Device]) -> None:
    self.num_devices = len(devices)
    self._options = functools.partial(compiled.options_for_inference, devices[0])
    self._mesh = jax.sharding.Mesh(np.asarray(devices), ("row",))

  def compile(
    self, function: Callable, num_shared: int = 0, *, samples: bool = False
  ) -> Callable:
    """Returns `function` jitted; its first `num_shared` arguments go whole to all.

    It cannot be called inside another jitted function. `samples` says whether it is a
    sampling step (`options_for_inference`).
    """

    @functools.partial(jax.jit, compiler_options=self._options(samples=samples))
    def run(*arguments):
      rows = len(arguments) - num_shared
      specs = (jax.P(),) * num_shared + (jax.P("row"),) * rows
      split = jax.shard_map(
        function,
        mesh=self._mesh,
        in_specs=specs,
        out_specs=jax.P("row"),
        check_vma=False,
      )
      return split(*arguments)

    return run

  def split(self, tree: Any) -> Any:
    """Shards inputs like outputs of a compiled function, so that it compiles once."""
    return jax.device_put(tree, jax.NamedSharding(self._mesh, jax.P("row")))

  def like_output(self, shapes: Any) -> Any:
    """Returns shapes with the sharding that outputs of a compiled function have."""
    rows = jax.NamedSharding(self._mesh, jax.P("row"))
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), shapes
    )

  def share(self, tree: Any) -> Any:
    """Copies arrays to every device, once instead of with every call."""
    return jax.device_put(tree, jax.NamedSharding(self._mesh, jax.P()))

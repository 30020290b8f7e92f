"""The layers of a network, each by itself at the size that it has there."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax

from dabfusion_jax.models import attention, blocks, frame_blocks, unet3d

PyTree = Any

LAYERS = (
  attention.SpatialAttention,
  attention.SpatialLinearAttention,
  attention.TemporalAttention,
  frame_blocks.FrameConv,
  frame_blocks.FrameConvTranspose,
  frame_blocks.ResidualBlock,
  unet3d.Head,
  unet3d.InputConv,
  blocks.Conv,
  blocks.Down,
  blocks.Residual,
  blocks.Same,
  blocks.Up,
)


@dataclasses.dataclass(frozen=True)
class Layer:
  """One kind of layer, at one size.

  Attributes:
    module: without parent and name.
    arguments: of a call: shapes and dtypes of arrays, and all else as it is.
  """

  module: nn.Module
  arguments: tuple

  def __str__(self) -> str:
    first = jax.tree.leaves(self.arguments)[0]
    size = " x ".join(map(str, first.shape))
    features = getattr(self.module, "features", None)
    return f"{type(self.module).__name__}, {size}{f' to {features}' * bool(features)}"


def layers_of(model: nn.Module, *arguments: PyTree) -> dict[Layer, int]:
  """Returns the layers of a network, the outermost of `LAYERS`, and how many of each.

  Args:
    model: the network.
    arguments: of a call; shapes suffice.
  """
  found: dict[Layer, int] = {}
  inside = False

  def intercept(call, values, options, context):
    nonlocal inside
    module = context.module
    if inside or context.method_name != "__call__" or not isinstance(module, LAYERS):
      return call(*values, **options)
    names = [f.name for f in dataclasses.fields(module)]
    own = {n: getattr(module, n) for n in names if n not in ("parent", "name")}
    layer = Layer(type(module)(**own, parent=None), jax.tree.map(_shape, values))
    found[layer] = found.get(layer, 0) + 1
    inside = True
    try:
      return call(*values, **options)
    finally:
      inside = False

  arrays, merge = _split(arguments)
  init = lambda key, *arrays: model.init(key, *merge(arrays))
  with nn.intercept_methods(intercept):
    jax.eval_shape(init, jax.random.key(0), *arrays)
  return found


def _split(arguments: PyTree) -> tuple[list[jax.ShapeDtypeStruct], Callable]:
  """Returns the shapes among arguments, and what puts arrays in their place."""
  leaves, tree = jax.tree.flatten(arguments)
  places = [i for i, x in enumerate(leaves) if isinstance(x, jax.ShapeDtypeStruct)]

  def merge(arrays):
    merged = list(leaves)
    for i, array in zip(places, arrays, strict=True):
      merged[i] = array
    return jax.tree.unflatten(tree, merged)

  return [leaves[i] for i in places], merge


def _shape(value: Any) -> Any:
  is_array = hasattr(value, "shape")
  return jax.ShapeDtypeStruct(value.shape, value.dtype) if is_array else value


def functions_of(layer: Layer) -> Iterator[tuple[str, Callable, tuple]]:
  """Yields "forward" and "with gradient", a function of each, and its arguments."""
  given, merge = _split(layer.arguments)
  init = lambda key, *values: layer.module.init(key, *merge(values))
  variables = jax.eval_shape(init, jax.random.key(0), *given)
  params, state = (
    variables["params"],
    {k: v for k, v in variables.items() if k != "params"},
  )

  def forward(params, state, *values):
    return layer.module.apply(
      {"params": params, **state}, *merge(values), mutable=[*state]
    )

  out = jax.eval_shape(forward, params, state, *given)[0]
  yield "forward", forward, (params, state, *given)

  def gradient(weight, params, state, *values):
    value = lambda params, *values: forward(params, state, *values)[0]
    result, pull = jax.vjp(value, params, *values)
    return result, pull(weight)

  yield "with gradient", gradient, (out, params, state, *given)

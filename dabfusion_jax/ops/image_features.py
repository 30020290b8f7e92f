"""Feature maps of frozen image classifiers: VGG-16, VGG-19, AlexNet.

Pure functions of weights and images, for the perceptual loss and for LPIPS. The weights
are `pretrained.store.load(NAME)["trunk"]`: {layer: {"kernel" HWIO, "bias"}}.
Layouts: Simonyan and Zisserman 2014 (1409.1556), table 1, D and E; Krizhevsky 2014
(1404.5997) in torchvision's form.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dabfusion_jax.ops.convolutions import conv
from dabfusion_jax.ops.pooling import max_pool

# For images in [0, 1]. LPIPS's shift and scale for images in [-1, 1] are equal to them:
# 2 mean - 1 and 2 std.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

VGG_FIRST_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
VGG16_LAST_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
ALEXNET_TAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")

Trunk = Mapping[str, Mapping[str, Array | np.ndarray]]


def vgg_features(
  trunk: Trunk, images: Float[Array, "b h w 3"], taps: Sequence[str] = VGG_FIRST_TAPS
) -> tuple[Float[Array, "b _ _ _"], ...]:
  """Returns the feature maps of a VGG after the ReLUs `taps`, in this order.

  The layers in `trunk` decide which VGG it is. A map's side is the image's, halved for
  each block before it: `relu5_1` has 1/16.

  Args:
    trunk: weights of VGG-16 or VGG-19.
    images: RGB in [0, 1].
    taps: names of ReLUs.

  Raises:
    ValueError: the trunk has no such tap, images are not float32, or they are too small
      to be pooled.
  """
  x = _normalise(images)
  maps = {}
  last_block = "1"
  for layer in sorted(trunk):  # conv1_1 .. conv5_3
    if len(maps) == len(set(taps)):
      break
    name = layer.removeprefix("conv")
    if name[0] != last_block:
      x = _max_pool(x, size=2)
    last_block = name[0]
    x = jax.nn.relu(_conv(x, trunk[layer], padding=1))
    if f"relu{name}" in taps:
      maps[f"relu{name}"] = x
  return _pick(maps, taps)


def alexnet_features(
  trunk: Trunk, images: Float[Array, "b h w 3"], taps: Sequence[str] = ALEXNET_TAPS
) -> tuple[Float[Array, "b _ _ _"], ...]:
  """Returns the feature maps of AlexNet after the ReLUs `taps`, in this order.

  Their strides are 4, 8, 16, 16 and 16. Arguments and errors are those of
  `vgg_features`.
  """
  x = _normalise(images)
  maps = {}
  for i, padding in enumerate((2, 2, 1, 1, 1)):
    if i in (1, 2):
      x = _max_pool(x, size=3)
    stride = 4 if i == 0 else 1
    x = jax.nn.relu(_conv(x, trunk[f"conv{i + 1}"], padding, stride))
    maps[f"relu{i + 1}"] = x
  return _pick(maps, taps)


def _normalise(images):
  if images.dtype != jnp.float32:
    raise ValueError(f"Images must be float32 in [0, 1], got {images.dtype}.")
  mean, std = jnp.array(IMAGENET_MEAN), jnp.array(IMAGENET_STD)
  return (images - mean[None, None, None]) / std[None, None, None]


def _conv(x, layer, padding: int, stride: int = 1):
  # The weights are frozen, even under a gradient with respect to them.
  kernel = jax.lax.stop_gradient(jnp.asarray(layer["kernel"]))
  bias = jax.lax.stop_gradient(jnp.asarray(layer["bias"]))
  x = conv(x, kernel, stride=stride, padding=padding)
  return x + bias[None, None, None]


def _max_pool(x, size: int):
  if min(x.shape[1:3]) < size:
    raise ValueError(f"A feature map of {x.shape[1:3]} px is too small to be pooled.")
  return max_pool(x, size=size)


def _pick(maps, taps):
  missing = [tap for tap in taps if tap not in maps]
  if missing:
    raise ValueError(f"No feature map {missing}; there are {sorted(maps)}.")
  return tuple(maps[tap] for tap in taps)

"""CLIP's image encoder (Radford et al. 2021, 2103.00020): embeds frames.

ViT-B/32 by default; parameters are named as in Hugging Face's files.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dabfusion_jax.ops.pixels import from_uint8

WEIGHTS = "clip-vit-b32"  # for `pretrained.store.load`
INPUT_SIZE = 224
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_CHUNK = 8  # frames per call: one compilation for clips of any length


class Attention(nn.Module):
  """Multi-head self-attention."""

  num_heads: int

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    def split(name: str) -> Array:
      y = nn.Dense(x.shape[-1], name=name)(x)
      return y.reshape(*y.shape[:2], self.num_heads, -1)

    query, key, value = (split(f"{name}_proj") for name in "qkv")
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
    y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
    return nn.Dense(x.shape[-1], name="out_proj")(y.reshape(x.shape))


class Mlp(nn.Module):
  """Two linear layers around x sigmoid(1.702 x)."""

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    y = nn.Dense(4 * x.shape[-1], name="fc1")(x)
    return nn.Dense(x.shape[-1], name="fc2")(y * jax.nn.sigmoid(1.702 * y))


class Layer(nn.Module):
  """Pre-norm residual attention and MLP."""

  num_heads: int

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    norm = lambda name: nn.LayerNorm(epsilon=1e-5, name=name)
    x = x + Attention(self.num_heads, name="self_attn")(norm("layer_norm1")(x))
    return x + Mlp(name="mlp")(norm("layer_norm2")(x))


class ClipImage(nn.Module):
  """Embeds normalised images; embeddings are not of unit length."""

  width: int = 768
  num_layers: int = 12
  num_heads: int = 12
  patch_size: int = 32
  embedding_size: int = 512

  @nn.compact
  def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
    patch = (self.patch_size, self.patch_size)
    x = nn.Conv(
      self.width, patch, patch, "VALID", use_bias=False, name="patch_embedding"
    )(images)
    x = x.reshape(x.shape[0], -1, self.width)
    zeros = nn.initializers.zeros_init()
    first = self.param("class_embedding", zeros, (self.width,))
    first = jnp.broadcast_to(first, (x.shape[0], 1, self.width))
    x = jnp.concatenate([first, x], axis=1)
    x += self.param("position_embedding", zeros, x.shape[1:])[None]
    x = nn.LayerNorm(epsilon=1e-5, name="pre_layrnorm")(x)
    for i in range(self.num_layers):
      x = Layer(self.num_heads, name=f"layers_{i}")(x)
    x = nn.LayerNorm(epsilon=1e-5, name="post_layernorm")(x[:, 0])
    return nn.Dense(self.embedding_size, use_bias=False, name="visual_projection")(x)


def normalise(frames: UInt8[Array, "b h w 3"]) -> Float[Array, "b 224 224 3"]:
  """Returns frames as CLIP expects them.

  The short side is resized to 224 px (bicubic, anti-aliased), the centre cropped, and
  values are normalised by CLIP's mean and standard deviation.
  """
  height, width = frames.shape[1:3]
  scale = INPUT_SIZE / min(height, width)
  size = [round(n * scale) for n in (height, width)]
  x = from_uint8(frames)
  x = jax.image.resize(x, (x.shape[0], *size, 3), "cubic")
  top, left = ((n - INPUT_SIZE) // 2 for n in size)
  x = x[:, top : top + INPUT_SIZE, left : left + INPUT_SIZE]
  mean, std = (np.float32(x).reshape(1, 1, 1, 3) for x in (_MEAN, _STD))
  return (jnp.clip(x, 0, 1) - mean) / std


@jax.jit
def _embed(
  variables: Mapping, frames: UInt8[Array, "b h w 3"]
) -> Float[Array, "b 512"]:
  with jax.default_matmul_precision("highest"):  # accelerators default to fewer digits
    return ClipImage().apply(variables, normalise(frames))


def embed_frames(
  variables: Mapping, frames: UInt8[np.ndarray, "t h w 3"]
) -> Float[np.ndarray, "t 512"]:
  """Returns the embeddings of a clip's frames.

  `variables` are those of `pretrained.store.load(WEIGHTS)`.
  """
  embeddings = []
  for start in range(0, len(frames), _CHUNK):
    chunk = frames[start : start + _CHUNK]
    filled = np.pad(chunk, ((0, _CHUNK - len(chunk)), (0, 0), (0, 0), (0, 0)))
    embeddings.append(np.asarray(_embed(variables, jnp.asarray(filled)))[: len(chunk)])
  return np.concatenate(embeddings)

"""Conditioning of the denoiser on time, music and beats, and the null condition.

`beat_mode` says how beats enter. "none": not at all (the paper's DabFusion_b).
"global_concat": one vector e = [music; beats] per clip (DabFusion_e). "per_frame_film":
each frame has its own beat features (a departure). Music and beats are dropped together
for guidance; the picture never is.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from dabfusion_jax.models.blocks import bias_init, kernel_init
from dabfusion_jax.ops.positions import sinusoid

BEAT_MODES = ("none", "global_concat", "per_frame_film")


def make_condition(
  music: Float[Array, "b d"],
  beats: Float[Array, "b t"],
  beat_features: Float[Array, "b t 5"],
  beat_mode: str,
  music_scale: float,
) -> tuple[Float[Array, "b e"], Float[Array, "b t f"] | None]:
  """Returns (condition, frame_condition) for `UNet3D` with the same `beat_mode`.

  Args:
    music: embeddings of unit norm.
    beats: 1 at frames with a beat, else 0; used by `global_concat`.
    beat_features: is_beat, sine and cosine of the beat's phase, seconds since the last
      beat and until the next one; used by `per_frame_film`.
    beat_mode: one of `BEAT_MODES`.
    music_scale: factor of `music`. With sqrt(d) its elements have an rms of 1, since
      those of a unit vector are small beside the time embedding; 1 is the literal
      reading of the paper, which is silent.

  Raises:
    ValueError: unknown `beat_mode`.
  """
  if beat_mode not in BEAT_MODES:
    raise ValueError(f"Unknown beat_mode {beat_mode!r}; expected one of {BEAT_MODES}.")
  condition = music * music_scale
  if beat_mode == "per_frame_film":
    return condition, beat_features
  if beat_mode == "global_concat":
    condition = jnp.concatenate([condition, beats], axis=-1)
  return condition, None


def drop_condition(
  condition: Float[Array, "b e"],
  frame_condition: Float[Array, "b t f"] | None,
  keep: Bool[Array, "b"],
) -> tuple[Float[Array, "b e"], Float[Array, "b t f"] | None]:
  """Replaces the conditions of examples that are not kept by the null condition, 0."""
  condition = jnp.where(keep[:, None], condition, 0.0)
  if frame_condition is not None:
    frame_condition = jnp.where(keep[:, None, None], frame_condition, 0.0)
  return condition, frame_condition


def sample_keep(keys: Key[Array, "b"], null_probability: float) -> Bool[Array, "b"]:
  """Draws which examples keep their condition in training, with one key per example."""
  return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - null_probability))(keys)


def _dense(x: Float[Array, "*b c"], features: int, name: str) -> Float[Array, "*b d"]:
  bias = bias_init(x.shape[-1])
  return nn.Dense(features, kernel_init=kernel_init, bias_init=bias, name=name)(x)


class TimeEmbedding(nn.Module):
  """Embedding of the timestep: sinusoid, linear, exact GELU, linear."""

  sinusoid_size: int  # even, at least 4
  features: int

  @nn.compact
  def __call__(self, timestep: Int[Array, "b"]) -> Float[Array, "b d"]:
    x = _dense(sinusoid(timestep, self.sinusoid_size), self.features, "dense_0")
    return _dense(nn.gelu(x, approximate=False), self.features, "dense_1")


class BeatEmbedding(nn.Module):
  """Embedding of each frame's beat features: linear, exact GELU, linear.

  The last layer is initialised to zero, so that a new model ignores beats.
  """

  hidden_features: int
  features: int

  @nn.compact
  def __call__(self, beats: Float[Array, "b t f"]) -> Float[Array, "b t d"]:
    x = nn.gelu(_dense(beats, self.hidden_features, "dense_0"), approximate=False)
    zeros = nn.initializers.zeros
    return nn.Dense(self.features, kernel_init=zeros, bias_init=zeros, name="dense_1")(
      x
    )

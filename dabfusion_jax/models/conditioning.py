"""What the denoiser is told: time, music and beats, and their absence.

Modes of the beats (`beat_mode`): `global_concat` is the paper's, one vector
e = [music; beats] per clip; `per_frame_film` and `beat_channel` are departures that
tell each frame its own beat. Music and beats are dropped together for guidance; the
picture never is.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from dabfusion_jax.models.blocks import bias_init, kernel_init
from dabfusion_jax.ops.positions import sinusoid

BEAT_MODES = ("global_concat", "per_frame_film", "beat_channel")


def make_condition(
  music: Float[Array, "b d"],
  beats: Float[Array, "b t"] | None,
  beat_features: Float[Array, "b t 5"] | None,
  beat_mode: str,
  music_scale: float,
) -> tuple[Float[Array, "b e"], Float[Array, "b t f"] | None]:
  """Assembles (condition, frame_condition) for `UNet3D` with the same `beat_mode`.

  Args:
    music: embedding of unit norm.
    beats: 1 at the frames with a beat, else 0. None leaves the beats out of
      `global_concat`: the paper's model b.
    beat_features: is_beat, sine and cosine of the beat's phase, seconds since the last
      and to the next beat; only `per_frame_film` reads them.
    music_scale: factor on `music`. sqrt(d) gives elements of unit rms, because those of
      a unit vector are small beside the time embedding; 1 is the literal reading of the
      paper, which is silent.

  Raises:
    ValueError: the mode is unknown or what it reads is missing.
  """
  if beat_mode not in BEAT_MODES:
    raise ValueError(f"Unknown beat_mode {beat_mode!r}; expected one of {BEAT_MODES}.")
  condition = music * music_scale
  if beat_mode == "global_concat":
    if beats is not None:
      condition = jnp.concatenate([condition, beats], axis=-1)
    return condition, None
  frame_condition = beat_features
  if beat_mode == "beat_channel":
    frame_condition = None if beats is None else beats[..., None]
  if frame_condition is None:
    name = "beats" if beat_mode == "beat_channel" else "beat_features"
    raise ValueError(f"beat_mode {beat_mode!r} reads {name}, which is missing.")
  return condition, frame_condition


def drop_condition(
  condition: Float[Array, "b e"],
  frame_condition: Float[Array, "b t f"] | None,
  keep: Bool[Array, "b"],
) -> tuple[Float[Array, "b e"], Float[Array, "b t f"] | None]:
  """Replaces music and beats by the null condition, zeros, where `keep` is false."""
  condition = jnp.where(keep[:, None], condition, 0.0)
  if frame_condition is not None:
    frame_condition = jnp.where(keep[:, None, None], frame_condition, 0.0)
  return condition, frame_condition


def sample_keep(keys: Key[Array, "b"], null_probability: float) -> Bool[Array, "b"]:
  """Draws which examples keep their condition in training, one key an example."""
  return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - null_probability))(keys)


def _dense(x: Array, features: int, name: str) -> Array:
  bias = bias_init(x.shape[-1])
  return nn.Dense(features, kernel_init=kernel_init, bias_init=bias, name=name)(x)


class TimeEmbedding(nn.Module):
  """Sinusoid of the timestep, linear, exact GELU, linear."""

  sinusoid_size: int  # even, at least 4
  features: int

  @nn.compact
  def __call__(self, timestep: Int[Array, "b"]) -> Float[Array, "b d"]:
    x = _dense(sinusoid(timestep, self.sinusoid_size), self.features, "dense_0")
    return _dense(nn.gelu(x, approximate=False), self.features, "dense_1")


class BeatEmbedding(nn.Module):
  """Linear, exact GELU, linear on every frame's beat features.

  The last layer starts at zero: a fresh model ignores its beats.
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

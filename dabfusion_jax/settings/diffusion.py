"""Settings of stage 2, diffusion of latent flow."""

import dataclasses
import math
from typing import Any

from dabfusion_jax.settings.autoencoder import DTYPES, MAX_CHANNELS
from dabfusion_jax.settings.checks import (
  check_choice,
  check_filled,
  check_ranges,
)
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.settings.mapping import resolved
from data_pipeline.errors import UserError

BEATS = ("librosa", "crnn", "truth")
BEAT_MODES = ("none", "global_concat", "per_frame_film")
PREDICTIONS = ("eps", "v")
FLOW_PARAMS = ("absolute", "residual")
MAX_TIMESTEPS = 10**6
MAX_GUIDANCE = 20
NORM_GROUPS = 8  # of channels, in the norms of the U-Net


@dataclasses.dataclass(frozen=True)
class LatentData:
  """Cached stage-1 outputs, and the stage 1 that made them."""

  latents: str  # folder made by dabfusion_jax.latents
  autoencoder: str  # workdir or published folder of stage 1
  num_frames: int
  beats: str  # which beats condition, one of `BEATS`
  slow: float  # share of clips shown slower, with their beats
  silent: float  # share of clips shown at rest, with the embedding of silence
  # Whether the training clips stay in the memory of the device.
  on_device: bool = False

  def __post_init__(self):
    check_choice("data.beats", self.beats, BEATS)
    check_filled(self, "data", ("latents", "autoencoder"))
    shares = dict.fromkeys(("slow", "silent"), (0, 1))
    check_ranges(self, "data", {"num_frames": (1, math.inf)} | shares)


@dataclasses.dataclass(frozen=True)
class ConditionSettings:
  """How music and beats reach the denoiser (sec. 3.4)."""

  # "none" is the paper's DabFusion_b, "global_concat" its DabFusion_e.
  beat_mode: str
  music_scale: float  # factor of the unit-norm embedding
  drop_probability: float  # of the null condition

  def __post_init__(self):
    check_choice("condition.beat_mode", self.beat_mode, BEAT_MODES)
    ranges = {"music_scale": (0, math.inf), "drop_probability": (0, 1)}
    check_ranges(self, "condition", ranges)

  @property
  def beats(self) -> bool:
    """Whether the model follows beats."""
    return self.beat_mode != "none"


@dataclasses.dataclass(frozen=True)
class UNetSettings:
  """Fields of `models.unet3d.UNet3D`."""

  base_channels: int
  channel_multipliers: tuple[int, ...]
  num_heads: int
  head_dim: int
  dtype: str
  remat: bool

  def __post_init__(self):
    check_choice("unet.dtype", self.dtype, DTYPES)
    check_filled(self, "unet", ("channel_multipliers",))
    channels = ("base_channels", "channel_multipliers", "num_heads", "head_dim")
    check_ranges(self, "unet", dict.fromkeys(channels, (1, MAX_CHANNELS)))
    # Norms have groups of channels, and rotary positions turn pairs of them.
    for name, divisor in (("base_channels", NORM_GROUPS), ("head_dim", 2)):
      if getattr(self, name) % divisor:
        value = getattr(self, name)
        raise UserError(f"unet.{name} must be a multiple of {divisor}, not {value}.")


@dataclasses.dataclass(frozen=True)
class JointSettings:
  """Settings of the network that tells where a flow moves the joints of a body."""

  weight: float = 0.0  # of the reader's error in the loss; 0: there is no reader
  channels: int = 48
  num_blocks: int = 4

  def __post_init__(self):
    ranges = {"weight": (0, math.inf), "channels": (1, MAX_CHANNELS)}
    check_ranges(self, "joints", ranges | {"num_blocks": (1, MAX_CHANNELS)})


@dataclasses.dataclass(frozen=True)
class ProcessSettings:
  """The diffusion process (sec. 4.1) and what it diffuses."""

  num_timesteps: int
  noise_shift: float  # of the cosine schedule; above 1: noisier
  prediction: str  # what the U-Net predicts, one of `PREDICTIONS`
  velocity_weight: float  # of the error of motion in the loss; with "v" only
  flow_param: str  # one of `FLOW_PARAMS`
  flow_scale: float  # of the residual flow; 0: one over the rms of the training data
  threshold: float  # quantile of dynamic thresholding; 0: plain clip
  latent_bound: float = resolved(1.0)  # largest |x0| a sample may have

  def __post_init__(self):
    check_choice("diffusion.prediction", self.prediction, PREDICTIONS)
    check_choice("diffusion.flow_param", self.flow_param, FLOW_PARAMS)
    weights = dict.fromkeys(("velocity_weight", "flow_scale"), (0, math.inf))
    ranges = {"num_timesteps": (1, MAX_TIMESTEPS), "threshold": (0, 1)} | weights
    # Its square is a factor of the noise: beyond, float64 holds noise or signal only.
    check_ranges(self, "diffusion", ranges | {"noise_shift": (1e-3, 1e3)})
    if self.prediction == "eps" and self.velocity_weight:
      raise UserError("diffusion.velocity_weight needs diffusion.prediction=v.")
    if self.flow_param == "absolute" and self.flow_scale != 1:
      raise UserError(
        "diffusion.flow_scale belongs to the residual flow; with the absolute it is 1,"
        f" not {self.flow_scale}."
      )


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
  """How a dance is drawn; defaults of `sample`, and of the pictures in training."""

  method: str  # one of `diffusion.samplers.METHODS`
  num_inference_steps: int  # network evaluations, but for guidance
  eta: float  # noise of DDIM, 0 to 1
  guidance_scale: float  # 0 to MAX_GUIDANCE; 1: none

  def __post_init__(self):
    ranges = {"num_inference_steps": (1, MAX_TIMESTEPS), "eta": (0, 1)}
    check_ranges(self, "sampling", ranges | {"guidance_scale": (0, MAX_GUIDANCE)})


@dataclasses.dataclass(frozen=True)
class PictureSettings:
  """What is done to a user's picture, around the network."""

  pad_to_square: bool  # by repeating its border, not with black bars
  details_below_db: float  # PSNR of the codec below which details are added; 0: never


@dataclasses.dataclass(frozen=True)
class LatentsInfo:
  """What the latents of a run are, from their manifest."""

  autoencoder: str  # digest of stage 1
  data: str  # content_sha256 of the data set
  fps: int
  encoder: dict[str, Any]  # identity of the music encoder
  framing: str
  z_channels: int
  z_pool: int = 1  # cells of z per cell of flow and side
  elsewhere: float = 0.0  # share of the clips whose picture is any of their frames
  # Whether motion is that of the generated bodies, and whether each clip is there in a
  # mirror as well; None: an earlier version wrote this.
  true_motion: bool | None = None
  mirrored: bool | None = None
  source: str | None = None  # of the data set, as flags of data_pipeline.build
  num_clips: int | None = None  # of it, to train on


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionSettings(LoopSettings):
  """Everything that `configs/diffusion.py` sets."""

  data: LatentData
  condition: ConditionSettings
  unet: UNetSettings
  diffusion: ProcessSettings
  sampling: SamplingSettings
  picture: PictureSettings
  joints: JointSettings = JointSettings()  # runs of earlier versions have none
  latents: LatentsInfo | None = resolved()

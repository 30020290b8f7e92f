"""Settings of stage 1, the latent flow auto-encoder."""

import dataclasses
import math

from dabfusion_jax.settings.checks import (
  check_above_zero,
  check_choice,
  check_filled,
  check_numbers,
  check_ranges,
)
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.settings.mapping import resolved
from data_pipeline.errors import UserError

NETWORKS = ("vgg19", "vgg16", "alexnet", "none")  # of the perceptual loss
# Types of computations. float16 would need a scaled loss: small gradients become 0.
DTYPES = ("float32", "bfloat16")
MAX_FRAME_SIZE = 4096  # pixels
MAX_PROCESSES = 1024  # that read
MAX_HALVINGS = 16  # of a frame
MAX_CHANNELS = 2**16  # of any layer
REDUCTIONS = (1.0, 0.5, 0.25, 0.125)  # of a frame


@dataclasses.dataclass(frozen=True)
class PairData:
  """The data set whose frames are paired, and how they are drawn."""

  folder: str  # made by data_pipeline.build
  build: str  # flags of data_pipeline.build that make it, for the message if it is not
  frame_size: int  # pixels per side
  num_frames: int  # per clip
  fps: int
  encoder: str  # of the music
  augment: bool  # flips in time and space, colour jitter
  pairs_per_clip: int  # drawn from one decoded clip
  cache_in_memory: bool  # decoded clips, 0.5 MB each at 64 px
  # Processes that read the training split; 0: threads of the training; None: by the
  # machine (`hardware.choose_reading_processes`).
  reading_processes: int | None = None
  # Whether the training clips stay in the memory of the device, which makes the pairs.
  on_device: bool = False
  content_sha256: str | None = resolved()  # of the data set, from its manifest
  source: str | None = resolved()  # likewise; flags of data_pipeline.build
  num_clips: int | None = resolved()  # to train on

  def __post_init__(self):
    check_filled(self, "data", ("folder", "encoder"))
    counts = ("num_frames", "fps", "pairs_per_clip")
    ranges = dict.fromkeys(counts, (1, math.inf)) | {"frame_size": (4, MAX_FRAME_SIZE)}
    if self.reading_processes is not None:
      ranges["reading_processes"] = (0, MAX_PROCESSES)
    check_ranges(self, "data", ranges)


@dataclasses.dataclass(frozen=True)
class AutoencoderModel:
  """Fields of `models.flow_autoencoder.FlowAutoencoder`."""

  num_keypoints: int
  detector_features: int
  motion_features: int
  hourglass_max_features: int
  hourglass_blocks: int
  codec_features: int
  codec_max_features: int
  num_down: int
  num_residual: int
  dtype: str
  detector_scale: float = 0.25  # at which the detector sees a frame
  detector_temperature: float = 0.1  # of the softmax over a heatmap
  detector_head_size: int = 7  # kernels that draw heatmaps and jacobians
  motion_down: int = 0  # how often flow and occlusion are halved below z
  heat_variance: float = 0.01  # of the Gaussians that show keypoints to the motion
  oriented_heat: bool = False  # whether those are as long as the jacobians
  motion_correction: bool = False  # whether the flow may leave the keypoints' motion
  keep_picture: bool = False  # whether z carries the picture, for the decoder
  decoder_features: int = 0  # of a decoder that has the picture; 0: codec_features
  fine_flow: bool = False  # whether that decoder warps it by a flow of each pixel
  matching_features: int = 0  # of the matches that join the keypoints' motion; 0: none

  def __post_init__(self):
    check_choice("model.dtype", self.dtype, DTYPES)
    channels = ("num_keypoints", "detector_features", "motion_features")
    channels += ("hourglass_max_features", "codec_features", "codec_max_features")
    ranges = dict.fromkeys(channels, (1, MAX_CHANNELS))
    ranges |= {"num_residual": (0, 1000), "detector_head_size": (1, 1000)}
    wide = ("matching_features", "decoder_features")
    ranges |= dict.fromkeys(wide, (0, MAX_CHANNELS))
    halvings = ("num_down", "motion_down", "hourglass_blocks")
    # They become powers of two.
    ranges |= dict.fromkeys(halvings, (0, MAX_HALVINGS))
    check_ranges(self, "model", ranges)
    check_numbers("model.detector_scale", (self.detector_scale,), REDUCTIONS)
    if not self.detector_head_size % 2:
      raise UserError(
        "model.detector_head_size must be odd, for heatmaps of the size of their input,"
        f" not {self.detector_head_size}."
      )
    positive = ("detector_temperature", "heat_variance")
    check_above_zero(self, "model", positive)
    for name in ("decoder_features", "fine_flow"):
      if getattr(self, name) and not self.keep_picture:
        raise UserError(f"model.{name} is of a decoder with model.keep_picture=True.")
    if self.matching_features % 4:
      raise UserError(
        f"model.matching_features must be a multiple of 4, the number of attention"
        f" heads, not {self.matching_features}."
      )
    if self.matching_features and self.num_down + self.motion_down < 2:
      raise UserError(
        "model.matching_features needs cells of at least 4 pixels:"
        " model.num_down + model.motion_down must be at least 2."
      )

  @property
  def z_channels(self) -> int:
    """Channels of the latent image z, without the picture that it may carry."""
    return min(self.codec_max_features, self.codec_features * 2**self.num_down)

  @property
  def picture_channels(self) -> int:
    """Further channels of z, in which it carries the picture."""
    return 3 * 4**self.num_down if self.keep_picture else 0

  def flow_size(self, frame_size: int) -> int:
    """Returns the cells per side of flow and occlusion."""
    return frame_size // 2 ** (self.num_down + self.motion_down)


@dataclasses.dataclass(frozen=True)
class LossSettings:
  """Fields of `stages.autoencoder.AutoencoderStage`, and the perceptual network."""

  network: str
  scales: tuple[float, ...]
  perceptual_weights: tuple[float, ...]
  pixel_weight: float
  equivariance_weight: float
  flow_weight: float = 0.0
  parts_weight: float = 0.0
  rebuild_by_truth: bool = False

  def __post_init__(self):
    check_choice("loss.network", self.network, NETWORKS)
    check_filled(self, "loss", ("scales",))
    weights = ("perceptual_weights", "pixel_weight", "equivariance_weight")
    weights += ("flow_weight", "parts_weight")
    check_ranges(self, "loss", dict.fromkeys(weights, (0, math.inf)))
    check_numbers("loss.scales", self.scales, REDUCTIONS)
    if self.network == "none" and not any(
      (self.pixel_weight, self.equivariance_weight, self.flow_weight, self.parts_weight)
    ):
      raise UserError("All weights of the loss are 0; there is nothing to learn.")
    if self.network != "none" and not any(self.perceptual_weights):
      raise UserError(
        "loss.perceptual_weights are all 0; without a perceptual loss, set"
        " loss.network='none'."
      )

  @property
  def needs_truth(self) -> bool:
    """Returns whether any part of the loss uses the true motion of a generated clip."""
    return bool(self.flow_weight or self.parts_weight or self.rebuild_by_truth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(LoopSettings):
  """Everything that `configs/autoencoder.py` sets."""

  data: PairData
  model: AutoencoderModel
  loss: LossSettings

  def __post_init__(self):
    super().__post_init__()
    if self.loss.rebuild_by_truth and self.batch_size // self.gradient_accumulation % 2:
      raise UserError(
        "loss.rebuild_by_truth is of every other example of a part: batch_size ="
        f" {self.batch_size} in gradient_accumulation = {self.gradient_accumulation}"
        " parts must leave an even number."
      )
    size, model = self.data.frame_size, self.model
    # The codec halves the frame `num_down` times, the flow `motion_down` more.
    reduction = 2 ** (model.num_down + model.motion_down)
    if reduction * min(REDUCTIONS) > 1:
      raise UserError(
        "model.num_down + model.motion_down must be at most 3: frames are reduced to an"
        f" eighth at most, not to 1/{reduction}."
      )
    for divisor, keys in (
      (4, "data.frame_size"),
      (round(1 / model.detector_scale), "model.detector_scale"),
      (2**model.num_down, "model.num_down"),
      (reduction, "model.motion_down"),
    ):
      if size % divisor:
        raise UserError(f"{keys}: a frame of {size} px does not divide by {divisor}.")
    # One hourglass works on the reduced frame of the detector, one at the flow's size.
    for side in (round(size * model.detector_scale), size // reduction):
      if side % 2**model.hourglass_blocks:
        raise UserError(
          f"model.hourglass_blocks={model.hourglass_blocks} halves {side} px too often;"
          f" data.frame_size={size} allows {(side & -side).bit_length() - 1}."
        )

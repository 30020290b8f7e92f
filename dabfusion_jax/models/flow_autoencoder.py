"""The network of stage 1: keypoints, dense motion and image codec."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dabfusion_jax.models.dense_motion import DenseMotion, Motion
from dabfusion_jax.models.image_codec import (
  BlendingDecoder,
  ImageDecoder,
  ImageEncoder,
)
from dabfusion_jax.models.keypoint_detector import KeypointDetector, Keypoints
from dabfusion_jax.models.matching import Fusion, Matching
from dabfusion_jax.ops.folding import fold, unfold
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.warp import warp


class Reconstruction(NamedTuple):
  """A driving frame rebuilt from the reference, with all intermediate results."""

  image: Array  # [b h w 3], in [0, 1]
  motion: Motion  # from the reference to the driving frame
  z: Array  # [b s s c], latent of the reference, as `encode` returns it
  reference: Keypoints
  driving: Keypoints


def warp_latent(
  z: Float[Array, "b s s c"],
  flow: Float[Array, "b h w 2"],
  occlusion: Float[Array, "b h w 1"],
) -> Float[Array, "b s s c"]:
  """Returns occlusion * warp(z, flow) (paper Eq. 1)."""
  flow = resize_aligned(flow, *z.shape[1:3])
  occlusion = resize_aligned(occlusion, *z.shape[1:3])
  return occlusion * jax.vmap(warp)(z, flow)


class FlowAutoencoder(nn.Module):
  """The paper's stage 1 (sec. 3.2, Fig. 3); 59,790,759 parameters by default."""

  num_keypoints: int = 10
  detector_features: int = 32
  detector_scale: float = 0.25  # at which the detector sees a frame
  detector_temperature: float = 0.1
  detector_head_size: int = 7
  motion_features: int = 64
  hourglass_max_features: int = 1024
  hourglass_blocks: int = 5
  codec_features: int = 64
  codec_max_features: int = 512
  num_down: int = 2
  motion_down: int = 0  # how often flow and occlusion are halved below z
  heat_variance: float = 0.01  # of the Gaussians that show keypoints to the motion
  oriented_heat: bool = False  # whether those are as long as the jacobians
  motion_correction: bool = False  # whether the flow may leave the keypoints' motion
  num_residual: int = 6
  keep_picture: bool = False  # whether z carries the picture, for the decoder
  decoder_features: int = 0  # of a decoder that has the picture; 0: codec_features
  fine_flow: bool = False  # whether that decoder warps it by a flow of each pixel
  matching_features: int = 0  # of the matches that join the keypoints' motion; 0: none
  frozen_parts: tuple[str, ...] = ()  # whose batch norm is that of inference
  dtype: DTypeLike = jnp.float32

  def setup(self):
    hourglass = dict(
      max_features=self.hourglass_max_features,
      num_blocks=self.hourglass_blocks,
      dtype=self.dtype,
    )
    codec = dict(
      max_features=self.codec_max_features,
      num_down=self.num_down,
      dtype=self.dtype,
    )
    self.detector = KeypointDetector(
      self.num_keypoints,
      self.detector_features,
      scale=self.detector_scale,
      temperature=self.detector_temperature,
      head_size=self.detector_head_size,
      **hourglass,
    )
    # By default the flow has the resolution of the latent.
    scale = 0.5 ** (self.num_down + self.motion_down)
    self.dense_motion = DenseMotion(
      self.motion_features,
      scale=scale,
      variance=self.heat_variance,
      oriented=self.oriented_heat,
      correction=self.motion_correction,
      **hourglass,
    )
    if self.matching_features:
      matching = dict(features=self.matching_features, dtype=self.dtype)
      self.matching = Matching(scale=scale, **matching)
      self.fusion = Fusion(**matching)
    self.encoder = ImageEncoder(self.codec_features, **codec)
    codec["num_residual"] = self.num_residual
    if self.keep_picture:
      features = self.decoder_features or self.codec_features
      self.decoder = BlendingDecoder(features, fine_flow=self.fine_flow, **codec)
    else:
      self.decoder = ImageDecoder(self.codec_features, **codec)

  def _trains(self, part: str, train: bool) -> bool:
    return train and part not in self.frozen_parts

  def detect(self, image: Float[Array, "b h w 3"], train: bool = False) -> Keypoints:
    """Returns the keypoints of each image in [0, 1]."""
    return self.detector(image, self._trains("detector", train))

  def encode(
    self, image: Float[Array, "b h w 3"], train: bool = False
  ) -> Float[Array, "b s s c"]:
    """Returns the latent z of each image in [0, 1].

    If it is to keep the picture, that is folded into further channels of z, the last.
    """
    z = self.encoder(image, self._trains("encoder", train))
    if not self.keep_picture:
      return z
    return jnp.concatenate([z, fold(image, 2**self.num_down)], -1)

  def predict_motion(
    self,
    ref_image: Float[Array, "b h w 3"],
    driving_frame: Float[Array, "b h w 3"],
    reference: Keypoints,
    driving: Keypoints,
    train: bool = False,
  ) -> Motion:
    """Returns the motion from the reference to the driving frame.

    In the paper that frame has no part in it but by its keypoints.
    """
    trains = lambda part: self._trains(part, train)
    motion = self.dense_motion(ref_image, reference, driving, trains("dense_motion"))
    if not self.matching_features:
      return motion
    matched = self.matching(ref_image, driving_frame, trains("matching"))
    return self.fusion(ref_image, driving_frame, motion, matched, trains("fusion"))

  def decode(
    self,
    z: Float[Array, "b s s c"],
    flow: Float[Array, "b h w 2"],
    occlusion: Float[Array, "b h w 1"],
    train: bool = False,
  ) -> Float[Array, "b oh ow 3"]:
    """Warps z and decodes it to an image in [0, 1]."""
    train = self._trains("decoder", train)
    if not self.keep_picture:
      return self.decoder(warp_latent(z, flow, occlusion), train)
    latent, picture = jnp.split(z, [z.shape[-1] - 3 * 4**self.num_down], -1)
    moved = warp_latent(latent, flow, occlusion)
    picture = unfold(picture, 2**self.num_down)
    return self.decoder(moved, Motion(flow, occlusion), picture, train)

  def analyse_clip(
    self, frames: Float[Array, "t h w 3"], reference: int | Int[Array, ""] = 0
  ) -> tuple[Motion, Float[Array, "s s c"]]:
    """Returns the motion from the reference frame to every frame, and its z.

    Args:
      frames: of the clip, in [0, 1].
      reference: index of the frame that all others are warped from.
    """
    keypoints = self.detector(frames, False)
    repeat = lambda x: jnp.broadcast_to(x[reference], x.shape)
    ref_keypoints = Keypoints(*(repeat(leaf) for leaf in keypoints))
    motion = self.predict_motion(repeat(frames), frames, ref_keypoints, keypoints)
    return motion, self.encode(frames[reference][None])[0]

  def __call__(
    self,
    ref_image: Float[Array, "b h w 3"],
    driving_frame: Float[Array, "b h w 3"],
    train: bool = False,
  ) -> Reconstruction:
    """Rebuilds `driving_frame` from `ref_image`, both in [0, 1]."""
    frames = jnp.concatenate([ref_image, driving_frame])
    reference, driving = split_keypoints(self.detect(frames, train), 2)
    motion = self.predict_motion(ref_image, driving_frame, reference, driving, train)
    z = self.encode(ref_image, train)
    image = self.decode(z, motion.flow, motion.occlusion, train)
    return Reconstruction(image, motion, z, reference, driving)


def split_keypoints(keypoints: Keypoints, num_batches: int) -> list[Keypoints]:
  """Splits the keypoints of concatenated batches of equal size."""
  split = [jnp.split(leaf, num_batches) for leaf in keypoints]
  return [Keypoints(*leaves) for leaves in zip(*split, strict=True)]

"""Stage 1: losses on a driving frame rebuilt from a reference (paper sec. 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.losses.equivariance import equivariance_errors, transform_frame
from dabfusion_jax.losses.perceptual import perceptual_loss
from dabfusion_jax.models.flow_autoencoder import (
  FlowAutoencoder,
  Reconstruction,
  split_keypoints,
)
from dabfusion_jax.ops.grid import identity_grid, sample_transform
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.warp import warp


@dataclass(frozen=True, eq=False)
class AutoencoderStage:
  """FOMM's full loss on pairs of frames.

  Batch: `ref_image` and `driving_frame`, float32 [b, h, w, 3] in [0, 1].
  """

  model: FlowAutoencoder
  # Images in [0, 1] -> feature maps of a frozen network; None: no perceptual loss.
  features: Callable[[jax.Array], Sequence[jax.Array]] | None
  scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
  perceptual_weights: tuple[float, ...] = (10.0,) * 5  # one per map
  pixel_weight: float = 0.0  # mean |difference|; 0 in the paper
  equivariance_weight: float = 10.0  # 0: the paper's literal loss
  sigma_affine: float = 0.05
  sigma_tps: float = 0.005

  def init(self, key: jax.Array, batch: Any) -> tuple[Any, Any]:
    """Fresh (params, batch_stats)."""
    variables = self.model.init(key, batch["ref_image"], batch["driving_frame"])
    return variables["params"], variables["batch_stats"]

  def loss(self, params: Any, batch_stats: Any, batch: Any, key: jax.Array):
    """Returns (loss, (batch_stats, metrics))."""
    ref_image, driving = batch["ref_image"], batch["driving_frame"]
    frames = [ref_image, driving]
    if self.equivariance_weight:
      keys = jax.random.split(key, driving.shape[0])
      draw = lambda k: sample_transform(k, self.sigma_affine, self.sigma_tps)
      theta, weights = jax.vmap(draw)(keys)
      frames.append(jax.vmap(transform_frame)(driving, theta, weights))
    (out, found), updates = self.model.apply(
      {"params": params, "batch_stats": batch_stats},
      frames,
      method=_forward_train,
      mutable=["batch_stats"],
    )
    metrics = {
      "pixel_l1": jnp.abs(out.image - driving).mean(),
      "keypoint_spread": out.driving.position.std(axis=1).mean(),
      "occlusion_mean": out.motion.occlusion.mean(),
    }
    total = jnp.zeros(())
    if self.equivariance_weight:
      value, slope = jax.vmap(equivariance_errors)(
        out.driving.position,
        out.driving.jacobian,
        found.position,
        found.jacobian,
        theta,
        weights,
      )
      metrics["equivariance_value"] = value.mean()
      metrics["equivariance_jacobian"] = slope.mean()
      total += self.equivariance_weight * (value.mean() + slope.mean())
    total += self.pixel_weight * metrics["pixel_l1"]
    if self.features is not None:
      metrics["perceptual"] = perceptual_loss(
        self.features, out.image, driving, self.scales, self.perceptual_weights
      )
      total += metrics["perceptual"]
    return total, (updates["batch_stats"], metrics)

  def reconstruct(
    self, params: Any, batch_stats: Any, ref_image: Any, driving_frame: Any
  ) -> Reconstruction:
    """Evaluation mode: running statistics, nothing updated."""
    variables = {"params": params, "batch_stats": batch_stats}
    return self.model.apply(variables, ref_image, driving_frame)

  def pictures(
    self, params: Any, batch_stats: Any, batch: Any, key: jax.Array
  ) -> dict[str, np.ndarray]:
    """One row per pair: reference, driving, rebuilt, warped reference, flow, occlusion.

    Keypoints are drawn on the first two.
    """
    del key
    rows = min(6, batch["ref_image"].shape[0])
    ref_image = batch["ref_image"][:rows]
    driving = batch["driving_frame"][:rows]
    out = jax.jit(self.reconstruct)(params, batch_stats, ref_image, driving)
    height, width = ref_image.shape[1:3]
    flow = resize_aligned(out.motion.flow, height, width)
    columns = [
      mark_keypoints(ref_image, out.reference.position),
      mark_keypoints(driving, out.driving.position),
      out.image,
      jax.vmap(warp)(ref_image, flow),
      flow_to_colour(flow),
      jnp.repeat(resize_aligned(out.motion.occlusion, height, width), 3, axis=-1),
    ]
    sheet = np.concatenate([np.asarray(c) for c in columns], axis=2)
    sheet = sheet.reshape(-1, *sheet.shape[2:])
    return {"reconstruction": np.uint8(np.clip(sheet, 0, 1) * 255 + 0.5)}


def check_self_flow(model: FlowAutoencoder, variables: Any, frame_size: int) -> None:
  """Refuses a stage 1 whose flow from a frame to itself is not the identity.

  It is for any weights, so a folded grid or a number that is none shows here in a
  second, and not after days of a stage 2 trained on it.

  Raises:
    ValueError: how far off the flow is.
  """
  frame = jax.random.uniform(jax.random.key(0), (1, frame_size, frame_size, 3))
  motion = jax.jit(model.apply, static_argnames="method")(
    variables, frame, method="analyse_clip"
  )[0]
  flow = np.asarray(motion.flow)
  distance = np.abs(flow - np.asarray(identity_grid(*flow.shape[1:3]))).max()
  if not distance < 1e-3:
    raise ValueError(
      f"The flow of stage 1 from a frame to itself is off the identity by {distance:g}:"
      " its weights are damaged, or of another network."
    )


def _forward_train(model: FlowAutoencoder, frames: Sequence[jax.Array]):
  """The training pass over [ref_image, driving] or [ref_image, driving, transformed].

  Keypoints of all frames are detected in one batch, so the detector's batch norm sees
  them together; FOMM makes three passes, with statistics of their own.

  Returns the reconstruction and the keypoints of the last frame.
  """
  ref_image = frames[0]
  found = model.detect(jnp.concatenate(frames), train=True)
  reference, at_driving, *others = split_keypoints(found, len(frames))
  motion = model.predict_motion(ref_image, reference, at_driving, train=True)
  z = model.encode(ref_image, train=True)
  image = model.decode(z, motion.flow, motion.occlusion, train=True)
  rebuilt = Reconstruction(image, motion, z, reference, at_driving)
  return rebuilt, (others or [at_driving])[-1]


def flow_to_colour(flow: Any, scale: float = 0.25) -> np.ndarray:
  """Displacement from the identity as a colour wheel: hue = direction, white = none.

  flow [*b, h, w, 2] -> float32 [*b, h, w, 3]; full saturation at `scale` (of [-1, 1]).
  """
  flow = np.asarray(flow, np.float32)
  offset = flow - np.asarray(identity_grid(*flow.shape[-3:-1]))
  angle = np.arctan2(offset[..., 1], offset[..., 0])
  strength = np.clip(np.hypot(offset[..., 0], offset[..., 1]) / scale, 0, 1)
  phase = angle[..., None] + np.array([0, 2, 4], np.float32) * (np.pi / 3)
  return 1 - strength[..., None] * (0.5 - 0.5 * np.cos(phase))


def mark_keypoints(images: Any, position: Any) -> np.ndarray:
  """Draws each keypoint as a 3 x 3 dot of its own colour."""
  images = np.array(images)
  height, width = images.shape[1:3]
  number = position.shape[1]
  for image, points in zip(images, np.asarray(position), strict=True):
    for k, (x, y) in enumerate(points):
      column = int(round((x + 1) / 2 * (width - 1)))
      row = int(round((y + 1) / 2 * (height - 1)))
      hue = 2 * np.pi * (k / number + np.arange(3) / 3)
      rows = slice(max(row - 1, 0), row + 2)
      image[rows, max(column - 1, 0) : column + 2] = 0.5 + 0.5 * np.cos(hue)
  return images

"""Stage 1: losses of a driving frame rebuilt from a reference (paper sec. 3.2)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dabfusion_jax.losses.anatomy import (
  flow_errors,
  heatmap_divergence,
  masked_mean,
  match_divergence,
  part_keypoints,
  region_error,
  visibility_error,
)
from dabfusion_jax.losses.equivariance import equivariance_errors, transform_frame
from dabfusion_jax.losses.perceptual import perceptual_loss
from dabfusion_jax.models.dense_motion import OCCLUSION, REGIONS, Motion
from dabfusion_jax.models.flow_autoencoder import (
  FlowAutoencoder,
  Reconstruction,
  split_keypoints,
)
from dabfusion_jax.models.image_codec import FINE_FLOW
from dabfusion_jax.models.keypoint_detector import HEATMAP, Keypoints
from dabfusion_jax.models.matching import MATCHES
from dabfusion_jax.ops.grid import identity_grid, sample_transform
from dabfusion_jax.ops.pixels import to_uint8
from dabfusion_jax.ops.resize import resize_aligned
from dabfusion_jax.ops.true_flow import is_shared, true_flow
from dabfusion_jax.ops.warp import warp
from dabfusion_jax.stages.base import Batch
from dabfusion_jax.stages.drawing import flow_to_colour, mark_keypoints


@dataclass(frozen=True, eq=False)
class AutoencoderStage:
  """FOMM's full loss on pairs of frames.

  Batch: `ref_image` and `driving_frame`, float32 [b h w 3] in [0, 1]; and the true
  motion of `data_pipeline.records.true_motion`, if a loss has a use for it.
  """

  model: FlowAutoencoder
  # (`frozen`, images [b h w 3] in [0, 1]) -> maps of a frozen network; None: no such
  # loss.
  features: Callable[[PyTree, Array], Sequence[Array]] | None
  frozen: PyTree = field(repr=False)  # weights of the frozen network
  scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
  perceptual_weights: tuple[float, ...] = (10.0,) * 5  # one per feature map
  pixel_weight: float = 0.0  # of the mean absolute difference; 0 in the paper
  equivariance_weight: float = 10.0  # 0: the paper's literal loss
  flow_weight: float = 0.0  # of the error against the true motion; 0 in the paper
  # Of the error of keypoints and regions, which then are body parts; 0 in the paper.
  parts_weight: float = 0.0
  # Whether every other frame is rebuilt by the true motion, as the flow of a stage 2
  # that has learnt from it (`latents --true_motion`); not so in the paper.
  rebuild_by_truth: bool = False
  sigma_affine: float = 0.05
  sigma_tps: float = 0.005

  def init(self, key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
    """Returns initial (params, batch_stats)."""
    variables = self.model.init(key, batch["ref_image"], batch["driving_frame"])
    return variables["params"], variables["batch_stats"]

  def loss(
    self,
    params: PyTree,
    batch_stats: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: jax.Array,
    train: bool = True,
  ) -> tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]]:
    """Returns (loss, (batch_stats, metrics)); see `Stage.loss`."""
    ref_image, driving = batch["ref_image"], batch["driving_frame"]
    frames = [ref_image, driving]
    if self.equivariance_weight:
      keys = jax.random.split(key, driving.shape[0])
      draw = lambda k: sample_transform(k, self.sigma_affine, self.sigma_tps)
      theta, coefficients = jax.vmap(draw)(keys)
      frames.append(jax.vmap(transform_frame)(driving, theta, coefficients))
    truth = self._truth(batch) if self.rebuild_by_truth else None
    (out, of_last_frame), updates = self.model.apply(
      {"params": params, "batch_stats": batch_stats},
      frames,
      train,
      truth,
      method=_forward,
      mutable=["batch_stats", "intermediates"],
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
        of_last_frame.position,
        of_last_frame.jacobian,
        theta,
        coefficients,
      )
      metrics["equivariance_value"] = value.mean()
      metrics["equivariance_jacobian"] = slope.mean()
      total += self.equivariance_weight * (value.mean() + slope.mean())
    total += self.pixel_weight * metrics["pixel_l1"]
    if self.flow_weight:
      loss, errors = _flow_loss(out.motion.flow, batch)
      total += self.flow_weight * loss
      metrics |= errors
      if self.model.fine_flow:
        (fine,) = updates["intermediates"]["decoder"][FINE_FLOW]
        loss, errors = _flow_loss(fine, batch)
        total += self.flow_weight * loss
        if truth is not None:  # the others refine the true flow
          found = lambda x: x[1::2]
          _, errors = _flow_loss(found(fine), jax.tree.map(found, batch))
        metrics |= {f"fine_{name}": value for name, value in errors.items()}
    if self.parts_weight:
      sown = updates["intermediates"]
      (heatmaps,) = sown["detector"][HEATMAP]
      (regions,) = sown["dense_motion"][REGIONS]
      (occlusion,) = sown["dense_motion"][OCCLUSION]
      loss, errors = _parts_loss(heatmaps, out, regions, occlusion, batch)
      total += self.parts_weight * loss
      metrics |= errors
      if self.model.matching_features:
        (logits,) = sown["matching"][MATCHES]
        (occlusion,) = sown["fusion"][OCCLUSION]
        errors = {
          "match": match_divergence(logits, *self._truth(batch)),
          "visibility": visibility_error(
            occlusion, batch["is_visible"], batch["part_map"]
          ),
        }
        total += self.parts_weight * sum(errors.values())
        metrics |= errors
    if self.features is not None:
      metrics["perceptual"] = perceptual_loss(
        functools.partial(self.features, frozen),
        out.image,
        driving,
        self.scales,
        self.perceptual_weights,
      )
      total += metrics["perceptual"]
    return total, (updates["batch_stats"], metrics)

  def _truth(self, batch: Batch) -> Motion:
    """Returns the true motion of a batch on the grid of the flow."""
    size = batch["ref_image"].shape[1]
    cells = size // 2 ** (self.model.num_down + self.model.motion_down)
    is_body = batch["part_map"] > 0
    return Motion(*true_flow(batch["motion"], is_body, batch["is_visible"], cells))

  def reconstruct(
    self,
    params: PyTree,
    batch_stats: PyTree,
    ref_image: Float[Array | np.ndarray, "b h w 3"],
    driving_frame: Float[Array | np.ndarray, "b h w 3"],
  ) -> Reconstruction:
    """Rebuilds the driving frame with the running statistics."""
    variables = {"params": params, "batch_stats": batch_stats}
    return self.model.apply(variables, ref_image, driving_frame)

  def pictures(
    self, params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array
  ) -> dict[str, np.ndarray]:
    """Draws reference, driving, rebuilt and warped reference, flow and occlusion.

    Returns a sheet with a row for each of up to six pairs. Keypoints are marked on the
    first two images.
    """
    del key
    ref_image, driving = batch["ref_image"][:6], batch["driving_frame"][:6]
    out = self._reconstruct(params, batch_stats, ref_image, driving)
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
    return {"reconstruction": to_uint8(sheet.reshape(-1, *sheet.shape[2:]))}

  @functools.cached_property
  def _reconstruct(self) -> Callable:
    return jax.jit(self.reconstruct)


def _flow_loss(
  flow: Float[Array, "b s s 2"], batch: Batch
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the flow's error on body and background, and metrics.

  Both count alike, whatever their size. What is hidden in the reference does not count:
  there the decoder has to draw, and any flow is as good. Nor does background in cells
  of the body: a cell has one motion, and an arm is narrower than a cell.
  `flow_error_ratio` is relative to the error of no motion, on the visible body.
  """
  is_visible, motion = batch["is_visible"], batch["motion"]
  is_body = batch["part_map"] > 0
  errors = flow_errors(flow, motion)
  still = jnp.broadcast_to(identity_grid(*flow.shape[1:3]), flow.shape)
  on_body = masked_mean(errors, is_visible & is_body)
  no_motion = masked_mean(flow_errors(still, motion), is_visible & is_body)
  is_away = ~is_shared(is_body, flow.shape[1])
  off_body = masked_mean(errors, is_visible & is_away)
  metrics = {"flow_error_ratio": on_body / no_motion, "flow_error_off_body": off_body}
  return on_body + off_body, metrics


def _parts_loss(
  heatmaps: Float[Array, "b2 s s p"],
  out: Reconstruction,
  regions: Float[Array, "b m m r"],
  occlusion: Float[Array, "b m m 1"],
  batch: Batch,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the error against what is known of the body, and metrics.

  It is that of keypoints and regions against the body's parts, and of the occlusion
  against what the reference shows.

  Args:
    heatmaps: logits of the reference and driving frames.
    out: of the network.
    regions, occlusion: logits of the driving frames.
    batch: with `part_pose`, `part_map` and `is_visible`.
  """
  size = batch["ref_image"].shape[1]
  pose = jnp.concatenate([batch["part_pose"][:, 0], batch["part_pose"][:, 1]])
  position, jacobian = part_keypoints(pose, size)
  found = jax.tree.map(lambda *x: jnp.concatenate(x), out.reference, out.driving)
  metrics = {
    "part_heatmap": heatmap_divergence(heatmaps[: len(pose)], position),
    "part_jacobian": jnp.abs(found.jacobian - jacobian).mean(),
    "part_regions": region_error(regions, batch["part_map"]),
    "part_visibility": visibility_error(
      occlusion, batch["is_visible"], batch["part_map"]
    ),
  }
  total = sum(metrics.values())
  metrics["part_position"] = jnp.abs(found.position - position).mean()
  return total, metrics


def check_self_flow(model: FlowAutoencoder, variables: PyTree, frame_size: int) -> None:
  """Checks that the flow from a frame to itself is the identity.

  It is for any weights, so a folded grid or NaNs are detected here immediately, and not
  after days of training a stage 2 on it.

  Raises:
    ValueError: the flow is not the identity; the message says how far it is off.
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
      " its weights are damaged, or belong to another network."
    )


def _forward(
  model: FlowAutoencoder,
  frames: Sequence[Float[Array, "b h w 3"]],
  train: bool,
  truth: Motion | None,
) -> tuple[Reconstruction, Keypoints]:
  """Passes [ref_image, driving_frame] or [ref_image, driving_frame, transformed].

  If the true motion is given, every other image is rebuilt by it.

  Keypoints of all frames are detected in one batch, so that the detector's batch norm
  sees them together; FOMM makes three passes with statistics of their own.

  Returns:
    The reconstruction of the driving frame, and the keypoints of the last frame.
  """
  ref_image = frames[0]
  keypoints = model.detect(jnp.concatenate(frames), train)
  reference, driving, *others = split_keypoints(keypoints, len(frames))
  motion = model.predict_motion(ref_image, frames[1], reference, driving, train)
  z = model.encode(ref_image, train)
  by = motion
  if truth is not None:
    is_true = (jnp.arange(len(z)) % 2 == 0)[:, None, None, None]
    by = jax.tree.map(lambda x, y: jnp.where(is_true, x, y), truth, motion)
  image = model.decode(z, *by, train)
  rebuilt = Reconstruction(image, motion, z, reference, driving)
  return rebuilt, (others or [driving])[-1]

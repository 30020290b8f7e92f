r"""How exactly the joints of a dance are read: from its flow, and from drawn frames.

  python -m benchmarks.joints --data=DIR [--checkpoint=STAGE2 --num_clips=16]

--data is a data set of generated people (`data_pipeline.build`); its test clips are
moved by their true motion, as a stage 2 that has learnt it would. Printed are mean
distances from the true joints over all frames but the first, in trunks, with standard
errors over clips. What a reader says of the frame without motion is taken off, since
detectors place joints elsewhere in a body than its mesh does. A second table shows what
smoothing over time makes of what the reader says: the distances of all joints and of
their steps from frame to frame, and how much their velocities change relative to the
true ones. BlazePose needs its weights (docs/weights.md).
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dabfusion_jax.evaluation.scoring.aggregate import standard_error, with_error
from dabfusion_jax.ops.joints import JOINTS, trunk_length
from dabfusion_jax.ops.true_flow import true_flow
from dabfusion_jax.people.joints import joints_of as landmark_joints
from dabfusion_jax.people.landmarks import LandmarkNetwork
from dabfusion_jax.people.skeleton import smooth_joints
from dabfusion_jax.people.squares import Square
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.records import loader
from data_pipeline.records.body_parts import joints_of
from data_pipeline.records.picks import even_indices
from data_pipeline.records.true_motion import clip_motion

SHOWN = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "head")
FLOW, FRAMES = "the reader, from the flow", "BlazePose, from the true frames"
DECODED, STILL = "BlazePose, from decoded frames", "no motion (null)"

SMOOTHED = (0.1, 0.3, 0.5, 0.7, 1.0)  # frames; the first is as good as nothing

Joints = Float[np.ndarray, "t 13 2"]


def distances(found: Joints, true: Joints) -> dict[str, float]:
  """Returns the mean distance of each kind of joint, in trunks of the first frame."""
  error = np.linalg.norm(found - found[:1] - (true - true[:1]), axis=-1)[1:].mean(0)
  error /= float(trunk_length(true[0]))
  return {
    kind: float(
      error[[i for i, name in enumerate(JOINTS) if name.endswith(kind)]].mean()
    )
    for kind in SHOWN
  }


def motion_errors(found: Joints, true: Joints) -> tuple[float, float, float]:
  """Returns errors of places and of steps in trunks, and the ratio of accelerations."""
  unit = float(trunk_length(true[0]))
  error = (found - found[:1] - (true - true[:1])) / unit
  size = lambda values: float(np.linalg.norm(values, axis=-1).mean())
  changes = size(np.diff(found, 2, axis=0)) / size(np.diff(true, 2, axis=0))
  return size(error[1:]), size(np.diff(error, axis=0)), changes


def read_clip(
  record: Mapping[str, Any], pipe: DancePipeline, pose: LandmarkNetwork
) -> dict[str, Joints]:
  """Returns the joints of a clip in pixels, by who reads them."""
  frames, true = record["frames"], joints_of(record["part_pose"])
  half = (frames.shape[1] - 1) / 2
  cells = pipe.autoencoder_settings.model.flow_size(frames.shape[1])
  flow, seen = map(np.asarray, true_flow(*clip_motion(record, 0), cells))
  sampler = pipe.batch_sampler
  read = sampler.read_joints(flow, seen, true[0] / half - 1)
  z = sampler.encode(frames[:1])
  decoded = sampler.decode(z, jnp.asarray(flow)[None], jnp.asarray(seen)[None])[0]
  return {
    FLOW: (read + 1) * half,
    FRAMES: find(pose, frames),
    DECODED: find(pose, decoded),
    STILL: np.broadcast_to(true[:1], true.shape),
  }


def find(pose: LandmarkNetwork, frames: UInt8[np.ndarray, "t n n 3"]) -> Joints:
  """Returns the joints that BlazePose finds in whole frames."""
  whole = Square(0.0, 0.0, float(frames.shape[1]))
  return np.stack([landmark_joints(pose.find(frame, whole).points) for frame in frames])


def run(args: argparse.Namespace) -> None:
  """Reads clips and prints a table in markdown."""
  pipe = DancePipeline.from_pretrained(args.checkpoint)
  if pipe.batch_sampler.read_joints is None:
    raise UserError(f"{args.checkpoint} was trained without a joint reader.")
  fields = ("name", "frames", "part_map", "part_pose", "surfaces")
  expect = {"frame_size": pipe.frame_size}
  clips = loader.open_clips(args.data, "test", expect=expect, fields=fields)
  if "surfaces" not in clips[0]:
    raise UserError(
      f"{args.data} holds no generated people; build one with look people."
    )
  pose = LandmarkNetwork(compiled=True)
  rows: dict[str, list[dict[str, float]]] = {}
  smoothed: dict[float, list[tuple[float, float, float]]] = {}
  chosen = even_indices(len(clips), args.num_clips)
  for index in chosen:
    record = clips[index]
    true = joints_of(record["part_pose"])
    for name, found in read_clip(record, pipe, pose).items():
      rows.setdefault(name, []).append(distances(found, true))
      if name == FLOW:
        for sigma in SMOOTHED:
          smooth = smooth_joints(found, np.ones(found.shape[:2]), sigma)
          smoothed.setdefault(sigma, []).append(motion_errors(smooth, true))
  print(f"| read by (n = {len(chosen)} clips) | " + " | ".join(SHOWN) + " |")
  print("|---" * (1 + len(SHOWN)) + "|")
  for name, clips_of_row in rows.items():
    cells = (np.array([clip[kind] for clip in clips_of_row]) for kind in SHOWN)
    shown = (with_error(float(x.mean()), standard_error(x)) for x in cells)
    print(f"| {name} | " + " | ".join(shown) + " |")
  print("\n| smoothed by [frames] | places | steps | change of velocity, over true |")
  print("|---|---|---|---|")
  for sigma, errors in smoothed.items():
    columns = np.array(errors).T
    shown = [with_error(float(x.mean()), standard_error(x)) for x in columns]
    print(f"| {sigma} | " + " | ".join(shown) + " |")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the measurement."""
  parser = cli.make_parser("benchmarks.joints", __doc__)
  add = parser.add_argument
  add("--data", type=cli.path, required=True)
  add("--checkpoint", type=cli.path, default=saved_stage.PEOPLE)
  add("--num_clips", type=cli.positive_int, default=16)
  args = parser.parse_args(argv)
  with cli.one_line_errors("joints"):
    run(args)


if __name__ == "__main__":
  main()

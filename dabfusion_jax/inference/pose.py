"""How a person stands in the frames of a dance, read from flow or drawn frames."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.sampler import ReadJoints
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.people.joints import joints_of, with_joints
from dabfusion_jax.people.landmarks import LandmarkNetwork, Landmarks
from dabfusion_jax.people.squares import Square


@runtime_checkable  # for the type checks of the tests
class PoseReader(Protocol):
  """Finds the landmarks of generated frames, in their pixels."""

  def rest(self, motion: Motion) -> Landmarks:
    """Returns those of the frame without motion.

    Args:
      motion: the first of the dance.
    """
    ...

  def read(self, motion: Motion) -> list[Landmarks]:
    """Returns those of the frames of a motion that are kept."""
    ...


@dataclasses.dataclass(frozen=True)
class FlowReader:
  """Reads landmarks from the flow; no frame has to be drawn for it.

  Attributes:
    read_joints: of the model.
    picture: landmarks of the picture, in the pixels of a frame.
    frame_size: pixels per side of a frame.
  """

  read_joints: ReadJoints
  picture: Landmarks
  frame_size: int

  def rest(self, motion: Motion) -> Landmarks:
    """Returns what is read from no motion."""
    # As often as there are frames: another number of them would be another program.
    grid = identity_grid(*motion.flow.shape[1:3])
    still = np.broadcast_to(np.asarray(grid), motion.flow.shape)
    return self._read(still, np.ones_like(motion.occlusion))[0]

  def read(self, motion: Motion) -> list[Landmarks]:
    """Returns the landmarks of the frames that are kept."""
    return self._read(motion.flow, motion.occlusion)[: motion.num_kept]

  def _read(
    self,
    flow: Float32[np.ndarray, "t s s 2"],
    occlusion: Float32[np.ndarray, "t s s 1"],
  ) -> list[Landmarks]:
    half = (self.frame_size - 1) / 2  # flow is -1 and 1 at the centres of outer pixels
    points = self.picture.points - 0.5
    given = joints_of(points) / half - 1
    found = (np.asarray(self.read_joints(flow, occlusion, given)) + 1) * half
    return [
      dataclasses.replace(
        self.picture,
        points=with_joints(points, joints.astype(np.float64)) + 0.5,
        confidence=np.ones_like(self.picture.confidence),
      )
      for joints in found
    ]


@dataclasses.dataclass(frozen=True)
class FrameReader:
  """Reads landmarks from the network's own frames.

  Attributes:
    network: that finds them; called when it is needed first.
    rebuild: returns the frame without motion.
  """

  network: Callable[[], LandmarkNetwork]
  rebuild: Callable[[], UInt8[np.ndarray, "n n 3"]]

  def rest(self, motion: Motion) -> Landmarks:
    """Returns what is read from the frame without motion."""
    del motion
    return self._find(self.rebuild())

  def read(self, motion: Motion) -> list[Landmarks]:
    """Returns the landmarks of the frames that are kept."""
    return [self._find(frame) for frame in motion.decoded[: motion.num_kept]]

  def _find(self, frame: UInt8[np.ndarray, "n n 3"]) -> Landmarks:
    return self.network().find(frame, Square(0.0, 0.0, float(len(frame))))

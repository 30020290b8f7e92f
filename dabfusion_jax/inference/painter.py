"""From the motion of a window to the frames that are shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.inference.dance_files import Part
from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.pose import PoseReader
from dabfusion_jax.inference.song import Song
from dabfusion_jax.metrics.image import psnr
from dabfusion_jax.ops.details import add_details
from dabfusion_jax.people.drawing import Moves, PieceDrawer, draw_flow, draw_people
from dabfusion_jax.people.puppet import Puppet
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.squares import Square

# Generated frames after which a dance is as it was sampled. It begins in any pose, to
# which the person of the picture would otherwise jump from the first frame to the next.
_EASE_IN = 5
_psnr = jax.jit(psnr, static_argnums=2)

Frames = UInt8[np.ndarray, "t h w 3"]


@runtime_checkable  # for the type checks of the tests
class Painter(Protocol):
  """Draws the frames of a dance, window by window.

  Attributes:
    times: frames that are drawn per frame of the motion.
  """

  times: int

  def paint(self, *motions: Motion) -> Iterator[Frames]:
    """Yields the next frames of the dance; the last few may come a window later.

    Args:
      *motions: of each person who dances; one of most painters.
    """
    ...


@dataclass(frozen=True)
class DecoderPainter:
  """Shows the network's frames, perhaps with what the codec loses of the picture."""

  ref_image: UInt8[np.ndarray, "n n 3"]
  rebuilt: UInt8[np.ndarray, "n n 3"]
  adds_details: bool
  times: ClassVar[int] = 1

  def paint(self, motion: Motion) -> Iterator[Frames]:
    """Yields the frames that are kept."""
    frames = motion.decoded
    if self.adds_details:
      frames = add_details(frames, self.ref_image, self.rebuilt, motion.flow)
    yield frames[: motion.num_kept]


@dataclass(eq=False)
class PiecePainter:
  """Moves a person with landmarks.

  Attributes:
    scene: with landmarks.
    puppet: the person of the scene.
    frame: where the network's frames lie in it.
    pose: reads how the person stands in each of them.
    frame_size: pixels per side of one.
    times: frames that are drawn for each of them.
  """

  scene: Scene
  puppet: Puppet
  frame: Square
  pose: PoseReader
  frame_size: int
  times: int = 1
  drawer: PieceDrawer | None = None  # made with the first motion

  def follow(self, motion: Motion) -> Iterator[Sequence[Moves]]:
    """Yields how the pieces move in the frames whose neighbours in time are known."""
    if self.drawer is None:
      rest = self.pose.rest(motion)
      self.drawer = PieceDrawer(
        *(self.scene, self.puppet, self.frame, rest, self.frame_size, self.times),
        ease_in=_EASE_IN,
      )
    yield from self.drawer.follow(self.pose.read(motion), motion.is_last)

  def paint(self, motion: Motion) -> Iterator[Frames]:
    """Yields the frames whose neighbours in time are known."""
    for moves in self.follow(motion):
      yield draw_people([self.drawer], [moves])


@dataclass(frozen=True)
class GroupPainter:
  """Moves several people over one background.

  Attributes:
    painters: of each, those in front last.
  """

  painters: tuple[PiecePainter, ...]

  @property
  def times(self) -> int:
    """Frames that are drawn per frame of the motion."""
    return self.painters[0].times

  def paint(self, *motions: Motion) -> Iterator[Frames]:
    """Yields the frames whose neighbours in time are known."""
    together = zip(self.painters, motions, strict=True)
    following = [painter.follow(motion) for painter, motion in together]
    for moves in zip(*following, strict=True):
      yield draw_people([painter.drawer for painter in self.painters], moves)


@dataclass(frozen=True)
class FlowPainter:
  """Moves anything else that was cut out, by the flow itself.

  Attributes:
    scene: landmarks are not needed.
    frame: where the network's frames lie in it.
    background: what the network was shown behind.
    gain: of the colours of the scene over those the network was shown.
  """

  scene: Scene
  frame: Square
  background: UInt8[np.ndarray, "n n 3"]
  gain: float
  times: ClassVar[int] = 1

  def paint(self, motion: Motion) -> Iterator[Frames]:
    """Yields the frames that are kept."""
    flow, occlusion, decoded = (
      x[: motion.num_kept] for x in (motion.flow, motion.occlusion, motion.decoded)
    )
    yield draw_flow(
      self.scene, self.frame, flow, occlusion, decoded, self.background, self.gain
    )


def paint_parts(
  motions: Iterator[tuple[Motion, ...]], painter: Painter, song: Song, fps: float
) -> Iterator[Part]:
  """Yields the frames of a dance, with the motion and the sound beside them.

  Args:
    motions: windows of the dance, in order, of each person; the first one's is told.
    painter: draws them.
    song: that is danced to.
    fps: frames per second of the motion.
  """
  first, flows, occlusions = 0, [], []
  for together in motions:
    motion = together[0]
    flows.append(motion.flow[: motion.num_kept])
    occlusions.append(motion.occlusion[: motion.num_kept])
    flow, occlusion = np.concatenate(flows), np.concatenate(occlusions)
    for frames in painter.paint(*together):
      num = len(frames) // painter.times
      last = first + num
      audio = song.audio_between(first / fps, last / fps)
      yield Part(frames, flow[:num], occlusion[:num], audio)
      flow, occlusion, first = flow[num:], occlusion[num:], last
    flows, occlusions = [flow], [occlusion]  # of frames that come later


def needs_details(
  ref_image: UInt8[np.ndarray, "n n 3"],
  rebuilt: UInt8[np.ndarray, "n n 3"],
  below_db: float,
) -> tuple[bool, tuple[str, ...]]:
  """Returns whether the codec loses so much that details are added, with a note."""
  pair = (picture.astype(np.float32) for picture in (rebuilt, ref_image))
  quality = float(_psnr(*pair, 255))
  if quality >= below_db:
    return False, ()
  note = (
    f"The codec reproduces this picture at {quality:.0f} dB only. The details it"
    " loses are added and moved along, and what motion uncovers is a guess;"
    " --no-details shows the model alone."
  )
  return True, (note,)

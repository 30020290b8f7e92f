"""Provides 2-D poses: from files of any estimator, or by BlazePose.

The same source must serve generated and real clips: stored poses for one side and an
estimator for the other would compare the estimators.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from data_pipeline.errors import UserError

# 13 of the 17 joints of COCO.
JOINTS = (
  "nose",
  "left_shoulder",
  "right_shoulder",
  "left_elbow",
  "right_elbow",
  "left_wrist",
  "right_wrist",
  "left_hip",
  "right_hip",
  "left_knee",
  "right_knee",
  "left_ankle",
  "right_ankle",
)
FROM_COCO = (0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
MIN_CONFIDENCE = 0.5

Poses = tuple[Float64[np.ndarray, "t 13 2"], Bool[np.ndarray, "t 13"]]


@runtime_checkable
class PoseSource(Protocol):
  """Finds the dancer's joints in a clip."""

  name: str

  def __call__(self, name: str, frames: Callable[[], np.ndarray]) -> Poses:
    """Returns the joints in pixels, and which of them are visible.

    In a frame without a person no joint is visible; nothing is interpolated.

    Args:
      name: of the clip, after its side: samples/NAME or references/NAME.
      frames: returns the frames, uint8 [t, h, w, 3].
    """

  def describe(self, name: str) -> Mapping[str, Any]:
    """Returns all that the poses of a clip depend on besides its frames."""


class PoseFiles:
  """Poses in files DIR/samples/NAME.npz and DIR/references/NAME.npz, of any tool.

  `poses` float [t, j, 3] holds x, y in pixels and a confidence in [0, 1]; `joints`
  holds the names of the j joints, which must include `JOINTS`. The optional `estimator`
  names the tool that found the poses: results of different tools are not compared.
  """

  def __init__(self, *folders: str | pathlib.Path) -> None:
    self._folders = [pathlib.Path(folder) for folder in folders]
    paths = [path for folder in self._folders for path in folder.rglob("*.npz")]
    if not any(self._sides()):
      raise UserError(
        f"{', '.join(map(str, self._folders))}: poses lie in samples/NAME.npz and"
        " references/NAME.npz of such a folder; there is neither."
      )
    tools = {str(tool) for p in paths for tool in _read(p, "estimator").values()}
    self.name = " ".join(["files", *sorted(tools)])

  def describe(self, name: str) -> Mapping[str, Any]:
    path = self._find(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else None
    return {"estimator": self.name, "file": digest, "min": MIN_CONFIDENCE}

  def __call__(self, name: str, frames: Callable[[], np.ndarray]) -> Poses:
    path, num_frames = self._find(name), len(frames())
    if path is None:  # without any pose the metric is undefined, and counted as such
      return np.zeros((num_frames, 13, 2)), np.zeros((num_frames, 13), bool)
    content = _read(path, "poses", "joints")
    if len(content) < 2:
      raise UserError(f"{path} must hold `poses` and `joints`, not only {[*content]}.")
    poses, joints = content["poses"], [str(j) for j in content["joints"]]
    missing = [j for j in JOINTS if j not in joints]
    if missing or poses.ndim != 3 or poses.shape[1:] != (len(joints), 3):
      raise UserError(
        f"{path}: `poses` has shape {poses.shape} for {len(joints)} joints, and lacks"
        f" {missing}; expected [t, j, 3] with all of {JOINTS}."
      )
    if len(poses) < num_frames:
      raise UserError(f"{path} has {len(poses)} poses for {num_frames} frames.")
    poses = poses[:num_frames, [joints.index(j) for j in JOINTS]].astype(np.float64)
    visible = (poses[..., 2] >= MIN_CONFIDENCE) & np.isfinite(poses).all(axis=-1)
    return np.where(visible[..., None], poses[..., :2], 0.0), visible

  def _sides(self) -> Iterator[bool]:
    for folder in self._folders:
      yield from ((folder / part).is_dir() for part in ("samples", "references"))

  def _find(self, name: str) -> pathlib.Path | None:
    paths = [folder / f"{name}.npz" for folder in self._folders]
    return next((path for path in paths if path.is_file()), None)


def _read(path: pathlib.Path, *names: str) -> dict[str, np.ndarray]:
  """Returns those of the named arrays that a file holds."""
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
      return {name: content[name] for name in names if name in content.files}
  except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} is not a readable npz file ({error}).") from None

"""Where 2-D poses come from: files of any estimator, or BlazePose.

One source serves both sides: stored poses for real clips and an estimator for generated
ones would compare the estimators.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from data_pipeline.errors import UserError

# 13 of COCO-17.
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


@runtime_checkable
class PoseSource(Protocol):
  """Finds the dancer's joints in a clip."""

  name: str

  def __call__(
    self, name: str, frames: Callable[[], np.ndarray]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Clip's name and frames -> joints float64 [t, 13, 2] in pixels, visible [t, 13].

    A frame without a person has no visible joint; nothing is interpolated.
    """

  def describe(self, name: str) -> Mapping[str, Any]:
    """Everything the poses of this clip depend on besides its frames."""


class PoseFiles:
  """Poses from DIR/NAME.npz, as any tool may write them.

  `poses` float [t, j, 3] holds x, y in pixels and confidence in [0, 1], `joints` the
  names of its j joints; the 13 of `JOINTS` are taken out. `estimator`, where a file has
  it, names the tool that found them: results of different tools are not compared.
  """

  def __init__(self, *folders: str | pathlib.Path) -> None:
    self._folders = [pathlib.Path(folder) for folder in folders]
    paths = [path for folder in self._folders for path in folder.rglob("*.npz")]
    tools = {str(tool) for p in paths for tool in _read(p, "estimator").values()}
    self.name = " ".join(["files", *sorted(tools)])

  def describe(self, name: str) -> Mapping[str, Any]:
    path = self._find(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else None
    return {"estimator": self.name, "file": digest, "min": MIN_CONFIDENCE}

  def __call__(
    self, name: str, frames: Callable[[], np.ndarray]
  ) -> tuple[np.ndarray, np.ndarray]:
    path, num_frames = self._find(name), len(frames())
    if path is None:  # no pose at all: the metric is undefined, and counted
      return np.zeros((num_frames, 13, 2)), np.zeros((num_frames, 13), bool)
    content = _read(path, "poses", "joints")
    if len(content) < 2:
      raise UserError(f"{path} must hold `poses` and `joints`, not {[*content]} only.")
    poses, joints = content["poses"], [str(j) for j in content["joints"]]
    missing = [j for j in JOINTS if j not in joints]
    if missing or poses.ndim != 3 or poses.shape[1:] != (len(joints), 3):
      raise UserError(
        f"{path}: `poses` has shape {poses.shape} for {len(joints)} joints, and lacks"
        f" {missing}; expected [t, j, 3] with all of {JOINTS}."
      )
    if len(poses) < num_frames:
      raise UserError(f"{path}: {len(poses)} poses for {num_frames} frames.")
    poses = poses[:num_frames, [joints.index(j) for j in JOINTS]].astype(np.float64)
    visible = (poses[..., 2] >= MIN_CONFIDENCE) & np.isfinite(poses).all(axis=-1)
    return np.where(visible[..., None], poses[..., :2], 0.0), visible

  def _find(self, name: str) -> pathlib.Path | None:
    found = [folder / f"{name}.npz" for folder in self._folders]
    return next((path for path in found if path.is_file()), None)


def _read(path: pathlib.Path, *names: str) -> dict[str, np.ndarray]:
  """Those of the named arrays that a file holds."""
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
      return {name: content[name] for name in names if name in content.files}
  except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} is no npz file that can be read ({error}).") from None

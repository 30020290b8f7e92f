"""The AIST dance videos as they are distributed, under their original names."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from data_pipeline import aist
from data_pipeline.errors import UserError
from data_pipeline.media.errors import MediaError
from data_pipeline.numpy_pickle import UnsafePickleError, read_arrays
from data_pipeline.sources.base import (
  SONG_SUFFIXES,
  VIDEO_SUFFIXES,
  Film,
  Finding,
  Joints,
  SourceVideo,
  Survey,
  song_from_files,
)

JOINT_FPS = 60.0  # of AIST++ annotations
MAX_ANNOTATION_BYTES = 256 * 2**20
MAX_SONG_FILES = 5  # tried for one track
IGNORE = ("none", "aistpp")


@dataclasses.dataclass(frozen=True)
class AistFilm:
  """A folder of AIST videos; every one plays its track from the start.

  Attributes:
    videos: folder, searched with all its subfolders.
    split: official, index1, index2, crossmodal or the path of a list of tracks.
    ignore: `aistpp` leaves the dances of its ignore list out; `none` keeps them, as
      the paper's counts do (their film is sound).
    annotations: folder of AIST++ with `keypoints2d` and `keypoints3d`, or None.
    music: folder of tracks (`mBR0.wav`, ...), or None: heard from the videos.
  """

  videos: str
  split: str = "official"
  ignore: str = "none"
  annotations: str | None = None
  music: str | None = None
  name: str = "aist"
  finds_shots: bool = False  # one take each, a camera that does not move

  def __post_init__(self) -> None:
    for folder in (self.videos, self.annotations, self.music):
      if folder is not None and not pathlib.Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; check the path.")
    if self.ignore not in IGNORE:
      raise UserError(f"Unknown ignore list {self.ignore!r}; known: {IGNORE}.")

  def description(self) -> dict[str, Any]:
    return {
      "name": self.name,
      "split": self.split,
      "ignore": self.ignore,
      "joints": self.annotations is not None,
    }

  def survey(self) -> Survey:
    files, findings = self._files()
    splits = aist.assign_sequences(self.split)
    listed = frozenset(aist.sequences())
    ignored = aist.ignored_sequences() if self.ignore == "aistpp" else frozenset()
    songs = self._songs(files)
    videos = []
    for name, file in sorted(files.items()):
      if name.sequence not in listed:
        findings.append(Finding("unlisted", str(name), "no dance of AIST++"))
      elif name.sequence in ignored:
        findings.append(Finding("ignored", str(name), "ignore list of AIST++"))
      elif name.sequence not in splits:
        findings.append(Finding("ignored", str(name), f"in no part of {self.split}"))
      else:
        videos.append(
          SourceVideo(
            name=str(name),
            split=splits[name.sequence],
            song=name.music,
            song_start_seconds=0.0,
            genre=name.genre,
            track=name.music,
            dancer=name.dancer,
            camera=name.camera,
            file=str(file),
            music_file=songs[name.music][0] if self.music is not None else "",
          )
        )
    wanted = sorted(splits.keys() - ignored)
    for sequence in wanted:
      parsed = aist.ClipName.parse(sequence)
      for camera in aist.CAMERAS:
        name = dataclasses.replace(parsed, camera=camera)
        if name not in files:
          findings.append(Finding("missing", str(name), "listed, but not there"))
    expected = Counter(splits[sequence] for sequence in wanted)
    used = {video.song: songs[video.song] for video in videos}
    return Survey(
      videos,
      used,
      findings,
      {split: len(aist.CAMERAS) * n for split, n in sorted(expected.items())},
    )

  def _files(self) -> tuple[dict[aist.ClipName, pathlib.Path], list[Finding]]:
    files: dict[aist.ClipName, pathlib.Path] = {}
    findings = []
    for path in sorted(pathlib.Path(self.videos).rglob("*")):
      if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
        continue
      try:
        name = aist.ClipName.parse(path.stem)
        if name.camera not in aist.CAMERAS:
          raise UserError(f"{path.stem!r} names no camera.")
      except ValueError:
        findings.append(Finding("unlisted", path.name, "no name of an AIST video"))
        continue
      if name in files:
        findings.append(Finding("ignored", path.name, f"the same as {files[name]}"))
      else:
        files[name] = path
    return files, findings

  def _songs(
    self, files: Mapping[aist.ClipName, pathlib.Path]
  ) -> dict[str, tuple[str, ...]]:
    songs: dict[str, tuple[str, ...]] = {}
    if self.music is not None:
      folder = pathlib.Path(self.music)
      for track in aist.TRACKS:
        found = [folder / f"{track}{suffix}" for suffix in SONG_SUFFIXES]
        # The first name stands for a missing track, so that the error names it.
        there = [str(path) for path in found if path.is_file()] or [str(found[0])]
        songs[track] = tuple(there)
      return songs
    # The longest dances first: they let more of the track be heard.
    order = sorted(
      files, key=lambda name: (-aist.SITUATIONS.get(name.situation, 0), name)
    )
    for name in order:
      heard = songs.get(name.music, ())
      if len(heard) < MAX_SONG_FILES:
        songs[name.music] = (*heard, str(files[name]))
    return songs

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    return song_from_files(song, files)

  def film(self, video: SourceVideo, folder: pathlib.Path) -> Film:
    del folder  # it is there
    joints = None
    if self.annotations is not None:
      joints = read_joints(self.annotations, aist.ClipName.parse(video.name))
    music = pathlib.Path(video.music_file) if video.music_file else None
    return Film(pathlib.Path(video.file), music, joints=joints)


def read_joints(annotations: str, name: aist.ClipName) -> Joints:
  """The joints of AIST++ that one camera saw.

  Both are those of a detector, with gaps. World units are about 1.1 cm.

  Args:
    annotations: folder with `keypoints2d` and `keypoints3d`, pickles by dance.
    name: of the video.

  Returns:
    Joints at 60 a second; a single NaN where the dance is not annotated.

  Raises:
    MediaError: a file that is damaged, or is not what it should be.
  """
  found2d = _annotation(annotations, "keypoints2d", name.sequence)
  found3d = _annotation(annotations, "keypoints3d", name.sequence)
  joints2d = np.full((1, 17, 2), np.nan, np.float32)
  joints3d = np.full((1, 17, 3), np.nan, np.float32)
  camera = aist.CAMERAS.index(name.camera)
  try:
    if found2d is not None:
      joints2d = np.asarray(found2d["keypoints2d"][camera, ..., :2], np.float32)
    if found3d is not None:
      key = "keypoints3d_optim" if "keypoints3d_optim" in found3d else "keypoints3d"
      joints3d = np.asarray(found3d[key], np.float32)
    length = max(len(joints2d), len(joints3d))
    return Joints(JOINT_FPS, _lengthen(joints2d, length), _lengthen(joints3d, length))
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise MediaError(
      f"{name.sequence}: not the joints of AIST++ ({error}); download them again."
    ) from error


def _annotation(folder: str, kind: str, sequence: str) -> Mapping[str, Any] | None:
  path = pathlib.Path(folder) / kind / f"{sequence}.pkl"
  if not path.is_file():
    return None
  if path.stat().st_size > MAX_ANNOTATION_BYTES:
    raise MediaError(f"{path}: too large for the joints of a dance; download it again.")
  try:
    return read_arrays(path.read_bytes())
  except UnsafePickleError as error:
    raise MediaError(f"{path}: refused, {error}; download it again.") from error


def _lengthen(joints: np.ndarray, length: int) -> np.ndarray:
  if joints.shape[1] != 17:
    raise UserError(f"{joints.shape[1]} joints instead of 17")
  missing = np.full((length - len(joints), *joints.shape[1:]), np.nan, np.float32)
  return np.concatenate([joints, missing])

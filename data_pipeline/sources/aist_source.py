"""Provides the videos of the AIST dance database under their original names."""

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
  Finding,
  Joints,
  SourceVideo,
  Survey,
  VideoFile,
  list_files,
  read_song,
)

JOINT_FPS = 60.0  # of AIST++ annotations
MAX_ANNOTATION_BYTES = 256 * 2**20
MAX_SONG_FILES = 5  # videos from which a track may be read
IGNORE = ("none", "aistpp")
_KINDS = ("keypoints2d", "keypoints3d")  # folders of AIST++


@dataclasses.dataclass(frozen=True)
class AistSource:
  """A folder of AIST videos; every video plays its track from the start.

  Attributes:
    videos: folder, searched with all its subfolders.
    split: official, index1, index2, crossmodal or the path of a list of tracks.
    ignore: `aistpp` leaves out the dances of its ignore list; `none` keeps them, as
      the counts of the paper do (their video is intact).
    annotations: folder of AIST++ with `keypoints2d` and `keypoints3d`, or None.
    music: folder of tracks (`mBR0.wav`, ...), or None to read them from the videos.
  """

  videos: str
  split: str = "official"
  ignore: str = "none"
  annotations: str | None = None
  music: str | None = None
  name: str = "aist"
  finds_shots: bool = False  # each video is a single take by a fixed camera

  def __post_init__(self) -> None:
    for folder in (self.videos, self.annotations, self.music):
      if folder is not None and not pathlib.Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; check the path.")
    if self.annotations is not None:
      folder = pathlib.Path(self.annotations)
      if not any(any(folder.glob(f"{kind}/*.pkl")) for kind in _KINDS):
        raise UserError(
          f"{folder}: holds neither keypoints2d/*.pkl nor keypoints3d/*.pkl; give the "
          "folder of AIST++ that does."
        )
    if self.ignore not in IGNORE:
      raise UserError(f"Unknown ignore list {self.ignore!r}; known: {IGNORE}.")

  def description(self) -> dict[str, Any]:
    """Returns the name, the lists used, and whether there are joints."""
    return {
      "name": self.name,
      "split": self.split,
      "ignore": self.ignore,
      "joints": self.annotations is not None,
    }

  def survey(self) -> Survey:
    """Lists the videos, and reports what is missing compared with AIST++."""
    files, findings = self._files()
    splits = aist.assign_sequences(self.split)
    listed = frozenset(aist.sequences())
    ignored = aist.ignored_sequences() if self.ignore == "aistpp" else frozenset()
    songs = self._songs(files)
    videos = []
    for name, file in sorted(files.items()):
      if name.sequence not in listed:
        findings.append(Finding("unlisted", str(name), "not a dance of AIST++"))
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
            other_files=self._annotation_files(name.sequence),
          )
        )
    findings += self._annotations_missing(videos)
    wanted = sorted(splits.keys() - ignored)
    for sequence in wanted:
      parsed = aist.ClipName.parse(sequence)
      for camera in aist.CAMERAS:
        name = dataclasses.replace(parsed, camera=camera)
        if name not in files:
          findings.append(Finding("missing", str(name), "listed, but not there"))
    expected = Counter(splits[sequence] for sequence in wanted)
    return Survey(
      videos,
      {video.song: songs[video.song] for video in videos},
      findings,
      {split: len(aist.CAMERAS) * n for split, n in sorted(expected.items())},
    )

  def _files(self) -> tuple[dict[aist.ClipName, pathlib.Path], list[Finding]]:
    files: dict[aist.ClipName, pathlib.Path] = {}
    findings = []
    for path in list_files(self.videos):
      if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
        continue
      try:
        name = aist.ClipName.parse(path.stem)
      except UserError:
        name = None
      if name is None or name.camera not in aist.CAMERAS:
        findings.append(Finding("unlisted", path.name, "not the name of an AIST video"))
      elif name in files:
        findings.append(Finding("ignored", path.name, f"the same as {files[name]}"))
      else:
        files[name] = path
    return files, findings

  def _annotation_files(self, sequence: str) -> tuple[str, ...]:
    if self.annotations is None:
      return ()
    return tuple(str(_annotation_file(self.annotations, k, sequence)) for k in _KINDS)

  def _annotations_missing(self, videos: Sequence[SourceVideo]) -> list[Finding]:
    """Returns a note per dance that has no file of one or both kinds of joints."""
    dances = {aist.ClipName.parse(v.name).sequence: v.other_files for v in videos}
    findings = []
    for dance, paths in sorted(dances.items()):
      kinds = [p.parent.name for p in map(pathlib.Path, paths) if not p.is_file()]
      if kinds:
        reason = f"no joints of it in {' and '.join(kinds)}"
        findings.append(Finding("noted", dance, reason))
    return findings

  def _songs(
    self, files: Mapping[aist.ClipName, pathlib.Path]
  ) -> dict[str, tuple[str, ...]]:
    songs: dict[str, tuple[str, ...]] = {}
    if self.music is not None:
      folder = pathlib.Path(self.music)
      for track in aist.TRACKS:
        paths = [folder / f"{track}{suffix}" for suffix in SONG_SUFFIXES]
        existing = tuple(str(path) for path in paths if path.is_file())
        # The first path stands for a missing track, so that the error names it.
        songs[track] = existing or (str(paths[0]),)
      return songs
    # The longest dances first, because they contain more of the track.
    order = sorted(
      files, key=lambda name: (-aist.SITUATIONS.get(name.situation, 0), name)
    )
    for name in order:
      paths = songs.get(name.music, ())
      if len(paths) < MAX_SONG_FILES:
        songs[name.music] = (*paths, str(files[name]))
    return songs

  def song_audio(
    self, song: str, files: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "s"], int]:
    """Reads a track from the first file that can be read."""
    return read_song(song, files)

  def video_file(self, video: SourceVideo, folder: pathlib.Path) -> VideoFile:
    """Returns the file of a video and its joints; writes nothing to `folder`."""
    del folder
    joints = None
    if self.annotations is not None:
      joints = read_joints(self.annotations, aist.ClipName.parse(video.name))
    music = pathlib.Path(video.music_file) if video.music_file else None
    return VideoFile(pathlib.Path(video.file), music, joints=joints)


def read_joints(annotations: str, name: aist.ClipName) -> Joints:
  """Reads the joints of AIST++ as seen by one camera.

  Both kinds come from a detector, with gaps. World units are about 1.1 cm.

  Args:
    annotations: folder with `keypoints2d` and `keypoints3d`, one pickle per dance.
    name: of the video.

  Returns:
    Joints at 60 per second; a single NaN if the dance is not annotated.

  Raises:
    MediaError: a file is damaged, or does not hold such joints.
  """
  arrays2d, arrays3d = (
    _read_annotation(annotations, kind, name.sequence) for kind in _KINDS
  )
  joints2d = np.full((1, 17, 2), np.nan, np.float32)
  joints3d = np.full((1, 17, 3), np.nan, np.float32)
  camera = aist.CAMERAS.index(name.camera)
  try:
    if arrays2d is not None:
      joints2d = np.asarray(arrays2d["keypoints2d"][camera, ..., :2], np.float32)
    if arrays3d is not None:
      key = "keypoints3d_optim" if "keypoints3d_optim" in arrays3d else "keypoints3d"
      joints3d = np.asarray(arrays3d[key], np.float32)
    length = max(len(joints2d), len(joints3d))
    return Joints(JOINT_FPS, _lengthen(joints2d, length), _lengthen(joints3d, length))
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise MediaError(
      f"{name.sequence}: not the joints of AIST++ ({error}); download them again."
    ) from error


def _annotation_file(folder: str, kind: str, sequence: str) -> pathlib.Path:
  return pathlib.Path(folder) / kind / f"{sequence}.pkl"


def _read_annotation(
  folder: str, kind: str, sequence: str
) -> dict[str, np.ndarray] | None:
  path = _annotation_file(folder, kind, sequence)
  if not path.is_file():
    return None
  if path.stat().st_size > MAX_ANNOTATION_BYTES:
    raise MediaError(f"{path}: too large for the joints of a dance; download it again.")
  try:
    return read_arrays(path.read_bytes())
  except UnsafePickleError as error:
    raise MediaError(f"{path}: refused, {error}; download it again.") from error


def _lengthen(joints: np.ndarray, length: int) -> np.ndarray:
  """Appends NaN up to a length."""
  if joints.shape[1] != 17:
    raise ValueError(f"{joints.shape[1]} joints instead of 17")
  missing = np.full((length - len(joints), *joints.shape[1:]), np.nan, np.float32)
  return np.concatenate([joints, missing])

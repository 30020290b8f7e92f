"""What the name of a clip tells: genre, camera, music, tempo, and whose dance it is."""

import dataclasses
import re

from data_pipeline import aist

_AIST_NAME = re.compile(r"g[A-Z]{2}_s[A-Z]{2}_c\d\d_d\d\d_m[A-Z]{2}\d_ch\d\d")
_TRACK = re.compile(r"m[A-Z]{2}\d(?![A-Za-z0-9])")


@dataclasses.dataclass(frozen=True)
class Labels:
  """Groups that a clip belongs to; empty where the name does not say.

  `sequence` is the dance that all cameras see: the independent sample. A clip without
  an AIST name is its own sequence. `bpm` is None where the track is unknown.
  """

  sequence: str
  genre: str = ""
  camera: str = ""
  track: str = ""
  situation: str = ""
  bpm: int | None = None


def parse_labels(name: str) -> Labels:
  """From any name that contains an AIST name, or at least a track such as mBR0."""
  found = _AIST_NAME.search(name)
  if found:
    clip = aist.ClipName.parse(found.group())
    return Labels(
      clip.sequence, clip.genre, clip.camera, clip.music, clip.situation, clip.bpm
    )
  tracks = [t for t in _TRACK.findall(name) if t in aist.TRACKS]
  if len(set(tracks)) == 1:
    return Labels(name, tracks[0][1:3], track=tracks[0], bpm=aist.tempo_bpm(tracks[0]))
  return Labels(name)

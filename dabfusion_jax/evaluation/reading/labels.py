"""Reads the groups of a clip from its name: genre, camera, track, sequence, tempo."""

import dataclasses
import re

from data_pipeline import aist

_AIST_NAME = re.compile(
  r"g(?P<genre>[A-Z]{2})_s[A-Z]{2}_c\d\d_d\d\d_(?P<track>m[A-Z]{2}\d)_ch\d\d"
)
_WINDOW = re.compile(r"-w\d+$")  # of `export`
_TRACK = re.compile(r"m[A-Z]{2}\d(?![A-Za-z0-9])")


@dataclasses.dataclass(frozen=True)
class Labels:
  """The groups that a clip belongs to; empty if the name does not say.

  Attributes:
    sequence: the dance that all cameras film, which is the independent sample. A clip
      without an AIST name is a sequence of its own, but for its windows (`-w0`, ...).
    genre: two letters, such as "BR".
    camera: such as "c01".
    track: the piece of music, such as "mBR0".
    situation: "sBM" (basic) or "sFM" (advanced).
    bpm: tempo of the track in beats per minute; None if the track is unknown.
  """

  sequence: str
  genre: str = ""
  camera: str = ""
  track: str = ""
  situation: str = ""
  bpm: int | None = None


def parse_labels(name: str) -> Labels:
  """Parses any name that contains an AIST name, or at least a track such as mBR0."""
  match = _AIST_NAME.search(name)
  if match and match["track"] in aist.TRACKS and match["genre"] in aist.GENRES:
    clip = aist.ClipName.parse(match.group())
    return Labels(
      clip.sequence, clip.genre, clip.camera, clip.music, clip.situation, clip.bpm
    )
  video = _WINDOW.sub("", name)
  tracks = {track for track in _TRACK.findall(name) if track in aist.TRACKS}
  if len(tracks) == 1:
    (track,) = tracks
    return Labels(video, track[1:3], track=track, bpm=aist.tempo_bpm(track))
  return Labels(video)

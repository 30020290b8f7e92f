"""Parses names of the AIST dance database, and knows their tempi and splits.

A clip is called `gBR_sBM_c01_d04_mBR0_ch03`: genre, situation, camera, dancer, music,
choreography; `cAll` in place of the camera names the whole sequence.
Source: Tsuchida et al. 2019, the AIST Dance Video Database; Li et al. 2021, AIST++
(2101.08779).
"""

import dataclasses
import pathlib
import re

from data_pipeline.errors import UserError

GENRES = {
  "BR": "Break",
  "PO": "Pop",
  "LO": "Lock",
  "MH": "Middle Hip-hop",
  "LH": "LA-style Hip-hop",
  "HO": "House",
  "WA": "Waack",
  "KR": "Krump",
  "JS": "Street Jazz",
  "JB": "Ballet Jazz",
}
CAMERAS = tuple(f"c{i:02d}" for i in range(1, 10))
SITUATIONS = {"sBM": 16, "sFM": 64}  # basic, advanced dance: beats per sequence
# Each genre has three dancers, numbered in this order.
_DANCER_ORDER = ("JS", "BR", "JB", "PO", "LO", "LH", "HO", "MH", "WA", "KR")
DANCERS = {
  genre: tuple(f"d{3 * i + k:02d}" for k in (1, 2, 3))
  for i, genre in enumerate(_DANCER_ORDER)
}
TRACKS = tuple(f"m{genre}{i}" for genre in GENRES for i in range(6))
SPLIT_FOLDER = pathlib.Path(__file__).parent / "splits"

_NAME = re.compile(
  r"g([A-Z]{2})_(s[A-Z]{2})_(c[0-9]{2}|cAll)_(d[0-9]{2})_(m[A-Z]{2}[0-9])_(ch[0-9]{2})"
)


@dataclasses.dataclass(frozen=True, order=True)
class ClipName:
  """The six parts of a name, e.g. "BR", "sBM", "c01", "d04", "mBR0", "ch03"."""

  genre: str
  situation: str
  camera: str
  dancer: str
  music: str
  choreography: str

  def __post_init__(self) -> None:
    if not _NAME.fullmatch(str(self)):
      raise UserError(
        f"{str(self)!r} is not an AIST name; expected one like "
        "'gBR_sBM_c01_d04_mBR0_ch03'."
      )
    if self.genre not in GENRES:
      raise UserError(
        f"{str(self)!r}: unknown genre {self.genre!r}; known: {', '.join(GENRES)}."
      )

  @classmethod
  def parse(cls, name: str) -> "ClipName":
    """Parses 'gBR_sBM_c01_d04_mBR0_ch03'; raises UserError for anything else."""
    match = _NAME.fullmatch(name)
    if match is None:
      raise UserError(
        f"{name!r} is not an AIST name; expected one like 'gBR_sBM_c01_d04_mBR0_ch03'."
      )
    return cls(*match.groups())

  def __str__(self) -> str:
    return "_".join(
      (
        f"g{self.genre}",
        self.situation,
        self.camera,
        self.dancer,
        self.music,
        self.choreography,
      )
    )

  @property
  def sequence(self) -> str:
    """Returns the name shared by all cameras that recorded the dance."""
    return str(dataclasses.replace(self, camera="cAll"))

  @property
  def bpm(self) -> int:
    """Returns the tempo of the music, in beats per minute."""
    return tempo_bpm(self.music)


def tempo_bpm(music: str) -> int:
  """Returns the beats per minute of a track such as "mBR0".

  Track n of a genre has 80 + 10 n, of house 110 + 5 n.

  Raises:
    UserError: it is not an AIST track.
  """
  if music not in TRACKS:
    raise UserError(f"{music!r} is not an AIST track; expected one like 'mBR0'.")
  index = int(music[3])
  return 110 + 5 * index if music[1:3] == "HO" else 80 + 10 * index


def read_names(path: str | pathlib.Path) -> tuple[str, ...]:
  """Reads the names of a list file: one per line, `#` starts a comment."""
  lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
  names = (line.split("#", 1)[0].strip() for line in lines)
  return tuple(name for name in names if name)


def held_out_tracks(split: str = "official") -> frozenset[str]:
  """Returns the tracks kept for testing.

  Args:
    split: the name of a list in `data_pipeline/splits` (`official`, `index1`,
      `index2`) or the path of any list file. The paper does not say which ten tracks
      it held out; `official` are those of AIST++.

  Raises:
    UserError: there is no such list, or it names something other than AIST tracks.
  """
  path = SPLIT_FOLDER / f"{split}.txt"
  if pathlib.Path(split).name != split or not path.is_file():
    path = pathlib.Path(split)
  if not path.is_file():
    known = sorted(
      p.stem for p in SPLIT_FOLDER.glob("*.txt") if p.stem != "held_out_dancers"
    )
    raise UserError(
      f"Unknown split {split!r}; use {', '.join(known)} or the path of a list file."
    )
  tracks = frozenset(read_names(path))
  for track in sorted(tracks):
    if track not in TRACKS:
      raise UserError(f"{path}: {track!r} is not an AIST track such as 'mBR0'.")
  return tracks


def held_out_dancers() -> frozenset[str]:
  """Returns one dancer per genre who is not in the training data (generated only)."""
  return frozenset(read_names(SPLIT_FOLDER / "held_out_dancers.txt"))


def split_of(name: ClipName, tracks: frozenset[str], dancers: frozenset[str]) -> str:
  """Returns the split of a clip, given the held-out tracks and dancers.

  It is `train` if nothing is held out and `test` if the music is (and the dancer, if
  there are held-out dancers). If only one of the two is held out, it is `test_music`
  or `test_dancer`.
  """
  unseen_music = name.music in tracks
  unseen_dancer = name.dancer in dancers
  if not dancers:
    return "test" if unseen_music else "train"
  return {
    (False, False): "train",
    (True, True): "test",
    (True, False): "test_music",
    (False, True): "test_dancer",
  }[unseen_music, unseen_dancer]


def sequences() -> tuple[str, ...]:
  """Returns the 1,408 dances of AIST++, such as `gBR_sBM_cAll_d04_mBR0_ch01`."""
  return read_names(SPLIT_FOLDER / "aistpp" / "sequences.txt")


def ignored_sequences() -> frozenset[str]:
  """Returns the dances that AIST++ excludes because of their body reconstruction."""
  return frozenset(read_names(SPLIT_FOLDER / "aistpp" / "ignored.txt"))


def assign_sequences(split: str) -> dict[str, str]:
  """Returns the split of each dance of AIST++.

  Args:
    split: `crossmodal`, the official lists of dances (980 and 20, without all others),
      or a split by track (`held_out_tracks`), which uses every dance.
  """
  if split == "crossmodal":
    return {
      sequence: part
      for part in ("train", "test")
      for sequence in read_names(SPLIT_FOLDER / "aistpp" / f"crossmodal_{part}.txt")
    }
  tracks = held_out_tracks(split)
  return {
    sequence: split_of(ClipName.parse(sequence), tracks, frozenset())
    for sequence in sequences()
  }

r"""How well beats are found: F-measure against known beats, by source and tracker.

  python -m benchmarks.beats [--music=DIR] [--clips=DIR] [--trackers librosa crnn]

On the 60 generated tracks (every --every-th of them), whole and 4 s of each; with
--music also on songs that have a json with `bpm` and `beats` beside them; with --clips
on videos whose names end in an AIST track (`.._mBR0_ch02.mp4`), whose tempo alone is
known. A beat counts if found within 70 ms (mir_eval's rule, its first 5 s not left
out). Also the number of tempi within 4 %, the median lateness of the beats that were
found, and how many songs are told to be doubtful. Nobody is told the tempo, but in the
rows that say so.
"""

import argparse
import json
import pathlib
import re
from collections.abc import Iterator

import mir_eval
import numpy as np
from jaxtyping import Float64

from data_pipeline import aist
from data_pipeline.media import reader
from data_pipeline.music import onsets, trackers
from data_pipeline.music.tracked import TRACKERS, Tracked
from data_pipeline.music.trackers import BeatTracker
from data_pipeline.sources.base import SONG_SUFFIXES, VIDEO_SUFFIXES
from data_pipeline.sources.synthdance_source import SynthDanceSource
from data_pipeline.synthdance import music

WINDOW_SECONDS = 0.07
_TRACK = re.compile(r"_(m[A-Z]{2}\d)(?:_|$)")
Score = tuple[float, bool, float, bool]  # F-measure, tempo right, lateness, doubtful
Beats = Float64[np.ndarray, "n"]


def score(tracked: Tracked, true: Beats | None, bpm: float) -> Score:
  """Scores tracked beats; without true ones, only their tempo."""
  found, doubtful = tracked.times, bool(tracked.doubt)
  f_measure = np.nan
  if true is not None:
    f_measure = mir_eval.beat.f_measure(true, found, WINDOW_SECONDS)
  if len(found) < 2:
    return f_measure, False, np.nan, doubtful
  is_right = abs(60 / np.median(np.diff(found)) / bpm - 1) < 0.04
  late = np.nan
  if true is not None:
    error = found[:, None] - true
    nearest = error[np.arange(len(found)), np.abs(error).argmin(axis=1)]
    near = nearest[np.abs(nearest) < WINDOW_SECONDS]
    late = float(np.median(near)) if len(near) else np.nan
  return f_measure, is_right, late, doubtful


def row(label: str, tracker: str, scores: list[Score]) -> str:
  """Returns a row of the table; F-measures with their standard error."""
  f, tempo, late, doubtful = (np.asarray(s) for s in zip(*scores, strict=True))
  mean = "-"
  if not np.isnan(f).any():
    error = f.std(ddof=1) / np.sqrt(len(f)) if len(f) > 1 else np.nan
    mean = f"{f.mean():.3f} +- {error:.3f}" if len(f) > 1 else f"{f.mean():.3f}"
  lateness = "-" if np.isnan(late).all() else f"{1e3 * np.nanmedian(late):+.0f}"
  counts = f"{tempo.sum()} | {lateness} | {doubtful.sum()}"
  return f"| {label} | {tracker} | {len(f)} | {mean} | {counts} |"


def generated(
  every: int, tracker: BeatTracker
) -> Iterator[tuple[str, Tracked, Beats, float]]:
  """Yields label, tracked and true beats and tempo of generated tracks."""
  source = SynthDanceSource("smoke")
  for track in aist.TRACKS[::every]:
    audio, rate = source.song_audio(track, ())
    true, bpm = music.beat_times(track), float(aist.tempo_bpm(track))
    true = true[true < len(audio) / rate]
    part, true_part = audio[: 4 * rate], true[true < 4]
    yield "generated tracks, whole", tracker(audio, rate), true, bpm
    yield "generated tracks, 4 s", tracker(part, rate), true_part, bpm


def annotated(
  folder: pathlib.Path, tracker: BeatTracker
) -> Iterator[tuple[str, Tracked, Beats, float]]:
  """Yields the same for songs with a json of their beats."""
  for path in sorted(folder.glob("*.json")):
    known = json.loads(path.read_text())
    songs = [path.with_suffix(suffix) for suffix in SONG_SUFFIXES]
    song = next((song for song in songs if song.is_file()), None)
    if not known.get("beats") or song is None:
      continue
    audio = reader.read_audio(song, onsets.SAMPLE_RATE)
    true, bpm = np.asarray(known["beats"], np.float64), float(known["bpm"])
    tracked = tracker(audio, onsets.SAMPLE_RATE)
    yield path.stem, tracked, true, bpm
    yield "all songs", tracked, true, bpm
    given = tracker(audio, onsets.SAMPLE_RATE, bpm)
    yield "all songs, tempo given", given, true, bpm


def clips(
  folder: pathlib.Path, tracker: BeatTracker
) -> Iterator[tuple[str, Tracked, None, float]]:
  """Yields the same for videos with a track in their names, but no true beats."""
  for path in sorted(folder.rglob("*")):
    track = _TRACK.search(path.stem)
    if track is None or path.suffix.lower() not in VIDEO_SUFFIXES:
      continue
    audio = reader.read_audio(path, onsets.SAMPLE_RATE)
    bpm = float(aist.tempo_bpm(track[1]))
    yield "AIST clips", tracker(audio, onsets.SAMPLE_RATE), None, bpm


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.beats")
  add = parser.add_argument
  add("--music", type=pathlib.Path, help="folder of songs with json")
  add("--clips", type=pathlib.Path, help="folder of videos with AIST names")
  add("--every", type=int, default=1, help="of the generated tracks; 0: none")
  add("--trackers", nargs="+", choices=TRACKERS, default=TRACKERS)
  args = parser.parse_args()
  print("| source | tracker | n | mean F | tempo right | late, ms | doubtful |")
  print("|---|---|---|---|---|---|---|")
  for name in args.trackers:
    tracker = trackers.make_tracker(name)
    parts = []
    if args.music is not None:
      parts.append(annotated(args.music, tracker))
    if args.clips is not None:
      parts.append(clips(args.clips, tracker))
    if args.every:
      parts.append(generated(args.every, tracker))
    for part in parts:
      cases: dict[str, list[Score]] = {}
      for label, tracked, true, bpm in part:
        cases.setdefault(label, []).append(score(tracked, true, bpm))
      for label, scores in cases.items():
        print(row(label, name, scores), flush=True)


if __name__ == "__main__":
  main()

r"""How well beats are found: F-measure against known beats, by source.

  python -m benchmarks.beats [--music=DIR]

On the 60 generated tracks, whole and 4 s of each, with and without the tempo in the
name; with --music also on songs that have a json with `bpm` and `beats` beside them. A
beat counts if found within 70 ms (mir_eval's rule, its first 5 s not left out). Also
the number of tempi within 4 % and the median lateness of the beats that were found.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

import mir_eval
import numpy as np

from data_pipeline import aist
from data_pipeline.media import reader
from data_pipeline.music.beats import track_beats
from data_pipeline.sources.base import SONG_SUFFIXES
from data_pipeline.sources.synthdance_source import SynthDanceSource
from data_pipeline.synthdance import music

WINDOW_SECONDS = 0.07
Score = tuple[float, bool, float]  # F-measure, tempo right, median lateness in seconds


def score(found: np.ndarray, true: np.ndarray) -> Score:
  f_measure = mir_eval.beat.f_measure(true, found, WINDOW_SECONDS)
  if len(found) < 2:
    return f_measure, False, np.nan
  ratio = np.median(np.diff(found)) / np.median(np.diff(true))
  error = found[:, None] - true
  nearest = error[np.arange(len(found)), np.abs(error).argmin(axis=1)]
  near = nearest[np.abs(nearest) < WINDOW_SECONDS]
  return (
    f_measure,
    abs(ratio - 1) < 0.04,
    float(np.median(near)) if len(near) else np.nan,
  )


def row(label: str, scores: Sequence[Score]) -> str:
  f_measure, tempo, late = map(np.asarray, zip(*scores, strict=True))
  return (
    f"| {label} | {len(scores)} | {f_measure.mean():.3f} | {(f_measure > 0.9).sum()} | "
    f"{tempo.sum()} | {1e3 * np.nanmedian(late):+.0f} |"
  )


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.beats")
  parser.add_argument("--music", type=pathlib.Path, help="folder of songs with json")
  args = parser.parse_args()
  print("| source | songs | mean F | F > 0.9 | tempo right | late, ms |")
  print("|---|---|---|---|---|---|")
  source = SynthDanceSource("smoke")
  cases: dict[str, list[Score]] = {}
  for track in aist.TRACKS:
    audio, rate = source.song_audio(track, ())
    true = music.beat_times(track)
    true = true[true < len(audio) / rate]
    bpm = float(aist.tempo_bpm(track))
    part, true_part = audio[: 4 * rate], true[true < 4]
    for label, found, wanted in (
      ("SynthDance, whole", track_beats(audio, rate), true),
      ("SynthDance, whole, tempo given", track_beats(audio, rate, bpm), true),
      ("SynthDance, 4 s", track_beats(part, rate), true_part),
      ("SynthDance, 4 s, tempo given", track_beats(part, rate, bpm), true_part),
    ):
      cases.setdefault(label, []).append(score(found, wanted))
  for label, scores in cases.items():
    print(row(label, scores))
  if args.music is not None:
    scores, given = [], []
    for path in sorted(args.music.glob("*.json")):
      known = json.loads(path.read_text())
      true = np.asarray(known.get("beats") or [])
      songs = [path.with_suffix(suffix) for suffix in SONG_SUFFIXES]
      song = next((song for song in songs if song.is_file()), None)
      if len(true) and song is not None:
        audio = reader.read_audio(song, 22_050)
        scores.append(score(track_beats(audio, 22_050), true))
        given.append(score(track_beats(audio, 22_050, float(known["bpm"])), true))
        print(row(path.stem, scores[-1:]))
    print(row(f"all of {args.music.name}", scores))
    print(row(f"all of {args.music.name}, tempo given", given))


if __name__ == "__main__":
  main()

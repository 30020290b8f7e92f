"""Does the work on one song or one video of a data set.

Local processes (`local_build`) and a cluster (`beam_build`) do the same work; they
differ in who does it and where the results go.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from data_pipeline.building.settings import BuildSettings
from data_pipeline.cutting import ingest, shots
from data_pipeline.cutting.windows import WHOLE_TRACK
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError
from data_pipeline.media.notes import NOTED, SILENT, Note, add_note, collect_notes
from data_pipeline.music.kept import keep_embeddings
from data_pipeline.music.tracked import Tracked
from data_pipeline.records import clip_record
from data_pipeline.records.clip_record import Record
from data_pipeline.sources.base import Finding, SourceVideo

# What a damaged file can raise, in the decoders and in computations on its contents.
_FILE_ERRORS = (reader.CodecError, ValueError, ArithmeticError, EOFError)


def find_beats(settings: BuildSettings, song: str, files: Sequence[str]) -> Tracked:
  """Returns the beats of a song.

  Raises:
    MediaError: the song cannot be read.
  """
  # What is odd about the files is noted where the clips are cut.
  with _media_errors(song), collect_notes():
    audio, sample_rate = settings.source.song_audio(song, files)
    return settings.tracker()(audio, sample_rate)


def cut_video(
  settings: BuildSettings,
  video: SourceVideo,
  beats: Tracked,
  folder: pathlib.Path,
  embeddings: pathlib.Path | None = None,
) -> ingest.Cut:
  """Cuts one video into encoded records.

  Args:
    settings: of the data set.
    video: the entry of the source.
    beats: of its song.
    folder: for temporary files, until the records are consumed.
    embeddings: folder that caches the embeddings of music.

  Returns:
    The cut; its records are encoded (`clip_record.encode`) and have the additional key
    `digest` (`clip_record.content_digest`).

  Raises:
    MediaError: the file cannot be used; consuming the records may raise it too.
  """
  with _media_errors(video.name):
    file = settings.source.video_file(video, folder)
    if beats.doubt:
      add_note(video.name, f"about the beats of its song: {beats.doubt}")
    segments = WHOLE_TRACK
    if settings.source.finds_shots:
      segments = shots.find_shots(file.path)
    encoder = settings.music_encoder()
    if embeddings is not None:
      encoder = keep_embeddings(encoder, embeddings)
    windows = settings.windows(video.split)
    cut = ingest.cut_clips(
      video, file, beats.times, settings.form, encoder, windows, segments
    )
  return dataclasses.replace(cut, records=_encode_all(video.name, cut.records))


def outcome_of(name: str, cut: ingest.Cut, notes: Iterable[Note]) -> Finding:
  """Returns how a video was cut: `whole`, `noted`, `silent` or `too_short`."""
  notes = list(notes)
  if cut.status != "whole" or not notes:
    return Finding(cut.status, name, cut.reason)
  kinds = {note.kind for note in notes}
  status = SILENT if SILENT in kinds else NOTED
  return Finding(status, name, " ".join(note.text for note in notes))


def _encode_all(name: str, records: Iterator[Record]) -> Iterator[Record]:
  while True:
    with _media_errors(name):
      record = next(records, None)
    if record is None:
      return
    yield clip_record.encode(record) | {"digest": clip_record.content_digest(record)}


@contextlib.contextmanager
def _media_errors(name: str) -> Iterator[None]:
  """Turns whatever a damaged file raises into a MediaError of one line.

  Errors that are no fault of the file, such as a full disk or a bug, end the build; it
  resumes once they are fixed.
  """
  try:
    yield
  except MediaError:
    raise
  except _FILE_ERRORS as error:
    reason = (str(error).splitlines() or [""])[0]
    raise MediaError(
      f"{name}: {type(error).__name__}: {reason}; convert it to mp4."
    ) from error
  except Exception as error:
    error.add_note(f"while processing {name}")
    raise

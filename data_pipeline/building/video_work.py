"""What a data set is made of, and the work on one song or one video of it.

Local processes (`data_pipeline.build`) and a cluster (`building.beam_build`) do the
same work; they differ in who does it and where the results go.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_pipeline import aist
from data_pipeline.cutting import ingest, shots
from data_pipeline.cutting.windows import WHOLE_TRACK, Windows
from data_pipeline.media import reader
from data_pipeline.media.errors import MediaError
from data_pipeline.music.beats import track_beats
from data_pipeline.music.encoders import MusicEncoder, cached_encoder, make_encoder
from data_pipeline.records import clip_record
from data_pipeline.sources.base import Source, SourceVideo

_encoder_of = functools.cache(make_encoder)  # one of each in a process


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a data set is made of; any difference makes it another one.

  Attributes:
    source: where the videos come from.
    form: what clips look like.
    encoder: name of the music encoder.
    train_windows: of training videos.
    other_windows: of all other videos.
    tempo_prior: whether the beat tracker is told the tempo in an AIST track's name.
  """

  source: Source
  form: ingest.ClipFormat
  encoder: str = "spectral"
  train_windows: Windows = Windows()
  other_windows: Windows = Windows()
  tempo_prior: bool = False

  def description(self) -> dict[str, Any]:
    """As kept in the manifest."""
    return {
      "schema_version": clip_record.SCHEMA_VERSION,
      "source": self.source.description(),
      **dataclasses.asdict(self.form),
      "encoder": _encoder_of(self.encoder).identity,
      "train_windows": str(self.train_windows),
      "other_windows": str(self.other_windows),
      "tempo_prior": self.tempo_prior,
    }


def write_vectors(settings: Settings, output: pathlib.Path) -> None:
  """Keeps the encoder's vectors of silence and of words beside the clips."""
  from data_pipeline.records import style_vectors  # reads shards: not for the workers

  style_vectors.write_silence(output, _encoder_of(settings.encoder))
  style_vectors.write_text_vectors(output, _encoder_of(settings.encoder))


def find_beats(
  settings: Settings, song: str, files: Sequence[str]
) -> Float64[np.ndarray, "n"]:
  """The beats of a song, seconds from its start.

  Raises:
    MediaError: the song cannot be read.
  """
  with_tempo = settings.tempo_prior and song in aist.TRACKS
  bpm = float(aist.tempo_bpm(song)) if with_tempo else None
  with _one_line_for(song):
    audio, sample_rate = settings.source.song_audio(song, files)
    return track_beats(audio, sample_rate, bpm)


class VideoCut:
  """Cuts one video into encoded records (`data_pipeline.records.clip_record`).

  Attributes:
    status: `whole`, `too_short`, `padded` or `looped`.
    reason: how short, or an empty text.
  """

  def __init__(
    self,
    settings: Settings,
    video: SourceVideo,
    beats: Float64[np.ndarray, "n"],
    folder: pathlib.Path,
    embeddings: pathlib.Path | None = None,
  ) -> None:
    """Opens the video.

    Args:
      settings: of the data set.
      video: whose windows.
      beats: of its song.
      folder: for files made on the way.
      embeddings: folder that keeps music embeddings by the sound they are of.
    """
    self._name = video.name
    self._cut = self._open(settings, video, beats, folder, embeddings)
    self.status, self.reason = self._cut.status, self._cut.reason

  def _open(self, settings, video, beats, folder, embeddings) -> ingest.Cut:
    with _one_line_for(video.name):
      film = settings.source.film(video, folder)
      segments = WHOLE_TRACK
      if settings.source.finds_shots:
        segments = shots.find_shots(film.path)
      encoder: MusicEncoder = _encoder_of(settings.encoder)
      if embeddings is not None:
        encoder = cached_encoder(encoder, embeddings)
      windows = (
        settings.train_windows if video.split == "train" else settings.other_windows
      )
      return ingest.cut_film(
        video, film, beats, settings.form, encoder, windows, segments
      )

  def __iter__(self) -> Iterator[dict[str, Any]]:
    """Records, encoded, with their `digest` (`ingest.content_digest`).

    Raises:
      MediaError: whatever is wrong with the file, in one line.
    """
    while True:
      with _one_line_for(self._name):
        record = next(self._cut.records, None)
      if record is None:
        return
      yield clip_record.encode(record) | {"digest": ingest.content_digest(record)}


# What a bad file can raise, in the decoders and in sums over what they made of it.
_FILE_ERRORS = (reader.CodecError, ValueError, ArithmeticError, EOFError)


@contextlib.contextmanager
def _one_line_for(name: str) -> Iterator[None]:
  """Makes a MediaError of what a bad file raises.

  A full disk is no fault of a file, nor is a mistake of this program: both pass, the
  build ends, and it goes on from there once they are mended.
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
    error.add_note(f"at work on {name}")
    raise

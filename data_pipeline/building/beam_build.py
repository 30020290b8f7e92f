r"""Builds a data set with Apache Beam, for more videos than one machine can cut.

  python -m data_pipeline.build --source=aist --videos=DIR --output=DIR \
    --beam="--runner=DirectRunner --direct_num_workers=4 \
            --direct_running_mode=multi_processing"

The options are Beam's own, so Dataflow, Flink and Spark only need another runner; all
workers must be able to access the folders. The work per song and video is that of a
local build and gives the same records. Needs the extra `beam`.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import threadpoolctl
from apache_beam.options.pipeline_options import PipelineOptions

from data_pipeline.building.data_set import build_data_set
from data_pipeline.building.manifest import ClipEntry, clip_entry
from data_pipeline.building.settings import BuildSettings
from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.building.video_work import cut_video, find_beats, outcome_of
from data_pipeline.media.errors import MediaError
from data_pipeline.media.notes import collect_notes
from data_pipeline.records.clip_record import Record
from data_pipeline.sources.base import Finding, SourceVideo, Survey

_LINES = "lines"  # the second output of `CutVideo`, for the manifest and the report


def build_with_beam(
  settings: BuildSettings, output: pathlib.Path, options: Sequence[str]
) -> dict[str, Any]:
  """Builds a data set in one Beam pipeline.

  Args:
    settings: what to build.
    output: folder of the data set, the same for all workers.
    options: of the pipeline, as on a command line.

  Returns:
    The manifest.

  Raises:
    BuildError: see `build_data_set`.
  """
  write_clips = functools.partial(_write_clips, settings, options)
  return build_data_set(settings, output, write_clips)


def _write_clips(
  settings: BuildSettings,
  options: Sequence[str],
  survey: Survey,
  work: pathlib.Path,
  shards: pathlib.Path,
) -> tuple[list[ClipEntry], list[Finding]]:
  examples, findings = _find_examples(settings, survey)
  if not examples:
    return [], [*survey.findings, *findings]
  lines = work / "lines"
  shutil.rmtree(lines, ignore_errors=True)
  records = _Records(settings, survey, str(lines / "line"))
  write_shards(
    shards,
    next(iter(examples.values())),
    {split: SplitRecords(records, split) for split in sorted(examples)},
    PipelineOptions(list(options)),
  )
  findings = [*survey.findings, *_read_lines(lines, Finding)]
  return _read_lines(lines, ClipEntry), findings


def _find_examples(
  settings: BuildSettings, survey: Survey
) -> tuple[dict[str, Record], list[Finding]]:
  """Cuts videos until every split has an encoded record, if it can have one.

  TFDS needs the shapes of the features before the pipeline runs, and fails at its end
  if a split is empty.

  Returns:
    A record per split, and findings for the videos that gave none.
  """
  examples: dict[str, Record] = {}
  findings = []
  for video in survey.videos:
    if video.split not in examples:
      with tempfile.TemporaryDirectory() as folder:
        beats = _try_beats(settings, video.song, survey.songs[video.song])
        records, finding = _try_cut(settings, video, beats, pathlib.Path(folder))
      if records:
        examples[video.split] = records[0]
      else:
        findings.append(finding)
  return examples, findings


def _try_beats(
  settings: BuildSettings, song: str, files: Sequence[str]
) -> tuple[Any, str]:
  """Returns the beats of a song and an empty string, or None and what is wrong."""
  try:
    return find_beats(settings, song, files), ""
  except MediaError as error:
    return None, str(error)


def _try_cut(
  settings: BuildSettings,
  video: SourceVideo,
  song: tuple[Any, str],
  folder: pathlib.Path,
) -> tuple[list[Record], Finding]:
  """Returns all records of a video, or none, and the outcome.

  Args:
    settings: of the data set.
    video: the entry of the source.
    song: what `_try_beats` returned for its song.
    folder: for temporary files.
  """
  beats, problem = song
  if problem:
    return [], Finding("broken", video.name, problem)
  try:
    with collect_notes() as notes:
      cut = cut_video(settings, video, beats, folder)
      records = list(cut.records)
    return records, outcome_of(video.name, cut, notes)
  except MediaError as error:
    return [], Finding("broken", video.name, str(error))


def _read_lines(folder: pathlib.Path, kind: type) -> list[Any]:
  """Returns the objects of one class that the workers wrote."""
  objects = []
  for path in sorted(folder.glob("line-*")):  # Beam leaves folders of its own
    for line in path.read_text(encoding="utf-8").splitlines():
      content = json.loads(line)
      if content.pop("kind") == kind.__name__:
        objects.append(kind(**content))
  return objects


class _Records:
  """The records of all splits: one collection, made when it is first asked for."""

  def __init__(self, settings: BuildSettings, survey: Survey, lines: str) -> None:
    self._settings, self._survey, self._lines = settings, survey, lines
    self._records: beam.PCollection | None = None

  def of(self, pipeline: beam.Pipeline) -> beam.PCollection:
    """Returns (split, features) of every clip."""
    if self._records is not None:
      return self._records
    beats = (
      pipeline
      | "songs" >> beam.Create(sorted(self._survey.songs.items()))
      | "spread songs" >> beam.Reshuffle()
      | "find beats" >> beam.ParDo(FindBeats(self._settings))
    )
    cut = (
      pipeline
      | "videos" >> beam.Create(list(self._survey.videos))
      | "spread videos" >> beam.Reshuffle()
      | "cut"
      >> beam.ParDo(CutVideo(self._settings), beam.pvalue.AsDict(beats)).with_outputs(
        _LINES, main="records"
      )
    )
    _ = cut[_LINES] | "lines" >> beam.io.WriteToText(self._lines)
    self._records = cut["records"]
    return self._records


class SplitRecords(beam.PTransform):
  """The keys and features of the clips of one split."""

  def __init__(self, records: _Records, split: str) -> None:
    super().__init__()
    self._records, self._split = records, split

  def expand(self, input_or_inputs: Any) -> beam.PCollection:
    """Returns (key, features) of every clip."""
    records = self._records.of(input_or_inputs.pipeline)
    return records | beam.Filter(_is_of, self._split) | beam.Map(_keyed_features)


def _is_of(record: tuple[str, Record], split: str) -> bool:
  return record[0] == split


def _keyed_features(record: tuple[str, Record]) -> tuple[str, Record]:
  features = {key: value for key, value in record[1].items() if key != "digest"}
  return f"{features['name']}.{features['window']}", features


class _Work(beam.DoFn):
  def __init__(self, settings: BuildSettings) -> None:
    self._settings = settings

  def setup(self) -> None:
    # As in local processes: sums in a fixed order give the same bytes, and Beam runs as
    # many workers as there are cores anyway.
    threadpoolctl.threadpool_limits(1)


class FindBeats(_Work):
  """Maps a song and its files to the song and the result of `_try_beats`."""

  def process(
    self, element: tuple[str, Sequence[str]]
  ) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Yields one element."""
    song, files = element
    yield song, _try_beats(self._settings, song, files)


class CutVideo(_Work):
  """Maps a video to its records, and to lines for the manifest and the report."""

  def process(
    self, element: SourceVideo, songs: Mapping[str, tuple[Any, str]]
  ) -> Iterator[Any]:
    """Yields all records of the video or none, and their lines."""
    video = element
    with tempfile.TemporaryDirectory() as folder:
      records, outcome = _try_cut(
        self._settings, video, songs[video.song], pathlib.Path(folder)
      )
    for features in records:
      yield video.split, features
      yield _line(clip_entry(video.split, features))
    if outcome.status != "whole":
      yield _line(outcome)


def _line(content: ClipEntry | Finding) -> beam.pvalue.TaggedOutput:
  values = {"kind": type(content).__name__, **dataclasses.asdict(content)}
  return beam.pvalue.TaggedOutput(_LINES, json.dumps(values))

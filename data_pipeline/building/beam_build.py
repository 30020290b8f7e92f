r"""Builds a data set with Apache Beam, for more videos than one machine can cut.

  python -m data_pipeline.build --source=aist --videos=DIR --output=DIR \
    --beam="--runner=DirectRunner --direct_num_workers=4 \
            --direct_running_mode=multi_processing"

The options are Beam's own, so Dataflow, Flink and Spark are a matter of its runners;
the folders must be reachable from all workers. Songs and videos are the same work as in
`data_pipeline.build` and give the same records. Needs the extra `beam`.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import threadpoolctl
from apache_beam.options.pipeline_options import PipelineOptions

from data_pipeline.building import data_set
from data_pipeline.building.data_set import BuildError, ClipLine
from data_pipeline.building.tfds_builder import write_shards
from data_pipeline.building.video_work import (
  Settings,
  VideoCut,
  find_beats,
  write_vectors,
)
from data_pipeline.media.errors import MediaError
from data_pipeline.sources.base import Finding, SourceVideo, Survey

_LINES = "lines"  # the second output of a cut: what manifest and report are made of


def build_with_beam(
  settings: Settings, output: pathlib.Path, options: Sequence[str]
) -> dict[str, Any]:
  """Builds the data set in one Beam pipeline.

  Args:
    settings: what to build.
    output: folder of the data set, the same for all workers.
    options: of the pipeline, as on a command line.

  Returns:
    The manifest.

  Raises:
    BuildError: the folder holds a data set of other settings, or no clip came of it.
  """
  description = settings.description()
  finished = data_set.finished_manifest(output, description)
  if finished is not None:
    return finished
  with data_set.open_work(output, description) as work:
    write_vectors(settings, output)
    survey = settings.source.survey()
    lines = work / "lines"
    shutil.rmtree(lines, ignore_errors=True)
    unfinished = output / "shards.unfinished"
    for folder in (unfinished, output / "shards"):
      shutil.rmtree(folder, ignore_errors=True)
    try:
      records = _Records(settings, survey, str(lines / "line"))
      examples = _examples(settings, survey)
      write_shards(
        unfinished,
        next(iter(examples.values())),
        {split: SplitRecords(records, split) for split in sorted(examples)},
        PipelineOptions(list(options)),
      )
    finally:
      findings = [*survey.findings, *_read(lines, Finding)]
      data_set.write_report(output, findings)
    unfinished.replace(output / "shards")
    clips = _read(lines, ClipLine)
    manifest = data_set.make_manifest(description, survey, clips, findings)
    data_set.write_json(output / data_set.MANIFEST, manifest)
    return manifest


def _read(folder: pathlib.Path, kind: type) -> list[Any]:
  """The lines of one kind that the workers wrote."""
  found = []
  for path in sorted(folder.glob("line-*")):  # Beam leaves folders of its own
    for line in path.read_text(encoding="utf-8").splitlines():
      content = json.loads(line)
      if content.pop("kind") == kind.__name__:
        found.append(kind(**content))
  return found


def _examples(settings: Settings, survey: Survey) -> dict[str, dict[str, Any]]:
  """A record of each split that has any: the shapes of all.

  TFDS fails at the end of the pipeline if a split is empty, so this is found out first.
  """
  found: dict[str, dict[str, Any]] = {}
  for video in survey.videos:
    if video.split in found:
      continue
    with contextlib.suppress(MediaError), tempfile.TemporaryDirectory() as folder:
      beats = find_beats(settings, video.song, survey.songs[video.song])
      cut = list(VideoCut(settings, video, beats, pathlib.Path(folder)))
      if cut:
        found[video.split] = cut[0]
  if not found:
    raise BuildError(
      f"No clip came of {len(survey.videos)} videos; build without --beam to see why."
    )
  return found


class _Records:
  """The records of all splits: one collection, made when it is first asked for."""

  def __init__(self, settings: Settings, survey: Survey, lines: str) -> None:
    self._settings, self._survey, self._lines = settings, survey, lines
    self._records: Any = None

  def of(self, pipeline: beam.Pipeline) -> Any:
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
  """The keys and records of one split."""

  def __init__(self, records: _Records, split: str) -> None:
    super().__init__()
    self._records, self._split = records, split

  def expand(self, input_or_inputs: Any) -> Any:
    records = self._records.of(input_or_inputs.pipeline)
    return records | beam.Filter(_is_of, self._split) | beam.Map(_example_of)


def _is_of(record: tuple[str, dict[str, Any]], split: str) -> bool:
  return record[0] == split


def _example_of(record: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
  features = {key: value for key, value in record[1].items() if key != "digest"}
  return f"{features['name']}.{features['window']}", features


class _Work(beam.DoFn):
  def __init__(self, settings: Settings) -> None:
    self._settings = settings

  def setup(self) -> None:
    # As in the processes of one machine: sums in the same order give the same bytes,
    # and Beam itself runs as many workers as there are cores.
    threadpoolctl.threadpool_limits(1)


class FindBeats(_Work):
  """A song and its files -> the song, its beats and why there are none."""

  def process(
    self, element: tuple[str, Sequence[str]]
  ) -> Iterator[tuple[str, tuple[Any, str]]]:
    song, files = element
    try:
      yield song, (find_beats(self._settings, song, files), "")
    except MediaError as error:
      yield song, (None, str(error))


class CutVideo(_Work):
  """A video -> its records, and lines for manifest and report."""

  def process(
    self, element: SourceVideo, songs: Mapping[str, tuple[Any, str]]
  ) -> Iterator[Any]:
    video = element
    beats, reason = songs[video.song]
    status, records = "broken", []
    if not reason:
      with tempfile.TemporaryDirectory() as folder:
        try:
          cut = VideoCut(self._settings, video, beats, pathlib.Path(folder))
          # A video counts whole or not at all.
          records, status, reason = list(cut), cut.status, cut.reason
        except MediaError as error:
          reason = str(error)
    for features in records:
      yield video.split, features
      yield _line(data_set.clip_line(video.split, features))
    if status != "whole":
      yield _line(Finding(status, video.name, reason))


def _line(content: ClipLine | Finding) -> beam.pvalue.TaggedOutput:
  values = {"kind": type(content).__name__, **dataclasses.asdict(content)}
  return beam.pvalue.TaggedOutput(_LINES, json.dumps(values))

"""Writes clip records as ArrayRecord shards by means of a TFDS builder.

Neither writing nor reading needs tensorflow. Arrays are stored as bytes; as lists of
integers, the default of TFDS, one clip would take 200 ms to read.
"""

import contextlib
import io
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipeline.building.tfds_buckets import local_buckets
from data_pipeline.files import full_disk_names
from data_pipeline.records import clip_record


def features_of(example: Mapping[str, Any]) -> tfds.features.FeaturesDict:
  """Returns the TFDS features of encoded records with the shapes of `example`."""

  def array(shape: tuple[int | None, ...], dtype: Any) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

  features: dict[str, Any] = {"schema_version": np.int64}
  for key in example:
    if key in clip_record.TEXTS:
      features[key] = tfds.features.Text()
    elif key in clip_record.INTEGERS:
      features[key] = np.int64
    elif key in clip_record.FLOATS:
      features[key] = array((), np.float64)  # plain floats are stored in 32 bits
    elif key in clip_record.CODED:
      features[key] = array((None,), np.uint8)
    elif key in clip_record.ARRAYS:
      features[key] = array((None,), clip_record.ARRAYS[key])
    elif key in clip_record.FIXED_ARRAYS:
      features[key] = array(example[key].shape, clip_record.FIXED_ARRAYS[key])
  return tfds.features.FeaturesDict(features)


class DanceClips(tfds.core.GeneratorBasedBuilder):
  """Clips of a dancer with music and beats; see `data_pipeline.records.clip_record`."""

  VERSION = tfds.core.Version(f"{clip_record.SCHEMA_VERSION}.0.0")
  url_infos: dict[str, Any] = {}  # nothing is downloaded, so there are no checksums

  def __init__(
    self, data_dir: str, example: Mapping[str, Any], splits: Mapping[str, Any]
  ) -> None:
    """Makes a builder; the arguments are those of `write_shards`."""
    self._example, self._splits = example, splits
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="Dance clips: frames, sound, music embedding, beats.",
      features=features_of(self._example),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager  # nothing is downloaded
    return {split: self._generate_examples(split) for split in self._splits}

  def _generate_examples(self, split: str) -> Any:
    return self._splits[split]


def write_shards(
  folder: pathlib.Path,
  example: Mapping[str, Any],
  splits: Mapping[str, Any],
  beam_options: Any = None,
) -> None:
  """Writes the shards of all splits into a new folder.

  Args:
    folder: is created; incomplete until this returns.
    example: any encoded record, for the shapes.
    splits: the (key, encoded record) pairs of each split, or a Beam transform that
      makes them.
    beam_options: `PipelineOptions` of the Beam pipeline, if there is one.
  """
  tfds.disable_progress_bar()
  builder = DanceClips(str(folder), example, splits)
  config = tfds.download.DownloadConfig(beam_options=beam_options)
  # Otherwise it prints "Downloading and preparing ...", though it downloads nothing.
  with contextlib.redirect_stdout(io.StringIO()), local_buckets():
    with full_disk_names(folder):
      builder.download_and_prepare(
        download_dir=str(folder / "downloads"), download_config=config
      )
  shutil.rmtree(folder / "downloads", ignore_errors=True)

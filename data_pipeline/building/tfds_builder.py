"""The one writer of shards: a TFDS builder of clip records in ArrayRecord files.

Prepared and read without tensorflow. Arrays are stored as bytes: TFDS's default, a
list of integers, takes 200 ms to read for one clip.
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
from data_pipeline.records import clip_record


def features_of(example: Mapping[str, Any]) -> tfds.features.FeaturesDict:
  """The TFDS features of encoded records that look like `example`."""

  def array(shape: tuple[int | None, ...], dtype: Any) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

  features: dict[str, Any] = {"schema_version": np.int64}
  for key in example:
    if key in clip_record.TEXTS:
      features[key] = tfds.features.Text()
    elif key in clip_record.INTEGERS:
      features[key] = np.int64
    elif key in clip_record.FLOATS:
      features[key] = array((), np.float64)  # a plain one is stored in 32 bits
    elif key in clip_record.CODED:
      features[key] = array((None,), np.uint8)
    elif key in clip_record.ARRAYS:
      features[key] = array((None,), clip_record.ARRAYS[key])
    elif key in clip_record.FIXED_ARRAYS:
      features[key] = array(example[key].shape, clip_record.FIXED_ARRAYS[key])
  return tfds.features.FeaturesDict(features)


class DanceClips(tfds.core.GeneratorBasedBuilder):
  """Clips of a dancer with music and beats; see `data_pipeline.records.clip_record`.

  Attributes:
    example: an encoded record, as all are.
    splits: for every split its keys and encoded records, or a Beam transform that
      makes them.
  """

  VERSION = tfds.core.Version(f"{clip_record.SCHEMA_VERSION}.0.0")
  url_infos: dict[str, Any] = {}  # nothing is downloaded: no checksum file to look for

  def __init__(
    self, data_dir: str, example: Mapping[str, Any], splits: Mapping[str, Any]
  ) -> None:
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
  """Writes a whole data set into a new folder.

  Args:
    folder: is made; not there as a whole before this returns.
    example: an encoded record, as all are.
    splits: for every split its (key, encoded record) pairs, or a Beam transform that
      makes them.
    beam_options: of the Beam pipeline, if there is one.
  """
  tfds.disable_progress_bar()
  builder = DanceClips(str(folder), example, splits)
  config = tfds.download.DownloadConfig(beam_options=beam_options)
  # It prints "Downloading and preparing ...", with nothing to download.
  with contextlib.redirect_stdout(io.StringIO()), local_buckets():
    builder.download_and_prepare(
      download_dir=str(folder / "downloads"), download_config=config
    )
  shutil.rmtree(folder / "downloads", ignore_errors=True)

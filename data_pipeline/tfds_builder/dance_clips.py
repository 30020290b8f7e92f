"""The one writer of shards: a TFDS builder of clip records in ArrayRecord files.

Prepared and read without tensorflow. Arrays are stored as bytes: TFDS's default, a
list of integers, takes 200 ms to read for one clip.
"""

import contextlib
import io
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipeline import clip_record


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
  """Clips of a dancer with music and beats; see `data_pipeline.clip_record`.

  Attributes:
    splits: for every split the files that hold its encoded records.
    load: reads such a file.
  """

  VERSION = tfds.core.Version(f"{clip_record.SCHEMA_VERSION}.0.0")
  url_infos: dict[str, Any] = {}  # nothing is downloaded: no checksum file to look for

  def __init__(
    self,
    data_dir: str,
    splits: Mapping[str, Sequence[pathlib.Path]],
    load: Callable[[pathlib.Path], dict[str, Any]],
  ) -> None:
    self._files, self._load = splits, load
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    example = self._load(next(files[0] for files in self._files.values() if files))
    return tfds.core.DatasetInfo(
      builder=self,
      description="Dance clips: frames, sound, music embedding, beats.",
      features=features_of(example),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager  # nothing is downloaded
    return {
      split: self._generate_examples(files) for split, files in self._files.items()
    }

  def _generate_examples(
    self, files: Sequence[pathlib.Path]
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in files:
      features = self._load(file)
      yield f"{features['name']}.{features['window']}", features


def write_shards(
  folder: pathlib.Path,
  splits: Mapping[str, Sequence[pathlib.Path]],
  load: Callable[[pathlib.Path], dict[str, Any]],
) -> None:
  """Writes a whole data set into a new folder.

  Args:
    folder: is made; not there as a whole before this returns.
    splits: for every split the files that hold its encoded records.
    load: reads such a file.
  """
  tfds.disable_progress_bar()
  builder = DanceClips(str(folder), splits, load)
  with contextlib.redirect_stdout(io.StringIO()):  # "Downloading and preparing ..."
    builder.download_and_prepare(download_dir=str(folder / "downloads"))
  shutil.rmtree(folder / "downloads", ignore_errors=True)

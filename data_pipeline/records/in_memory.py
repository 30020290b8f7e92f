"""Keeps decoded records in memory, for small data sets."""

from collections.abc import Sequence
from typing import SupportsIndex

from data_pipeline.records.clip_record import Record


class InMemory(Sequence[Record]):
  """Keeps every record of a source after its first reading."""

  def __init__(self, source: Sequence[Record]) -> None:
    self._source = source
    self._records: list[Record | None] = [None] * len(source)

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: SupportsIndex) -> Record:
    index = int(index)
    record = self._records[index]
    if record is None:  # two threads may both read it, with the same result
      record = self._records[index] = self._source[index]
    return record

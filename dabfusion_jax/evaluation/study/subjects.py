"""The clips that claims are tested on, with all that is known of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dabfusion_jax.evaluation.reading.labels import Labels, parse_labels
from dabfusion_jax.inference.inputs import Music


@dataclasses.dataclass(frozen=True)
class Subjects:
  """Held-out clips: `records` of `data_pipeline.records.loader` with their truth.

  `flow` [n, t, s, s, 2], `occlusion` [n, t, s, s, 1] and `z` [n, s, s, c] are what
  stage 1 makes of the true frames. `data` names the data set; `given_key` is the key
  of the beats that models are given, those they were trained with.
  """

  records: Sequence[Mapping[str, Any]]
  flow: np.ndarray
  occlusion: np.ndarray
  z: np.ndarray
  data: str
  given_key: str

  def __len__(self) -> int:
    return len(self.records)

  @property
  def labels(self) -> list[Labels]:
    return [parse_labels(record["name"]) for record in self.records]

  @property
  def sequences(self) -> list[str]:
    """The independent sample: cameras of a sequence share its motion."""
    return [label.sequence for label in self.labels]

  @property
  def clip_names(self) -> list[str]:
    return [f"{record['name']}.{record['window']}" for record in self.records]

  @property
  def beats(self) -> list[np.ndarray]:
    """The true ones, seconds from the start, one beyond either edge."""
    return [record["true_beat_times"] for record in self.records]

  @property
  def given(self) -> list[np.ndarray]:
    """The beats that models are given."""
    return [record[self.given_key] for record in self.records]

  def heard(self, beats: Sequence[np.ndarray]) -> list[Music]:
    """Every clip's own music, with the beats given."""
    silent = np.zeros((0, 2), np.float32)
    return [
      Music(silent, record["music"], times)
      for record, times in zip(self.records, beats, strict=True)
    ]

  def first(self, count: int) -> "Subjects":
    """So many of them, spread evenly."""
    return self.take(spread(len(self), count))

  def take(self, indices: Sequence[int]) -> "Subjects":
    indices = list(indices)
    records = [self.records[i] for i in indices]
    arrays = (x[indices] for x in (self.flow, self.occlusion, self.z))
    return Subjects(records, *arrays, self.data, self.given_key)


def spread(length: int, count: int) -> list[int]:
  """`count` numbers below `length`, evenly spaced; all, if there are no more."""
  count = min(length, count)
  return [int(i) for i in np.linspace(0, length - 1, count)]


def period_seconds(beats: np.ndarray) -> float:
  """Of a steady beat."""
  return float(np.median(np.diff(beats)))


def prolonged(beats: np.ndarray, seconds: float) -> np.ndarray:
  """A steady beat that goes on until one beat after `seconds`; a lone one is kept."""
  if len(beats) < 2:
    return beats
  period = period_seconds(beats)
  missing = int(np.ceil(max(0.0, seconds - beats[-1]) / period)) + 1
  return np.concatenate([beats, beats[-1] + period * np.arange(1, missing + 1)])


def at_tempo(beats: np.ndarray, factor: float) -> np.ndarray:
  """The beat `factor` times as fast, in step with its second beat, as far as before.

  The second is the first inside the clip.
  """
  period = period_seconds(beats) / factor
  before = int(np.ceil((beats[1] - beats[0]) / period - 1e-6))
  after = int(np.ceil((beats[-1] - beats[1]) / period - 1e-6))
  return beats[1] + period * np.arange(-before, after + 1)

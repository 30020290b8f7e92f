"""Claim 4: the paper's comparisons in miniature, and whether they order as there."""

from collections.abc import Mapping, Sequence

import numpy as np

from dabfusion_jax.evaluation.study import dancing, estimates, films
from dabfusion_jax.evaluation.study import subjects as clips
from dabfusion_jax.evaluation.study.beats import Stage
from dabfusion_jax.evaluation.study.drawing import Artist, Dances
from dabfusion_jax.evaluation.study.estimates import Row
from dabfusion_jax.evaluation.study.films import Viewer
from dabfusion_jax.inference.inputs import Music

SEGMENTS = 4  # of chained dances
MIN_CLIPS_OF_FVD = 10
_PAIRED = {"psnr": "PSNR [dB]", "ssim": "SSIM", "lpips": "LPIPS (alex)"}


def models(
  stage: Stage, viewer: Viewer, artists: Mapping[str, Artist], dances: Mapping
) -> list[Row]:
  """Tables 1 and 3: the two models, on the same clips from the same noise."""
  table, paired = [], {}
  for name, artist in artists.items():
    table.append(_fvd_row(name, viewer, artist, dances[name], None, stage.seed))
    paired[name] = viewer.paired(artist, dances[name])
    for key, title in _PAIRED.items():
      table.append(Row(f"{title} of {name}", stage.mean(paired[name][key])))
  if {"e", "b"} <= set(artists):
    # The paper (tables 1 and 3): e has the higher PSNR and SSIM, and the higher LPIPS.
    for key, title in _PAIRED.items():
      gap = stage.mean(paired["e"][key] - paired["b"][key])
      table.append(_ordered(f"{title}, e minus b", gap, "higher"))
    gap = table[_fvd_index(table, "e")].found.value
    gap -= table[_fvd_index(table, "b")].found.value
    noise = [table[_fvd_index(table, name)].found.error or 0.0 for name in "eb"]
    found = table[_fvd_index(table, "e")].found
    gap = estimates.Estimate(
      gap, float(np.hypot(*noise)) or None, found.n, found.n_sequences
    )
    table.append(_ordered("FVD, e minus b", gap, "lower"))
  return table


def trackers(stage: Stage, artist: Artist) -> list[Row]:
  """The beats that librosa hears in the song against the true ones."""
  dances = {}
  for name, key in (("true", "true_beat_times"), ("librosa", "beat_times")):
    heard = stage.subjects.heard([record[key] for record in stage.subjects.records])
    frames = stage.subjects.flow.shape[1]
    dances[name] = artist.draw(stage.pictures(), heard, stage.ids(), frames)
  found = {
    name: dancing.align(stage.pauses(one.flow), stage.subjects.beats)
    for name, one in dances.items()
  }
  chance, true = _levels(stage)
  table = [
    Row(
      f"alignment of e with the true beats, given {name} beats",
      stage.mean(values),
      stage.mean(true),
      stage.mean(chance),
      "chance, closed form",
    )
    for name, values in found.items()
  ]
  gap = stage.mean(found["librosa"] - found["true"])
  return [*table, Row("librosa minus true beats, paired", gap)]


def lengths(stage: Stage, viewer: Viewer, artist: Artist) -> list[Row]:
  """Tables 5 and 7: dances of twice the length at once, and chained ones.

  The paper's 80 frames at once are another training; here it is the same model, which
  never saw as many. The music of longer dances is the clip's; its true beats go on and
  are given: tracked ones, prolonged for 12 s by a period out by 1 %, would be off.
  """
  subjects, frames = stage.subjects, stage.subjects.flow.shape[1]
  end = (SEGMENTS * frames + 1) / stage.fps
  beats = [clips.prolonged(one, end) for one in subjects.beats]
  heard = subjects.heard(beats)
  chance, true = _levels(stage)
  table = []

  def row(what: str, values: np.ndarray, asked: str = "") -> Row:
    arguments = (stage.mean(true), stage.mean(chance), "chance, closed form")
    return Row(what, stage.mean(values), *arguments, asked)

  plain = artist.draw(stage.pictures(), heard, stage.ids(), frames)
  double = artist.draw(stage.pictures(), heard, stage.ids(), 2 * frames)
  at_once = dancing.align(stage.pauses(double.flow), beats)
  single = dancing.align(stage.pauses(plain.flow), beats)
  table += [
    row(f"alignment, {frames} frames", single),
    row(f"alignment, {2 * frames} frames at once", at_once),
    _ordered(
      f"alignment, {2 * frames} minus {frames} frames",
      stage.mean(at_once - single),
      "higher",
    ),
    Row(
      f"flow speed, {2 * frames} frames at once [px/frame]",
      stage.mean(stage.speed(double.flow)),
      stage.mean(stage.speed(subjects.flow)),
    ),
  ]
  chain = chained(stage, artist, plain, beats)
  speeds = [dancing.speeds(part.flow, stage.size) for part in chain]
  for count, part in enumerate(chain, 1):
    # One film: a part begins with the frame that the one before ended with.
    when = dancing.pauses(np.concatenate(speeds[:count], axis=1), stage.fps)
    length = count * frames
    table.append(row(f"alignment, {length} frames chained", dancing.align(when, beats)))
    table.append(
      Row(
        f"flow speed, frames {length - frames} to {length} of a chain [px/frame]",
        stage.mean(speeds[count - 1].mean(axis=1)),
        stage.mean(stage.speed(subjects.flow)),
      )
    )
    table.append(
      _fvd_row(
        f"frames {length - frames} to {length} of a chain",
        viewer,
        artist,
        part,
        None,
        stage.seed,
      )
    )
  return table


def chained(
  stage: Stage, artist: Artist, plain: Dances, beats: Sequence[np.ndarray]
) -> list[Dances]:
  """`SEGMENTS` dances a clip, each from the last frame of the one before.

  The first is `plain`; `beats` are those of the whole chain.
  """
  frames = stage.subjects.flow.shape[1]
  parts = [plain]
  for index in range(1, SEGMENTS):
    last = parts[-1]
    pictures = [
      artist.decode(last.flow[i, -1:], last.occlusion[i, -1:], last.z[i])[0]
      for i in range(len(last))
    ]
    # The repeated frame is dropped, so that a part takes one frame less.
    start = index * (frames - 1) / stage.fps
    heard = stage.subjects.heard([_from(one, start) for one in beats])
    # Other noise than the part before.
    ids = [number + index * 2**20 for number in stage.ids()]
    parts.append(artist.draw(pictures, heard, ids, frames))
  return parts


def _from(beats: np.ndarray, start: float) -> np.ndarray:
  """The beats from one before `start` on, in seconds from there."""
  first = max(0, int(np.searchsorted(beats, start)) - 1)
  return beats[first:] - start


def groups(
  stage: Stage, viewer: Viewer, artists: Mapping[str, Artist], dances: Mapping
) -> list[Row]:
  """Tables 2 and 4: by camera and by genre."""
  labels = stage.subjects.labels
  chance, true = _levels(stage)
  table = []
  for by in ("camera", "genre"):
    names = np.array([getattr(label, by) for label in labels])
    for group in sorted(set(names)):
      rows = np.flatnonzero(names == group)
      sequences = [stage.subjects.sequences[i] for i in rows]
      mean = lambda x, r=rows, s=sequences: estimates.mean(np.asarray(x)[r], s)
      for name, artist in artists.items():
        found = dancing.align(stage.pauses(dances[name].flow), stage.subjects.beats)
        title = f"{by} {group}: alignment of {name}"
        against = (mean(true), mean(chance), "chance, closed form")
        table.append(Row(title, mean(found), *against))
        if by != "camera":
          continue
        paired = viewer.paired(artist, dances[name])
        for key, words in _PAIRED.items():
          table.append(Row(f"{by} {group}: {words} of {name}", mean(paired[key])))
        if len(rows) >= MIN_CLIPS_OF_FVD:
          title = f"{name}, {by} {group}"
          part = dances[name].take(rows.tolist())
          table.append(_fvd_row(title, viewer, artist, part, rows, stage.seed))
  return table


def styles(
  stage: Stage,
  viewer: Viewer,
  artists: Mapping[str, Artist],
  dances: Mapping,
  vectors: Mapping[str, np.ndarray],
) -> list[Row]:
  """Table 6 without text: the mean sound of a genre in place of the music's own.

  Beats are given as before to the model that takes them.
  """
  subjects = stage.subjects
  chance, true = _levels(stage)
  table = []
  for name, artist in artists.items():
    own = subjects.heard(subjects.given)
    heard = [
      Music(music.audio, vectors[label.genre], music.beat_times)
      for music, label in zip(own, subjects.labels, strict=True)
    ]
    frames = subjects.flow.shape[1]
    styled = artist.draw(stage.pictures(), heard, stage.ids(), frames)
    values = dancing.align(stage.pauses(styled.flow), subjects.beats)
    plain = dancing.align(stage.pauses(dances[name].flow), subjects.beats)
    against = (stage.mean(true), stage.mean(chance), "chance, closed form")
    table += [
      Row(f"alignment of {name}, style vector", stage.mean(values), *against),
      _ordered(
        f"alignment of {name}, style vector minus music",
        stage.mean(values - plain),
        "lower",
      ),
      _fvd_row(f"{name}, style vector", viewer, artist, styled, None, stage.seed),
      _fvd_row(f"{name}, music", viewer, artist, dances[name], None, stage.seed),
    ]
  return table


def _levels(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
  """Alignment by chance and of the true clips."""
  beats = stage.subjects.beats
  true = dancing.align(stage.pauses(stage.subjects.flow), beats)
  return dancing.chance(beats), true


def _fvd_row(title, viewer, artist, dances, rows, seed) -> Row:
  found = films.fvd_of(viewer.logits(artist, dances), viewer, rows, seed)
  return Row(
    f"FVD of {title}", found["found"], found["true"], found["null"], "frozen frame"
  )


def _fvd_index(table: Sequence[Row], name: str) -> int:
  return [row.what for row in table].index(f"FVD of {name}")


def _ordered(what: str, gap: estimates.Estimate, paper: str) -> Row:
  """A difference beside the paper's sign: met if the same, None within its noise."""
  if abs(gap.value) <= 2 * (gap.error or 0.0):
    return Row(what, gap, asked=f"{paper} in the paper; here within its noise")
  same = (gap.value > 0) == (paper == "higher")
  return Row(what, gap, asked=f"{paper} in the paper", met=same)

"""Made-up models go through the parts: one that hears its beats, one that does not."""

import jax
import numpy as np
import pytest

from configs import diffusion as diffusion_config
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.study import (
  beats,
  comparisons,
  curve,
  dancing,
  films,
  steps,
  subjects,
)
from dabfusion_jax.evaluation.study.drawing import Artist, Sampling
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.records import slow_motion

_FRAMES, _SIZE, _FPS = 40, 64, 10.0


def _dance(times, num_frames=_FRAMES):
  """Swings from side to side and rests on every beat; hardly moves without any."""
  now = np.arange(num_frames) / _FPS
  period, first, reach = 0.57, 0.0, 0.02
  if len(times) > 1:
    period, first, reach = subjects.period_seconds(times), times[0], 0.2
  swing = reach * np.cos(np.pi * (now - first) / period)
  line = np.linspace(-1, 1, 4, dtype=np.float32)
  grid = np.stack(np.meshgrid(line, line), -1)
  flow = np.repeat(grid[None], num_frames, 0)
  flow[..., 0] += swing[:, None, None].astype(np.float32)
  return flow


def _film(flow):
  """A grey that follows the flow: uint8 [t, h, w, 3]."""
  grey = np.uint8(127 + 100 * flow[..., 0].mean((1, 2)))
  return np.repeat(grey, 3 * _SIZE**2).reshape(len(flow), _SIZE, _SIZE, 3)


class _Dancer(DancePipeline):
  """Stands for a trained model and its sampler; draws in numpy, counts how often."""

  def __init__(self, name, hears):
    config = diffusion_config.get_config("smoke").to_dict()
    for key, value in {
      "config": config,
      "digests": {"diffusion": name, "autoencoder": "one"},
      "hears": hears,
      "drawn": [],
      "sampler": self,
    }.items():
      object.__setattr__(self, key, value)

  def make_batch(self, ref_images, heard, num_frames):
    assert len(ref_images) == len(heard)
    z = np.zeros((len(heard), 4, 4, 1), np.float32)
    return {"z": z, "heard": heard, "num_frames": num_frames}

  def draw(self, batch, keys, plan, guidance_scale, callback=None):
    self.drawn.append(len(batch["heard"]))
    flows = []
    for music, key in zip(batch["heard"], keys, strict=True):
      times = music.beat_times
      if not self.hears:
        rng = np.random.default_rng(int(jax.random.bits(key)))
        times = np.arange(rng.uniform(-0.6, 0), 4.5, rng.uniform(0.45, 0.75))
      flows.append(_dance(times, batch["num_frames"]))
    flow = np.stack(flows)
    return flow, np.ones((*flow.shape[:-1], 1), np.float32)

  def decode(self, z, flow, occlusion):
    return np.stack([_film(one) for one in flow])


@pytest.fixture(scope="module")
def stage():
  rng = np.random.default_rng(0)
  records = []
  for i in range(14):
    period = rng.uniform(0.45, 0.7)
    times = np.arange(rng.uniform(-period, 0), _FRAMES / _FPS + period, period)
    records.append(
      {
        "name": f"gBR_sBM_c01_d06_mBR{i % 5}_ch{i + 1:02d}",
        "window": 0,
        "example_id": np.int32(i),
        "frames": _film(_dance(times)),
        "music": np.ones(4, np.float32),
        "beat_times": times + 0.02,
        "true_beat_times": times,
      }
    )
  flow = np.stack([_dance(record["true_beat_times"]) for record in records])
  parts = (flow, np.ones((*flow.shape[:-1], 1)), np.zeros((len(flow), 4, 4, 1)))
  clips = subjects.Subjects(records, *parts, "data", "true_beat_times")
  return beats.Stage(clips, (_SIZE, _SIZE), _FPS, 0)


def _artist(folder, name, hears):
  sampling = Sampling("ddim", 2, 0.0, 1.0)
  return Artist(_Dancer(name, hears), FeatureCache(folder), sampling, 0)


def _draw(stage, artist):
  clips = stage.subjects
  return artist.draw(stage.pictures(), clips.heard(clips.given), stage.ids(), _FRAMES)


def _met(rows, beginning):
  found = {row.what: row.met for row in rows if row.what.startswith(beginning)}
  assert found
  return found


def test_who_hears_the_beats_passes_and_who_does_not_fails(stage, tmp_path):
  artists = {"e": _artist(tmp_path, "e", True), "b": _artist(tmp_path, "b", False)}
  dances = {name: _draw(stage, artist) for name, artist in artists.items()}
  rows = beats.alignment_rows(stage, dances)
  by_name = {row.what: row for row in rows}
  assert by_name["way of e from chance to true"].met
  assert by_name["e minus b, paired"].met
  assert abs(by_name["way of b from chance to true"].found.value) < 0.3
  deaf = beats.alignment_rows(stage, {"e": dances["b"]})
  assert not _met(deaf, "way of e from chance to true")["way of e from chance to true"]


def test_who_hears_the_beats_is_led_by_them(stage, tmp_path):
  silence = np.zeros(4, np.float32)
  led = _artist(tmp_path, "e", True)
  flows = stage.subjects.flow
  slowed = {
    factor: np.stack([slow_motion.stretch(flow, factor) for flow in flows])
    for factor in (0.5, 0.8)
  }
  rows = beats.control_rows(stage, led, _draw(stage, led), silence, slowed)
  late = _met(rows, "half a period late")
  assert late["half a period late: way with them"]
  assert late["half a period late: alignment with the clip's own beats"]
  assert _met(rows, "tempo x 0.5: way")["tempo x 0.5: way with them"]
  by_name = {row.what: row for row in rows}
  shown_slow = by_name["tempo x 0.5: alignment of true clips shown as slow"]
  assert shown_slow.found.value > 3 * shown_slow.null.value
  assert by_name["tempo x 0.5: way to them"].found.value > 0.8
  assert _met(rows, "silence: speed")["silence: speed against that with music"]
  stubborn = _artist(tmp_path, "b", False)
  rows = beats.control_rows(stage, stubborn, _draw(stage, stubborn), silence, slowed)
  assert not _met(rows, "half a period late: way")["half a period late: way with them"]
  assert not _met(rows, "silence: speed")["silence: speed against that with music"]


def test_what_was_drawn_is_not_drawn_again(stage, tmp_path):
  artist = _artist(tmp_path, "e", True)
  first = _draw(stage, artist)
  assert artist.pipeline.drawn == [4, 4, 4, 4]  # one shape, the last one filled up
  again = _draw(stage, artist)
  assert len(artist.pipeline.drawn) == 4
  np.testing.assert_array_equal(first.flow, again.flow)
  clips = stage.subjects
  moved = clips.heard([times + 0.1 for times in clips.given])
  artist.draw(stage.pictures(), moved, stage.ids(), _FRAMES)
  assert len(artist.pipeline.drawn) == 8
  artist.draw(
    stage.pictures(), clips.heard(clips.given), stage.ids(), _FRAMES, num_steps=3
  )
  assert len(artist.pipeline.drawn) == 12


def test_a_chain_stays_on_the_beat(stage, tmp_path):
  """Each part takes one frame less than it has: its first was the last before."""
  artist = _artist(tmp_path, "e", True)
  times = [subjects.prolonged(one, 17.0) for one in stage.subjects.beats]
  parts = comparisons.chained(stage, artist, _draw(stage, artist), times)
  assert len(parts) == comparisons.SEGMENTS
  speed = np.concatenate([dancing.speeds(p.flow, stage.size) for p in parts], axis=1)
  assert speed.shape[1] == comparisons.SEGMENTS * (_FRAMES - 1)
  assert dancing.align(dancing.pauses(speed, _FPS), times).mean() > 0.9


@pytest.fixture
def viewer(stage, tmp_path, monkeypatch):
  """Looks at the grey of a film; no network is needed."""

  def logits(variables, videos):
    grey = videos.mean((2, 3, 4))
    shape = np.zeros((len(videos), 400), np.float32)
    shape[:, :8] = grey[:, ::5][:, :8]
    return shape

  def compare(frames, record, networks):
    return dict(zip(films.PAIRED, np.float64([20, 0.5, 15, 0.4, 0.1]), strict=True))

  monkeypatch.setattr(Networks, "__getitem__", lambda self, name: {})
  monkeypatch.setattr(films.i3d, "i3d_logits", logits)
  monkeypatch.setattr(films, "compare", compare)
  networks = Networks({"i3d": "x", "alex": "x"}, {})
  return films.Viewer(stage.subjects, networks, FeatureCache(tmp_path))


def test_comparisons_tell_the_models_apart(stage, viewer, tmp_path):
  artists = {"e": _artist(tmp_path, "e", True), "b": _artist(tmp_path, "b", False)}
  dances = {name: _draw(stage, artist) for name, artist in artists.items()}
  rows = comparisons.models(stage, viewer, artists, dances)
  found = {row.what: row for row in rows}
  assert found["FVD of e"].found.value < 1e-3 < found["FVD of b"].found.value
  assert found["FVD, e minus b"].found.value < 0
  rows = comparisons.groups(stage, viewer, artists, dances)
  assert {"camera c01: alignment of e", "genre BR: alignment of b"} <= {
    row.what for row in rows
  }
  vectors = {"BR": np.full(4, 0.5, np.float32)}
  rows = comparisons.styles(stage, viewer, artists, dances, vectors)
  same = {row.what: row for row in rows}["alignment of e, style vector minus music"]
  assert same.found.value == 0  # this one does not listen to the music
  rows = comparisons.trackers(stage, artists["e"])
  gap = {row.what: row for row in rows}["librosa minus true beats, paired"]
  assert gap.found.value < 0  # 20 ms late


def test_longer_dances_are_measured_to_their_end(stage, viewer, tmp_path):
  artist = _artist(tmp_path, "e", True)
  rows = comparisons.lengths(stage, viewer, artist)
  found = {row.what: row.found.value for row in rows}
  for length in ("80 frames at once", "80 frames chained", "160 frames chained"):
    assert found[f"alignment, {length}"] > 0.9
  assert "FVD of frames 120 to 160 of a chain" in found


def test_the_fewest_steps_within_the_noise_are_chosen(stage, viewer, tmp_path):
  artist = _artist(tmp_path, "e", True)
  points = [
    steps.measure(stage, viewer, artist, "ddim", number) for number in (20, 5, 50)
  ]
  chosen, losses = steps.choose(points, stage)
  assert chosen.num_steps == 5  # all are the same
  assert [loss["alignment"] for loss in losses] == [0, 0, 0]
  deaf = _artist(tmp_path, "b", False)
  points[1] = steps.measure(stage, viewer, deaf, "ddim", 5)
  chosen, _ = steps.choose(points, stage)
  assert chosen.num_steps == 20
  assert len(steps.rows(points)) == 12


def test_the_study_of_steps_covers_all_samplers(stage, viewer, tmp_path):
  artist = _artist(tmp_path, "e", True)
  many = (stage, viewer)
  rows, extra, panels = steps.study(artist, many, many, ["ddim", "unipc"], [250])
  assert len(rows) == 4 * (4 * 2 + 4)
  assert extra["chosen"]["num_steps"] == 5
  assert set(panels["FVD"]) == {"ddim", "unipc"} and "<svg" in curve.plot(panels)

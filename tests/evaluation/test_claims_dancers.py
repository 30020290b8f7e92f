"""Made-up models go through the parts: one that hears its beats, one that does not."""

import jax
import numpy as np
import pytest

from configs import diffusion as diffusion_config
from dabfusion_jax.evaluation.cache import FeatureCache
from dabfusion_jax.evaluation.claims import beats, comparisons, subjects
from dabfusion_jax.evaluation.claims.drawing import Artist, Sampling
from dabfusion_jax.pipeline import DancePipeline

_FRAMES, _SIZE, _FPS = 40, 64, 10.0


def _dance(times):
  """Swings from side to side and rests on every beat; hardly moves without any."""
  now = np.arange(_FRAMES) / _FPS
  period, first, reach = 0.57, 0.0, 0.02
  if len(times) > 1:
    period, first, reach = subjects.period_seconds(times), times[0], 0.2
  swing = reach * np.cos(np.pi * (now - first) / period)
  line = np.linspace(-1, 1, 4, dtype=np.float32)
  grid = np.stack(np.meshgrid(line, line), -1)
  flow = np.repeat(grid[None], _FRAMES, 0)
  flow[..., 0] += swing[:, None, None].astype(np.float32)
  return flow


class _Dancer(DancePipeline):
  """Stands for a trained model; draws in numpy and counts how often."""

  def __init__(self, name, hears):
    config = diffusion_config.get_config("smoke").to_dict()
    for key, value in {
      "config": config,
      "digests": {"diffusion": name, "autoencoder": "one"},
      "hears": hears,
      "drawn": [],
    }.items():
      object.__setattr__(self, key, value)

  def make_batch(self, ref_images, heard, num_frames):
    assert len(ref_images) == len(heard)
    return {"z": np.zeros((len(heard), 4, 4, 1), np.float32), "heard": heard}

  def draw(self, batch, keys, plan, guidance_scale, callback=None):
    self.drawn.append(len(batch["heard"]))
    flows = []
    for music, key in zip(batch["heard"], keys, strict=True):
      times = music.beat_times
      if not self.hears:
        rng = np.random.default_rng(int(jax.random.bits(key)))
        times = np.arange(rng.uniform(-0.6, 0), 4.5, rng.uniform(0.45, 0.75))
      flows.append(_dance(times))
    flow = np.stack(flows)
    return flow, np.ones((*flow.shape[:-1], 1), np.float32)

  def decode(self, z, flow, occlusion):
    return np.zeros((*flow.shape[:2], _SIZE, _SIZE, 3), np.uint8)


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
        "frames": np.zeros((_FRAMES, _SIZE, _SIZE, 3), np.uint8),
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
  rows = beats.control_rows(stage, led, _draw(stage, led), silence)
  late = _met(rows, "half a period late")
  assert late["half a period late: way with them"]
  assert late["half a period late: alignment with the clip's own beats"]
  assert _met(rows, "tempo x 0.5: way")["tempo x 0.5: way with them"]
  assert _met(rows, "silence: speed")["silence: speed against that with music"]
  stubborn = _artist(tmp_path, "b", False)
  rows = beats.control_rows(stage, stubborn, _draw(stage, stubborn), silence)
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
  from dabfusion_jax.evaluation.claims import dancing

  artist = _artist(tmp_path, "e", True)
  times = [subjects.prolonged(one, 17.0) for one in stage.subjects.beats]
  parts = comparisons.chained(stage, artist, _draw(stage, artist), times)
  assert len(parts) == comparisons.SEGMENTS
  speed = np.concatenate([dancing.speeds(p.flow, stage.size) for p in parts], axis=1)
  assert speed.shape[1] == comparisons.SEGMENTS * (_FRAMES - 1)
  assert dancing.align(dancing.pauses(speed, _FPS), times).mean() > 0.9

"""A Beam pipeline makes the same records as a local build, byte for byte."""

import json
import os
import sys

import numpy as np
import pytest
from clip_examples import ToySource

from data_pipeline.building.data_set import BuildError
from data_pipeline.building.local_build import build_locally
from data_pipeline.building.settings import BuildSettings
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.records import loader

beam_build = pytest.importorskip(
  "data_pipeline.building.beam_build", exc_type=ImportError
)

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)


@pytest.mark.filterwarnings("default")  # Beam's own
@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_records_equal_those_of_a_local_build(tmp_path, monkeypatch, mode):
  paths = sys.path  # for its processes
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
  settings = BuildSettings(
    ToySource(count=5, short=1, bad=3), FORM, train_windows=Windows("random", 2)
  )
  options = ["--runner=DirectRunner", "--direct_num_workers=2"]
  options += [f"--direct_running_mode={mode}"]
  manifest = beam_build.build_with_beam(settings, tmp_path / "beam", options)
  assert manifest == build_locally(settings, tmp_path / "local", 1)
  assert manifest["report"] == {"broken": 1, "too_short": 1}
  reports = [(tmp_path / f / "report.csv").read_text() for f in ("beam", "local")]
  heads, broken, short = zip(*map(str.splitlines, reports), strict=True)
  assert heads[0] == heads[1] and short[0] == short[1]
  assert all("toy3" in line for line in broken)
  for split in ("train", "test"):
    ours = loader.Clips(tmp_path / "beam", split)._source
    theirs = loader.Clips(tmp_path / "local", split)._source
    assert len(ours) == len(theirs) == manifest["counts"][split]["clips"]
    for a, b in zip(ours, theirs, strict=True):
      assert a.keys() == b.keys()
      for key in a:
        assert np.asarray(a[key]).tobytes() == np.asarray(b[key]).tobytes(), key
  # A finished data set is left alone.
  assert beam_build.build_with_beam(settings, tmp_path / "beam", options) == manifest
  assert json.loads((tmp_path / "beam" / "manifest.json").read_text()) == manifest


@pytest.mark.filterwarnings("default")  # Beam's own
def test_a_split_without_a_usable_video_is_left_out(tmp_path):
  settings = BuildSettings(ToySource(count=3, bad=2), FORM)
  options = ["--runner=DirectRunner", "--direct_num_workers=1"]
  manifest = beam_build.build_with_beam(settings, tmp_path / "beam", options)
  assert manifest == build_locally(settings, tmp_path / "local", 1)
  assert manifest["counts"].keys() == {"train"} and manifest["report"] == {"broken": 1}


def test_no_usable_video_is_an_error_with_a_report(tmp_path):
  settings = BuildSettings(ToySource(count=2, bad=0, short=1), FORM)
  with pytest.raises(BuildError, match="from 2 videos .1 broken, 1 too_short."):
    beam_build.build_with_beam(settings, tmp_path, ["--runner=DirectRunner"])
  assert "toy0.mp4" in (tmp_path / "report.csv").read_text()

"""The Beam pipeline makes the records of the single machine, byte for byte."""

import json
import os
import sys

import numpy as np
import pytest
from clip_examples import ToySource

from data_pipeline import build
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.records import loader

beam_build = pytest.importorskip(
  "data_pipeline.building.beam_build", exc_type=ImportError
)

FORM = ClipFormat(num_frames=10, fps=10, frame_size=16)


@pytest.mark.filterwarnings("default")  # Beam's own
@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_records_equal_those_of_one_machine(tmp_path, monkeypatch, mode):
  paths = sys.path  # for its processes
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
  settings = build.Settings(
    ToySource(count=5, short=1, bad=3), FORM, train_windows=Windows("random", 2)
  )
  options = ["--runner=DirectRunner", "--direct_num_workers=2"]
  options += [f"--direct_running_mode={mode}"]
  there = beam_build.build_with_beam(settings, tmp_path / "beam", options)
  here = build.build(settings, tmp_path / "local", 1)
  assert there == here
  assert there["report"] == {"broken": 1, "too_short": 1}
  reports = [(tmp_path / f / "report.csv").read_text() for f in ("beam", "local")]
  heads, broken, short = zip(*map(str.splitlines, reports), strict=True)
  assert heads[0] == heads[1] and short[0] == short[1]
  assert all("toy3" in line for line in broken)
  for split in ("train", "test"):
    ours = loader.Clips(tmp_path / "beam", split)._source
    theirs = loader.Clips(tmp_path / "local", split)._source
    assert len(ours) == len(theirs) == here["counts"][split]["clips"]
    for a, b in zip(ours, theirs, strict=True):
      assert a.keys() == b.keys()
      for key in a:
        assert np.asarray(a[key]).tobytes() == np.asarray(b[key]).tobytes(), key
  # Finished: it is left alone.
  assert beam_build.build_with_beam(settings, tmp_path / "beam", options) == here
  assert json.loads((tmp_path / "beam" / "manifest.json").read_text()) == here


@pytest.mark.filterwarnings("default")  # Beam's own
def test_a_split_without_a_usable_video_is_left_out(tmp_path):
  settings = build.Settings(ToySource(count=3, bad=2), FORM)
  options = ["--runner=DirectRunner", "--direct_num_workers=1"]
  there = beam_build.build_with_beam(settings, tmp_path / "beam", options)
  assert there == build.build(settings, tmp_path / "local", 1)
  assert there["counts"].keys() == {"train"} and there["report"] == {"broken": 1}
  with pytest.raises(build.BuildError, match="No clip came of 2 videos"):
    nothing = build.Settings(ToySource(count=2, bad=0, short=1), FORM)
    beam_build.build_with_beam(nothing, tmp_path / "nothing", options)

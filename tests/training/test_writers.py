"""Files a run leaves behind: events, JSON lines, pictures."""

import gc
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from dabfusion_jax.training import writers


def read_events(folder):
  """Events of all files in `folder`, in order, from their record framing."""
  for path in sorted(folder.iterdir()):
    data, at = path.read_bytes(), 0
    while at < len(data):
      (size,) = struct.unpack_from("<Q", data, at)
      yield event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
      at += 16 + size


def test_scalars_reach_lines_and_event_file(tmp_path):
  with writers.Writer(tmp_path, 0) as writer:
    writer.write_scalars(3, {"loss": 0.5, "rate": 1e-3})
  line = json.loads((tmp_path / "metrics.jsonl").read_text())
  assert line == {"step": 3, "loss": 0.5, "rate": 1e-3}
  events = list(read_events(tmp_path / "events"))
  values = {
    v.tag: v.simple_value for e in events if e.step == 3 for v in e.summary.value
  }
  assert values == pytest.approx({"loss": 0.5, "rate": 1e-3})


def test_values_that_are_not_finite_leave_valid_json(tmp_path):
  with writers.Writer(tmp_path, 0) as writer:
    writer.write_scalars(1, {"psnr": float("inf")})
  assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "psnr": null}\n'


def test_resuming_drops_lines_beyond_the_step_and_damaged_ones(tmp_path):
  with writers.Writer(tmp_path, 0) as writer:
    for step in (10, 20, 30):
      writer.write_scalars(step, {"loss": float(step)})
  path = tmp_path / "metrics.jsonl"
  damaged = b'{}\n3\n{"step": null}\n{"step": 1, "\xff": 1}\n\0\0\n'
  path.write_bytes(damaged + path.read_bytes() + b'{"step": 40, "lo')
  with writers.Writer(tmp_path, 20) as writer:
    writer.write_scalars(30, {"loss": -1.0})
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(x["step"], x["loss"]) for x in lines] == [(10, 10), (20, 20), (30, -1)]
  # TensorBoard hides earlier files' events from a file's START on.
  starts = [
    e.step for e in read_events(tmp_path / "events") if e.HasField("session_log")
  ]
  assert starts == [1, 21]


def test_pictures_are_files_and_summaries(tmp_path):
  picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
  with writers.Writer(tmp_path, 0) as writer:
    writer.write_pictures(12, {"sheet": picture})
  with Image.open(tmp_path / "pictures" / "sheet_0000012.png") as image:
    np.testing.assert_array_equal(np.asarray(image), picture)
  (value,) = [v for e in read_events(tmp_path / "events") for v in e.summary.value]
  assert (value.tag, value.image.height, value.image.width) == ("sheet", 5, 7)


@pytest.mark.parametrize(
  "picture", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)]
)
def test_arrays_that_are_no_pictures_are_refused(tmp_path, picture):
  with writers.Writer(tmp_path, 0) as writer:
    with pytest.raises(ValueError, match="'sheet' must be uint8"):
      writer.write_pictures(1, {"sheet": picture})


def test_tensorflow_is_never_imported():
  script = "import sys, dabfusion_jax.training.loop; print('tensorflow' in sys.modules)"
  result = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
  )
  assert result.stdout.strip() == "False", result.stderr


# tensorboardX leaves a file open that it cannot flush.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_on_a_full_disk_the_metrics_are_named_and_the_whole_lines_stay(small_disk):
  with pytest.raises(OSError) as error, writers.Writer(small_disk, 0) as writer:
    (small_disk / "rest").write_bytes(bytes(48 * 1024))
    for step in range(1, 1000):
      writer.write_scalars(step, {"loss": 0.5})
  assert error.value.filename == str(small_disk / "metrics.jsonl")
  (small_disk / "rest").unlink()
  with writers.Writer(small_disk, step - 1) as writer:  # the same command again
    writer.write_scalars(step, {"loss": 0.5})
  lines = (small_disk / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == list(range(1, step + 1))
  del error
  gc.collect()

"""Whatever a client sends, only its own files are read, and only so much of them."""

import math
import pathlib
import threading
import warnings

import numpy as np
import PIL.Image
import pytest

from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.web.limits import (
  Limits,
  Request,
  UploadError,
  check_pixels,
  check_request,
  check_upload,
)
from data_pipeline.media import pictures

GOOD = {"seconds": 4, "music_start": 0.0, "steps": 10, "size": 256, "pick": 1}
GOOD["bpm"] = None


def request(**changes):
  path = pathlib.Path("a")
  return Request(path, path, **(GOOD | {"seed": 0} | changes))


def test_a_good_request_passes():
  check_request(request(), Limits())


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("seconds", 21),
    ("seconds", 0),
    ("seconds", math.nan),
    ("music_start", -1.0),
    ("music_start", math.inf),
    ("bpm", 5),
    ("steps", 101),
    ("size", 4096),
    ("pick", 0),
    ("seed", 2**32),
  ],
)
def test_a_number_out_of_its_range_is_named(name, value):
  with pytest.raises(InputError, match=f"{name} must be"):
    check_request(request(**{name: value}), Limits())


def test_an_upload_is_read_from_its_folder_only(tmp_path):
  mine, other = tmp_path / "mine", tmp_path / "other"
  mine.mkdir()
  for file in (mine / "a.png", other):
    file.write_bytes(b"x")
  (mine / "link.png").symlink_to(other)
  assert check_upload(str(mine / "a.png"), "picture", mine, Limits()).is_file()
  for path in (
    other,
    mine / "link.png",
    mine / ".." / "other",
    "/etc/passwd",
    f"{tmp_path}/mine_too",
    "http://localhost/a.png",
  ):
    with pytest.raises(UploadError, match="not uploaded here"):
      check_upload(path, "picture", mine, Limits())


def test_what_is_missing_gone_or_too_large_is_said(tmp_path):
  check = lambda path: check_upload(path, "song", tmp_path, Limits(upload_bytes=9))
  for path, said in (("", "There is no song"), (tmp_path / "gone", "removed")):
    with pytest.raises(UploadError, match=said):
      check(path)
  (tmp_path / "large").write_bytes(bytes(10))
  with pytest.raises(UploadError, match="at most"):
    check(tmp_path / "large")


def test_a_picture_of_too_many_pixels_is_refused_by_its_head(tmp_path):
  path = tmp_path / "a.png"
  PIL.Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path)
  check_pixels(path, Limits(pixels=1200))
  with pytest.raises(UploadError, match="40x30 pixels"):
    check_pixels(path, Limits(pixels=1199))
  path.write_text("no picture")
  check_pixels(path, Limits(pixels=1))  # whoever reads it says so


def test_the_size_of_a_large_picture_is_told_while_others_are_read(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 50)
  PIL.Image.new("RGB", (9, 9)).save(tmp_path / "large.png")
  begun, told = threading.Event(), threading.Event()

  def read_slowly():
    with pictures._reading("other.png"):
      begun.set()
      told.wait(1)  # the other thread waits for this one

  before = list(warnings.filters)
  reading = threading.Thread(target=read_slowly)
  reading.start()
  begun.wait()
  with pytest.raises(UploadError, match="9x9 pixels"):
    check_pixels(tmp_path / "large.png", Limits(pixels=80))
  told.set()
  reading.join()
  assert warnings.filters == before

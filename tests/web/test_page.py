"""What the server gives away, and what it takes, asked for without a browser."""

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from dabfusion_jax.inference.pairs import MUSIC_SUFFIXES, PICTURE_SUFFIXES

pytest.importorskip("gradio")
pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries under Gradio


def status(request):
  """Returns the HTTP status of a request."""
  try:
    with urllib.request.urlopen(request, timeout=30) as answer:
      return answer.status
  except urllib.error.HTTPError as error:
    return error.code


def upload(address, content):
  """Returns a request that uploads a file."""
  head = (
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n"
  )
  return urllib.request.Request(
    f"{address}gradio_api/upload",
    data=head + content + b"\r\n--x--\r\n",
    headers={"Content-Type": "multipart/form-data; boundary=x"},
  )


@pytest.mark.parametrize("path", ["/etc/passwd", __file__, "pyproject.toml", "../x"])
def test_no_file_outside_its_folder_is_served(served, path):
  address, _ = served
  quoted = urllib.parse.quote(path, safe="")
  for form in (path, quoted):
    assert status(f"{address}gradio_api/file={form}") in (403, 404)


def test_an_upload_lands_in_its_folder_and_a_large_one_is_refused(served):
  address, service = served
  before = set(service.folder.rglob("*.png"))
  assert status(upload(address, bytes(1000))) == 200
  (new,) = set(service.folder.rglob("*.png")) - before
  assert new.stat().st_size == 1000
  assert status(upload(address, bytes(2**21))) == 413


def test_the_page_asks_for_nothing_of_other_hosts(served):
  address, _ = served
  with urllib.request.urlopen(address, timeout=30) as answer:
    text = answer.read().decode()
  loaded = re.findall(r'<(?:link|script)[^>]+(?:href|src)="(https?://[^"]+)"', text)
  assert not [url for url in loaded if not url.startswith(address)]


@pytest.mark.parametrize(
  ("label", "suffixes"),
  [
    ("Picture of a person", PICTURE_SUFFIXES),
    ("Song", MUSIC_SUFFIXES),
  ],
)
def test_uploads_are_taken_where_the_system_does_not_know_their_endings(
  served, example, monkeypatch, label, suffixes
):
  from gradio_client import utils

  from dabfusion_jax.web import page

  monkeypatch.setattr(utils, "get_mimetype", lambda name: None)
  blocks = page.make_page(served[1], example).blocks.values()
  (field,) = [block for block in blocks if getattr(block, "label", None) == label]
  for suffix in suffixes:
    assert utils.is_valid_file(f"A{suffix.upper()}", field.file_types)
  assert not utils.is_valid_file("a.exe", field.file_types)


def test_stop_takes_a_dance_out_of_the_queue_in_which_it_waits(served, example):
  from dabfusion_jax.web import page

  made = page.make_page(served[1], example)
  (dance,) = [i for i, function in made.fns.items() if function.name == "dance"]
  buttons = made.blocks.items()
  (stop,) = [i for i, block in buttons if getattr(block, "elem_id", None) == "stop"]
  clicked = [
    event["cancels"]
    for event in made.config["dependencies"]
    if (stop, "click") in map(tuple, event["targets"])
  ]
  assert [dance] in clicked


def _function(made, name):
  function = next(x.fn for x in made.fns.values() if x.name == name)
  return getattr(function, "__wrapped__", function)


def test_why_a_picture_is_refused_stays_under_the_notes(served, example):
  from dabfusion_jax.web import page

  bad = served[1].folder / "bad.png"
  bad.write_text("no picture")
  preview = _function(page.make_page(served[1], example), "preview")
  shown, notes = preview(str(bad), 1, False)
  assert shown is None and "bad.png: not a readable picture" in notes


def test_a_dance_that_is_stopped_changes_nothing_on_the_page(
  served, example, monkeypatch
):
  import gradio

  from dabfusion_jax.web import page
  from dabfusion_jax.web.service import StoppedError

  def stopped(*arguments):
    raise StoppedError("stopped")

  monkeypatch.setattr(served[1], "dance", stopped)
  dance = _function(page.make_page(served[1], example), "dance")
  asked = (*map(str, example), 2.0, 0, 0, 4, 256, 1, False, 0)
  request = type("Asked", (gradio.Request,), {"session_hash": "me"})
  made = dance(*asked, request(), lambda share, desc: None)
  assert made == (gradio.skip(),) * 5

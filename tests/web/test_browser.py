"""The page in headless Chromium, as its users see it.

It needs the packages gradio and playwright, and a Chromium of the system; otherwise it
is skipped. With DABFUSION_SCREENSHOTS=DIR it leaves pictures of the page there.
"""

import os
import pathlib
import shutil
import time

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
_CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
pytestmark = [
  pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium"),
  pytest.mark.filterwarnings("ignore"),  # of libraries under Gradio
]
_PLAYED = """() => {
  const video = document.querySelector("#video video");
  return {
    seconds: video.duration, width: video.videoWidth, at: video.currentTime,
    heard: video.webkitAudioDecodedByteCount,
  };
}"""


@pytest.fixture(scope="module")
def browser():
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=_CHROMIUM,
      args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
    )
    yield browser
    browser.close()


def open_page(browser, served, width=1200):
  page = browser.new_page(viewport={"width": width, "height": 900})
  page.set_default_timeout(180_000)  # also on a busy machine
  page.goto(served[0])
  page.wait_for_selector("#dance")
  return page


def give(page, picture, song):
  page.set_input_files("#image input[type=file]", picture)
  page.set_input_files("#music input[type=file]", song)


def keep(page, name):
  folder = os.environ.get("DABFUSION_SCREENSHOTS")
  if folder:
    page.screenshot(path=pathlib.Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("width", [1200, 390])
def test_an_upload_becomes_a_video_that_plays_with_sound(
  browser, served, example, width
):
  page = open_page(browser, served, width)
  give(page, *example)
  page.wait_for_selector("#preview img")
  page.click("#more button")  # controls get their values once they are seen
  page.wait_for_selector("#bpm input")
  page.click("#dance")
  page.wait_for_selector("#chart svg[role=img]")
  page.wait_for_function("document.querySelector('#video video')?.currentTime > 0.2")
  played = page.evaluate(_PLAYED)
  assert played["seconds"] == pytest.approx(2.0, abs=0.15) and played["width"] == 64
  assert played["heard"] > 0
  for kind in ("mp4", "gif"):
    with page.expect_download() as download:
      page.click(f"#{kind}")
    assert download.value.suggested_filename == f"dance.{kind}"
  keep(page, f"dance_{width}")
  assert page.evaluate("document.documentElement.scrollWidth") <= width
  page.close()


def test_a_bad_file_is_one_line_on_the_page(browser, served, example, tmp_path):
  bad = tmp_path / "bad.png"
  bad.write_text("no picture")
  page = open_page(browser, served)
  give(page, bad, example[1])
  said = page.wait_for_selector(".toast-body").inner_text()
  assert "bad.png: not a readable picture" in said and str(tmp_path) not in said
  page.wait_for_function("document.querySelector('#notes textarea').value")
  assert page.input_value("#notes textarea") == said.strip().splitlines()[-1]
  keep(page, "bad_file")
  page.close()


def test_while_the_next_dance_is_made_the_last_one_is_not_heard(
  browser, served, example
):
  page = open_page(browser, served, 390)
  for kind in ("mp4", "gif"):
    assert page.is_disabled(f"#{kind}")
  give(page, *example)
  page.wait_for_selector("#preview img")
  page.click("#dance")
  page.wait_for_function("document.querySelector('#video video')?.currentTime > 0.2")
  assert all(page.is_enabled(f"#{kind}") for kind in ("mp4", "gif"))
  assert page.locator("#video").evaluate("x => x.getBoundingClientRect().top") < 900
  page.evaluate("document.querySelector('#image').scrollIntoView()")
  slow = lambda step: time.sleep(1.0)
  object.__setattr__(served[1].pipeline, "at_step", slow)
  page.click("#dance")
  page.wait_for_selector("#video .progress-level, #video .eta-bar, #video .wrap")
  assert page.evaluate("document.querySelector('#video video').paused")
  shown = page.locator("#video").evaluate("x => x.getBoundingClientRect().top")
  assert 0 <= shown < 900
  page.wait_for_function("!document.querySelector('#video video').paused")
  object.__setattr__(served[1].pipeline, "at_step", lambda step: None)
  page.close()


def test_two_users_at_once_get_their_own_dances(browser, served, example):
  pages = [open_page(browser, served) for _ in range(2)]
  for page in pages:
    page.click("#example")
    page.wait_for_selector("#preview img")
  for page in pages:
    page.click("#dance")
  sources = []
  for page in pages:
    page.wait_for_selector("#chart svg[role=img]")
    sources.append(page.get_attribute("#video video", "src"))
    page.close()
  assert len(set(sources)) == 2 and all(sources)

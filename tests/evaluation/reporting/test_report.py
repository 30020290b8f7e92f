"""The report in a real browser: it works alone, plays, sorts, and fits a phone."""

import base64
import re

import browser
import clip_folders
import pytest

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.clip_sets import open_clip_set
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reporting import report
from dabfusion_jax.evaluation.reporting.protocol import ProtocolError, list_hash
from dabfusion_jax.evaluation.reporting.result import (
  evaluate,
  mean_text,
  score_lines,
  write_result,
)
from dabfusion_jax.evaluation.scoring.measure import Extras, Settings


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """Returns the path of a report, and the folder of its evaluation."""
  root = tmp_path_factory.mktemp("report")
  real = clip_folders.write_folder(root / "real", 6, size=33)
  ours = clip_folders.write_folder(root / "ours", 6, size=33, noise=15)
  (ours / "broken.npz").write_bytes(b"PK")
  cache = FeatureCache(root / "cache")
  clip_sets = [
    open_clip_set(folder, part, Reading(), cache)
    for folder, part in ((ours, "samples"), (real, "references"))
  ]
  settings = Settings(("paired", "alignment", "motion"))
  result, measured = evaluate(*clip_sets, settings, Extras(Networks({}, {})))
  digests = (f"{name} {clip.digest}" for name, clip in clip_sets[0].features.items())
  subject = {"label": "<Toy> & co", "samples_hash": list_hash(digests)}
  result = {"subject": subject} | result
  write_result(root / "out", result, score_lines(measured))
  return report.write_report(root / "out", str(ours), str(real)), root


@pytest.fixture(scope="module")
def opened(written, tmp_path_factory):
  if browser.find_chromium() is None:
    pytest.skip("no Chromium is installed")
  with browser.open_browser(tmp_path_factory.mktemp("profile")) as found:
    found.open(written[0].as_uri())
    yield found


def test_a_report_is_one_file_that_fetches_nothing(written):
  text = written[0].read_text()
  links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'> )]{0,40})""", text)
  assert links and all(link.startswith("data:") for link in links)
  assert "&lt;Toy&gt; &amp; co" in text and "<Toy>" not in text
  assert "broken.npz: damaged" in text
  assert "frozen first frame" in text and "shuffled music" in text


def test_a_report_of_other_clips_than_were_measured_is_refused(written, tmp_path):
  _, root = written
  ours = clip_folders.write_folder(tmp_path / "ours", 6, size=33, noise=14)
  with pytest.raises(ValueError, match="does not hold the clips that were measured"):
    report.write_report(root / "out", str(ours), str(root / "real"))
  with pytest.raises(ValueError, match="ours does not hold the clips"):
    report.write_report(root / "out", str(root / "ours"), str(ours))


def test_numbers_have_as_many_digits_as_their_error_allows():
  text = lambda mean, error: mean_text({"mean": mean, "sem_seq": error, "n": 4}, 4)
  assert text(0.00016, 0.048) == "0.000 +- 0.048"
  assert text(27.123, 1.26) == "27.1 +- 1.3" and text(1234.5, 321.0) == "1234 +- 321"
  assert text(0.25, None) == "0.25" and text(100.0, 0.0) == "100"
  assert mean_text({"mean": 1.0, "sem_seq": None, "n": 3}, 4) == "1 (n 3)"


def test_the_main_findings_come_first_in_words(written):
  text = written[0].read_text()
  words, _, rest = text.partition("<h2>All clips</h2>")
  assert "<li>PSNR " in words and "frozen first frame" in words and "\u00b1" in words
  assert "+-" not in words.partition("<h2>In words</h2>")[2]


def test_clips_left_out_of_fvd_are_counted_in_its_row():
  row = {"value": 300.0, "n": 5, "real_half": None, "nulls": {}, "words": "few"}
  row |= {"n_undefined": 2, "reasons": {"length_differs": 2}}
  assert "2 length_differs" in report.summary_table({"fvd": row})


def test_a_distance_of_fewer_clips_than_the_group_has_tells_their_number():
  fvd = {"value": 300.0, "n": 3, "real_half": {"mean": 120.0, "n": 2}}
  psnr = {"mean": 20.0, "sem_seq": 1.0, "n": 10}
  summary = {group: {"psnr": psnr, "fvd": fvd} for group in ("all", "genre BR")}
  assert "300.00 (n 3) (real 120.0 at n 2)" in report._groups_table(summary)


def test_there_is_no_report_without_a_result(tmp_path):
  with pytest.raises(ProtocolError, match="result.json is not a result"):
    report.write_report(tmp_path, "samples", None)


def test_videos_play_with_sound(opened):
  videos = opened.run(
    "document.querySelectorAll('.clip')[0].querySelectorAll('video').length"
  )
  assert videos == 4  # real, generated, two nulls
  opened.run("document.querySelector('button.play').click()")
  opened.wait(
    "[...document.querySelector('.clip').querySelectorAll('video')]"
    ".every(video => video.currentTime > 0.2 && !video.error)"
  )
  assert opened.run(
    "[...document.querySelector('.clip').querySelectorAll('video')]"
    ".map(video => video.muted)"
  ) == [False, True, True, True]
  assert opened.run("document.querySelector('video').webkitAudioDecodedByteCount") > 0
  assert opened.run("document.querySelector('video').videoWidth") == 34
  opened.run("document.querySelector('button.play').click()")
  opened.wait("document.querySelector('video').paused")


def test_a_click_on_a_head_sorts_a_table(opened):
  column = """
    (() => {
      const tables = document.querySelectorAll('table');
      const table = tables[tables.length - 1];
      const heads = [...table.querySelectorAll('th')];
      const index = heads.findIndex(head => head.textContent === 'PSNR');
      CLICKS
      return [...table.tBodies[0].rows].map(row => row.children[index].dataset.value);
    })()
  """
  once = opened.run(column.replace("CLICKS", "heads[index].click();"))
  values = [float(value) for value in once]
  assert len(values) == 6 and values == sorted(values)
  again = opened.run(column.replace("CLICKS", "heads[index].click();"))
  assert [float(value) for value in again] == sorted(values, reverse=True)


def test_a_phone_shows_it_without_sideways_scrolling(opened, written):
  opened.open(written[0].as_uri(), 390, 844, is_phone=True)
  assert opened.run("document.documentElement.scrollWidth") <= 390
  assert float(opened.run("parseFloat(getComputedStyle(document.body).fontSize)")) >= 14
  picture = opened.call("Page.captureScreenshot", format="png")["data"]
  assert len(base64.b64decode(picture)) > 10_000
  assert opened.errors == []

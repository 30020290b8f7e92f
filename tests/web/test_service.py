"""Users get their dances in turn, can stop them, and leave nothing behind."""

import concurrent.futures
import os
import threading
import time

import dancers
import PIL.Image
import pytest
from stub_pipeline import STEPS, Stub

from dabfusion_jax.inference.dance import Dance
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.web import service
from dabfusion_jax.web.limits import Limits, Request, UploadError
from dabfusion_jax.web.service import StoppedError


@pytest.fixture
def place(tmp_path):
  """A service, and a picture and a song that were uploaded to it."""
  folder = tmp_path / "private"
  folder.mkdir()
  PIL.Image.fromarray(dancers.draw()[0]).save(folder / "me.png")
  (folder / "song.wav").write_bytes(b"any")
  return service.DanceService(Stub(), folder, Limits())


def ask(place, **changes):
  fields = {"seconds": 1.0, "music_start": 0.0, "steps": 4, "size": 256, "pick": 1}
  fields["bpm"] = None
  files = {"image": place.folder / "me.png", "music": place.folder / "song.wav"}
  return Request(**(files | fields | {"seed": 7} | changes))


def test_a_dance_is_a_video_a_gif_and_settings_that_name_no_folder(place):
  said = []
  result = place.dance(
    ask(place), "ann", lambda share, text: said.append((share, text))
  )
  assert result.video.suffix == ".mp4" and result.gif.suffix == ".gif"
  for file in result.video.parent.iterdir():
    content = file.read_bytes()
    assert str(place.folder).encode() not in content and b"/srv" not in content
  assert result.notes == ("A note.", "song.wav: its channels cancel each other.")
  assert "<svg" in result.chart
  assert not place._stops
  shares = [share for share, _ in said]
  assert shares == sorted(shares) and shares[-1] < 1
  assert said[-1][1].startswith("Drawing") and f"of {STEPS}" in said[-2][1]
  assert place.pipeline.asked[0]["seed"] == 7


def test_the_chart_is_as_long_as_the_dance(place, monkeypatch):
  rates = []

  def draw(audio, beats, speed, fps):
    rates.append((len(speed) + 1) / fps)
    return ""

  monkeypatch.setattr(service.chart, "draw_dance", draw)
  place.dance(ask(place, seconds=2.0), "ann", lambda share, text: None)
  assert rates == [2.0]


def test_two_users_at_once_are_served_in_turn(place):
  inside, most = [], []

  def at_step(step):
    inside.append(threading.get_ident())
    most.append(len(set(inside[-STEPS:])) if step == STEPS - 1 else 1)

  object.__setattr__(place.pipeline, "at_step", at_step)
  results = {}
  quiet = lambda share, text: None
  users = [
    threading.Thread(
      target=lambda n=name: results.update({n: place.dance(ask(place), n, quiet)})
    )
    for name in ("ann", "bob")
  ]
  for user in users:
    user.start()
  for user in users:
    user.join(60)
  assert set(most) == {1} and len(inside) == 2 * (STEPS + 2)
  assert results["ann"].video != results["bob"].video
  assert all(result.video.is_file() for result in results.values())


def test_a_stopped_dance_ends_at_its_next_step_and_only_that_of_its_user(place):
  object.__setattr__(
    place.pipeline, "at_step", lambda step: step == 1 and place.stop("ann")
  )
  reached = []
  with pytest.raises(service.StoppedError):
    place.dance(ask(place), "ann", lambda share, text: reached.append(text))
  assert not any("Step 2" in text for text in reached)
  place.dance(ask(place), "bob", lambda share, text: None)


@pytest.mark.parametrize("saved", ["nothing", "the video"])
def test_a_dance_may_be_stopped_while_it_is_drawn_and_written(
  place, monkeypatch, saved
):
  save, gifs = Dance.save, []

  def save_and_stop(dance, path):
    place.stop("ann")
    return save(dance, path)

  if saved == "nothing":
    at_step = lambda step: step == STEPS and place.stop("ann")
    object.__setattr__(place.pipeline, "at_step", at_step)
  monkeypatch.setattr(Dance, "save", save_and_stop)
  monkeypatch.setattr(Dance, "to_gif", lambda dance, path: gifs.append(path))
  with pytest.raises(StoppedError):
    place.dance(ask(place), "ann", lambda share, text: None)
  assert not gifs and not place._stops and place._drawing_seconds == 0
  videos = list(place.folder.rglob("dance.mp4"))
  assert len(videos) == (saved == "the video")


def test_the_time_left_counts_the_writing(place, monkeypatch):
  to_gif = Dance.to_gif
  monkeypatch.setattr(Dance, "to_gif", lambda *a: time.sleep(0.3) or to_gif(*a))
  place.dance(ask(place), "ann", lambda share, text: None)
  assert place._drawing_seconds > 0.3


def test_all_dances_of_a_user_are_stopped(place):
  inside, goes_on = threading.Event(), threading.Event()

  def at_step(step):
    inside.set()
    goes_on.wait(20)

  object.__setattr__(place.pipeline, "at_step", at_step)
  quiet = lambda share, text: None
  with concurrent.futures.ThreadPoolExecutor() as pool:
    dances = [pool.submit(place.dance, ask(place), "ann", quiet)]
    assert inside.wait(20)
    reached = threading.Event()
    told = lambda share, text: reached.set()
    dances.append(pool.submit(place.dance, ask(place), "ann", told))
    assert reached.wait(20)  # it waits for the first
    place.stop("ann")
    goes_on.set()
  assert all(isinstance(d.exception(), service.StoppedError) for d in dances)
  assert not place._stops


@pytest.mark.parametrize(
  ("change", "error", "said"),
  [
    ({"image": "/etc/hostname"}, UploadError, "not uploaded here"),
    ({"seconds": 1000.0}, InputError, "Length in seconds must be from 1 to 20"),
    ({"music": ""}, UploadError, "There is no song"),
  ],
)
def test_bad_requests_end_before_any_work(place, change, error, said):
  with pytest.raises(error, match=said):
    place.dance(ask(place, **change), "ann", lambda share, text: None)
  assert not place.pipeline.asked


def test_a_broken_picture_is_named_without_its_folder(place):
  (place.folder / "me.png").write_text("no picture")
  with pytest.raises(ValueError, match="^me.png: not a readable picture"):
    place.preview(place.folder / "me.png", 1)


def test_a_preview_shows_the_frame_of_the_network(place):
  seen = place.preview(place.folder / "me.png", 1)
  assert seen.picture.shape == (256, 256, 3) and seen.notes == ("A note.",)


def test_uploads_and_dances_are_removed_once_nobody_has_used_them_for_long(place):
  result = place.dance(ask(place), "ann", lambda share, text: None)
  now = result.video.stat().st_mtime
  fresh = place.folder / "deep" / "fresh.png"
  fresh.parent.mkdir()
  fresh.touch()
  os.utime(fresh, (now + 3000, now + 3000))
  place.sweep(now + 10)
  assert result.video.is_file()
  assert place._found.cache_info().currsize  # what is shown of a picture
  place.sweep(now + Limits().keep_seconds + 60)
  assert not place._found.cache_info().currsize
  assert [path for path in place.folder.rglob("*") if path.is_file()] == [fresh]
  assert not result.video.parent.exists() and fresh.parent.is_dir()


def test_time_left_is_told_in_words():
  assert service.left(0.2) == "" and "12 s" in service.left(12.3)
  assert "3 min" in service.left(170.0)


@pytest.mark.parametrize("has_person", [True, False])
def test_a_picture_without_a_person_dances_by_the_other_model(
  place, has_person, monkeypatch
):
  people, figures = Stub(), Stub()
  if has_person:
    monkeypatch.setattr(
      Stub, "read_picture", lambda self, image, asked: ("layers", None, ())
    )
    monkeypatch.setattr(
      service.preview, "draw_people", lambda layers: dancers.draw()[0]
    )
  both = service.DanceService(people, place.folder, Limits(), figures)
  both.dance(ask(place), "ann", lambda share, text: None)
  chosen, other = (people, figures) if has_person else (figures, people)
  assert len(chosen.asked) == 1 and not other.asked


@pytest.mark.parametrize("group", [("layers", "layers"), ()])
def test_everybody_is_outlined_and_dances(place, group, monkeypatch):
  monkeypatch.setattr(service, "read_group", lambda picture, size: (group, ("Two.",)))
  drawn = []
  draw = lambda layers: drawn.append(layers) or dancers.draw()[0]
  monkeypatch.setattr(service.preview, "draw_people", draw)
  assert place.preview(place.folder / "me.png", "all").notes[0] in ("Two.", "A note.")
  place.dance(ask(place, pick="all"), "ann", lambda share, text: None)
  (asked,) = place.pipeline.asked
  assert drawn == [group] * bool(group)
  assert (asked["pick"], asked["drawing"]) == (
    ("all", "layers") if group else (1, "decoder")
  )


def test_what_the_decoder_draws_has_nobody_to_choose(place):
  path = place.folder / "me.png"
  assert place.preview(path, 2).drawing == place.preview(path, 1).drawing == "decoder"
  place.dance(ask(place, pick=2), "ann", lambda share, text: None)
  assert place.pipeline.asked[0]["pick"] == 1

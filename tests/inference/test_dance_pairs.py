"""Pictures and songs become all pairs, and a failure ends none of the others."""

import json
import pathlib
import types

import pytest

from dabfusion_jax import sample
from dabfusion_jax.inference.dance_files import files_of
from dabfusion_jax.inference.inputs import OptionError, PictureError
from dabfusion_jax.inference.pairs import (
  Pair,
  check_inputs,
  make_pairs,
  name_in,
  note_skipped,
)
from dabfusion_jax.inference.recipe import make_recipe
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline.errors import UserError


@pytest.fixture
def folder(tmp_path):
  for name in ("people/b.png", "people/a.JPG", "people/.c.png", "people/note.txt",
               "other/a.png", "songs/x.mp3", "songs/y.wav", "none/z.txt"):  # fmt: skip
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  return tmp_path


def test_one_pair_keeps_the_name_it_was_given(tmp_path):
  output = tmp_path / "dance.mp4"
  assert make_pairs(["a.png"], ["x.mp3"], output) == [Pair("a.png", "x.mp3", output)]


def test_folders_become_all_pairs_with_a_name_of_their_own(folder):
  images = [str(folder / "people"), str(folder / "other")]
  pairs = make_pairs(images, [str(folder / "songs")], folder / "out" / "d.webm")
  names = [pair.output.name for pair in pairs]
  assert names == [
    "d_a_x.webm", "d_b_x.webm", "d_a_x_2.webm",
    "d_a_y.webm", "d_b_y.webm", "d_a_y_2.webm",
  ]  # fmt: skip
  assert {pair.output.parent for pair in pairs} == {folder / "out"}
  with pytest.raises(UserError, match="no song in this folder"):
    make_pairs(images, [str(folder / "none")], folder / "d.mp4")


def test_a_picture_beside_a_dance_of_its_name_is_taken(folder):
  people = folder / "people"
  (people / "b.json").write_text('{"beat_times": [], "video": ".mp4"}')
  (people / "b.mp4").touch()  # b.png is its contact sheet
  (people / "b.jpeg").touch()
  pairs = make_pairs([str(people)], ["x.mp3"], folder / "out")
  assert [pathlib.Path(pair.image).name for pair in pairs] == ["a.JPG", "b.jpeg"]
  with pytest.raises(UserError, match="ending alone"):
    make_pairs(["a.png"], ["x.mp3"], folder / ".mp4")


def test_several_pictures_may_be_given_by_repeated_flags():
  parse = sample.make_parser().parse_args
  asked = parse(["--image=a", "--image", "b", "c", "--music=x", "--music=y"])
  assert (asked.image, asked.music) == (["a", "b", "c"], ["x", "y"])


def test_options_that_a_model_refuses_are_told_once(tmp_path, capsys):
  class Refusing:
    def stream(self, *unused, **options):
      raise OptionError("eta belongs to ddim")

  models = {"a.png": Refusing(), "b.png": _Pipeline()}
  pairs = make_pairs(["a.png", "b.png"], ["x.mp3", "y.mp3"], tmp_path)
  make = lambda pairs: sample.make_dances(
    lambda pair: models[pair.image], str, pairs, {}, False
  )
  with pytest.raises(UserError, match=r"^2 of 4 .*: these options \(2 dances\)\.$"):
    make(pairs)
  assert capsys.readouterr().err.count("eta belongs") == 1
  assert len(list(tmp_path.glob("*.mp4"))) == 2  # of the other model
  with pytest.raises(OptionError, match="^eta belongs to ddim$"):
    make(pairs[:1])


@pytest.mark.parametrize("name", ["out", "is.there"])
def test_a_folder_of_dances_has_their_names_alone(folder, name):
  (folder / "is.there").mkdir()
  for images in (["a.png"], ["a.png", "b.jpg"]):
    pairs = make_pairs(images, ["x.mp3"], folder / name)
    wanted = [folder / name / f"{image[0]}_x.mp4" for image in images]
    assert [pair.output for pair in pairs] == wanted


def test_pictures_of_phones_and_browsers_are_taken_from_folders(folder):
  people = folder / "people"
  before = len(make_pairs([str(people)], ["x.mp3"], folder / "d.mp4"))
  for name in ("p.AVIF", "q.jfif", "r.HEIC"):
    (people / name).touch()
  assert len(make_pairs([str(people)], ["x.mp3"], folder / "d.mp4")) == before + 3


def test_what_an_earlier_dance_has_written_is_not_danced_to(folder):
  """Contact sheets are pictures; beside the user's own they would be danced next."""
  people = folder / "people"
  (people / "dance.png").touch()
  (people / "b.json").write_text('{"who": "somebody"}')
  song = str(folder / "songs" / "x.mp3")
  assert len(make_pairs([str(people)], [song], folder / "d.mp4")) == 3
  (people / "dance.json").write_text('{"beat_times": []}')
  pairs = make_pairs([str(people)], [song], folder / "d.mp4")
  assert [pair.output.name for pair in pairs] == ["d_a_x.mp4", "d_b_x.mp4"]


def test_files_of_folders_that_are_not_taken_are_counted(folder):
  names = [str(folder / "people"), str(folder / "songs")]
  pairs = make_pairs(names[:1], names[1:], folder / "d.mp4")
  for name in ("Thumbs.db", "dance.gif", "old.mp4", "p.gif"):
    (folder / "people" / name).touch()
  (folder / "people/old.json").write_text('{"beat_times": []}')
  assert note_skipped(names * 2, pairs).endswith("(3): dance.gif, note.txt, p.gif")
  (folder / "songs/b.mov").touch()
  assert note_skipped(names, pairs).endswith("(4): dance.gif, note.txt, p.gif, ...")
  assert note_skipped(["https://h/x"], pairs) is None


class _Pipeline(DancePipeline):
  """Makes dances of text; one of the pictures cannot be used."""

  def __init__(self):
    pass

  def stream(self, image, music, callback):
    if image == "bad.png":
      raise UserError("bad.png is no picture; choose another.")
    callback(1, 2)

    def save(output, side_by_side):
      for path in files_of(output):
        path.write_text(json.dumps(settings | {"interrupted": False}))
      output.write_text(f"{image} {music} {side_by_side}")
      return [output]

    settings = {"beat_times": [0.5, 1.0], "beats": None, "bpm": None}
    settings |= {"beat_tracker": "crnn", "heard_bpm": 122.4}
    return types.SimpleNamespace(save=save, settings=settings, notes=("It is so.",))


@pytest.mark.parametrize(
  ("text", "named"),
  [
    ("b/x.mp3 lasts 2 s.", "a/p.png: b/x.mp3 lasts 2 s."),
    ("a/p.png: 2x2 pixels.", "b/x.mp3: a/p.png: 2x2 pixels."),
    ("pick must be at least 1.", "a/p.png to b/x.mp3: pick must be at least 1."),
    ("a/p.png or b/x.mp3?", "a/p.png or b/x.mp3?"),
    ("aa/p.png: Not b/x.mp3.", "a/p.png: aa/p.png: Not b/x.mp3."),
    ("a/p.png.b/x.mp3s", "a/p.png to b/x.mp3: a/p.png.b/x.mp3s"),
  ],
)
def test_an_error_of_many_names_each_input_once(text, named):
  assert name_in(text, "a/p.png", "b/x.mp3") == named


def test_inputs_that_are_not_there_are_all_named_before_the_work(folder):
  there, gone = str(folder / "people"), str(folder / "songs" / "z.mp3")
  check_inputs(there, "https://host/x.mp3")
  with pytest.raises(UserError, match=f"no file or folder none.png, {gone}; check"):
    check_inputs(there, "none.png", gone)
  command = [f"--image={there}", "--music", gone, f"--output={folder / 'd.mp4'}"]
  with pytest.raises(SystemExit, match=f"^sample: There is no .*{gone}"):
    sample.main(command)


@pytest.mark.parametrize(
  ("given", "generated"),
  [
    ((), ["picture", "music"]),
    (("image",), ["music"]),
    (("music",), ["picture"]),
    (("image", "music"), []),
  ],
)
def test_what_is_generated_is_said(folder, monkeypatch, capsys, given, generated):
  files = {"image": folder / "people/b.png", "music": folder / "songs/x.mp3"}

  def stop(*unused):
    raise UserError("It goes on from here.")

  monkeypatch.setattr(sample, "example_inputs", lambda *unused: files.values())
  monkeypatch.setattr(sample, "make_pairs", stop)
  with pytest.raises(SystemExit, match="It goes on"):
    sample.main([f"--{name}={files[name]}" for name in given])
  said = capsys.readouterr().out.splitlines()
  assert [line.split()[2] for line in said] == generated
  assert all("is generated; --" in line for line in said)


def test_a_failure_ends_no_other_dance_and_is_told_when_it_happens(tmp_path, capsys):
  images = ["good.png", "bad.png", "fine.png"]
  pairs = make_pairs(images, ["x.mp3"], tmp_path / "d.mp4")
  with pytest.raises(UserError, match=r"^1 of 3 dances failed: bad.png\.$"):
    sample.make_dances(lambda pair: _Pipeline(), str, pairs, {}, True)
  assert (tmp_path / "d_fine_x.mp4").read_text() == "fine.png x.mp3 True"
  captured = capsys.readouterr()
  printed = captured.out.splitlines()
  assert "failed" not in captured.out
  told = "failed: bad.png is no picture; choose another."
  assert captured.err.index(told) < captured.err.index("dance 3 of 3")
  assert printed.count("crnn heard 122 beats per minute; --bpm=N if that is wrong") == 1
  with pytest.raises(UserError, match="no picture"):
    sample.make_dances(
      lambda pair: _Pipeline(), str, make_pairs(["bad.png"], ["x"], tmp_path), {}, False
    )


def test_an_input_that_is_at_fault_is_named_once_and_tried_once(tmp_path, capsys):
  pairs = make_pairs(
    ["a.png", "b.png", "c.png"], ["bad.mp3", "x.mp3", "odd.mp3"], tmp_path / "d.mp4"
  )
  tried = []

  class Pipeline:
    def stream(self, image, music, callback):
      tried.append((image, music))
      if music == "bad.mp3":
        raise UserError("bad.mp3: no sound; choose another.")
      if image == "b.png":
        raise PictureError("Nobody is in this picture.")
      if music == "odd.mp3":
        raise UserError("It is odd.")
      if image == "c.png":
        raise OSError(5, "Input/output error", "c.png")
      return _Pipeline().stream(image, music, callback)

  told = r"bad.mp3 \(3 dances\), b.png \(2 dances\), c.png to x.mp3, a.png to odd.mp3"
  with pytest.raises(UserError, match=f"^8 of 9 dances failed: {told}, c.png to odd"):
    sample.make_dances(lambda pair: Pipeline(), str, pairs, {}, False)
  said = capsys.readouterr().err
  assert said.count("failed: bad.mp3: no sound") == 1
  assert said.count("failed: b.png: Nobody is in this picture.") == 1
  assert "failed: a.png to odd.mp3: It is odd." in said
  assert tried.count(("a.png", "bad.mp3")) == 1 and ("c.png", "bad.mp3") not in tried
  assert ("c.png", "odd.mp3") in tried  # the disk may be there again


def test_a_finished_dance_of_the_same_recipe_is_kept(tmp_path, capsys):
  pairs = make_pairs(["a.png", "b.png"], ["x.mp3"], tmp_path / "d.mp4")
  sheet, settings = files_of(pairs[0].output)[1:]

  def made(recipe):
    sample.make_dances(lambda pair: _Pipeline(), lambda pair: recipe, pairs, {}, True)
    said = capsys.readouterr().out
    return said.count(".mp4"), said.count("replaced")

  assert made("r") == (2, 0) and made("r") == (0, 0)
  assert made("s") == (2, 2) and made("s") == (0, 0)
  sheet.unlink()
  assert made("s") == (1, 0)
  settings.write_text('{"recipe": "s", "interrupted": true}')
  assert made("s") == (1, 0)


def test_a_recipe_is_of_contents_and_options(folder, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(folder))
  copy = folder / "other/a.png"
  pair = Pair(str(folder / "people/b.png"), "x.mp3", folder / "d.mp4")
  renamed = pair._replace(image=str(copy), output=folder / "e.mp4")
  recipe = make_recipe({}, pair)
  assert recipe == make_recipe({}, renamed)
  copy.write_text("another")
  others = (({}, renamed), ({"seed": 1}, pair), ({}, pair._replace(output=folder)))
  recipes = {recipe, *(make_recipe(*other) for other in others)}
  (folder / "beatnet-1.json").write_text("imported")
  assert len({*recipes, make_recipe({}, pair)}) == 5

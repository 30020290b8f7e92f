"""A picture of a person becomes layers, without weights by a plainer rule."""

import dataclasses
import pathlib

import dancers
import numpy as np
import PIL.Image
import pytest

from dabfusion_jax import choreograph
from dabfusion_jax.inference import layers, subject
from dabfusion_jax.inference.inputs import InputError, PictureError
from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.picture import choose_weights
from dabfusion_jax.people import segmenter


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "none"))
  subject._segmenter.cache_clear()


def make(picture, place=layers.OWN, size=None, pick=1, is_asked=True):
  return layers.make_layers(picture, place, size, pick, is_asked)


def test_without_weights_a_person_before_a_wall_is_found_and_it_is_said():
  picture, mask = dancers.draw()
  made, notes = make(picture)
  assert "stands out from a plain wall" in notes[0] and "weights import" in notes[0]
  overlap = (made.scene.alpha > 0.5) & mask
  assert overlap.sum() > 0.85 * mask.sum()
  assert made.scene.landmarks is None


def test_what_has_no_arms_and_legs_moves_as_a_whole_and_it_is_said(monkeypatch):
  found = segmenter.find_by_contrast(dancers.draw()[0])
  cat = dataclasses.replace(found, landmarks=None, others=1)
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(cat))
  made, notes = make(dancers.draw()[0])
  assert made.scene.landmarks is None
  assert len(notes) == 1 and "moves as a whole" in notes[0]
  unasked, notes = make(dancers.draw()[0], is_asked=False)
  assert unasked is None
  assert len(notes) == 1 and "the decoder draws it" in notes[0]


def test_without_weights_and_unasked_the_decoder_draws_and_a_note_says_why():
  made, notes = make(dancers.draw()[0], is_asked=False)
  assert made is None and "weights import selfie blazepose-detector" in notes[0]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_network_sees_a_dark_person_in_a_light_studio(size):
  white = np.full((120, 100, 3), 120, np.uint8)
  white[20:110, 40:60] = 255
  made, _ = make(white)
  shown = made.reference(size)
  assert shown.shape == (size, size, 3)
  person = shown[int(0.55 * size), size // 2]
  assert person.max() < 170 and shown[size // 8, size // 8].min() > 190


def test_a_layer_moved_by_flow_is_drawn_part_by_part():
  made, _ = make(dancers.draw()[0])
  painter = made.painter(32, lambda: pytest.fail("no frame is needed"), None)
  rng = np.random.default_rng(0)
  line = np.linspace(-1, 1, 8, dtype=np.float32)
  flow = np.stack(np.meshgrid(line, line), -1) + 0.05 * rng.random((3, 1, 1, 2))
  flow = flow.astype(np.float32)
  seen = np.ones((3, 8, 8, 1), np.float32)
  decoded = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
  (whole,) = painter.paint(Motion(flow, seen, lambda: decoded, 3, True))
  (first,) = painter.paint(Motion(flow, seen, lambda: decoded, 2, False))
  (last,) = painter.paint(Motion(flow[2:], seen[2:], lambda: decoded[2:], 1, True))
  assert whole.shape == (3, *made.scene.plate.shape)
  np.testing.assert_array_equal(np.concatenate([first, last]), whole)


def test_a_picture_with_nobody_is_refused_only_if_layers_are_asked_for():
  empty = np.full((60, 60, 3), 90, np.uint8)
  with pytest.raises(InputError, match="no person in this picture.*--drawing=decoder"):
    make(empty)


@pytest.mark.parametrize(
  ("shape", "size", "expected"),
  [
    ((535, 961), None, (286, 512)),
    ((301, 201), None, (300, 200)),
    ((40, 30), None, (40, 30)),
    ((1080, 1920), 1920, (1080, 1920)),
    ((1000, 10), 500, (500, 4)),
  ],
)
def test_a_picture_is_reduced_to_even_sides(shape, size, expected):
  picture = np.zeros((*shape, 3), np.uint8)
  fitted = layers.fit(picture, size)
  assert fitted.shape[:2] == expected


def test_at_its_own_size_a_picture_keeps_every_bit():
  picture = np.random.default_rng(0).integers(0, 256, (91, 60, 3), np.uint8)
  np.testing.assert_array_equal(layers.fit(picture, None), picture[:90])


def test_more_pixels_than_the_picture_has_are_refused():
  with pytest.raises(InputError, match="the picture has 60 pixels"):
    layers.fit(np.zeros((60, 40, 3), np.uint8), 61)
  with pytest.raises(InputError, match="size must be at least 16"):
    DanceOptions(size=4)
  with pytest.raises(InputError, match="size belongs to layers"):
    DanceOptions(size=512, drawing="decoder")
  with pytest.raises(InputError, match="pick must be at least 1"):
    DanceOptions(pick=0)


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / "photo.png"
  PIL.Image.fromarray(dancers.draw()[0]).save(path)
  return path


@pytest.mark.parametrize("found", ["read_person", "read_upper_part", None])
def test_a_size_is_named_only_if_it_is_the_reason(monkeypatch, found):
  def read_person(picture, *_):
    if found == "read_person" and picture.shape[1] == 300:
      return None, ()
    raise PictureError("There is nobody.")

  is_there = lambda picture: found == "read_upper_part" and picture.shape[1] == 300
  upper = lambda picture, *_: (picture, None, ()) if is_there(picture) else None
  monkeypatch.setattr(layers, "read_person", read_person)
  monkeypatch.setattr(layers, "read_upper_part", upper)
  reason = "size=64 is too small for this picture; ask for 300" if found else "There"
  with pytest.raises(InputError, match=f"^{reason}"):
    make(np.full((200, 300, 3), 90, np.uint8), size=64)


def test_choreograph_stands_a_person_into_each_scene(photo, tmp_path):
  stage = np.full((90, 160, 3), (60, 70, 160), np.uint8)
  stage[20:80, 70:82] = (250, 240, 230)
  PIL.Image.fromarray(stage).save(tmp_path / "stage.png")
  shapes = {"own": (200, 200), "studio": (200, 200), "stage.png": (90, 160)}
  for place, shape in shapes.items():
    place = tmp_path / place if place.endswith("png") else place
    output = tmp_path / "out" / f"{shape[1]}{pathlib.Path(place).stem}.png"
    arguments = [f"--person={photo}", f"--scene={place}", f"--output={output}"]
    choreograph.main(arguments)
    with pytest.raises(SystemExit, match="exists; remove it or choose another name"):
      choreograph.main(arguments)
    made = np.asarray(PIL.Image.open(output))
    assert made.shape[:2] == shape
  # The dancer of the stage is gone, and the person stands on the same spot.
  assert (np.abs(made.astype(int) - (250, 240, 230)).max(-1) < 20).sum() < 20
  rows = np.flatnonzero(
    (np.abs(made[:, 60:92].astype(int) - stage[0, 0]) > 40).any((1, 2))
  )
  assert abs(rows[-1] - 79) <= 3 and abs(rows[0] - 20) <= 4


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--output=ref.txt"], "must end in .png"),
    (["--scene=none.png"], "none.png"),
    (["--pick=2"], "no person number 2"),
  ],
)
def test_choreograph_fails_in_one_line(photo, arguments, message):
  with pytest.raises(SystemExit, match=message) as stopped:
    choreograph.main([f"--person={photo}", *arguments])
  assert str(stopped.value).startswith("choreograph: ")
  assert "\n" not in str(stopped.value)


def test_weights_of_people_need_the_networks_that_find_people(monkeypatch):
  assert layers.default_weights(shows_decoded=False) == "dance_e"
  monkeypatch.setattr(layers.store, "describe", lambda name: {})
  assert layers.default_weights(shows_decoded=False) == "people_e"
  assert layers.default_weights(shows_decoded=True) == "dance_e"


@pytest.mark.parametrize(
  ("asked", "side", "is_there", "name"),
  [
    ({}, 200, "recognised", "people_e"),
    ({}, 200, True, "dance_e"),  # as a drawing
    ({}, 200, False, "dance_e"),
    ({}, 100, "recognised", "dance_e"),
    ({"drawing": "decoder"}, 200, "recognised", "dance_e"),
    ({"joining": "chain"}, 200, "recognised", "dance_e"),
    ({"drawing": "layers"}, 200, False, "people_e"),
    ({"scene": "studio"}, 200, False, "people_e"),
  ],
)
def test_the_picture_decides_on_the_bundled_weights(
  asked, side, is_there, name, monkeypatch
):
  picture, _ = dancers.draw()
  person = segmenter.find_by_contrast(picture) if is_there else None
  if is_there == "recognised":
    person = dataclasses.replace(person, landmarks=dancers.landmarks())
  monkeypatch.setattr(layers.store, "describe", lambda name: {})
  monkeypatch.setattr(subject, "_segmenter", lambda: lambda picture, pick: person)
  shown = np.asarray(PIL.Image.fromarray(picture).resize((side * 4 // 5, side)))
  assert choose_weights(shown, DanceOptions(**asked)) == name


def test_a_person_who_was_looked_for_is_not_looked_for_again(monkeypatch):
  picture, _ = dancers.draw()
  person = segmenter.find_by_contrast(picture)
  finder = dancers.OnePerson(person)
  looked = finder.looked
  monkeypatch.setattr(layers.store, "describe", lambda name: {})
  monkeypatch.setattr(subject, "_segmenter", lambda: finder)
  choose_weights(picture, DanceOptions())
  layers.make_layers(picture, layers.OWN, None, 1, False)
  assert looked == [1]
  layers.make_layers(picture[::-1], layers.OWN, None, 1, False)
  assert looked == [1, 1]


def test_part_of_somebody_without_arms_and_legs_is_refused_in_every_scene(monkeypatch):
  picture, mask = dancers.draw()
  face = segmenter.Person(mask[:60].astype(np.float32), None, 0)
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(face))
  for place in (layers.OWN, layers.STUDIO):
    with pytest.raises(InputError, match="cut off, and no arms and legs"):
      make(picture[:60], place)
  with pytest.raises(InputError, match="cut off") as refused:
    layers.choreograph(picture[:60], layers.STUDIO, 1)
  assert "--drawing" not in str(refused.value)  # which it does not have


class HalfSegmenter:
  """Finds the upper part of a person, and can complete it or not."""

  def __init__(self, is_known):
    self.is_known = is_known

  def __call__(self, picture, pick):
    _, mask = dancers.draw()
    alpha = mask[: len(picture)].astype(np.float32)
    return segmenter.Person(alpha, dancers.landmarks(), 0)

  def complete(self, person):
    return dataclasses.replace(person, is_cut_off=True) if self.is_known else None


@pytest.mark.parametrize("is_known", [True, False])
def test_a_part_of_a_person_dances_in_its_own_picture_if_it_is_known(
  monkeypatch, is_known
):
  finder = HalfSegmenter(is_known)
  monkeypatch.setattr(subject, "_segmenter", lambda: finder)
  half = dancers.draw()[0][:96]
  if not is_known:
    with pytest.raises(InputError, match="cut off below the chest"):
      make(half)
    return
  made, notes = make(half)
  assert made.scene.picture.shape == half.shape
  assert "a part of the person" in notes[0]
  assert "cuts off the left and right hands" in notes[1]
  assert made.reference(32).shape == (32, 32, 3)
  with pytest.raises(InputError, match="cut off below the chest.*leave out --scene"):
    make(half, layers.STUDIO)
  with pytest.raises(InputError, match="cut off below the chest"):
    layers.choreograph(half, layers.OWN, 1)


def test_pick_beyond_the_people_says_how_many_there_are(monkeypatch):
  picture, mask = dancers.draw()
  person = segmenter.Person(mask.astype(np.float32), dancers.landmarks(), 1)
  find = lambda picture, pick: person if pick <= 2 else None
  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  with pytest.raises(InputError, match="pick is 3, but there are 2 people"):
    make(picture, pick=3)


def test_a_person_who_was_picked_is_not_left_to_the_decoder(monkeypatch):
  found = segmenter.find_by_contrast(dancers.draw()[0])
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(found))
  assert make(dancers.draw()[0], pick=1, is_asked=False)[0] is None
  made, notes = make(dancers.draw()[0], pick=2, is_asked=False)
  assert made is not None and "moves as a whole" in notes[0]


def test_half_a_person_who_is_not_fit_is_not_told_to_leave_out_the_scene(monkeypatch):
  """In their own picture they would not dance either: the head is cut off."""
  finder = HalfSegmenter(True)
  whole = finder.__call__

  class Headless(HalfSegmenter):
    def __call__(self, picture, pick):
      person = whole(picture, pick)
      points = person.landmarks.points - [0.0, 30.0]
      cut = np.roll(person.alpha, -30, axis=0)
      cut[-30:] = person.alpha[-1]
      found = dataclasses.replace(person.landmarks, points=points)
      return dataclasses.replace(person, alpha=cut, landmarks=found)

  monkeypatch.setattr(subject, "_segmenter", lambda: Headless(True))
  with pytest.raises(InputError) as refused:
    make(dancers.draw()[0][:96], layers.STUDIO)
  assert "leave out --scene" not in str(refused.value)


def test_a_scene_that_is_no_file_names_the_words_that_are_understood():
  with pytest.raises(InputError, match="scene is 'Studio': neither 'own', 'studio'"):
    make(dancers.draw()[0], "Studio")


def test_in_another_scene_a_person_has_the_shadow_of_its_dancer(monkeypatch, tmp_path):
  picture, mask = dancers.draw_with_shadow()
  path = str(tmp_path / "scene.png")
  PIL.Image.fromarray(picture).save(path)
  person = segmenter.Person(mask.astype(np.float32), dancers.landmarks(), 0)
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(person))
  for place in (layers.OWN, layers.STUDIO, path):
    stood = make(picture, place)[0].scene
    dark = np.argwhere(stood.shade < 0.8) / stood.shade.shape
    feet = stood.landmarks.points[[27, 28]].mean(0) / stood.plate.shape[1::-1]
    assert abs(dark[:, 1].mean() - feet[0]) < 0.05
    assert dark[:, 0].max() > feet[1] - 0.1


def test_a_passer_by_in_a_scene_is_not_replaced(monkeypatch, tmp_path):
  picture, mask = dancers.draw()
  far = np.pad(picture, ((1200, 0), (1200, 0), (0, 0)), "edge")
  PIL.Image.fromarray(far).save(tmp_path / "scene.png")

  def find(shown, pick):
    alpha = mask.astype(np.float32)
    if shown.shape != picture.shape:
      image = PIL.Image.fromarray(np.pad(alpha, ((1200, 0), (1200, 0))))
      alpha = np.asarray(image.resize(shown.shape[1::-1]))
    return segmenter.Person(alpha, dancers.landmarks(), 0)

  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  made, _ = make(picture, str(tmp_path / "scene.png"))
  rows = np.flatnonzero((made.scene.alpha > 0.5).any(1))
  assert rows.size > 0.5 * len(made.scene.alpha)


def test_a_scene_with_two_people_says_who_is_replaced(monkeypatch, tmp_path):
  picture, mask = dancers.draw()
  PIL.Image.fromarray(picture).save(tmp_path / "scene.png")
  two = segmenter.Person(mask.astype(np.float32), dancers.landmarks(), 1)
  monkeypatch.setattr(subject, "_segmenter", lambda: dancers.OnePerson(two))
  _, notes = make(picture, str(tmp_path / "scene.png"), pick=1)
  assert any("largest of 2 people in" in note for note in notes)

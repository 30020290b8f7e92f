"""Everybody in a picture dances over one background, those in front last."""

import contextlib
import dataclasses
import types

import dancers
import jax.numpy as jnp
import numpy as np
import pytest

from dabfusion_jax.inference import group, subject
from dabfusion_jax.inference.inputs import InputError
from dabfusion_jax.inference.layers import Layers
from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.painter import GroupPainter, PiecePainter
from dabfusion_jax.inference.picture import choose_weights
from dabfusion_jax.inference.rows import rows_of
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.people import landmarks as lm
from dabfusion_jax.people import scene
from dabfusion_jax.people.landmarks import Landmarks
from dabfusion_jax.people.segmenter import Person
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.pretrained import store
from dabfusion_jax.sample import make_parser
from dabfusion_jax.settings.diffusion import JointSettings
from dabfusion_jax.storage import saved_stage
from data_pipeline.synthdance.generate import write_wav

_SIZE = (240, 420)


def crowd(*places):
  """Returns a picture of dancers, a segmenter that finds them, and these people."""
  picture, masks = np.tile(dancers.WALL, (*_SIZE, 1)), []
  drawn, mask = dancers.draw()
  for x, y in places:
    inside = np.zeros(_SIZE, bool)
    inside[y : y + dancers.HEIGHT, x : x + dancers.WIDTH] = mask
    picture[inside] = drawn[mask]
    masks = [other & ~inside for other in masks] + [inside]
  people = []
  for i, (x, y) in enumerate(places):
    found = Landmarks(dancers.joints() + [x, y], np.ones(lm.NUM_LANDMARKS), 1.0)
    rest = [other for other in masks if other is not masks[i]]
    beside, others = np.any(rest, 0) if rest else None, len(rest)
    alpha = masks[i].astype(np.float32)
    people.append(Person(alpha, found, others, beside=beside))

  class Finder(dancers.OnePerson):
    def __call__(self, picture, pick):
      return people[pick - 1] if pick <= len(people) else None

  return picture, Finder(None), people


def read(monkeypatch, picture, find):
  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  return group.read_group(picture, None)


def test_everybody_is_a_layer_over_a_background_without_all_of_them(monkeypatch):
  picture, find, people = crowd((0, 20), (110, 5), (220, 30))
  made, notes = read(monkeypatch, picture, find)
  feet = [layers.scene.landmarks.points[lm.LEFT_TOE, 1] for layers in made]
  assert len(made) == 3 and feet == sorted(feet) and notes == ()
  plates = [layers.scene.plate for layers in made]
  assert all((plate == plates[0]).all() for plate in plates)
  anybody = np.any([person.alpha > 0 for person in people], 0)
  assert np.abs(plates[0].astype(int) - dancers.WALL)[anybody].max() < 25
  whole = group.picture_of(made)
  assert (np.abs(whole.astype(int) - picture).max(-1) > 8).mean() < 0.01


def test_everybody_takes_their_own_shadow_along(monkeypatch):
  picture, find, people = crowd((0, 20), (220, 20))
  wall = np.minimum(
    *(dancers.shaded_wall(80 + x, _SIZE)[: _SIZE[0] - 20] for x in (0, 220))
  )
  wall = np.concatenate([np.tile(dancers.WALL, (20, _SIZE[1], 1)), wall])
  anybody = np.any([person.alpha > 0 for person in people], 0)
  shaded = np.where(anybody[..., None], picture, wall)
  made, _ = read(monkeypatch, shaded, find)
  for layers in made:
    shade = layers.scene.shade
    middle = np.argwhere(shade < 0.9)[:, 1].mean() / shade.shape[1] * _SIZE[1]
    assert middle == pytest.approx(
      layers.scene.landmarks.points[[27, 28], 0].mean(), abs=8
    )


def test_who_cannot_dance_stands_still_and_it_is_said(monkeypatch):
  picture, find, people = crowd((0, 20), (110, 5), (220, 30))
  people[1] = dataclasses.replace(people[1], landmarks=None)
  made, notes = read(monkeypatch, picture, find)
  assert len(made) == 2
  assert notes == ("Person 2: Not moved: no arms and legs were recognised.",)
  still = people[1].alpha > 0
  np.testing.assert_array_equal(made[0].scene.plate[still], picture[still])
  points = people[0].landmarks.points * [1, -1] + [0, 240]
  upside_down = dataclasses.replace(people[0].landmarks, points=points)
  people[0] = dataclasses.replace(people[0], landmarks=upside_down)
  made, notes = read(monkeypatch, picture, find)
  assert len(made) == 1 and "upside down" in notes[0] and "Person 1" in notes[0]
  people[2] = people[0]
  people[0] = None  # found, but not cut out
  people[1] = dataclasses.replace(people[1], landmarks=dancers.landmarks())
  made, notes = read(monkeypatch, picture, find)
  assert len(made) == 1 and notes[0].startswith("Person 1: Not moved.")
  people[0], people[1] = people[2], dataclasses.replace(people[1], landmarks=None)
  assert read(monkeypatch, picture, find) == ((), ())
  assert read(monkeypatch, *crowd((10, 10))[:2]) == ((), ())

  def missing(picture, pick):
    raise store.MissingWeightsError("not imported")

  assert read(monkeypatch, picture, missing) == ((), ())


def test_a_note_gives_no_advice_that_is_refused(monkeypatch):
  picture, find, people = crowd((0, 20), (110, 5), (220, 30))
  points = people[1].landmarks.points * [1, -1] + [0, 240]
  upside_down = dataclasses.replace(people[1].landmarks, points=points)
  people[1] = dataclasses.replace(people[1], landmarks=upside_down)
  people[2] = None  # found, but not cut out
  made, notes = read(monkeypatch, picture, find)
  assert len(made) == 1 and "upside down" in notes[0] and "--" not in "".join(notes)
  assert (
    "Person number 3 of this picture cannot be cut out" in notes[1]
    and "pick is" not in notes[1]
  )


def test_of_people_who_are_cut_off_the_nearer_one_is_in_front(monkeypatch):
  picture, find, people = crowd((0, 40), (110, 40))
  for i, lower in ((0, 60), (1, 30)):  # the larger one goes on farther below
    points = people[i].landmarks.points + [0, lower]
    found = dataclasses.replace(people[i].landmarks, points=points)
    people[i] = dataclasses.replace(people[i], landmarks=found, is_cut_off=True)
  monkeypatch.setattr(
    group, "read_person", lambda _, __, ___, pick, *_____: (people[pick - 1], ())
  )
  made, _ = read(monkeypatch, picture, find)
  necks = [layers.scene.landmarks.points[lm.NOSE, 0] for layers in made]
  assert necks[0] > necks[1]


def test_those_who_dance_beside_a_drawing_have_the_weights_of_people(monkeypatch):
  picture, find, people = crowd((0, 20), (110, 5), (220, 30))
  people[0] = dataclasses.replace(people[0], landmarks=None)
  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  monkeypatch.setattr(store, "describe", lambda name: {})
  assert choose_weights(picture, DanceOptions(pick="all")) == "people_e"
  assert choose_weights(picture, DanceOptions()) == "dance_e"
  people[1] = people[2] = people[0]
  assert choose_weights(picture, DanceOptions(pick="all")) == "dance_e"


def test_a_note_says_whom_it_is_about(monkeypatch):
  picture, find, people = crowd((0, 20), (110, 5))
  points = people[1].landmarks.points.copy()
  for first, second in lm.PAIRS:
    points[[first, second]] = points[[second, first]]
  behind = dataclasses.replace(people[1].landmarks, points=points)
  people[1] = dataclasses.replace(people[1], landmarks=behind)
  _, notes = read(monkeypatch, picture, find)
  assert group._about([1, 3, 4], "So.") == "People 1, 3 and 4: So."
  assert any(
    note.startswith("Person 2: The person is seen from behind") for note in notes
  )


def test_a_dancer_is_drawn_over_those_behind(monkeypatch):
  picture, find, _ = crowd((0, 20), (110, 5))
  made, _ = read(monkeypatch, picture, find)

  painters, motions = [], []
  for layers in made:
    points = layers.frame.from_picture(layers.scene.landmarks.points) * 64
    pose = Landmarks(points, np.ones(lm.NUM_LANDMARKS), 1.0)
    reader = types.SimpleNamespace(
      rest=lambda motion, pose=pose: pose, read=lambda motion, pose=pose: [pose] * 25
    )
    painter = PiecePainter(layers.scene, layers.puppet, layers.frame, reader, 64, 2)
    painters.append(painter)
    grid = np.zeros((25, 2, 2, 3), np.float32)
    undecoded = lambda: pytest.fail("not needed")
    motions.append(Motion(grid[..., :2], grid[..., 2:], undecoded, 25, True))
  alone = [
    np.concatenate(list(p.paint(m))) for p, m in zip(painters, motions, strict=True)
  ]
  for painter in painters:
    painter.drawer = None
  together = np.concatenate(list(GroupPainter(tuple(painters)).paint(*motions)))
  assert GroupPainter(tuple(painters)).times == 2
  assert together.shape == alone[0].shape == (50, *_SIZE, 3)
  plate = made[0].scene.plate
  for i, other in ((0, 1), (1, 0)):
    drawn = (alone[i] != plate).any(-1)
    only = drawn & ~(alone[other] != plate).any(-1)
    np.testing.assert_array_equal(together[only], alone[i][only])
  assert (together != plate).any(-1).mean() > 0.1


@pytest.mark.parametrize(
  ("least", "devices", "count"), [(1, 1, 6), (8, 1, 8), (4, 4, 8)]
)
def test_each_person_has_a_row(least, devices, count):
  image = lambda level: np.full((4, 4, 3), level, np.uint8)
  make = lambda *levels: types.SimpleNamespace(ref_images=tuple(map(image, levels)))
  rows, places = rows_of.__wrapped__(
    [make(1), make(2, 3, 4), make(5, 6)], least, devices
  )
  assert [int(x.flat[0]) for _, x in rows] == [1, 2, 3, 4, 5, 6, 6, 6][:count]
  assert places == [slice(0, 1), slice(1, 4), slice(4, 6)]


def test_all_is_asked_for_in_the_peoples_own_picture():
  assert make_parser().parse_args(["--pick=all"]).pick == "all"
  assert make_parser().parse_args(["--pick=2"]).pick == 2
  for options in ({"scene": "studio"}, {"drawing": "decoder"}, {"joining": "chain"}):
    with pytest.raises(InputError, match="pick=all is for layers"):
      DanceOptions(pick="all", **options)
  with pytest.raises(InputError, match="pick must be"):
    DanceOptions(pick="some")
  assert DanceOptions(pick="all").first_pick == 1


class _Sampler(BatchSampler):
  """Stands for `BatchSampler`: all rows move alike."""

  devices = (None,)

  def __init__(self):
    self.rows = []

  def encode(self, pictures):
    self.rows.append(len(pictures))
    return jnp.zeros((len(pictures), 16, 16, 1))

  def draw(self, batch, keys, plan, guidance, callback, joiner):
    self.keys = keys
    shape = (*batch["beats"].shape[:2], 16, 16)
    return jnp.zeros((*shape, 2)), jnp.ones((*shape, 1))

  def compiling(self, num_rows, *unused):
    self.rows.append(num_rows)
    return contextlib.nullcontext()

  def read_joints(self, flow, occlusion, joints):
    return np.broadcast_to(joints, (len(flow), *joints.shape))


def test_a_group_is_one_dance_of_one_batch(monkeypatch, tmp_path):
  picture, find, _ = crowd((0, 20), (110, 5), (220, 30))
  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  sampler = _Sampler()
  monkeypatch.setattr(DancePipeline, "batch_sampler", sampler)
  pipeline = DancePipeline.from_pretrained(saved_stage.shipped())
  settings = dataclasses.replace(pipeline.settings, joints=JointSettings(1.0))
  pipeline = dataclasses.replace(pipeline, settings=settings)
  time = np.arange(5 * 44_100) / 44_100
  clicks = np.sin(5000 * time) * np.exp(-40 * (time % 0.5))
  write_wav(tmp_path / "a.wav", np.repeat(clicks[:, None], 2, 1).astype(np.float32))
  quick = dict(beats=[0.5, 1.0], fps=10)
  dance = pipeline(picture, tmp_path / "a.wav", pick="all", **quick)
  assert sampler.rows == [3, 3] and len(dance.frames) == 40
  assert dance.settings["pick"] == "all" and dance.settings["drawing"] == "layers"
  difference = np.abs(
    dance.frames[20].astype(int) - scene.blend(picture, picture, np.zeros(_SIZE))
  )
  assert (difference.max(-1) > 30).mean() < 0.03  # nobody moves
  still = pipeline.stream(picture, tmp_path / "a.wav", pick="all", beats=[0.5]).still
  assert (np.abs(still.astype(int) - picture).max(-1) > 8).mean() < 0.01
  one = pipeline(picture, tmp_path / "a.wav", **quick)
  assert any("--pick=all takes all" in note for note in one.notes)
  assert sampler.rows == [3, 3, 3, 3, 1, 1]


def test_each_person_has_a_frame_of_their_own(monkeypatch, tmp_path):
  picture, find, _ = crowd((0, 20), (110, 5), (220, 30))
  monkeypatch.setattr(subject, "_segmenter", lambda: find)
  sampler = _Sampler()
  sampler.read_joints = None
  sampler.rebuild = lambda z: np.arange(len(z), dtype=np.uint8)
  monkeypatch.setattr(DancePipeline, "batch_sampler", sampler)
  asked = []

  def painter(self, size, rebuild, read_joints, times):
    asked.append(int(rebuild()))
    pose = types.SimpleNamespace(rest=np.array, read=np.array)
    return PiecePainter(self.scene, self.puppet, self.frame, pose, size, times)

  monkeypatch.setattr(Layers, "painter", painter)
  write_wav(tmp_path / "a.wav", np.zeros((5 * 44_100, 2), np.float32))
  pipeline = DancePipeline.from_pretrained(saved_stage.shipped())
  pairs = [(picture, tmp_path / "a.wav")] * 2
  assert len(list(pipeline.stream_all(pairs, pick="all", beats=[0.5]))) == 2
  assert asked == [0, 1, 2, 3, 4, 5]


def test_what_is_left_between_the_masks_of_two_people_is_one_s():
  _, _, people = crowd((0, 20), (60, 20))
  columns = np.indices(_SIZE)[1]
  first = (columns < 100) & ~((columns > 49) & (columns < 53))
  second, theirs = columns > 103, (columns > 99) & (columns < 104)
  everybody = [
    (i, dataclasses.replace(person, alpha=np.float32(alpha), beside=~alpha))
    for i, (person, alpha) in enumerate(zip(people, (first, second), strict=True))
  ]
  found = [person.alpha > 0.5 for _, person in group._without_gaps(everybody)]
  rows = slice(10, -10)
  assert (found[0] ^ found[1])[theirs].reshape(_SIZE[0], -1)[rows].all()
  assert not (found[0] | found[1])[:, 50:53].any()  # between an arm and its own trunk

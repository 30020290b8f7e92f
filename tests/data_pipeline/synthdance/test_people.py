"""People are dressed, stand where their feet are, and move as their truth says."""

import hashlib
import types

import numpy as np
import pytest

from data_pipeline import aist
from data_pipeline.aist import ClipName
from data_pipeline.records.body_parts import PARTS
from data_pipeline.records.surfaces import Surfaces
from data_pipeline.records.true_motion import true_motion
from data_pipeline.synthdance import presets
from data_pipeline.synthdance.generate import make_clip, write_clip
from data_pipeline.synthdance.kernels import compile_kernels
from data_pipeline.synthdance.people import anatomy as body
from data_pipeline.synthdance.people import make_body, raster, shading
from data_pipeline.synthdance.people.anatomy import anatomy
from data_pipeline.synthdance.people.clip import project
from data_pipeline.synthdance.people.mesh import SKIN
from data_pipeline.synthdance.people.person import draw_person
from data_pipeline.synthdance.studio import make_camera
from data_pipeline.synthdance.truth import Truth

# sha256 of three frames and part maps. An intended change of the picture changes them;
# put the new ones here and say so in the commit.
GOLDEN = {
  "gBR_sBM_c01_d04_mBR0_ch03": "5fa32aea3eff",
  "gWA_sFM_c09_d26_mWA4_ch05": "b39591e92c6f",
}
NAME = ClipName.parse("gLO_sFM_c01_d13_mLO1_ch01")


@pytest.fixture(scope="module", autouse=True)
def kernels():
  compile_kernels()


@pytest.fixture(scope="module")
def clip():
  return make_clip(NAME, seconds=1, start_seconds=2.3, look="people")


@pytest.mark.parametrize("name", GOLDEN)
def test_people_are_the_same_on_every_machine(name):
  clip = make_clip(ClipName.parse(name), seconds=0.3, frame_size=64, look="people")
  digest = hashlib.sha256(clip.frames.tobytes())
  digest.update(clip.truth.part_map.tobytes())
  assert digest.hexdigest()[:12] == GOLDEN[name]


def test_the_light_of_a_sample_does_not_depend_on_its_neighbours(monkeypatch):
  shade = shading.shade

  def shade_twice(face, *rest):
    some, alone = np.arange(face.size).reshape(face.shape) % 3 == 1, rest[-1].copy()
    shade(np.where(some, face, np.int32(-1)), *rest[:-1], alone)
    shade(face, *rest)
    np.testing.assert_array_equal(alone[some], rest[-1][some])

  monkeypatch.setattr(shading, "shade", shade_twice)
  make_clip(NAME, seconds=0.1, look="people")


def _trunk_of(person, camera):
  """Returns how many pixels see the trunk, and how many see its bare skin."""
  mesh, size = person.mesh, camera.width
  depth = np.full((size, size), np.float32(1e9))
  face = np.full((size, size), -1, np.int32)
  place = np.zeros((size, size, 2), np.float32)
  spots = project(camera, mesh.rest)
  raster.fill(spots, mesh.faces, mesh.cover, depth, face, place)
  bones = anatomy().bones
  trunk = [bones.index(b) for b in ("pelvis", "spine_01", "spine_02")]
  seen = face[face >= 0]
  # The neckline may show skin; what is below the armpits may not.
  chest = person.shape.heads[bones.index("spine_03"), 1]
  low = mesh.rest[mesh.faces[seen, 0], 1] < chest
  on_trunk = np.isin(mesh.bone[mesh.faces[seen, 0], 0], trunk) & low
  return on_trunk.sum(), (on_trunk & (mesh.material[seen] == SKIN)).sum()


def test_clothes_cover_the_trunk_of_everybody():
  for number in range(10):
    person = draw_person(f"test of clothes {number}")
    for view in ("c01", "c05", "c03"):
      camera = make_camera(view, "close", person.shape.height, 128)
      seen, bare = _trunk_of(person, camera)
      assert seen > 120 and bare <= 0.01 * seen, (number, view, bare, seen)


def test_a_body_without_clothes_would_be_noticed():
  person = draw_person("test of clothes 0")
  skin = person.mesh.material == SKIN
  naked = person.mesh.material.copy()
  naked[~skin] = SKIN
  object.__setattr__(person.mesh, "material", naked)
  camera = make_camera("c01", "close", person.shape.height, 128)
  seen, bare = _trunk_of(person, camera)
  assert bare == seen


def _warped(image, flow):
  """Returns the image sampled at every pixel plus its flow, bilinearly."""
  h, w = flow.shape[:2]
  y, x = np.mgrid[0:h, 0:w].astype(float)
  x = np.clip(x + flow[..., 0], 0, w - 1.001)
  y = np.clip(y + flow[..., 1], 0, h - 1.001)
  i, j = y.astype(int), x.astype(int)
  p, q = (y - i)[..., None], (x - j)[..., None]
  top = image[i, j] * (1 - q) + image[i, j + 1] * q
  return top * (1 - p) + (image[i + 1, j] * (1 - q) + image[i + 1, j + 1] * q) * p


def _to_first(truth):
  """Returns the motion of every frame to the first one, stacked over frames."""
  motions = [truth.motion(t, 0) for t in range(len(truth.part_map))]
  names = ("flow", "visible", "mask")
  stacked = {name: np.stack([getattr(m, name) for m in motions]) for name in names}
  return types.SimpleNamespace(**stacked)


@pytest.mark.parametrize("look", ["people", "figures", "figures_backdrops"])
def test_the_first_frame_warped_by_the_true_flow_gives_the_others(look):
  before, after = [], []
  for name in (NAME, ClipName.parse("gKR_sFM_c02_d28_mKR1_ch04")):
    made = make_clip(name, seconds=1, start_seconds=2.3, look=look)
    motion = _to_first(made.truth)
    first = made.frames[0].astype(float)
    for t in (2, 5, 9):
      body = motion.mask[t] & motion.visible[t]
      goal = made.frames[t].astype(float)[body]
      before.append(((first[body] - goal) ** 2).mean())
      after.append(((_warped(first, motion.flow[t])[body] - goal) ** 2).mean())
  gain = 10 * np.log10(np.mean(before) / np.mean(after))
  assert gain > 4.0, gain


def test_flow_off_the_body_is_zero_and_hidden_background_is_known(clip):
  motion = _to_first(clip.truth)
  assert not motion.flow[~motion.mask].any() and not motion.flow[0].any()
  assert motion.visible[0].all()
  first = np.broadcast_to(motion.mask[0], motion.mask.shape)
  np.testing.assert_array_equal(motion.visible[~motion.mask], ~first[~motion.mask])
  assert 0.5 < motion.visible[motion.mask].mean() < 1


def test_truth_is_read_as_it_was_written_and_can_be_cut(tmp_path, clip):
  path = write_clip(NAME, tmp_path, seconds=1, start_seconds=2.3, look="people")
  truth = Truth.load(path.with_suffix(".truth.npz"))
  taken = truth.take(np.array([3, 7]))
  flow = taken.motion(1, 0).flow
  np.testing.assert_array_equal(flow, clip.truth.motion(7, 3).flow)


def test_planted_feet_stay(clip):
  ankles = clip.truth.joints3d[:, 15:]
  low = ankles[..., 1] < ankles[..., 1].min(0) + 0.3
  stays = low[1:] & low[:-1]
  moved = np.linalg.norm(np.diff(ankles, axis=0), axis=-1)
  assert stays.sum() > 5 and np.median(moved[stays]) < 0.2


def test_parts_begin_at_their_joints_in_shoes_as_well(clip):
  assert draw_person(str(NAME)).mesh.rest[:, 1].min() < -0.5
  for part, joint in {"left_thigh": 11, "left_shin": 13, "left_forearm": 7}.items():
    start = clip.truth.part_pose[:, PARTS.index(part), :2]
    np.testing.assert_allclose(start, clip.truth.joints2d[:, joint], atol=0.1)


def test_no_two_clips_have_the_same_person():
  names = [str(spec.name) for spec in presets.clips_of_preset("people_smoke")[:4]]
  people = [draw_person(name) for name in names]
  heights = {round(person.shape.height, 2) for person in people}
  colours = {person.mesh.colour[:50].tobytes() for person in people}
  assert len(heights) == len(colours) == len(names)
  few, many = map(presets.clips_of_preset, ("people", "people_pairs"))
  names, more = ({str(spec.name) for spec in specs} for specs in (few, many))
  assert len(names) == len(few) and len(more) == len(many) > 2 * len(few)
  assert names < more and {spec.fps for spec in many} == {3}


def test_more_people_hold_out_the_same_ones():
  held_out = aist.held_out_tracks("official"), aist.held_out_dancers()
  tests = [
    {str(s.name) for s in specs if aist.split_of(s.name, *held_out) != "train"}
    for specs in map(presets.clips_of_preset, ("people", "people_pairs"))
  ]
  assert tests[0] == tests[1] and len(tests[0]) == 80


def test_a_record_holds_the_motion_of_the_surface(clip):
  truth = clip.truth
  surfaces = Surfaces.decode(truth.surfaces.encode())
  record = {
    "frames": clip.frames,
    "part_map": truth.part_map,
    "part_pose": truth.part_pose,
    "surfaces": surfaces,
  }
  for driving, reference in ((9, 0), (2, 7)):
    exact = truth.motion(driving, reference)
    found = true_motion(record, reference, driving)
    np.testing.assert_allclose(found["motion"], exact.flow, atol=0.1)
    assert (found["is_visible"] == exact.visible).mean() > 0.995
    mirrored = true_motion(record, reference, driving, is_mirrored=True)
    np.testing.assert_array_equal(mirrored["part_map"] > 0, exact.mask[:, ::-1])
    np.testing.assert_allclose(
      mirrored["motion"], found["motion"][:, ::-1] * np.float32([-1, 1])
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint16])
def test_arrays_come_back_from_their_differences(dtype):
  rng, info = np.random.default_rng(0), np.iinfo(dtype)
  for shape in ((40,), (9, 3), (2, 30, 3)):
    array = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    again = body.from_differences(body.differences(array))
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, array)


def test_arrays_of_the_body_are_written_alike_and_read_back_exactly(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    "a": rng.integers(-5, 5, (40, 3), np.int8),
    "quads.b": rng.normal(size=7).astype(np.float32),
    "names": np.array(["head", "toe"]),
  }
  first, second = tmp_path / "first.npz", tmp_path / "second.npz"
  make_body.write(first, arrays)
  make_body.write(second, arrays)
  assert first.read_bytes() == second.read_bytes()
  read = np.load(first, allow_pickle=False)
  assert read.files == list(arrays)
  for name, array in arrays.items():
    assert read[name].dtype == array.dtype
    np.testing.assert_array_equal(read[name], array)

"""Dances have feet that stay, straight legs, and key poses on the beats."""

import numpy as np
import pytest

from data_pipeline.aist import DANCERS, GENRES, ClipName
from data_pipeline.synthdance.body import (
  JOINTS,
  coco_joints,
  dancer,
  pose_skeleton,
)
from data_pipeline.synthdance.choreography import Choreography
from data_pipeline.synthdance.studio import make_camera

FPS = 10


def _name(genre, situation="sFM", which=0, track=2, choreography="ch03"):
  return ClipName(
    genre, situation, "c01", DANCERS[genre][which], f"m{genre}{track}", choreography
  )


def _dance(name, fps=FPS, seconds=8.0, start=0.37):
  """Returns a dance, its poses and its skeleton."""
  dance = Choreography(name)
  times = start + np.arange(int(seconds * fps)) / fps
  poses = dance.poses(times)
  return dance, poses, pose_skeleton(poses, dancer(name.dancer))


def _knees(skeleton):
  """Returns the angles of both knees, in degrees."""
  angles = []
  for side in ("left", "right"):
    hip, knee, ankle = (
      skeleton.joints[:, JOINTS.index(f"{side}_{joint}")]
      for joint in ("hip", "knee", "ankle")
    )
    a, b = hip - knee, ankle - knee
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    angles.append(np.degrees(np.arccos(cosine)))
  return np.stack(angles, -1)


@pytest.mark.parametrize("genre", GENRES)
def test_a_foot_that_carries_weight_stays_where_it_is(genre):
  for situation in ("sBM", "sFM"):
    name = _name(genre, situation)
    _, poses, skeleton = _dance(name, seconds=8.0 if situation == "sFM" else 6.0)
    camera = make_camera("c01", "close", dancer(name.dancer).height)
    ankles = camera.project(coco_joints(skeleton)[:, 15:])[..., :2]
    moved = np.linalg.norm(np.diff(ankles, axis=0), axis=-1)
    stays = poses.planted[1:] & poses.planted[:-1]
    assert moved[stays].max() < 1.0  # pixels of 128
    # Feet are usually planted, but the other foot leaves the floor and steps elsewhere.
    assert poses.planted.any(axis=1).mean() > 0.85
    assert (poses.lift.max(axis=0) > 0.02).all()
    assert (moved.max(axis=0) > 1.5).all()


@pytest.mark.parametrize("genre", ["PO", "LO", "LH", "HO", "WA", "JS", "JB"])
def test_legs_are_straight_between_crouches(genre):
  dance, _, skeleton = _dance(_name(genre), fps=20, seconds=12.0)
  knees = _knees(skeleton).max(axis=1)  # of the standing leg
  per_bar = knees.reshape(-1, 40).max(axis=1)  # two seconds each
  assert per_bar.min() > 168.0
  assert np.median(per_bar) > 170.0


def test_crouches_bend_the_knees():
  assert _knees(_dance(_name("BR"))[2]).min() < 120.0


def _kinematic_beats(joints, start):
  """Returns the times at which the mean speed of the joints has a local minimum."""
  speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean(-1)
  at = np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:])) + 1
  return start + (at + 0.5) / FPS


def test_hits_are_within_30_ms_of_the_beats():
  for genre in GENRES:
    dance = Choreography(_name(genre))
    beats = np.arange(dance.num_beats + 1) * dance.beat_seconds
    assert np.abs(dance.hits[:, None] - beats).min(1).max() < 0.03


def test_motion_pauses_on_the_beats():
  """Compares 2D-MM alignments, sigma 50 ms, with true, shifted and random beats."""
  scores = {"true": [], "half": [], "random": []}
  for index, genre in enumerate(GENRES):
    for situation in ("sBM", "sFM"):
      name = _name(genre, situation, which=index % 3, track=index % 6)
      start = 0.11 * index
      dance, _, skeleton = _dance(
        name, seconds=6.5 if index % 6 > 4 else 8, start=start
      )
      camera = make_camera("c01", "close", 168.0)
      kinematic = _kinematic_beats(
        camera.project(coco_joints(skeleton))[..., :2], start
      )
      grid = np.arange(-1, dance.num_beats + 2) * dance.beat_seconds

      def score(shift, kinematic=kinematic, grid=grid):
        distance = np.abs(kinematic[:, None] - grid - shift).min(1)
        return np.exp(-(distance**2) / (2 * 0.05**2)).mean()

      scores["true"].append(score(0.0))
      scores["half"].append(score(dance.beat_seconds / 2))
      phases = np.arange(8) / 8 * dance.beat_seconds
      scores["random"].append(np.mean([score(phase) for phase in phases]))
  means = {key: np.mean(values) for key, values in scores.items()}
  assert means["true"] >= 0.6, means
  assert means["half"] <= 0.15, means
  assert 0.15 < means["random"] < 0.3, means


def test_basic_dances_are_shared_and_advanced_ones_are_not():
  def hands(situation, which):
    return _dance(_name("LO", situation, which), seconds=7.0)[1].hands

  shared = np.abs(hands("sBM", 0) - hands("sBM", 1)).mean()
  own = np.abs(hands("sFM", 0) - hands("sFM", 1)).mean()
  assert 0.01 < shared < 0.2  # the same dance in another style
  assert own > 2 * shared


def test_a_dance_does_not_depend_on_where_it_begins():
  dance = Choreography(_name("WA"))
  times = 2.0 + np.arange(20) / 10
  np.testing.assert_array_equal(
    dance.poses(times).hands[7:], dance.poses(times[7:]).hands
  )


def test_who_waits_for_the_dance_is_still_and_begins_smoothly():
  dance = Choreography(_name("KR"))
  beats = np.linspace(-4, 0.1, 821)
  crouch, nod = dance.poses(beats * dance.beat_seconds).torso[:, [2, 8]].T
  for move in (crouch, nod):
    assert not np.ptp(move[beats < -0.5]) and np.ptp(move) > 0.01
    assert np.abs(np.diff(move, 2)).max() < 1e-3 * np.ptp(move)  # no jump, no corner


def test_motion_is_human_in_size():
  for genre in GENRES:
    _, _, skeleton = _dance(_name(genre))
    speed = np.linalg.norm(np.diff(coco_joints(skeleton)[:, 9:11], axis=0), axis=-1)
    assert 30.0 < speed.mean() * FPS < 160.0, genre  # cm/s of the wrists
    assert speed.max() * FPS < 700.0, genre


def test_bones_keep_their_length():
  skeleton = _dance(_name("KR"))[2]
  at = JOINTS.index
  for a, b in (("left_hip", "left_knee"), ("right_elbow", "right_wrist")):
    length = np.linalg.norm(
      skeleton.joints[:, at(a)] - skeleton.joints[:, at(b)], axis=-1
    )
    np.testing.assert_allclose(length, length[0], atol=0.01)


def test_dancers_differ():
  looks = [dancer(f"d{i:02d}") for i in range(1, 31)]
  assert len({(d.top, d.trousers, d.hair, d.skin) for d in looks}) >= 29
  heights = [d.height for d in looks]
  assert 145 < min(heights) < 162 and 174 < max(heights) < 190
  assert len({d.skin for d in looks}) == 5

"""Poses are read from flow, or from frames that are drawn for it."""

import dataclasses
import types

import dancers
import numpy as np
import pytest

from dabfusion_jax.inference.motion import Motion
from dabfusion_jax.inference.painter import PiecePainter
from dabfusion_jax.inference.pose import FlowReader, FrameReader
from dabfusion_jax.ops.joints import JOINTS
from dabfusion_jax.people import landmarks
from dabfusion_jax.people.joints import BODY, joints_of, with_joints
from dabfusion_jax.people.landmarks import (
  LEFT_EAR,
  LEFT_ELBOW,
  LEFT_SHOULDER,
  LEFT_WRIST,
  RIGHT_EAR,
  Landmarks,
)
from dabfusion_jax.people.puppet import cut_puppet
from dabfusion_jax.people.scene import Scene
from dabfusion_jax.people.squares import Square

_SIZE = 33


def shown():
  points = np.random.default_rng(0).uniform(8, 24, (33, 2))
  return Landmarks(points, np.full(33, 0.5), 1.0)


def motion(num_frames, kept, decode=lambda: pytest.fail("no frame is needed")):
  flow = np.zeros((num_frames, 4, 4, 2), np.float32)
  return Motion(flow, np.ones((num_frames, 4, 4, 1), np.float32), decode, kept, True)


def test_joints_are_given_in_flow_and_returned_in_pixels():
  picture, seen = shown(), []

  def read_joints(flow, occlusion, joints):
    seen.append((flow.shape, joints))
    return np.broadcast_to(joints + [0.5, 0], (len(flow), 13, 2))

  reader = FlowReader(read_joints, picture, _SIZE)
  found = reader.read(motion(3, 2))
  # A part of a window is read as a window: one shape, one program.
  assert len(found) == 2 and seen[0][0] == (3, 4, 4, 2)
  # -1 and 1 are the centres of the outer pixels, 0.5 and 32.5.
  np.testing.assert_allclose(
    (seen[0][1] + 1) * 16 + 0.5, joints_of(picture.points), atol=1e-9
  )
  moved = found[0].points - picture.points
  np.testing.assert_allclose(moved[list(BODY)], [[8.0, 0.0]] * len(BODY), atol=1e-6)
  np.testing.assert_allclose(moved[[LEFT_EAR, RIGHT_EAR]], [[8.0, 0.0]] * 2, atol=1e-6)


def test_at_rest_the_flow_is_the_identity():
  def read_joints(flow, occlusion, joints):
    assert flow.shape == (3, 4, 4, 2)  # the program that reads the dance
    np.testing.assert_allclose(flow[0, 0, :, 0], np.linspace(-1, 1, 4), atol=1e-6)
    assert occlusion.min() == 1
    return np.broadcast_to(joints, (3, *joints.shape))

  rest = FlowReader(read_joints, shown(), _SIZE).rest(motion(3, 2))
  np.testing.assert_allclose(rest.points, shown().points, atol=1e-6)


def test_a_reader_is_given_the_landmarks_of_the_same_names():
  joints = joints_of(shown().points)
  for name, joint in zip(JOINTS[:-1], joints, strict=False):
    landmark = getattr(landmarks, name.upper())
    np.testing.assert_array_equal(joint, shown().points[landmark], err_msg=name)
  ears = shown().points[[LEFT_EAR, RIGHT_EAR]]
  np.testing.assert_allclose(joints[JOINTS.index("head")], ears.mean(0))


def test_landmarks_take_over_joints_and_keep_what_no_joint_tells():
  points = shown().points
  joints = joints_of(points) + np.arange(13)[:, None]
  moved = with_joints(points, joints)
  np.testing.assert_allclose(joints_of(moved), joints)
  others = [i for i in range(33) if i not in {*BODY, LEFT_EAR, RIGHT_EAR}]
  np.testing.assert_array_equal(moved[others], points[others])


def test_frames_are_drawn_only_for_a_reader_of_frames():
  class Network:
    def find(self, frame, square):
      assert square == Square(0.0, 0.0, 8.0)
      return Landmarks(np.zeros((33, 2)), np.zeros(33), float(frame.max()))

  frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones(
    (1, 8, 8, 3), np.uint8
  )
  reader = FrameReader(Network, lambda: frames[2])
  found = reader.read(motion(3, 2, lambda: frames))
  assert [x.presence for x in found] == [0, 1]
  assert reader.rest(motion(1, 1)).presence == 2


def test_a_person_is_painted_without_any_frame_of_the_network():
  picture, mask = dancers.draw()
  alpha = mask.astype(np.float32)
  scene = Scene(picture, picture, alpha, dancers.landmarks())
  frame = Square(0.0, 0.0, float(max(scene.plate.shape[:2])))
  points = frame.from_picture(scene.landmarks.points) * _SIZE
  found = Landmarks(points, scene.landmarks.confidence, 1.0)
  same = lambda flow, occlusion, joints: np.broadcast_to(joints, (len(flow), 13, 2))
  painter = PiecePainter(
    scene, cut_puppet(scene), frame, FlowReader(same, found, _SIZE), _SIZE
  )
  (frames,) = painter.paint(motion(2, 2))
  assert frames.shape == (2, *scene.plate.shape)
  np.testing.assert_array_equal(frames[0], frames[1])


def test_a_dance_sets_out_from_the_pose_of_the_picture():
  picture, mask = dancers.draw()
  scene = Scene(picture, picture, mask.astype(np.float32), dancers.landmarks())
  frame = Square(0.0, 0.0, float(max(scene.plate.shape[:2])))
  points = frame.from_picture(scene.landmarks.points) * _SIZE
  rest = Landmarks(points, scene.landmarks.confidence, 1.0)
  raised = points.copy()
  raised[[LEFT_ELBOW, LEFT_WRIST], 1] = points[LEFT_SHOULDER, 1]
  raised[[LEFT_ELBOW, LEFT_WRIST], 0] += [_SIZE / 16, _SIZE / 8]
  pieces = cut_puppet(scene)

  def paint(pose):
    sampled = [dataclasses.replace(rest, points=pose)] * 12
    reader = types.SimpleNamespace(rest=lambda _: rest, read=lambda _: sampled)
    painter = PiecePainter(scene, pieces, frame, reader, _SIZE)
    return np.concatenate(list(painter.paint(motion(12, 12)))).astype(float)

  frames = paint(raised)
  moved = np.abs(frames - paint(points)).mean((1, 2, 3))
  assert moved[0] < 0.2 * moved[-1] and moved[0] < moved[1] < moved[2]
  np.testing.assert_array_equal(frames[9], frames[-1])

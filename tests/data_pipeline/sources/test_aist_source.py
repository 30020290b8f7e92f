"""AIST videos are matched with the official lists, and annotations run no code."""

import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from clip_examples import RATE, click_song, toy_frames

from data_pipeline import aist
from data_pipeline.building.settings import BuildSettings
from data_pipeline.building.video_work import cut_video
from data_pipeline.cutting.ingest import ClipFormat
from data_pipeline.cutting.windows import Windows
from data_pipeline.media import writer
from data_pipeline.media.errors import MediaError
from data_pipeline.music.tracked import Tracked
from data_pipeline.records import clip_record
from data_pipeline.sources.aist_source import AistSource, read_joints

NAMES = (
  "gBR_sBM_c01_d04_mBR2_ch08",  # train; test in index2
  "gBR_sBM_c03_d04_mBR0_ch07",  # test, ignored
  "gBR_sFM_c02_d04_mBR0_ch01",  # test
  "gJS_sBM_c09_d03_mJS2_ch07",  # train
)


@pytest.fixture
def videos(tmp_path):
  folder = tmp_path / "videos"
  (folder / "more").mkdir(parents=True)
  for name in (*NAMES, "gBR_sBM_c01_d04_mBR2_ch99", "holiday"):
    (folder / f"{name}.mp4").write_text("never opened by the survey")
  (folder / "more" / f"{NAMES[0]}.MP4").write_text("twice")
  return folder


def test_the_lists_have_the_published_lengths():
  assert len(aist.sequences()) == len(set(aist.sequences())) == 1408
  assert len(aist.ignored_sequences()) == 45
  assert Counter(aist.assign_sequences("crossmodal").values()) == {
    "train": 980,
    "test": 20,
  }
  # The paper's 2,106 test videos are those of index2 (9 cameras).
  counts = {s: Counter(aist.assign_sequences(s).values())["test"]
            for s in ("official", "index1", "index2")}  # fmt: skip
  assert counts == {"official": 229, "index1": 233, "index2": 234}
  assert set(aist.assign_sequences("official")) == set(aist.sequences())
  assert set(aist.assign_sequences("crossmodal")) < set(aist.sequences())
  assert aist.ignored_sequences() < set(aist.sequences())


def test_the_survey_compares_the_videos_with_the_lists(videos):
  survey = AistSource(str(videos)).survey()
  assert {v.name: v.split for v in survey.videos} == {
    NAMES[0]: "train",
    NAMES[1]: "test",
    NAMES[2]: "test",
    NAMES[3]: "train",
  }
  assert survey.expected == {"test": 229 * 9, "train": 1179 * 9}
  statuses = Counter(finding.status for finding in survey.findings)
  assert statuses == {"missing": 1408 * 9 - 4, "unlisted": 2, "ignored": 1}
  # The longest dance of a track comes first, because it has more of the song.
  assert [path[-29:-4] for path in survey.songs["mBR0"]] == [NAMES[2], NAMES[1]]
  assert {v.song for v in survey.videos} == survey.songs.keys()


def test_the_ignore_list_and_the_split_are_settings(videos):
  survey = AistSource(str(videos), ignore="aistpp").survey()
  assert NAMES[1] not in {v.name for v in survey.videos}
  assert sum(survey.expected.values()) == (1408 - 45) * 9
  ignored = [f.name for f in survey.findings if f.reason == "ignore list of AIST++"]
  assert ignored == [NAMES[1]]
  index2 = {v.name: v.split for v in AistSource(str(videos), "index2").survey().videos}
  assert index2[NAMES[0]] == "test" and index2[NAMES[1]] == "train"
  crossmodal = AistSource(str(videos), "crossmodal").survey()
  assert crossmodal.expected == {"test": 180, "train": 8820}
  assert len(crossmodal.videos) < 4
  (videos / "mine.txt").write_text("mBR2  # the one\n")
  mine = AistSource(str(videos), str(videos / "mine.txt")).survey()
  assert {v.name for v in mine.videos if v.split == "test"} == {NAMES[0]}
  for wrong in ({"split": "no"}, {"ignore": "all"}, {"music": "nowhere"}):
    with pytest.raises(ValueError, match="no|Unknown"):
      AistSource(str(videos), **wrong).survey()


def annotate(folder, sequence, joints2d, joints3d):
  """Writes annotations as AIST++ has them."""
  for kind, values in (
    ("keypoints2d", {"keypoints2d": joints2d, "det_scores": np.ones((9, 1))}),
    ("keypoints3d", {"keypoints3d": joints3d * 0, "keypoints3d_optim": joints3d}),
  ):
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / f"{sequence}.pkl").write_bytes(pickle.dumps(values))


def test_an_annotated_video_becomes_a_record_with_joints(tmp_path):
  name = aist.ClipName.parse(NAMES[0])
  frames = np.zeros((120, 36, 64, 3), np.uint8)  # 2 s at 59.94
  for i, frame in enumerate(frames):
    frame[4:9, 2 + i // 4 : 7 + i // 4] = 255  # centre (4 + i // 4, 6)
  videos = tmp_path / "videos"
  videos.mkdir()
  writer.write_video(
    videos / f"{name}.mp4",
    frames,
    Fraction(60000, 1001),
    click_song()[: 2 * RATE],
    RATE,
  )
  joints2d = np.full((9, 100, 17, 3), np.nan)
  joints2d[0, ..., 0] = (4 + np.arange(100) // 4)[:, None]
  joints2d[0, ..., 1] = 6
  annotate(tmp_path, name.sequence, joints2d, np.ones((100, 17, 3)))
  source = AistSource(str(videos), annotations=str(tmp_path))
  form, windows = ClipFormat(20, 10, 32), Windows("first")
  settings = BuildSettings(source, form, train_windows=windows)
  (video,) = source.survey().videos
  cut = cut_video(settings, video, Tracked(np.arange(4) / 2), tmp_path)
  (features,) = cut.records
  assert cut.status == "whole"
  record = clip_record.decode(features)
  assert "part_map" not in record and "true_beat_times" not in record
  known = np.isfinite(record["joints2d"][:, 0, 0])
  # Annotations end after 100 of 120 frames: 1.67 s of 2 s.
  assert known.tolist() == [True] * 17 + [False] * 3
  for frame, joints in zip(record["frames"][:17], record["joints2d"], strict=False):
    y, x = np.nonzero(frame[..., 0] > 128)
    assert abs(x.mean() - joints[0, 0]) < 0.6 and abs(y.mean() - joints[0, 1]) < 0.6
  assert np.nanmin(record["joints3d"]) == 1


def test_annotations_that_are_not_there_are_told(videos, tmp_path):
  source = lambda: AistSource(str(videos), annotations=str(tmp_path))
  with pytest.raises(ValueError, match=r"neither keypoints2d/\*.pkl nor"):
    source()
  dance = aist.ClipName.parse(NAMES[0]).sequence
  (tmp_path / "keypoints2d").mkdir()
  (tmp_path / "keypoints2d" / f"{dance}.pkl").touch()
  findings = source().survey().findings
  noted = {f.name: f.reason for f in findings if f.status == "noted"}
  assert len(noted) == 4 and noted.pop(dance) == "no joints of it in keypoints3d"
  assert set(noted.values()) == {"no joints of it in keypoints2d and keypoints3d"}


class Malicious:
  """Prints a line when it is unpickled."""

  def __reduce__(self):
    return print, ("code was run",)


@pytest.mark.parametrize(
  "content, reason",
  [
    (pickle.dumps({"keypoints2d": Malicious()}), "names builtins.print"),
    (pickle.dumps({"keypoints2d": np.array([{}])}), "not an array of numbers"),
    (pickle.dumps([1, 2]), "no named arrays"),
    (b"no pickle", "refused"),
    (b"", "refused"),
    (pickle.dumps({"other": np.zeros(3)}), "not the joints"),
    (pickle.dumps({"keypoints2d": np.zeros((9, 4, 5, 3))}), "5 joints instead"),
  ],
)
def test_annotations_never_run_code(tmp_path, capsys, content, reason):
  name = aist.ClipName.parse(NAMES[0])
  (tmp_path / "keypoints2d").mkdir()
  (tmp_path / "keypoints2d" / f"{name.sequence}.pkl").write_bytes(content)
  with pytest.raises(MediaError, match=reason) as error:
    read_joints(str(tmp_path), name)
  assert "\n" not in str(error.value)
  assert "code was run" not in capsys.readouterr().out


def test_a_missing_annotation_is_nan(tmp_path):
  joints = read_joints(str(tmp_path), aist.ClipName.parse(NAMES[0]))
  assert joints.joints2d.shape == (1, 17, 2) and np.isnan(joints.joints3d).all()


def test_tracks_are_read_from_a_folder_if_there_is_one(videos, tmp_path):
  music = tmp_path / "music"
  music.mkdir()
  writer.write_video(
    music / "x.mp4", toy_frames(20), 10, click_song()[: 2 * RATE], RATE
  )
  (music / "x.mp4").rename(music / "mBR0.m4a")
  source = AistSource(str(videos), music=str(music))
  survey = source.survey()
  audio, rate = source.song_audio("mBR0", survey.songs["mBR0"])
  assert abs(len(audio) / rate - 2) < 0.1
  with pytest.raises(MediaError, match="mJS2.*no such file"):
    source.song_audio("mJS2", survey.songs["mJS2"])

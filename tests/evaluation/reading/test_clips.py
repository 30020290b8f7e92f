"""Reading clips of any origin: what is refused, in one line, and what is repaired."""

import os
from fractions import Fraction

import av
import clip_folders
import numpy as np
import pytest

from dabfusion_jax.evaluation.reading import clip_files, clips, coding
from dabfusion_jax.evaluation.reading.labels import Labels, parse_labels
from data_pipeline.media import writer


def _read(folder, **settings):
  (file,) = clip_files.find_clips(folder, "samples").values()
  return clips.read_clip(file, **settings)


def test_a_video_is_read_with_its_rate_and_sound(tmp_path):
  frames = clip_folders.make_frames(0)
  clip_folders.write_mp4(tmp_path / "a.mp4", frames, clip_folders.clicks(2.4, 0.5))
  clip = _read(tmp_path)
  assert clip.fps == 10 and clip.frames.shape == frames.shape and not clip.lossless
  assert abs(len(clip.audio) / clips.SAMPLE_RATE - 2.4) < 0.03


def test_a_gif_of_another_system_is_a_clip(tmp_path):
  frames = clip_folders.make_frames(0)
  writer.write_video(tmp_path / "a.gif", frames, 10, None, 44_100)
  clip = _read(tmp_path)
  assert clip.fps == 10 and clip.audio is None and not clip.lossless
  assert np.abs(clip.frames.astype(int) - frames).mean() < 8


def test_lossless_frames_win_over_the_video_beside_them(tmp_path):
  frames = clip_folders.make_frames(0)
  clip_folders.write_mp4(
    tmp_path / "a.mp4", frames[::-1], clip_folders.clicks(2.4, 0.5)
  )
  clips.write_arrays(tmp_path / "a.npz", {"frames": frames, "fps": 10})
  clip = _read(tmp_path)
  np.testing.assert_array_equal(clip.frames, frames)
  assert clip.lossless and clip.audio is not None


def test_missing_sound_is_no_error(tmp_path):
  clip_folders.write_mp4(tmp_path / "a.mp4", clip_folders.make_frames(0), None)
  assert _read(tmp_path).audio is None


def test_a_wrong_rate_tag_is_told_by_the_sound(tmp_path):
  sound = clip_folders.clicks(2.4, 0.5)
  clip_folders.write_mp4(tmp_path / "a.mp4", clip_folders.make_frames(0), sound, 30)
  with pytest.raises(
    clips.ClipError, match=r"24 frames at 30 fps last 0.80 s.*--fps=10"
  ):
    _read(tmp_path)
  clip = _read(tmp_path, fps=10)
  assert clip.fps == 10 and abs(len(clip.audio) / clips.SAMPLE_RATE - 2.4) < 0.03


def test_thirty_frames_taken_for_twenty_five_are_told_apart(tmp_path):
  sound = clip_folders.clicks(2.4, 0.5)
  frames = clip_folders.make_frames(0, 60)
  clip_folders.write_mp4(tmp_path / "a.mp4", frames, sound, 30)
  with pytest.raises(clips.ClipError, match=r"last 2.00 s, .* 2.4\d s.*--fps=25"):
    _read(tmp_path)
  assert len(_read(tmp_path, fps=25).frames) == 60


def test_a_video_of_one_frame_has_no_rate_unless_it_is_given(tmp_path):
  clip_folders.write_mp4(tmp_path / "a.mp4", clip_folders.make_frames(0)[:1], None)
  with pytest.raises(
    clips.ClipError, match="a single frame has no frame rate; pass --fps"
  ):
    _read(tmp_path)
  assert _read(tmp_path, fps=10).frames.shape == (1, 32, 32, 3)


def test_coding_changes_frames_a_little_and_never_their_shape(tmp_path):
  clip_folders.write_folder(tmp_path, 1, size=33)
  clip = _read(tmp_path)
  coded = coding.after_coding(clip)
  change = np.abs(coded.frames.astype(int) - clip.frames).mean()
  assert coded.frames.shape == clip.frames.shape and not coded.lossless
  assert 0 < change < 10


@pytest.mark.parametrize(
  ("frames", "message"),
  [
    (np.full((4, 16, 16, 3), np.nan), "uint8, not NaN"),
    (np.zeros((4, 16, 16, 3)), "uint8, not float64"),
    (np.zeros((4, 16, 16), np.uint8), r"not \[t, h, w, 3\]"),
    (np.zeros((0, 16, 16, 3), np.uint8), r"not \[t, h, w, 3\]"),
  ],
)
def test_frames_that_are_no_pictures_are_refused(tmp_path, frames, message):
  clips.write_arrays(tmp_path / "a.npz", {"frames": frames, "fps": 10})
  with pytest.raises(clips.ClipError, match=message):
    _read(tmp_path)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"fps": np.nan}, "`fps` is nan"),
    ({"fps": 0}, "`fps` is 0.0"),
    ({"sample_rate": None}, "mono int16 .* with `sample_rate`"),
    ({"audio": np.zeros(9000, np.float32)}, r"not float32 \(9000,\)"),
    ({"audio": np.zeros((9000, 2), np.int16)}, r"int16 \(9000, 2\)"),
    ({"part_map": np.zeros((3, 8, 8), np.uint8)}, "`part_map` has shape .3,"),
    ({"joints2d": np.zeros((4, 5, 2))}, "need .4, 17, 2."),
    ({"beat_times": np.zeros((2, 2))}, "`beat_times` has shape"),
    ({"beat_times": np.float64(1)}, "`beat_times` has shape"),
    ({"beat_times": np.array([0.1, np.nan])}, "must hold finite numbers"),
    ({"true_beat_times": np.array(["0.5"])}, "must hold finite numbers"),
  ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, message):
  arrays = {"frames": np.zeros((4, 16, 16, 3), np.uint8), "fps": 10}
  arrays |= {"audio": np.zeros(8820, np.int16), "sample_rate": 22_050} | change
  clips.write_arrays(
    tmp_path / "a.npz", {k: v for k, v in arrays.items() if v is not None}
  )
  with pytest.raises(clips.ClipError, match=message):
    _read(tmp_path)


def test_cutting_and_resizing(tmp_path):
  clip_folders.write_folder(tmp_path, 1)
  clip = _read(tmp_path, num_frames=10, frame_size=16)
  assert clip.frames.shape == (10, 16, 16, 3) and len(clip.audio) == 22050
  assert clip.truth["joints2d"].shape == (10, 17, 2) and "part_map" not in clip.truth
  with pytest.raises(clips.ClipError, match="has 24 frames, not 40"):
    _read(tmp_path, num_frames=40)


def test_an_empty_or_damaged_folder_is_refused(tmp_path):
  with pytest.raises(
    clips.ClipError, match=r"holds no clips; .* in \.npz, \.mp4, [^()]*\.$"
  ):
    clip_files.find_clips(tmp_path, "samples")
  with pytest.raises(clips.ClipError, match="is not a folder"):
    clip_files.find_clips(tmp_path / "absent", "samples")
  (tmp_path / "a.npz").write_bytes(b"PK nonsense")
  with pytest.raises(clips.ClipError, match="damaged"):
    _read(tmp_path)


def test_the_content_decides_the_digest(tmp_path):
  for i, name in enumerate(("one", "two", "three")):
    clip_folders.write_folder(tmp_path / name, 1, noise=i // 2)
  one, two, three = (
    next(iter(clip_files.find_clips(tmp_path / n, "samples").values())).digest
    for n in ("one", "two", "three")
  )
  assert one == two != three


def test_names_tell_groups():
  labels = parse_labels("export/gHO_sFM_c09_d20_mHO3_ch11-w2")
  assert labels.sequence == "gHO_sFM_cAll_d20_mHO3_ch11"
  assert (labels.genre, labels.camera, labels.track) == ("HO", "c09", "mHO3")
  assert labels.bpm == 125 and labels.situation == "sFM"
  assert parse_labels("unseen_cr7_mJB1") == Labels(
    "unseen_cr7_mJB1", "JB", track="mJB1", bpm=90
  )
  assert parse_labels("video7") == Labels("video7")


@pytest.mark.parametrize("ending", ["mp4", "npz"])
def test_a_dangling_link_costs_one_clip(tmp_path, ending):
  (tmp_path / f"dead.{ending}").symlink_to(tmp_path / "nowhere")
  file = clip_files.find_clips(tmp_path, "samples")["dead"]
  with pytest.raises(clips.ClipError) as error:
    clips.read_clip(file)
  assert "dead" in str(error.value) and "\n" not in str(error.value)


def test_windows_of_a_video_are_one_sequence_and_odd_names_are_only_names():
  assert parse_labels("take 3-w0").sequence == parse_labels("take 3-w12").sequence
  assert parse_labels("take 3-w").sequence == "take 3-w"
  odd = "gBR_sBM_c01_d04_mBR7_ch03"  # there is no such track
  assert parse_labels(odd) == Labels(odd)
  odd = "gXX_sBM_c01_d04_mBR0_ch03"  # nor such a genre
  assert parse_labels(odd) == Labels(odd, "BR", track="mBR0", bpm=80)


def _write_uneven(path, steps):
  """Writes a film whose frames are so many milliseconds apart."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=1000)
    stream.width = stream.height = 32
    stream.codec_context.time_base = Fraction(1, 1000)
    images = clip_folders.make_frames(0, len(steps) + 1)
    for image, at in zip(images, np.cumsum([0, *steps]), strict=True):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts, frame.time_base = int(at), Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_a_rate_that_changes_on_the_way_is_refused_and_rounded_times_are_not(tmp_path):
  _write_uneven(tmp_path / "a.mp4", [33] * 30 + [42] * 30)
  with pytest.raises(clips.ClipError, match=r"its frame rate changes.*0\.1\d s off"):
    _read(tmp_path)
  _write_uneven(tmp_path / "a.mp4", [33, 33, 34] * 20)
  assert _read(tmp_path).fps == 30


def test_long_films_may_be_off_by_no_more_than_short_ones(tmp_path):
  frames = np.zeros((600, 16, 16, 3), np.uint8)  # 25 s at 24 fps
  audio = np.zeros(25 * 22_050, np.int16)
  arrays = {"frames": frames, "fps": 25, "audio": audio, "sample_rate": 22_050}
  clips.write_arrays(tmp_path / "a.npz", arrays)
  with pytest.raises(clips.ClipError, match="pass --fps=24"):
    _read(tmp_path)


def test_what_an_export_has_not_finished_or_hides_is_no_clip(tmp_path):
  for part in clip_files.PARTS:
    clip_folders.write_folder(tmp_path / part, 2)
  hidden = tmp_path / "samples" / ".trash"
  clip_folders.write_folder(hidden, 1)
  frames = clip_folders.make_frames(0)
  clip_folders.write_mp4(tmp_path / "samples" / "begun.mp4", frames, None)
  (tmp_path / "samples" / "begun.gif").touch()  # a preview of it
  names = {clip_folders.name_of(i) for i in range(2)}
  # Without the manifest as well, references are no samples.
  assert set(clip_files.find_paths(tmp_path, "samples")) == names | {"begun"}
  manifest = tmp_path / "manifest.json"
  for other in ("{}", '{"name": "of another program"}'):
    manifest.write_text(other)
    begun = clip_files.find_paths(tmp_path / "samples", "samples")
    assert set(begun) == names | {"begun"}
  manifest.write_text('{"format": 2, "label": "x", "num_clips": 2}')
  for folder in (tmp_path, tmp_path / "samples"):
    assert set(clip_files.find_paths(folder, "samples")) == names
  manifest.write_text('{"format": 2, "label": "x", "num_clips": "2"}')
  with pytest.raises(clip_files.ClipError, match="damaged .num_clips"):
    clip_files.find_paths(tmp_path, "samples")


def test_a_name_that_is_not_utf8_is_refused_at_once(tmp_path):
  clip_folders.write_folder(tmp_path, 1)
  try:
    (tmp_path / os.fsdecode(b"caf\xe9.npz")).write_bytes(b"")
  except OSError:
    pytest.skip("this disk takes no such name")
  with pytest.raises(clips.ClipError, match="not UTF-8; rename"):
    clip_files.find_paths(tmp_path, "samples")


def test_music_stays_in_step_where_repeated_frames_are_dropped(tmp_path):
  """Each frame tells the second of its beat, and is heard as loud as that."""
  frames = (
    np.zeros((24, 16, 16, 3), np.uint8)
    + np.arange(24, dtype=np.uint8)[:, None, None, None]
  )
  loud = np.repeat(np.arange(24, dtype=np.int16), 2205)
  arrays = {"frames": frames, "fps": 10, "audio": loud, "sample_rate": 22_050}
  times = np.array([0.55, 0.85, 1.25, 2.05])
  arrays |= {
    "beat_times": times,
    "joints2d": np.zeros((24, 17, 2)) + frames[:, :1, 0, :2],
  }
  clips.write_arrays(tmp_path / "a.npz", arrays)
  clip = _read(tmp_path, segment_frames=8)
  kept = [i for i in range(24) if i not in (8, 16)]
  assert clip.frames[:, 0, 0, 0].tolist() == kept
  assert clip.truth["joints2d"][:, 0, 0].tolist() == kept
  heard = np.round(clip.audio * 32768)[1102::2205]
  assert heard.tolist() == kept
  # What was told of frame 8 is told of where it was.
  np.testing.assert_allclose(clip.truth["beat_times"], [0.55, 0.8, 1.15, 1.85])

"""AIST names, tempi and splits follow the published rules."""

import pytest

from data_pipeline import aist
from data_pipeline.aist import ClipName

NAME = "gBR_sBM_c01_d04_mBR0_ch03"


def test_a_name_survives_the_round_trip():
  name = ClipName.parse(NAME)
  assert str(name) == NAME
  assert name == ClipName("BR", "sBM", "c01", "d04", "mBR0", "ch03")
  assert name.sequence == "gBR_sBM_cAll_d04_mBR0_ch03"
  assert name.bpm == 80


@pytest.mark.parametrize(
  "text",
  [
    *("", "clip", NAME + ".mp4", "../" + NAME, NAME[:-1], NAME[:-1] + "\u0663"),
    NAME.replace("BR", "XX"),
  ],
)
def test_anything_else_is_not_a_name(text):
  with pytest.raises(ValueError, match="AIST name|unknown genre"):
    ClipName.parse(text)


def test_tempi_follow_the_rule_and_those_of_house_their_own():
  assert [aist.tempo_bpm(f"mLO{i}") for i in range(6)] == [80, 90, 100, 110, 120, 130]
  assert [aist.tempo_bpm(f"mHO{i}") for i in range(6)] == [110, 115, 120, 125, 130, 135]
  with pytest.raises(ValueError, match="mBR0"):
    aist.tempo_bpm("mBR6")


def test_every_genre_has_three_dancers_of_its_own():
  all_dancers = [dancer for dancers in aist.DANCERS.values() for dancer in dancers]
  assert len(set(all_dancers)) == 30
  assert aist.DANCERS["BR"] == ("d04", "d05", "d06")
  held_out = aist.held_out_dancers()
  assert all(len(held_out & set(dancers)) == 1 for dancers in aist.DANCERS.values())


@pytest.mark.parametrize("split", ["official", "index1", "index2"])
def test_each_split_holds_out_one_track_per_genre(split):
  tracks = aist.held_out_tracks(split)
  assert sorted(track[1:3] for track in tracks) == sorted(aist.GENRES)


def test_a_split_can_be_any_list_file(tmp_path):
  path = tmp_path / "mine.txt"
  path.write_text("# mine\nmBR1\n\nmHO2 # house\n")
  assert aist.held_out_tracks(str(path)) == {"mBR1", "mHO2"}
  path.write_text("mBR9\n")
  with pytest.raises(ValueError, match="mBR9"):
    aist.held_out_tracks(str(path))
  with pytest.raises(ValueError, match="official"):
    aist.held_out_tracks("nonsense")


def test_the_split_tells_unseen_music_from_unseen_dancers():
  tracks, dancers = frozenset({"mBR0"}), frozenset({"d06"})

  def split(dancer, music):
    name = ClipName("BR", "sBM", "c01", dancer, music, "ch01")
    return aist.split_of(name, tracks, dancers)

  assert split("d04", "mBR1") == "train"
  assert split("d06", "mBR0") == "test"
  assert split("d04", "mBR0") == "test_music"
  assert split("d06", "mBR1") == "test_dancer"
  real = ClipName.parse(NAME)
  assert aist.split_of(real, tracks, frozenset()) == "test"

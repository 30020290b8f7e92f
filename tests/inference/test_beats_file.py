"""What editors and annotators write is read; what is no list of beats is one line."""

import numpy as np
import pytest

from dabfusion_jax.inference import beats_file
from dabfusion_jax.inference.beats_file import BeatsError

TIMES = [0.5, 1.0, 62.25]
FILES = {
  "one time per line": "1.0\n0.5\n62.25\n",
  "comments, a mark and empty lines": "\ufeff# beats\n\n0.5\n1.0\n1.0\r\n62.25\n",
  "madmom": "0.500\t1\n1.000\t2\n62.250\t3\n",
  "audacity": "0.500000\t0.500000\t1\n1.0\t1.0\tdrop: it\n\\\t20\t90\n62.25\t63\n",
  "csv with a header": 'bar,Time (s),label\n1,0.5,a\n1,1.0,"b, c"\n2,62.25,d\n',
  "csv without one": "0.5,1\n1.0,2\n62.25,3\n",
  "semicolons": "beat;seconds\n1;0.5\n2;1.0\n3;62.25\n",
  "audition": "Name\tStart\tType\nA\t0:00.500\tCue\nB\t0:01.0\tCue\nC\t1:02.25\t\n",
  "decimal commas": "Zeit;time\n0;0,5\n1;1,0\n2;62,25\n",
  "decimal commas of an editor": "0,500000\t0,500000\t1\n1,0\t1,0\n1:02,25\t63\n",
  "decimal commas before spaces": "0,5 1\n1,0 2\n62,25 3\n",
  "whole seconds before the number of the beat": "0.5,1\n1,2\n62.25,3\n",
  "one column with a header": "time\n0.5\n1\n62.25\n",
  "json": "[0.5, 1.0, 62.25]",
  "json object": '{"bpm": 120, "beats": [1.0, 0.5, 62.25]}',
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_beats_is_read(tmp_path, kind):
  path = tmp_path / "beats"
  path.write_text(FILES[kind], encoding="utf-8")
  np.testing.assert_array_equal(beats_file.read(path), TIMES)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"0.5\none\n", "line 2: 'one' is no number of seconds"),
    (b"0.5\nnan\n", "line 2: 'nan'"),
    (b"time,beat\n0.5,1\n,2\n", "line 3: '' is no number"),
    (b"bar,label\n1,a\n", "line 1: 'bar'"),
    (b"0,5\n1,0\n1,5\n", "read as two columns, 0 and 5; write its times as 0.5"),
    (b"0,52\n2,48\n4,51\n", "read as two columns, 0 and 5; write its times as 0.5"),
    (b"timestamp,beat\n0.5,1\n1.0,2\n", "column 2 seems to count beats"),
    (b"time_ms,beat\n500,1\n1000,2\n", "column 2 seems to count beats"),
    (b"1,0.5\n2,1.0\n3,1.5\n", "column 1 seems to count beats"),
    (b"time,beat\n", "no beats below its header"),
    (b"\n# nothing\n", "no beats in it"),
    (b"\xff\xfe\x00\x01", "not a text file"),
    (b'{"tempo": 120}', "JSON, but not of beats"),
    (b'{"beats": {"a": 1}}', "JSON, but not of beats"),
    (b"[1.0, 2.0", "JSON, but not of beats"),
    (b"[" * 100_000, "JSON, but not of beats"),
  ],
)
def test_a_bad_file_is_one_line(tmp_path, content, message):
  (tmp_path / "beats").write_bytes(content)
  with pytest.raises(beats_file.BeatsError, match=message) as error:
    beats_file.read(tmp_path / "beats")
  assert "\n" not in str(error.value)


def test_a_folder_is_no_file_of_beats(tmp_path):
  with pytest.raises(BeatsError, match="cannot be read: Is a directory"):
    beats_file.read(tmp_path)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
  with pytest.raises(beats_file.BeatsError, match="none.txt: no such file"):
    beats_file.read(tmp_path / "none.txt")


def test_times_that_are_given_must_be_a_list_of_numbers():
  np.testing.assert_array_equal(beats_file.check_times([2.0, 1.0, 1.0]), [1.0, 2.0])
  assert not len(beats_file.check_times([]))
  for times in ([0.5, np.nan], [[1.0]], "text", None, [np.inf]):
    with pytest.raises(beats_file.BeatsError, match="finite numbers"):
      beats_file.check_times(times)

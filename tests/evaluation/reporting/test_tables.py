"""The paper's tables: its figures as printed, ours beside them with their nulls."""

import csv
import json

import pytest

from dabfusion_jax.evaluation.reporting import protocol, published, tables


def _row(mean, **changes):
  row = {"mean": mean, "n": 9, "n_undefined": 0, "reasons": {}, "sem_seq": 0.01}
  row |= {"real": {"mean": mean + 1, "sem_seq": 0.02, "n": 9}, "nulls": {}, "words": ""}
  return row | changes


def _result(label="Ours", mean=0.3, **changes):
  unknown = {"mean": None, "n": 0, "reasons": {"no_weights": 9}, "real": {"mean": None}}
  rows = {
    "psnr": _row(25.0, nulls={"frozen": {"mean": 27.0, "sem_seq": 0.5, "n": 9}}),
    "mm_align": _row(mean, nulls={"chance": {"mean": 0.22, "sem_seq": 0.001, "n": 7}}),
    "clip_score": unknown | {"nulls": {}},
    "fvd": {"value": 300.0, "n": 9, "reason": None, "nulls": {"frozen": 900.0}}
    | {"real_half": {"mean": 120.0, "n": 4}},
  }
  result = {
    "subject": {"label": label, "embedding": "spectral", "trained_frames": 40},
    "protocol": {
      "num_frames": 40,
      "fps": 10,
      "groups": ["alignment", "fvd"],
      "definitions": protocol.DEFINITIONS,
    },
    "summary": {"all": rows, "camera=c01": rows, "camera=c05": rows, "genre=HO": rows},
  }
  result["protocol"] |= changes
  return result


def _write(folder, **results):
  for name, result in results.items():
    (folder / f"{name}.json").write_text(json.dumps(result))
  return [str(folder / f"{name}.json") for name in results]


def test_the_figures_of_the_paper_are_as_printed():
  assert published.TABLE_1["DabFusion_e",] == {
    "fvd": 193.98, "lpips_alex": 0.033, "psnr": 26.88, "ssim": 0.959
  }  # fmt: skip
  assert published.TABLE_3["GT",]["mm_align"] == 0.223
  assert published.TABLE_2["DabFusion_b", "c02"]["psnr"] == 25.031
  # With the digits of the paper, in every table.
  rows = [row for table in tables.TABLES for row in tables.make_rows(table, [])]
  shown = {cell for row in rows for cell in row}
  assert {"0.040", "0.960", "26.30", "25.031", "0.153"} <= shown
  assert not {"0.04", "26.3", "0.96"} & shown
  counts = [len(table.figures) for table in tables.TABLES]
  assert counts == [3, 9, 3, 9, 2, 2, 4]


def test_our_figures_stand_beside_the_papers_and_their_nulls(tmp_path):
  results = tables.read_results(_write(tmp_path, a=_result()))
  text, paths = tables.write_tables(tmp_path / "out", results)
  assert text.index("cannot be compared") < text.index("### Table 1")
  assert len(paths) == 8
  with open(tmp_path / "out" / "table1.csv") as file:
    rows = list(csv.reader(file))
  assert rows[0][:4] == ["source", "model", "n", "FVD, whole clips"]
  assert rows[3][:4] == ["paper", "DabFusion_e", "", "193.98"]
  assert rows[4][:4] == ["ours", "Ours", "9", "300.00 (real 120.0 at n 4)"]
  frozen = dict(zip(rows[0], rows[5], strict=True))
  assert frozen["model"] == "frozen" and frozen["PSNR"] == "27.00 +- 0.50"
  assert frozen["FVD, whole clips"] == "900.00"
  assert "| ours | GT | 9 |  | 1.300 +- 0.020 |" in text
  assert "| ours | Ours | 9 | not computed (no weights) | 0.300 +- 0.010 |" in text
  assert "| null | chance | 9 |  | 0.2200 +- 0.0010 (n 7) |" in text
  assert "| ours | Ours | c01 | 9 |" in text and "c05" not in text
  assert "| ours | Ours | spectral | 9 |" in text


def test_what_nobody_asked_for_is_told_from_what_could_not_be_had():
  result = _result()
  asked = {"mean": None, "reasons": {"not_asked": 9}}
  result["summary"]["all"]["lpips_alex"] = _row(1) | asked
  shown = lambda: tables.make_rows(tables.TABLES[0], [("a", result)])[-2]
  assert shown()[-3] == shown()[-1] == "not asked"
  result["protocol"]["groups"] = ["paired"]
  assert shown()[-1] == "not computed (no real clips)"


def test_results_of_different_protocols_are_refused(tmp_path):
  paths = _write(tmp_path, a=_result(), b=_result(fps=30))
  with pytest.raises(protocol.ProtocolError, match="fps is 10 in the first and 30"):
    tables.write_tables(tmp_path / "out", tables.read_results(paths))


def test_results_of_other_metrics_are_told_which(tmp_path):
  groups = ["fvd", "paired"], ["paired", "pose"]
  a, b = (_result(groups=x, beat_alignment=x) for x in groups)
  said = "only .*a.json has fvd and only .*b.json has pose; .*--metrics=fvd,paired,pose"
  with pytest.raises(protocol.ProtocolError, match=said):
    tables.write_tables(tmp_path, tables.read_results(_write(tmp_path, a=a, b=b)))


def test_only_tables_about_length_accept_clips_of_different_length(tmp_path):
  paths = _write(tmp_path, a=_result(), b=_result(num_frames=80))
  tables.write_tables(tmp_path / "out", tables.read_results(paths[:1]))
  text, paths = tables.write_tables(tmp_path / "out", tables.read_results(paths))
  assert {p.name for p in paths} == {"table5.csv", "table7.csv", "tables.md"}
  assert set((tmp_path / "out").iterdir()) == set(paths)  # none of other results
  assert "| ours | Ours | 80 | 9 |" in text.partition("Table 7")[2]
  assert text.count("refused:") == 5


def test_a_file_that_is_no_result_is_named(tmp_path):
  (tmp_path / "a.json").write_text("{}")
  with pytest.raises(protocol.ProtocolError, match=r"a.json is not a result"):
    tables.read_results([str(tmp_path / "a.json")])


def test_a_result_of_an_earlier_version_is_refused_with_its_reason(tmp_path):
  paths = _write(tmp_path, a=_result(definitions=2))
  reason = "a.json was measured by version 2 of the metrics.*evaluate the clips again"
  with pytest.raises(protocol.ProtocolError, match=reason):
    tables.read_results(paths)

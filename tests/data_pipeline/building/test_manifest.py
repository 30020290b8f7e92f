"""A manifest tells trainings what their data were made from."""

import pytest

from data_pipeline.building.manifest import made_from

AIST = {"name": "aist", "split": "index1", "ignore": "aistpp", "joints": True}


@pytest.mark.parametrize(
  ("source", "flags"),
  [
    ({"name": "folder"}, "--source=folder --videos=DIR"),
    ({"name": "synthdance", "preset": "demo", "split": "official"},
     "--source=synthdance --preset=demo"),
    (AIST, "--source=aist --videos=DIR --split=index1 --ignore=aistpp"
     " --annotations=DIR"),
  ],
)  # fmt: skip
def test_the_flags_of_a_data_set_are_those_that_are_not_the_default(source, flags):
  manifest = {"settings": {"source": source}, "counts": {"train": {"clips": 20}}}
  assert made_from(manifest) == {"source": flags, "num_clips": 20}

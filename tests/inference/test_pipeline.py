"""A pipeline travels between processes, with its weights and without its programs."""

import copy
import dataclasses
import pickle

import jax
import numpy as np

from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage


def test_a_pipeline_that_was_used_can_be_pickled_and_copied():
  used = DancePipeline.from_pretrained(saved_stage.shipped())
  assert used.batch_sampler.devices
  for again in (pickle.loads(pickle.dumps(used)), copy.deepcopy(used)):
    assert "batch_sampler" not in vars(again)
    assert (again.checkpoint, again.digests) == ("dance_e", used.digests)
    jax.tree.map(np.testing.assert_array_equal, again.params, used.params)


def test_a_copy_keeps_its_devices():
  loaded = DancePipeline.from_pretrained(saved_stage.shipped())
  pipeline = dataclasses.replace(loaded, devices=tuple(jax.local_devices()))
  assert copy.copy(pipeline).devices == pipeline.devices

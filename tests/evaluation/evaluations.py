"""Evaluates folders of made-up clips without a command line."""

import clip_folders

from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.clip_sets import open_clip_set
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.networks import Networks
from dabfusion_jax.evaluation.reporting.result import evaluate
from dabfusion_jax.evaluation.scoring.measure import Extras, Settings

QUICK = ("paired", "alignment", "motion")
ALL_BUT_NETWORKS = (*QUICK, "codec")
_NONE = Networks({}, {})


def write_folders(root):
  """Returns a folder that holds `real` clips and the same, `noisy`."""
  clip_folders.write_folder(root / "real")
  clip_folders.write_folder(root / "noisy", noise=20, truth=False)
  return root


def evaluate_folders(
  samples, references, cache, groups=QUICK, networks=_NONE, **settings
):
  """Returns (result, measured clips) of two folders, by way of a cache."""
  reading = settings.pop("reading", Reading())
  cache = FeatureCache(cache)
  clip_sets = [
    folder and open_clip_set(folder, part, reading, cache)
    for folder, part in ((samples, "samples"), (references, "references"))
  ]
  extras = Extras(networks, stage1=settings.pop("stage1", None))
  settings = Settings(groups=groups, reading=reading, **settings)
  return evaluate(*clip_sets, settings, extras)

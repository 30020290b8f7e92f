"""Dance videos from one still picture and a piece of music.

The public API is loaded when it is first used, so that importing the package is quick.
"""

import importlib
from typing import Any

from data_pipeline.interrupts import end_quietly

end_quietly()
__version__ = "0.2.0"
__all__ = ["Dance", "DancePipeline", "__version__"]

_HOMES = {
  "Dance": "dabfusion_jax.inference.dance",
  "DancePipeline": "dabfusion_jax.pipeline",
}


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *_HOMES])

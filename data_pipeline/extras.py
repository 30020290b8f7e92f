"""Names the extra of pyproject.toml that provides a missing dependency."""

import contextlib
from collections.abc import Iterator

from data_pipeline.errors import UserError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
  """Turns an ImportError into a UserError that says how to install the extra."""
  try:
    yield
  except ImportError as error:
    raise UserError(f'{error}; run: pip install "dabfusion_jax[{extra}]".') from error

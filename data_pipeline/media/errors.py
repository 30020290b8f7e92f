"""The one error of unusable media files."""

import os

from data_pipeline.errors import UserError

PathLike = str | os.PathLike


class MediaError(UserError):
  """A file that cannot be used: which, why, and what to do."""

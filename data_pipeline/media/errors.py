"""The one error of unusable media files."""

import os

PathLike = str | os.PathLike


class MediaError(ValueError):
  """A file that cannot be used: which, why, and what to do."""

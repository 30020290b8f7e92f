"""Defines the error for media files that cannot be used."""

from data_pipeline.errors import UserError


class MediaError(UserError):
  """A media file that cannot be used: which one, why, and what to do about it."""

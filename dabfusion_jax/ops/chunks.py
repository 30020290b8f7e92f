"""Sizes of chunks of equal length."""


def chunk_size(count: int, most: int) -> int:
  """Returns the largest divisor of `count` that is at most `most`, or 1."""
  return max(n for n in range(1, max(1, min(count, most)) + 1) if count % n == 0)

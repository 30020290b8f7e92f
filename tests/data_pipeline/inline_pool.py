"""A stand-in for the worker processes of a build."""


class InlinePool:
  """Stands for `LocalPool`: works in this process, which takes no time to start."""

  def __init__(self, num_workers):
    del num_workers

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    pass

  def run(self, function, arguments, unit, on_crash):
    return [function(*each) for each in arguments]

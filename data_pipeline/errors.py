"""The errors that a program's user is meant to read."""


class UserError(ValueError):
  """Something its user can mend; the message says what, where and how, in one line.

  Programs print it without a traceback. Any other exception is a bug, or wrong use of
  a function by its caller, and keeps its traceback.
  """

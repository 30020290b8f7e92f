"""Defines the base class of errors that are meant for the user of a program."""


class UserError(ValueError):
  """An error that the user can fix; the message says what, where and how, in one line.

  Programs print it without a traceback. Any other exception is a bug or a wrong call,
  and keeps its traceback.
  """

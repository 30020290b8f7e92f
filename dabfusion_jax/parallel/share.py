"""One process's share of work that several processes do, on one machine or many."""

import argparse
import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental import multihost_utils

from dabfusion_jax.parallel import hardware
from data_pipeline import cli
from data_pipeline.errors import UserError

_MAX_WAIT_SECONDS = 7 * 24 * 3600  # for the slowest process


class ShareError(UserError):
  """A share that does not exist, or that cannot be known."""


@dataclasses.dataclass(frozen=True)
class Share:
  """What one process does of a list of pieces that do not depend on each other.

  Attributes:
    index: of the share, from 0.
    count: of shares.
    is_joined: whether the processes know of each other, and can wait.

  Raises:
    ShareError: there is no such share.
  """

  index: int = 0
  count: int = 1
  is_joined: bool = False

  def __post_init__(self):
    if not 0 <= self.index < self.count:
      raise ShareError(
        f"There is no share {self.index} of {self.count}; they count from 0."
      )

  @property
  def is_first(self) -> bool:
    """Whether this is the process that does what only one may do."""
    return self.index == 0

  @property
  def lock(self) -> str:
    """Name for `locks.hold_folder`, so that processes may work in one folder."""
    return f"_{self.index}_of_{self.count}" if self.count > 1 else ""

  def of(self, pieces: Sequence[Any]) -> Sequence[Any]:
    """Returns every count-th piece."""
    return pieces[self.index :: self.count]

  def wait(self, name: str) -> None:
    """Returns once all processes have come here, if they are joined.

    Raises:
      ShareError: another one has ended.
    """
    if not self.is_joined:
      return
    try:
      multihost_utils.sync_global_devices(name)
    except (ValueError, RuntimeError) as error:  # as the collective pleases
      raise ShareError(
        f"Another of the {self.count} processes has ended, or cannot be reached"
        f" ({cli.one_line(error)[:160]}). Run all of them again: they go on."
      ) from None

  def __str__(self) -> str:
    return f"share {self.index} of {self.count}"


ALONE = Share()


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `from_arguments`."""
  add = parser.add_argument
  add("--distributed", action="store_true", help="join the other processes")
  add("--process_index", type=cli.natural_int, help="this process, if they do not join")
  add("--process_count", type=cli.positive_int, help="how many processes there are")


def from_arguments(args: argparse.Namespace) -> Share:
  """Returns the share that a command line names; joins the processes if it says so.

  Call it before anything else uses JAX.

  Raises:
    ShareError: there is no such share, or it is given and found out at the same time.
    UserError: as `join`.
  """
  given = args.process_index, args.process_count
  if not args.distributed:
    if given == (None, None):
      return ALONE
    if None in given:
      raise ShareError("Give --process_index and --process_count together.")
    return Share(*given)
  if given != (None, None):
    raise ShareError("With --distributed, processes find out their numbers themselves.")
  # Shares may differ much in their work.
  return join(shutdown_timeout_seconds=_MAX_WAIT_SECONDS)


def join(shutdown_timeout_seconds: int = 300) -> Share:
  """Joins the processes of a pod or cluster; call it before anything else uses JAX.

  Args:
    shutdown_timeout_seconds: how long one that is done waits for the others.

  Returns:
    The share of this process.

  Raises:
    ShareError: there are no others to join.
    UserError: this process has no device of the kind that is asked for.
  """
  try:
    jax.distributed.initialize(shutdown_timeout_seconds=shutdown_timeout_seconds)
  except (ValueError, RuntimeError) as error:
    raise ShareError(f"--distributed: {cli.one_line(error)}") from None
  hardware.check_backend()
  own = Share(jax.process_index(), jax.process_count(), True)
  # The first of all collectives makes connections, for which others wait 30 s only.
  own.wait("start")
  return own


@contextlib.contextmanager
def ended_at_once(agreed: int = 0) -> Iterator[None]:
  """Ends a process that fails without waiting for those that it has joined.

  They would wait for it in turn; so they are told (`Share.wait`). An exit with the
  status `agreed` is no failure: all processes make it together.
  """
  try:
    yield
  except BaseException as error:
    is_stop = isinstance(error, SystemExit)
    is_agreed = is_stop and error.code in (None, 0, agreed)
    if is_agreed or not jax.distributed.is_initialized():
      raise
    if not is_stop:
      traceback.print_exc()
    elif isinstance(error.code, str):
      print(error.code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.code if is_stop and isinstance(error.code, int) else 1)

"""What became of each case of a soak: used, refused in one line, or failed."""

import contextlib
import io
import pathlib
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from data_pipeline.errors import UserError

SECONDS = 120  # for one file


class Hang(BaseException):
  """A case that took longer than `SECONDS`."""


class Outcomes:
  """Counts used, refused and failed cases by kind."""

  def __init__(self) -> None:
    self.counts: dict[str, Counter[str]] = {}
    self.failures: list[dict[str, str]] = []
    self.refused: list[dict[str, str]] = []

  def run(
    self,
    kind: str,
    name: str,
    call: Callable[[], Any],
    output: pathlib.Path | None = None,
    seconds: int = SECONDS,
  ) -> None:
    """Runs one case; `output` is the folder it may write to."""

    def stop(*unused):
      raise Hang

    said = io.StringIO()
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
      with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        call()
      result, text = "used", ""
    except UserError as error:
      result, text = "refused", str(error)
    except SystemExit as exit:
      result = "refused" if exit.code else "used"
      text = str(exit.code)
    except Hang:
      result, text = "hang", "".join(traceback.format_exc()[-600:])
    except BaseException:
      result, text = "traceback", traceback.format_exc()[-1500:]
    finally:
      signal.alarm(0)
      signal.signal(signal.SIGALRM, before)
    if result == "refused" and ("\n" in text or len(text) > 1000):
      result = "long message"
    if output is not None and any(p.name[0] == "." for p in output.rglob("*.*")):
      hidden = [p for p in output.rglob(".*") if not p.name.startswith(".lock")]
      result = "half written" if hidden else result
    self.counts.setdefault(kind, Counter())[result] += 1
    case = {"kind": kind, "case": name, "result": result, "text": text}
    if result == "refused":
      self.refused.append(case)
    elif result != "used":
      self.failures.append(case)
      print(f"{kind}: {name}: {result}: {text.strip().splitlines()[-1:]}", flush=True)

"""The program of the app: in whatever usual way it ends, no uploads stay behind."""

import pathlib
import signal

import pytest

from dabfusion_jax import app

HANDLED = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers():
  before = {number: signal.getsignal(number) for number in HANDLED}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.fixture
def uploads(monkeypatch):
  """Folders of uploads; the app runs until it is sent a signal."""
  folders = []

  def run_until(number):
    def run(checkpoint, host, port, uploads):
      folders.append(pathlib.Path(uploads))
      (folders[-1] / "picture.png").touch()
      signal.raise_signal(number)

    monkeypatch.setattr(app, "run", run)
    return folders

  return run_until


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_ends_the_app_and_removes_the_uploads(handlers, uploads, number):
  signal.signal(signal.SIGHUP, signal.SIG_DFL)
  folders = uploads(number)
  with pytest.raises(SystemExit):
    app.main([])
  assert len(folders) == 1 and not folders[0].exists()


def test_below_nohup_a_closed_terminal_does_not_end_the_app(handlers, uploads):
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  folders = uploads(signal.SIGHUP)
  app.main([])  # `run` returned by itself
  assert len(folders) == 1

r"""Serves a page in which a picture and a song become a dance.

  python -m dabfusion_jax.app
  python -m dabfusion_jax.app --checkpoint=RUN --port=8080

It needs the extra `app`, and only this machine sees the page unless --host says
otherwise. Uploads and dances lie in a private folder. They are removed after an hour
without use, and all of them when the program ends (Ctrl-C).
"""

import argparse
import logging
import os
import pathlib
import signal
import tempfile
import threading
import time
from collections.abc import Sequence

from dabfusion_jax.inference.layers import default_weights
from dabfusion_jax.parallel import hardware
from dabfusion_jax.parallel.compiled import keep_compiled
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from dabfusion_jax.web.limits import Limits
from dabfusion_jax.web.service import DanceService
from data_pipeline import cli
from data_pipeline.extras import needs_extra
from data_pipeline.synthdance.example import example_inputs

_SWEEP_SECONDS = 60


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.app", __doc__)
  add = parser.add_argument
  add("--checkpoint", type=cli.path, help="stage 2, as for sample")
  add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: the network")
  add("--port", type=cli.port, default=7860, help="port to listen at")
  return parser


def run(
  checkpoint: str | pathlib.Path | None, host: str, port: int, private: str
) -> None:
  """Serves the page until the program is interrupted.

  Args:
    checkpoint: the model; None: the bundled ones.
    host, port: where to listen.
    private: an empty folder.
  """
  uploads, examples = pathlib.Path(private, "uploads"), pathlib.Path(private, "example")
  uploads.mkdir()
  os.environ["GRADIO_TEMP_DIR"] = str(uploads)
  with needs_extra("app"):
    from dabfusion_jax.web import page
  load, figures = DancePipeline.from_pretrained, None
  if checkpoint is None:
    own = default_weights(shows_decoded=False)
    checkpoint = saved_stage.shipped(own)
    if own == saved_stage.PEOPLE:  # whose decoder draws little motion
      figures = load(saved_stage.shipped())
  service = DanceService(load(checkpoint), uploads, Limits(), figures)
  example = example_inputs(examples, look="people")
  made = page.make_page(service, example)
  try:
    print(f"{page.launch(made, service, host, port)} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=warm_up, args=(service, *example), daemon=True).start()
    while True:
      time.sleep(_SWEEP_SECONDS)
      service.sweep()
  finally:
    made.close(verbose=False)


def warm_up(service: DanceService, image: pathlib.Path, music: pathlib.Path) -> None:
  """Compiles the model in the background; a failure is told, and ends nothing."""
  try:
    service.warm_up(image, music)
    print("ready: the first dance will not wait for the compiler", flush=True)
  except Exception:
    logging.getLogger(__name__).exception("the model could not be compiled ahead")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  args = make_parser().parse_args(argv)
  # Ended in any usual way, the program leaves no uploads behind.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not below nohup
    signal.signal(signal.SIGHUP, signal.default_int_handler)  # a terminal is closed
  with cli.one_line_errors("app"):
    hardware.check_backend()
    keep_compiled()
    with tempfile.TemporaryDirectory(prefix="dabfusion_app_") as private:
      run(args.checkpoint, args.host, args.port, private)


if __name__ == "__main__":
  main()

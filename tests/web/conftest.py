"""The page, served by Gradio over a model without networks."""

import gc
import pathlib
import socket
import wave

import dancers
import PIL.Image
import pytest
from stub_pipeline import Stub

from dabfusion_jax.web.limits import Limits
from dabfusion_jax.web.service import DanceService


@pytest.fixture(scope="module")
def example(tmp_path_factory):
  """A picture and two seconds of silence."""
  folder = tmp_path_factory.mktemp("example")
  picture, song = folder / "person.png", folder / "song.wav"
  PIL.Image.fromarray(dancers.draw()[0]).save(picture)
  with wave.open(str(song), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(8000)
    file.writeframes(bytes(32_000))
  return picture, song


@pytest.fixture(scope="module")
def served(tmp_path_factory, example):
  """(address, service) of a page that takes 1 MiB at most."""
  pytest.importorskip("gradio")
  folder = pathlib.Path(tmp_path_factory.mktemp("private"))
  service = DanceService(Stub(), folder, Limits(upload_bytes=2**20))
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    from dabfusion_jax.web import page

    made = page.make_page(service, example)
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    yield page.launch(made, service, "127.0.0.1", port), service
    made.close(verbose=False)
  # Gradio leaves event loops open. Their warnings belong here, where they are ignored,
  # not to the tests that happen to run when they are collected.
  gc.collect()

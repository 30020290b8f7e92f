"""The page of the web app, in Gradio: what stands where, and what calls what."""

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager

import gradio
import numpy as np

from dabfusion_jax.inference.pairs import MUSIC_SUFFIXES, PICTURE_SUFFIXES
from dabfusion_jax.inference.subject import ALL
from dabfusion_jax.web.limits import MIN_SECONDS, Request
from dabfusion_jax.web.service import DanceService, StoppedError
from dabfusion_jax.web.wording import CONTROLS, EVERYBODY
from data_pipeline.errors import UserError

INTRO = """# One still picture and a song become a dance

The person in the picture is found and outlined before anything runs. Only animate
pictures of people who agree to it, and say that the video is generated."""
SIZES = (256, 384, 512, 768, 1024)
# No fonts of other hosts: the page asks for nothing beyond this machine.
FONTS = ["system-ui", "sans-serif"]
# The last dance is covered while the next is made, and must not be heard; on a phone
# its place is out of sight.
_AT_START = """() => {
  const place = document.querySelector("#video");
  place.querySelector("video")?.pause();
  place.scrollIntoView({block: "nearest"});
}"""
_PRIVATE = "private"  # no handler is an endpoint for other programs


@contextmanager
def shown() -> Iterator[None]:
  """Shows an error of the user on the page, as one line."""
  try:
    yield
  except UserError as error:
    raise gradio.Error(str(error), print_exception=False) from error


def make_page(
  service: DanceService, example: tuple[pathlib.Path, pathlib.Path]
) -> gradio.Blocks:
  """Returns the page.

  Args:
    service: makes the dances.
    example: a picture and a song for those who bring none.
  """

  def preview(
    image: str | None, pick: int | None, everybody: bool
  ) -> tuple[np.ndarray | None, str]:
    if not image:
      return None, ""
    try:
      seen = service.preview(image, ALL if everybody else pick or 1)
    except UserError as error:  # stays under Notes when the message is gone
      gradio.Warning(str(error))
      return None, str(error)
    return seen.picture, "\n".join(seen.notes)

  def dance(
    image: str | None,
    music: str | None,
    seconds: float | int | None,
    music_start: float | int | None,
    bpm: float | int | None,
    steps: int | None,
    size: int | None,
    pick: int | None,
    everybody: bool,
    seed: int | None,
    request: gradio.Request,
    progress: gradio.Progress = gradio.Progress(),  # noqa: B008, as Gradio finds it
  ) -> tuple:
    tempo = bpm or None
    who = ALL if everybody else pick
    asked = Request(image, music, seconds, music_start, tempo, steps, size, who, seed)
    report = lambda share, text: progress(share, desc=text)
    with shown():
      try:
        made = service.dance(asked, request.session_hash, report)
      except StoppedError:  # asked for, so no error
        return (gradio.skip(),) * 5
    files = (
      gradio.update(value=str(path), interactive=True)
      for path in (made.video, made.gif)
    )
    return str(made.video), made.chart, *files, "\n".join(made.notes)

  def stop(request: gradio.Request) -> None:
    service.stop(request.session_hash)

  limits = service.limits
  sizes = [size for size in SIZES if size <= limits.size]
  steps = service.pipeline.settings.sampling.num_inference_steps
  trained = service.pipeline.settings.data.num_frames / service.pipeline.fps
  with gradio.Blocks(title="dabfusion_jax", analytics_enabled=False) as page:
    gradio.Markdown(INTRO)
    with gradio.Row():
      with gradio.Column(min_width=320):
        image = gradio.File(
          label="Picture of a person",
          file_types=["image", *PICTURE_SUFFIXES],
          height=130,
          elem_id="image",
        )
        # Some systems do not know of every ending, such as .ogg, that it is sound.
        music = gradio.File(
          label="Song",
          file_types=["audio", "video", *MUSIC_SUFFIXES],
          height=130,
          elem_id="music",
        )
        take = gradio.Button("Take the example", elem_id="example")
        seconds = gradio.Slider(
          MIN_SECONDS, limits.seconds, trained, step=1, label=CONTROLS["seconds"]
        )
        with gradio.Accordion("More", open=False, elem_id="more"):
          start = gradio.Number(0, label=CONTROLS["music_start"])
          # An empty number becomes 0 in the browser once it is seen.
          bpm = gradio.Number(
            0, label=CONTROLS["bpm"], info="0: as heard", elem_id="bpm"
          )
          count = gradio.Slider(1, limits.steps, steps, step=1, label=CONTROLS["steps"])
          size = gradio.Dropdown(sizes, value=512, label=CONTROLS["size"])
          pick = gradio.Number(
            1, label=CONTROLS["pick"], info="1 is the largest", precision=0
          )
          everybody = gradio.Checkbox(False, label=EVERYBODY, elem_id="everybody")
          seed = gradio.Number(
            0,
            label=CONTROLS["seed"],
            info="Another one, another dance",
            precision=0,
          )
        with gradio.Row():
          go = gradio.Button("Dance", variant="primary", elem_id="dance")
          end = gradio.Button("Stop", variant="stop", elem_id="stop")
        notes = gradio.Textbox(
          label="Notes", interactive=False, lines=2, elem_id="notes"
        )
        outlined = gradio.Image(
          label="Who will dance",
          interactive=False,
          height=300,
          buttons=["fullscreen"],
          elem_id="preview",
        )
      with gradio.Column(min_width=320):
        video = gradio.Video(
          label="The dance",
          interactive=False,
          autoplay=True,
          loop=True,
          height=380,
          buttons=[],
          elem_id="video",
        )
        with gradio.Row():
          film = gradio.DownloadButton(
            "Download mp4", interactive=False, size="md", elem_id="mp4"
          )
          gif = gradio.DownloadButton(
            "Download GIF", interactive=False, size="md", elem_id="gif"
          )
        chart = gradio.HTML(elem_id="chart")
    for changed in (image.change, pick.change, everybody.change):
      changed(
        preview,
        [image, pick, everybody],
        [outlined, notes],
        show_progress_on=outlined,
        concurrency_limit=2,
        api_visibility=_PRIVATE,
      )
    take.click(
      lambda: [str(path) for path in example],
      None,
      [image, music],
      api_visibility=_PRIVATE,
    )
    go.click(None, js=_AT_START, api_visibility=_PRIVATE)
    asked = go.click(
      dance,
      [image, music, seconds, start, bpm, count, size, pick, everybody, seed],
      [video, chart, film, gif, notes],
      show_progress_on=video,
      concurrency_limit=1,
      api_visibility=_PRIVATE,
    )
    # One that waits in the queue has not reached the service, and is taken out of it.
    ended = end.click(
      stop, None, None, queue=False, cancels=[asked], api_visibility=_PRIVATE
    )
    # Gradio sometimes shows what it cancels as an error without words.
    ended.then(
      lambda: gradio.skip(),
      None,
      video,
      queue=False,
      show_progress="hidden",
      api_visibility=_PRIVATE,
    )
    page.unload(stop)
  return page.queue(max_size=limits.waiting)


def launch(page: gradio.Blocks, service: DanceService, host: str, port: int) -> str:
  """Serves a page until `page.close()`, and returns its address.

  Raises:
    OSError: the port is taken.
  """
  _, address, _ = page.launch(
    server_name=host,
    server_port=port,
    share=False,
    prevent_thread_lock=True,
    quiet=True,
    max_file_size=service.limits.upload_bytes,
    ssr_mode=False,
    theme=gradio.themes.Base(font=FONTS, font_mono=["monospace"]).set(
      # Gradio's grey of hints has a contrast of 2 to 1 on white.
      body_text_color_subdued="*neutral_500",
      block_info_text_color="*neutral_500",
    ),
    footer_links=[],
  )
  return address

r"""Makes a dance video of one picture and a piece of music.

  python -m dabfusion_jax.sample --image=person.jpg --music=song.mp3 --output=dance.mp4
  python -m dabfusion_jax.sample --checkpoint=runs/demo_diffusion --image=person.jpg \
    --music=song.mp3

Without --checkpoint, the weights that come with the package are taken. Beside the
video come a contact sheet (.png) and every setting (.json).
"""

import argparse
import pathlib
from collections.abc import Sequence

import tqdm

from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline.cli import one_line_errors
from data_pipeline.errors import UserError


def check_output(path: pathlib.Path, *inputs: str) -> None:
  """Makes the folder of the video.

  Raises:
    ValueError: a name that is no mp4, or files that would overwrite an input.
  """
  if path.suffix != ".mp4":
    raise UserError(f"--output={path} must end in .mp4.")
  written = {path.with_suffix(end).resolve() for end in (".mp4", ".png", ".json")}
  for name in inputs:
    if pathlib.Path(name).resolve() in written:
      raise UserError(f"--output={path} would overwrite {name}; choose another name.")
  path.parent.mkdir(parents=True, exist_ok=True)


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m dabfusion_jax.sample",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    "--checkpoint",
    help="workdir of a stage 2, or published folder; the package's own by default",
  )
  add("--image", required=True, help="the picture; any size and format")
  add("--music", required=True, help="any file with sound")
  add("--text", help="a style in words, in place of the music's; models with clap only")
  add("--encoder", help="of the music, as built: clap:PATH says where its weights are")
  add(
    "--beats", help="file of beat times, in place of the tracked: a line each, seconds"
  )
  add("--bpm", type=float, help="the song's tempo, where the tracker hears it wrong")
  add("--output", type=pathlib.Path, default="dance.mp4", help="the video")
  add("--seed", type=int, default=0, help="same seed, same dance")
  add("--method", choices=METHODS, help="sampler; the model's own by default")
  add("--num_inference_steps", type=int, help="the model's own by default")
  add("--eta", type=float, help="noise of ddim, 0 to 1; the model's own by default")
  add("--guidance_scale", type=float, help="1 is none; the model's own by default")
  add(
    "--details",
    action=argparse.BooleanOptionalAction,
    help="move what the codec loses of the picture along, or show the model alone; by "
    "default, where it loses much",
  )
  add("--num_frames", type=int, help="as trained by default")
  add("--music_start", type=float, default=0.0, help="second of the song to begin at")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with one_line_errors("sample"):
    check_output(args.output, args.image, args.music, *filter(None, [args.beats]))
    checkpoint = args.checkpoint or saved_stage.shipped()
    pipeline = DancePipeline.from_pretrained(checkpoint, args.encoder)
    with tqdm.tqdm(desc="sampling", unit="step") as bar:

      def show(done, total):
        bar.total = total
        bar.update(done - bar.n)

      dance = pipeline(
        args.image,
        args.music,
        text=args.text,
        beats=args.beats,
        bpm=args.bpm,
        num_frames=args.num_frames,
        music_start_seconds=args.music_start,
        method=args.method,
        num_inference_steps=args.num_inference_steps,
        eta=args.eta,
        guidance_scale=args.guidance_scale,
        details=args.details,
        seed=args.seed,
        callback=show,
      )
    for path in dance.save(args.output):
      print(path)
    for note in dance.notes:
      print(f"note: {note}")


if __name__ == "__main__":
  main()

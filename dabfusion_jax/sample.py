r"""Makes a dance video of one picture and a piece of music.

  python -m dabfusion_jax.sample --checkpoint=runs/demo_diffusion --image=person.jpg \
    --music=song.mp3 --output=dance.mp4

Beside the video come a contact sheet (.png) and every setting (.json).
"""

import pathlib
import sys

import tqdm
from absl import app, flags

from dabfusion_jax.diffusion.samplers import METHODS
from dabfusion_jax.pipeline import DancePipeline

_CHECKPOINT = flags.DEFINE_string(
  "checkpoint", None, "Stage 2: workdir of a training, or a published folder."
)
_IMAGE = flags.DEFINE_string("image", None, "The picture; any size and format.")
_MUSIC = flags.DEFINE_string("music", None, "Any file with sound.")
_OUTPUT = flags.DEFINE_string("output", "dance.mp4", "The video.")
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same dance.")
_STEPS = flags.DEFINE_integer(
  "num_inference_steps", None, "Network evaluations; the model's default if not given."
)
_METHOD = flags.DEFINE_enum("method", None, METHODS, "Sampler; the model's default.")
_GUIDANCE = flags.DEFINE_float(
  "guidance_scale", None, "1 is none; the model's default if not given."
)
_NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Length; as trained by default.")
_START = flags.DEFINE_float("music_start", 0.0, "Second of the song to begin at.")


def check_output(path: pathlib.Path) -> None:
  """Makes the folder of the video; ValueError for a name that is no mp4."""
  if path.suffix != ".mp4":
    raise ValueError(f"--output={path} must end in .mp4.")
  path.parent.mkdir(parents=True, exist_ok=True)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  output = pathlib.Path(_OUTPUT.value)
  try:
    check_output(output)
    pipeline = DancePipeline.from_pretrained(_CHECKPOINT.value)
    with tqdm.tqdm(desc="sampling", unit="step") as bar:

      def show(done, total):
        bar.total = total
        bar.update(done - bar.n)

      dance = pipeline(
        _IMAGE.value,
        _MUSIC.value,
        num_frames=_NUM_FRAMES.value,
        music_start_seconds=_START.value,
        method=_METHOD.value,
        num_inference_steps=_STEPS.value,
        guidance_scale=_GUIDANCE.value,
        seed=_SEED.value,
        callback=show,
      )
    for path in dance.save(output):
      print(path)
  except (ValueError, OSError, RuntimeError) as error:
    sys.exit(f"sample: {error}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["checkpoint", "image", "music"])
  app.run(main)

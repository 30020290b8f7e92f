r"""Makes dance videos of pictures and pieces of music.

  python -m dabfusion_jax.sample
  python -m dabfusion_jax.sample --image=person.jpg --music=song.mp3 --output=dance.mp4
  python -m dabfusion_jax.sample --image person.jpg --music song.mp3 --duration=full
  python -m dabfusion_jax.sample --image people/ --music songs/ --output=dances/

Without inputs, a generated dancer dances to generated music. Of several pictures and
songs, or folders of them, all pairs are made. Without --checkpoint, the bundled weights
are used. A person in the picture is cut out and moved at the picture's own resolution;
--drawing=decoder shows the network's frames, as in the paper. A contact sheet (.png)
and every setting (.json) are written beside the video. Ctrl-C keeps what is made; the
same command keeps finished dances and makes the others.
"""

import argparse
import collections
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dabfusion_jax.inference import options
from dabfusion_jax.inference.dance_files import RECIPE
from dabfusion_jax.inference.inputs import OptionError, PictureError
from dabfusion_jax.inference.layers import DECODER, STUDIO, default_weights
from dabfusion_jax.inference.pairs import (
  Pair,
  check_inputs,
  check_output,
  make_pairs,
  name_in,
  named_in,
  note_skipped,
)
from dabfusion_jax.inference.picture import choose_weights
from dabfusion_jax.inference.progress import DanceBar
from dabfusion_jax.inference.recipe import make_recipe, read_dance
from dabfusion_jax.inference.subject import OWN
from dabfusion_jax.parallel import hardware
from dabfusion_jax.parallel.compiled import keep_compiled
from dabfusion_jax.pipeline import DancePipeline
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli, files, interrupts, weights
from data_pipeline.errors import UserError
from data_pipeline.music.beat_network import NAMES
from data_pipeline.music.kept import users_folder
from data_pipeline.music.tracked import LIBROSA
from data_pipeline.music.trackers import best_tracker
from data_pipeline.synthdance.example import example_inputs

_KEPT = "that were finished, of the same inputs and options"
_OPTIONS = "these options"
_REPLACED = "A dance of other inputs, options or version was replaced."


def describe_beats(settings: Mapping[str, Any]) -> str | None:
  """Returns a line on the tempo that was heard, if any; None if one was given."""
  bpm = settings["heard_bpm"]
  if bpm is None or settings["bpm"] is not None or not settings["beat_times"]:
    return None
  tracker, hint = settings["beat_tracker"], ""
  if tracker == LIBROSA and best_tracker()[1]:
    hint = f"; crnn hears better, once imported: {' '.join([weights.COMMAND, *NAMES])}"
  return f"{tracker} heard {bpm:.0f} beats per minute; --bpm=N if that is wrong{hint}"


def inputs_at_fault(error: Exception, pair: Pair) -> Sequence[str]:
  """Returns the input that makes a dance impossible, or both if it is not known which.

  Errors that are not the user's may be over by the next dance.
  """
  if isinstance(error, PictureError):
    return [pair.image]
  named = named_in(cli.one_line(error), pair.image, pair.music)
  is_known = isinstance(error, UserError) and len(named) == 1
  return named if is_known else [pair.image, pair.music]


def make_dances(
  pipeline_of: Callable[[Pair], DancePipeline],
  recipe_of: Callable[[Pair], str],
  pairs: Sequence[Pair],
  asked: Mapping[str, Any],
  side_by_side: bool,
) -> None:
  """Makes a dance of each pair; one that fails does not end the others.

  If the error names one input, no more dances of that are tried.

  Args:
    pipeline_of: returns what makes the dance of a pair.
    recipe_of: returns its recipe; a finished dance of the same one is kept.
    pairs: of pictures and songs.
    asked: options of all dances.
    side_by_side: whether the picture is shown beside the dance.

  Raises:
    UserError: some failed; each has a line of its own, or those with options that their
      model refuses have one. A single one raises its error.
  """
  failed, kept, told_of = collections.Counter(), 0, set()
  refused = set()  # models that make no dance with these options
  with DanceBar(len(pairs)) as bar:
    for pair in pairs:
      bar.begin()
      recipe, found = recipe_of(pair), read_dance(pair.output)
      is_same = found.get(RECIPE) == recipe
      if is_same and not found["interrupted"]:
        kept += 1
        continue
      if blamed := [name for name in (pair.image, pair.music) if name in failed]:
        failed[blamed[0]] += 1
        continue
      try:
        pipeline = pipeline_of(pair)
        if pipeline in refused:
          failed[_OPTIONS] += 1
          continue
        dance = pipeline.stream(pair.image, pair.music, callback=bar.show, **asked)
        dance.settings[RECIPE] = recipe
        written = dance.save(pair.output, side_by_side=side_by_side)
      except (UserError, OSError, MemoryError) as error:
        if len(pairs) == 1:
          raise
        if isinstance(error, OptionError):
          refused.add(pipeline)
          failed[_OPTIONS] += 1
          bar.write(f"failed: {cli.one_line(error)}", file=sys.stderr)
          continue
        reason = cli.one_line(error)
        at_fault = inputs_at_fault(error, pair)
        failed[" to ".join(at_fault)] += 1
        bar.write(f"failed: {name_in(reason, *at_fault)}", file=sys.stderr)
      else:
        notes = (_REPLACED,) * (found != {} and not is_same) + dance.notes
        told = [f"note: {note}" for note in notes]
        tempo = describe_beats(dance.settings)
        if tempo and pair.music not in told_of:  # of a song, once
          told = [tempo, *told]
          told_of.add(pair.music)
        for line in (*map(str, written), *told):
          bar.write(line)
    bar.update(bar.total - bar.n)
  if kept:
    print(f"kept {kept} of {len(pairs)} dances {_KEPT}")
  if failed:
    told = f"{failed.total()} of {len(pairs)} dances failed"
    counts = (f"{name} ({n} dances)" if n > 1 else name for name, n in failed.items())
    raise UserError(f"{told}: {', '.join(counts)}.")


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  parser = cli.make_parser("dabfusion_jax.sample", __doc__)
  add = parser.add_argument
  several = {"type": cli.path, "nargs": "+", "action": "extend"}
  add("--image", **several, help="pictures, or folders of them")
  add("--music", **several, help="files with sound, or folders of songs")
  add(
    "--output",
    type=cli.local_path,
    default="dance.mp4",
    help="the video: .mp4, .webm or .gif; of several, what their names begin with; or"
    " a folder for them",
  )
  add("--side_by_side", action="store_true", help="show the picture beside the dance")
  add(
    "--checkpoint",
    type=cli.path,
    help="workdir of a stage 2, published folder, name of bundled weights, or"
    f" OWNER/NAME of the Hugging Face hub; by default {saved_stage.PEOPLE} for people"
    f" drawn in layers, else {saved_stage.SHIPPED[0]}",
  )
  add(
    "--encoder", help="music encoder of the model; clap:PATH says where its weights are"
  )
  options.add_arguments(parser)
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  with cli.one_line_errors("sample"):
    interrupts.end_on_sigterm()
    asked = options.from_arguments(args)
    images, musics = args.image, args.music
    scene = None if args.scene in (OWN, STUDIO) else args.scene
    more = filter(None, (scene, args.beats))
    check_inputs(*(images or ()), *(musics or ()), *more)
    if not images or not musics:
      # A person if the networks that find people are here, else a drawn figure.
      name = default_weights(options.DanceOptions(**asked).shows_decoded)
      look = "people" if name == saved_stage.PEOPLE else "figures"
      folder = files.cache_folder() / "example"
      picture, song = map(str, example_inputs(folder, look))
      of_layers = (args.size, args.fps, None if args.pick == 1 else args.pick)
      if not images and look == "figures" and not any(of_layers):
        asked["drawing"] = asked["drawing"] or DECODER
      for name, kind in (("image", "picture"), ("music", "music")):
        if not getattr(args, name):
          print(f"note: the {kind} is generated; --{name}=FILE takes yours")
      images, musics = images or [picture], musics or [song]
    if args.fps is not None and args.output.suffix.lower() == ".gif":
      raise UserError("A GIF has the frames of the motion alone: leave out --fps.")
    pairs = make_pairs(images, musics, args.output)
    for name in ("beats", "bpm"):
      if getattr(args, name) is not None and len({pair.music for pair in pairs}) > 1:
        raise UserError(f"--{name} is of one song: give one, or leave it out.")
    if note := note_skipped([*images, *musics], pairs):
      print(f"note: {note}")
    read = [name for pair in pairs for name in (pair.image, pair.music)]
    read += filter(None, (scene, args.beats))
    for pair in pairs:
      check_output(pair.output, *read)
    hardware.check_backend()
    keep_compiled()
    wanted = options.DanceOptions(**asked)
    music_folder = users_folder()
    load = functools.cache(
      lambda name: DancePipeline.from_pretrained(name, args.encoder, music_folder)
    )
    # Loaded before the first dance, to say once what is wrong with it.
    digests = args.checkpoint and load(args.checkpoint).digests
    made_by = {**asked, "more": [args.side_by_side, args.encoder, digests]}

    def pipeline_of(pair: Pair) -> DancePipeline:
      if args.checkpoint:
        return load(args.checkpoint)
      return load(saved_stage.shipped(choose_weights(pair.image, wanted)))

    recipe_of = functools.partial(make_recipe, made_by)
    make_dances(pipeline_of, recipe_of, pairs, asked, args.side_by_side)


if __name__ == "__main__":
  main()

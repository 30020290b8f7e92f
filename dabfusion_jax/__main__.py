r"""Runs the programs of this package by their names.

  dabfusion sample --image=person.jpg --music=song.mp3 --output=dance.mp4
  python -m dabfusion_jax sample --image=person.jpg --music=song.mp3

`dabfusion NAME` is `python -m dabfusion_jax.NAME`, or of `data_pipeline` for programs
that work on data. `dabfusion NAME --help` describes a program.
"""

import argparse
import ast
import difflib
import importlib.util
import runpy
import sys
from collections.abc import Sequence

from dabfusion_jax import __version__
from data_pipeline import cli

PROGRAMS = {
  "sample": "dabfusion_jax.sample",
  "app": "dabfusion_jax.app",
  "choreograph": "dabfusion_jax.choreograph",
  "build": "data_pipeline.build",
  "inspect": "data_pipeline.inspect",
  "generate": "data_pipeline.synthdance.generate",
  "train": "dabfusion_jax.train",
  "latents": "dabfusion_jax.latents",
  "export": "dabfusion_jax.export",
  "evaluate": "dabfusion_jax.evaluate",
  "claims": "dabfusion_jax.claims",
  "publish": "dabfusion_jax.publish",
  "weights": "dabfusion_jax.weights",
  "doctor": "dabfusion_jax.doctor",
}


def summary(module: str) -> str:
  """Returns the first line of a program's docstring, without importing the program."""
  source = importlib.util.find_spec(module).loader.get_source(module)
  return ast.get_docstring(ast.parse(source)).partition("\n")[0]


def program(word: str) -> str:
  """Returns the name of a program, as a `type` of argparse."""
  if word in PROGRAMS:
    return word
  near = difflib.get_close_matches(word, PROGRAMS, n=1)
  cure = f"did you mean {near[0]}?" if near else f"known: {', '.join(PROGRAMS)}"
  raise argparse.ArgumentTypeError(f"there is no program {word!r}; {cure}")


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the first word."""
  width = max(map(len, PROGRAMS))
  lines = [f"  {name:{width}}  {summary(PROGRAMS[name])}" for name in PROGRAMS]
  parser = cli.make_parser("dabfusion_jax", "\n".join([__doc__, "programs:", *lines]))
  parser.prog = "dabfusion"
  parser.usage = "dabfusion PROGRAM [its arguments]"
  parser.add_argument("program", type=program, metavar="PROGRAM", help="as above")
  parser.add_argument("--version", action="version", version=f"dabfusion {__version__}")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program that the first word names, with the other words."""
  argv = sys.argv[1:] if argv is None else list(argv)
  parser = make_parser()
  if not argv:
    parser.print_help(sys.stderr)
    sys.exit(2)
  name = parser.parse_args(argv[:1]).program
  sys.argv[1:] = argv[1:]
  # Under the name that processes started by the program find it by.
  runpy.run_module(PROGRAMS[name], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()

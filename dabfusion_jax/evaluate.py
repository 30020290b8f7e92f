r"""Measures generated dances, every number beside its null.

  python -m dabfusion_jax.evaluate --checkpoint=runs/demo_diffusion \
    --data=data/synthdance_demo --output=runs/demo_evaluation

exports dances of a trained model for the test clips of a data set to OUTPUT/export, and
measures them, and the reconstruction by its stage 1.

  python -m dabfusion_jax.evaluate --samples=DIR --references=DIR --output=DIR

measures an export (`dabfusion_jax.export`) or the videos of any system, paired by name
with real ones. Without --references only what needs no real clips is measured. Both
forms write result.json and scores.jsonl, and keep features in OUTPUT/cache.

Several processes share the work: with --distributed each computes the features of its
clips, and the first one then writes the result. So do commands for --samples with
--process_index=0 --process_count=4 and so on, and then one without, which writes it.

  python -m dabfusion_jax.evaluate report --output=DIR

writes a self-contained page, report.html, from the result in OUTPUT and its clips.

  python -m dabfusion_jax.evaluate tables --output=DIR RESULT.json ...

writes the tables of the paper as markdown and CSV, with its figures beside the results.
"""

import argparse
import sys
from collections.abc import Sequence

from dabfusion_jax import export
from dabfusion_jax.evaluation.reading.changes import rebuilt_by
from dabfusion_jax.evaluation.reporting import options, report, tables
from dabfusion_jax.evaluation.reporting.evaluator import Folders, evaluate_folders
from dabfusion_jax.parallel import hardware, share
from dabfusion_jax.parallel.compiled import keep_compiled
from dabfusion_jax.parallel.share import Share
from dabfusion_jax.pipeline import DancePipeline
from data_pipeline import cli, files
from data_pipeline.errors import UserError
from data_pipeline.locks import hold_folder


def run_evaluate(args: argparse.Namespace, own: Share) -> None:
  """Evaluates a folder of clips, or dances of a checkpoint."""
  if args.poses and args.segment_frames:
    raise UserError(
      "--poses are of all frames, and --segment_frames drops some; leave out one."
    )
  files.check_writable(args.output, is_folder=True)
  samples, references, stage1 = args.samples, args.references, None
  if args.checkpoint:
    hardware.check_backend()
    keep_compiled()
    samples = references = export_dances(args, own)
    own.wait("export")
    pipeline = DancePipeline.from_pretrained(args.checkpoint)
    stage1 = rebuilt_by(pipeline.stage, pipeline.digests["autoencoder"])
  path = evaluate_folders(
    Folders(samples, references, args.output, args.cache, args.poses, args.training),
    options.from_arguments(args),
    label=args.label,
    command=" ".join(["python -m dabfusion_jax.evaluate", *sys.argv[1:]]),
    stage1=stage1,
    own=own,
  )
  if path:
    print(path)


def export_dances(args: argparse.Namespace, own: Share) -> str:
  """Exports dances for test clips by `dabfusion_jax.export`; returns the folder."""
  folder = str(args.output / "export")
  command = [f"--checkpoint={args.checkpoint}", f"--data={args.data}"]
  command += [f"--output={folder}", f"--seed={args.seed}"]
  if args.num_clips:
    command.append(f"--num_clips={args.num_clips}")
  export.run(export.make_parser().parse_args(command), own)
  return folder


def run_report(args: argparse.Namespace) -> None:
  """Writes the report of a result."""
  print(report.write_report(args.output, args.samples, args.references))


def run_tables(args: argparse.Namespace) -> None:
  """Writes the tables of the paper from results."""
  text, paths = tables.write_tables(args.output, tables.read_results(args.results))
  print(text, *paths, sep="\n")


def make_parsers() -> dict[str, argparse.ArgumentParser]:
  """Returns the parser of each form of the command, by its word."""
  program = "dabfusion_jax.evaluate"
  parsers = {
    "": cli.make_parser(program, __doc__),
    "report": cli.make_parser(f"{program} report", "Writes the report of a result."),
    "tables": cli.make_parser(f"{program} tables", "Writes the tables of the paper."),
  }
  for parser in parsers.values():
    help_text = "folder for results"
    parser.add_argument("--output", type=cli.local_path, required=True, help=help_text)
  add = parsers[""].add_argument
  add("--checkpoint", type=cli.path, help="stage 2, as for sample; needs --data")
  add("--data", type=cli.path, help="folder made by data_pipeline.build")
  add("--num_clips", type=cli.positive_int, help="how many test clips; default: all")
  for name in ("", "report"):
    add = parsers[name].add_argument
    add("--samples", type=cli.path, help="export or folder of generated videos")
    add("--references", type=cli.path, help="export or folder of real videos")
  add = parsers[""].add_argument
  add(
    "--training",
    type=cli.path,
    help="data set of the training, to measure the nearest clips",
  )
  add("--poses", type=cli.paths, default=(), help=(
    "folders of poses of any tool: samples/NAME.npz, references/NAME.npz"))  # fmt: skip
  add("--cache", type=cli.local_path, help="folder of features; default: OUTPUT/cache")
  add("--label", help="name of the system in tables")
  options.add_arguments(parsers[""])
  share.add_arguments(parsers[""])
  add = parsers["tables"].add_argument
  add(
    "results",
    type=cli.path,
    nargs="+",
    metavar="RESULT.json",
    help="or the folder of one",
  )
  return parsers


def main(argv: Sequence[str] | None = None) -> None:
  argv = list(sys.argv[1:] if argv is None else argv)
  parsers = make_parsers()
  form = argv.pop(0) if argv and argv[0] in parsers else ""
  args = parsers[form].parse_args(argv)
  with share.ended_at_once(), cli.one_line_errors("evaluate"):
    if form:
      with hold_folder(args.output):
        {"report": run_report, "tables": run_tables}[form](args)
      return
    given = [name for name in ("samples", "checkpoint", "data") if getattr(args, name)]
    if given not in (["samples"], ["checkpoint", "data"]):
      parsers[form].error("give --samples, or --checkpoint with --data")
    if args.checkpoint and args.process_count:
      parsers[form].error(
        "processes that do not join cannot wait for an export: share that first"
        " (dabfusion_jax.export), then evaluate its folder as --samples"
      )
    if args.checkpoint:
      hardware.use_cpu_cores()
    own = share.from_arguments(args)
    with hold_folder(args.output, own.lock):
      run_evaluate(args, own)


if __name__ == "__main__":
  main()

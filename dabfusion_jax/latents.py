r"""Runs a frozen stage 1 over clips once, so that stage 2 never touches pixels.

  python -m dabfusion_jax.latents --checkpoint=runs/demo_autoencoder \
    --data=data/synthdance_demo --output=data/demo_latents

Several processes, on one machine or many, share the work with --process_count=N
--process_index=0..N-1 and a common folder; the last to finish writes the manifest. The
cache is bound to the weights, the data and the settings by hash; an interrupted run
continues with the first missing shard.
"""

from collections.abc import Sequence

from dabfusion_jax.inference.latent_cache import cache_latents
from dabfusion_jax.parallel import hardware
from dabfusion_jax.parallel.compiled import keep_compiled
from data_pipeline import cli
from data_pipeline.locks import hold_folder


def main(argv: Sequence[str] | None = None) -> None:
  parser = cli.make_parser("dabfusion_jax.latents", __doc__)
  add = parser.add_argument
  path = cli.path
  add(
    "--checkpoint",
    type=path,
    required=True,
    help="stage 1: workdir or published folder",
  )
  add("--data", type=path, required=True, help="folder made by data_pipeline.build")
  add("--output", type=path, required=True, help="folder of the cache")
  add("--process_index", type=cli.natural_int, default=0, help="this process")
  add("--process_count", type=cli.positive_int, default=1, help="number of processes")
  add(
    "--elsewhere",
    type=cli.number,
    default=0.0,
    help="share of the training clips whose picture is any of their frames",
  )
  add(
    "--true_motion",
    action="store_true",
    help="of generated bodies, instead of what stage 1 finds",
  )
  args = parser.parse_args(argv)
  part = f"_{args.process_index}_of_{args.process_count}"
  with cli.one_line_errors("latents"), hold_folder(args.output, part):
    hardware.check_backend()
    keep_compiled()
    cache_latents(
      args.checkpoint,
      args.data,
      args.output,
      args.process_index,
      args.process_count,
      args.elsewhere,
      args.true_motion,
    )


if __name__ == "__main__":
  main()

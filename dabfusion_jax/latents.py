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
from data_pipeline import cli


def main(argv: Sequence[str] | None = None) -> None:
  parser = cli.make_parser("dabfusion_jax.latents", __doc__)
  add = parser.add_argument
  add("--checkpoint", required=True, help="stage 1: workdir or published folder")
  add("--data", required=True, help="folder made by data_pipeline.build")
  add("--output", required=True, help="folder of the cache")
  add("--process_index", type=cli.natural_int, default=0, help="this process")
  add("--process_count", type=cli.positive_int, default=1, help="number of processes")
  args = parser.parse_args(argv)
  with cli.one_line_errors("latents"):
    cache_latents(
      args.checkpoint, args.data, args.output, args.process_index, args.process_count
    )


if __name__ == "__main__":
  main()

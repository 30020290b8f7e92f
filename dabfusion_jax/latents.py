r"""Runs a frozen stage 1 over clips once, so that stage 2 never touches pixels.

  python -m dabfusion_jax.latents --checkpoint=runs/demo_autoencoder \
    --data=data/synthdance_demo --output=data/demo_latents

Several processes, on one machine or many, share the work in a common folder, with
--process_index=0 --process_count=4 and so on, or with --distributed; the last to finish
writes the manifest. The cache is bound to the weights, the data and the settings by
hash; an interrupted run continues with the first missing shard.
"""

from collections.abc import Sequence

from dabfusion_jax.inference.latent_cache import cache_latents
from dabfusion_jax.parallel import hardware, share
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
  add("--mirrored", action="store_true", help="training clips in a mirror as well")
  share.add_arguments(parser)
  args = parser.parse_args(argv)
  with share.ended_at_once(), cli.one_line_errors("latents"):
    own = share.from_arguments(args)
    hardware.check_backend()
    keep_compiled()
    with hold_folder(args.output, own.lock):
      cache_latents(
        args.checkpoint,
        args.data,
        args.output,
        own.index,
        own.count,
        args.elsewhere,
        args.true_motion,
        args.mirrored,
      )


if __name__ == "__main__":
  main()

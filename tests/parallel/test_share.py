"""Shares of work are joined at the start, and end together."""

import pytest

from dabfusion_jax import latents
from dabfusion_jax.parallel import share


def test_joined_processes_meet_at_the_start(monkeypatch):
  # The first collective connects them, for which others do not wait long.
  met = []
  monkeypatch.setattr(share.jax.distributed, "initialize", lambda **unused: None)
  monkeypatch.setattr(share.multihost_utils, "sync_global_devices", met.append)
  parser = share.argparse.ArgumentParser()
  share.add_arguments(parser)
  own = share.from_arguments(parser.parse_args(["--distributed"]))
  assert own.is_joined and met == ["start"]


def test_joining_without_others_is_one_line(monkeypatch, capsys, tmp_path):
  def initialize(**unused):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(share.jax.distributed, "initialize", initialize)
  folders = [f"--{name}={tmp_path}" for name in ("checkpoint", "data", "output")]
  with pytest.raises(SystemExit, match="latents: --distributed: coordinator_address"):
    latents.main(["--distributed", *folders])


@pytest.mark.parametrize("kind", [share.jax.errors.JaxRuntimeError, ValueError])
def test_the_end_of_another_is_one_line(monkeypatch, kind):
  def meet(name):
    raise kind("UNKNOWN: Connection closed by peer")

  monkeypatch.setattr(share.multihost_utils, "sync_global_devices", meet)
  with pytest.raises(share.ShareError, match="Another of the 2.*closed by peer"):
    share.Share(0, 2, True).wait("features")
  share.Share(0, 2).wait("features")  # nobody to wait for

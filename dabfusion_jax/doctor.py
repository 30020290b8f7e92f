r"""Prints what a bug report needs: versions, devices, weights, and what is missing.

  python -m dabfusion_jax.doctor

What is missing is named with the command that brings it. It ends with status 1 if a
dance by the bundled weights cannot be made here.
"""

import importlib.metadata
import os
import pathlib
import platform
import re
import sys
from collections.abc import Iterator, Sequence

import jax

from dabfusion_jax import __version__
from dabfusion_jax.parallel import hardware
from dabfusion_jax.people import segmenter
from dabfusion_jax.pretrained import store
from dabfusion_jax.storage import saved_stage
from data_pipeline import cli
from data_pipeline.errors import UserError
from data_pipeline.music import beat_network

PACKAGE = "dabfusion_jax"
# What imported weights are for, and which of them it needs.
USES = {
  "pictures of people": segmenter.WEIGHTS,
  "beats of real songs": beat_network.NAMES,
  "training (medium, demo)": ("lpips-vgg16",),
  "training (people)": ("lpips-alex",),
  "training (paper)": ("vgg19",),
  "measures of pictures and film": ("lpips-alex", "i3d"),
  "poses": ("blazepose-detector", "blazepose-full"),
  "CLIPScore": ("clip-vit-b32", "wav2clip"),
}
_VARIABLES = re.compile(r"JAX_|XLA_|CUDA_|TPU_|DABFUSION_|OMP_|HF_HOME|HF_HUB_OFF")
_NAME = re.compile(r"[\w.-]+")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([\w-]+)")


def requirements(extra: str | None = None) -> list[str]:
  """Returns the names of the packages that this one, or an extra of it, asks for.

  Raises:
    PackageNotFoundError: the package is used without having been installed.
  """
  names = []
  for line in importlib.metadata.requires(PACKAGE) or []:
    found = _EXTRA.search(line)
    if (found and found[1]) == extra:
      names.append(_NAME.match(line)[0])
  return names


def version_of(package: str) -> str | None:
  """Returns the installed version of a package, or None."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def machine_lines() -> Iterator[str]:
  """Yields the versions of the package and Python, the machine, and its settings."""
  place = pathlib.Path(__file__).parent
  yield f"{PACKAGE} {__version__} in {place}"
  yield f"Python {platform.python_version()} ({sys.executable})"
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  cores = os.cpu_count()
  yield f"{platform.platform()}, {cores} cores, {memory:.0f} GiB of memory"
  for name in sorted(filter(_VARIABLES.match, os.environ)):
    yield f"{name}={os.environ[name]}"


def package_lines() -> tuple[list[str], bool]:
  """Returns a line for the needed packages and one per extra, and whether all that is
  needed is there."""
  try:
    needed = requirements()
    extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
  except importlib.metadata.PackageNotFoundError:
    return ["not installed; run in the source folder: pip install --editable ."], True
  versions = {name: version_of(name) for name in needed}
  missing = [name for name, version in versions.items() if version is None]
  versions["jaxlib"] = version_of("jaxlib")
  lines = [", ".join(f"{name} {version}" for name, version in versions.items())]
  if missing:
    lines = [f"missing: {', '.join(missing)}; run: pip install {PACKAGE}"]
  for extra in extras:
    lines.append(extra_line(extra))
  return lines, not missing


def extra_line(extra: str) -> str:
  """Returns which packages of an extra are there, or how to install it."""
  found = {name: version_of(name) for name in requirements(extra)}
  found.pop("jax", None)  # the extras of jax name jax itself
  there = ", ".join(f"{name} {version}" for name, version in found.items() if version)
  if found and all(found.values()):
    return f"extra {extra}: {there}"
  there = f" ({there} is there)" if there else ""
  return f'extra {extra}: not installed{there}; pip install "{PACKAGE}[{extra}]"'


def device_lines() -> tuple[list[str], bool]:
  """Returns the devices that JAX finds, and whether there are any."""
  try:
    hardware.check_backend()
  except UserError as error:
    return [str(error)], False
  kinds = [device.device_kind for device in jax.local_devices()]
  counted = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
  return [f"{jax.default_backend()}: {', '.join(counted)}"], True


def bundled_lines() -> tuple[list[str], bool]:
  """Returns a line per bundled model, and whether those taken by default are there."""
  lines, is_whole = [], True
  defaults = (saved_stage.SHIPPED[0], saved_stage.PEOPLE)
  for name in saved_stage.SHIPPED:
    try:
      folder = saved_stage.shipped(name)
      digests = [
        saved_stage.load_stage(folder, "diffusion").digest,
        saved_stage.load_autoencoder_of(folder).digest,
      ]
      short = " on stage 1 ".join(digest[:12] for digest in digests)
      lines.append(f"{name}: {short}")
    except (UserError, OSError) as error:
      lines.append(f"{name}: {error}")
      is_whole = is_whole and name not in defaults
  return lines, is_whole


def weights_lines() -> Iterator[str]:
  """Yields what imported weights are there, by use, or the commands that bring them."""
  yield f"in {store.weights_folder().absolute()} (DABFUSION_WEIGHTS names another)"
  for use, names in USES.items():
    missing = []
    for name in names:
      try:
        store.load(name)
      except UserError:
        missing.append(name)
    there = ", ".join(name for name in names if name not in missing)
    if not missing:
      yield f"{use}: {there}"
    else:
      yield f"{use}: {store.import_commands(missing)}"


def report() -> tuple[str, bool]:
  """Returns the report, and whether a dance can be made here."""
  packages, has_packages = package_lines()
  devices, has_devices = device_lines()
  bundled, has_weights = bundled_lines()
  parts = {
    "machine": list(machine_lines()),
    "packages": packages,
    "devices": devices,
    "bundled weights": bundled,
    "imported weights": list(weights_lines()),
  }
  works = has_packages and has_devices and has_weights
  lines = []
  for title, content in parts.items():
    lines += [f"{title}:", *(f"  {line}" for line in content)]
  lines.append(
    "A dance can be made here: python -m dabfusion_jax.sample"
    if works
    else "No dance can be made here: see what is missing above."
  )
  return "\n".join(lines), works


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the program."""
  cli.make_parser("dabfusion_jax.doctor", __doc__).parse_args(argv)
  with cli.one_line_errors("doctor"):
    text, works = report()
    print(text)
  sys.exit(0 if works else 1)


if __name__ == "__main__":
  main()

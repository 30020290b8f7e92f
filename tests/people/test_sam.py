"""Outlines by Segment Anything agree with the library's, on a small random model."""

import sys
import types

import dancers
import numpy as np
import PIL.Image
import pytest

from dabfusion_jax.people import sam, segmenter
from data_pipeline.errors import UserError

BOX = (12, 20, 60, 100)


def _picture(height=128, width=96):
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (8, 6, 3), np.uint8)
  image = PIL.Image.fromarray(small).resize((width, height), PIL.Image.BICUBIC)
  return np.asarray(image)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  torch.manual_seed(0)
  sizes = {"hidden_size": 16, "image_size": 64, "patch_size": 8}
  vision = sizes | {"num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16}
  vision |= {"output_channels": 16, "num_pos_feats": 8, "window_size": 4}
  vision |= {"global_attn_indexes": [0]}
  prompt = sizes | {"mask_input_channels": 4}
  decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1}
  decoder |= {"num_attention_heads": 2, "iou_head_hidden_dim": 16}
  config = transformers.SamConfig(
    vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
  )
  folder = tmp_path_factory.mktemp("sam")
  model = transformers.SamModel(config)
  with torch.no_grad():  # as drawn, all masks are nearly 0
    for parameter in model.parameters():
      parameter.normal_(0, 0.3)
  model.save_pretrained(folder)
  return folder


@pytest.mark.parametrize("size", [(128, 96), (50, 90)])
def test_an_outline_is_that_of_the_library(folder, size, monkeypatch):
  import torch
  import transformers

  # The library's own box is not widened.
  monkeypatch.setattr(sam, "_HALO", 0.0)
  picture = _picture(*size)
  box = (5, 6, size[1] - 20, size[0] - 3)
  outline, given = sam.SamOutline(str(folder)), {}
  network = outline._model
  outline._model = lambda **inputs: given.update(inputs) or network(**inputs)
  found = outline(picture, box)
  assert found.shape == size and found.dtype == np.float32
  try:
    processor = transformers.SamProcessor(
      transformers.SamImageProcessor(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 64},
        mask_pad_size={"height": 64, "width": 64},
      )
    )
  except ImportError as error:  # of torchvision
    pytest.skip(str(error))
  inputs = processor(
    PIL.Image.fromarray(picture), input_boxes=[[list(map(float, box))]],
    return_tensors="pt",
  )  # fmt: skip
  np.testing.assert_allclose(given["input_boxes"], inputs["input_boxes"], atol=0.5)
  difference = np.abs(given["pixel_values"].numpy() - inputs["pixel_values"].numpy())
  assert difference.mean() < 0.02
  with torch.no_grad():
    out = network(**inputs)
  logits = torch.nn.functional.interpolate(out.pred_masks[0], (64, 64), mode="bilinear")
  height, width = inputs["reshaped_input_sizes"][0].tolist()
  logits = logits[..., :height, :width]
  logits = torch.nn.functional.interpolate(logits, size, mode="bilinear")[0]
  expected = torch.sigmoid(logits[int(out.iou_scores[0, 0].argmax())]).numpy()
  # The library enlarges the mask in two steps, and these masks are noise.
  assert np.abs(found - expected).mean() < 0.06 * np.ptp(expected)
  assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


def test_the_box_matters(folder):
  outline = sam.SamOutline(str(folder))
  found = [outline(_picture(), box) for box in (BOX, (40, 5, 90, 60))]
  assert np.abs(found[0] - found[1]).max() > 1e-4


def test_another_model_and_missing_parts_are_one_line(folder, tmp_path):
  import safetensors.numpy
  import transformers

  transformers.ViTConfig().save_pretrained(tmp_path)
  with pytest.raises(UserError, match="type 'vit', not SAM") as error:
    sam.SamOutline(str(tmp_path))
  assert "\n" not in str(error.value)
  (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
  weights = safetensors.numpy.load_file(folder / "model.safetensors")
  weights = {key: x for key, x in weights.items() if "iou_token" not in key}
  safetensors.numpy.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
  with pytest.raises(UserError, match="lack 1 parts"):
    sam.SamOutline(str(tmp_path))


def test_missing_packages_and_weights_are_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv(sam.VARIABLE, str(tmp_path / "absent"))
  message = r'pip install "dabfusion_jax\[sam\]"|hf download'
  with pytest.raises(UserError, match=message) as error:
    sam.sam_of_environment()
  assert "\n" not in str(error.value)


def test_a_tilde_is_the_home_folder(monkeypatch):
  def from_pretrained(path, local_files_only):
    assert local_files_only
    raise OSError(path)

  transformers = types.SimpleNamespace(
    utils=types.SimpleNamespace(
      logging=types.SimpleNamespace(disable_progress_bar=lambda: None)
    ),
    AutoConfig=types.SimpleNamespace(from_pretrained=from_pretrained),
  )
  monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace())
  monkeypatch.setitem(sys.modules, "transformers", transformers)
  monkeypatch.setenv("HOME", "/home/somebody")
  with pytest.raises(UserError, match="'/home/somebody/sam'"):
    sam.SamOutline("~/sam")


def test_without_the_variable_there_is_no_sam(monkeypatch):
  monkeypatch.delenv(sam.VARIABLE, raising=False)
  assert sam.sam_of_environment() is None


def _find(picture, outline):
  """Returns whom a segmenter finds whose networks see a person of 24 x 48 pixels."""
  there = np.zeros(picture.shape, np.uint8)
  there[24:72, 36:60] = 255
  finder = object.__new__(segmenter.Segmenter)
  finder._mask = lambda picture, square: (
    square.cut(there, segmenter._SIZE)[..., 0] / np.float32(255)
  )
  landmarks = types.SimpleNamespace(presence=0.0)
  finder._landmarks = types.SimpleNamespace(
    find=lambda picture, square: landmarks,
    look_closely=lambda picture, squares: (landmarks, None, squares[0]),
  )
  finder._finder = dancers.finder(finder._mask, dancers.NoDetector(), finder._landmarks)
  finder._sam = outline
  return finder(picture)


def test_the_outline_of_a_person_is_sams():
  """The networks find the person and the box; SAM draws the outline."""
  boxes = []

  def outline(picture, box):
    boxes.append(box)
    found = np.zeros(picture.shape[:2], np.float32)
    found[20:80, 40:56] = 1
    found[5:15, 80:90] = 1  # somebody else
    return found

  person = _find(_picture(96, 96), outline)
  ((left, top, right, bottom),) = boxes
  np.testing.assert_allclose([left, top, right, bottom], [36, 24, 60, 72], atol=3)
  assert person.alpha[76, 48] == 1 and person.alpha[50, 36] == 0
  assert person.alpha[10, 85] == 0


def test_nobody_is_found_if_sam_outlines_nothing():
  nothing = lambda picture, box: np.zeros(picture.shape[:2], np.float32)
  assert _find(_picture(96, 96), nothing) is None

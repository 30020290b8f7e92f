"""Outlines a person with Segment Anything (SAM), with weights of the user's.

Source: Kirillov et al. 2023 (2304.02643), in the form of `transformers`; the paper cuts
people out with it (sec. 4.4). Only this module imports torch and transformers here.
"""

import os

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8

from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra

VARIABLE = "DABFUSION_SAM"  # environment variable with the folder of the weights
EXAMPLE = "facebook/sam-vit-base"
_MEAN = np.float32([123.675, 116.28, 103.53])  # of ImageNet, in grey levels
_STD = np.float32([58.395, 57.12, 57.375])
_HALO = 0.02  # of the box, by which it is widened: boxes of masks are a bit too small


class SamError(UserError):
  """SAM cannot be used: why, and what to do about it."""


class SamOutline:
  """Finds which pixels belong to what fills a box."""

  def __init__(self, path: str) -> None:
    """Loads the model.

    Args:
      path: a folder written by `save_pretrained`, or a name on the hub whose files are
        in the hub's cache; weights as safetensors.

    Raises:
      UserError: the extra `sam` is missing.
      SamError: there are no such weights; nothing is downloaded here.
    """
    path = os.path.expanduser(path)
    with needs_extra("sam"):
      import torch
      import transformers
    transformers.utils.logging.disable_progress_bar()
    self._torch = torch
    try:
      config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
      model, info = None, {}
      if config.model_type == "sam":
        model, info = transformers.SamModel.from_pretrained(
          path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
      raise SamError(
        f"There are no weights of SAM in {path!r}; get them with: hf download"
        f" {EXAMPLE}, or name their folder with ${VARIABLE}."
      ) from error
    if model is None:
      raise SamError(
        f"{path!r} holds a model of type {config.model_type!r}, not SAM; name a folder"
        f" like that of {EXAMPLE} with ${VARIABLE}."
      )
    if missing := sorted(info["missing_keys"]):
      raise SamError(
        f"The weights of SAM in {path!r} lack {len(missing)} parts, such as"
        f" {missing[0]}; get them again with: hf download {EXAMPLE}."
      )
    self._model = model.eval()
    self._size = int(config.vision_config.image_size)

  def __call__(
    self, picture: UInt8[np.ndarray, "h w 3"], box: tuple[int, int, int, int]
  ) -> Float32[np.ndarray, "h w"]:
    """Returns how likely each pixel belongs to what fills the box, in [0, 1].

    Args:
      picture: of any size.
      box: left, top, right and bottom, in pixels; the last two are outside.
    """
    torch = self._torch
    height, width = picture.shape[:2]
    scale = self._size / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    image = PIL.Image.fromarray(picture).resize(inner, PIL.Image.BILINEAR)
    padded = np.zeros((3, self._size, self._size), np.float32)
    colours = (np.asarray(image, np.float32) - _MEAN) / _STD
    padded[:, : inner[1], : inner[0]] = colours.transpose(2, 0, 1)
    halo = _HALO * max(box[2] - box[0], box[3] - box[1])
    wide = np.float32(box) + np.float32([-halo, -halo, halo, halo])
    corners = np.clip(wide, 0, [width, height, width, height]) * scale
    with torch.inference_mode():
      out = self._model(
        pixel_values=torch.from_numpy(padded[None]),
        input_boxes=torch.tensor(corners, dtype=torch.float32)[None, None],
      )
    # Three guesses: the whole, a part, a part of it; and how good each claims to be.
    best = int(out.iou_scores[0, 0].argmax())
    logits = out.pred_masks[0, 0, best].numpy()
    side = self._size / logits.shape[0]
    fine = PIL.Image.fromarray(logits).resize(
      (width, height), PIL.Image.BILINEAR, (0, 0, inner[0] / side, inner[1] / side)
    )
    return 1 / (1 + np.exp(-np.clip(np.asarray(fine, np.float32), -30, 30)))


def sam_of_environment() -> SamOutline | None:
  """Returns the network that $DABFUSION_SAM names; None if it names none."""
  path = os.environ.get(VARIABLE)
  return SamOutline(path) if path else None

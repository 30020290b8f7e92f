"""A picture as a dance shows it: in layers, or as the network's own frame."""

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.group import read_group
from dabfusion_jax.inference.inputs import PathLike
from dabfusion_jax.inference.layers import (
  LAYERS,
  Layers,
  choreograph,
  default_weights,
  fit,
  make_layers,
)
from dabfusion_jax.inference.options import DanceOptions
from dabfusion_jax.inference.subject import (
  ALL,
  OWN,
  find_person,
  is_left_to_decoder,
)
from dabfusion_jax.settings.diffusion import DiffusionSettings
from dabfusion_jax.storage import saved_stage

PEOPLE_SIZE = 128  # pixels of a frame of the weights of people
Image = PathLike | PIL.Image.Image | UInt8[np.ndarray, "h w 3"]


def choose_weights(image: Image, asked: DanceOptions) -> str:
  """Returns the name of the bundled weights that suit a picture.

  Those of people move what is drawn in layers. Their decoder draws little motion, so a
  picture without a person, a drawing perhaps, or one too small for layers, is left to
  those of figures.

  Args:
    image: as `read_picture` takes it.
    asked: likewise.

  Raises:
    InputError, MediaError: a picture that cannot be used, in one line.
  """
  name = default_weights(asked.shows_decoded)
  is_asked = asked.drawing == LAYERS or asked.size is not None
  if name != saved_stage.PEOPLE or is_asked or str(asked.scene) != OWN:
    return name
  picture = inputs.read_picture(image)
  if max(picture.shape[:2]) <= PEOPLE_SIZE:
    return saved_stage.SHIPPED[0]
  person = find_person(fit(picture, None), asked.first_pick)
  is_drawing = person is None or is_left_to_decoder(person, asked.first_pick)
  if is_drawing and asked.pick == ALL:
    is_drawing = not read_group(picture, None)[0]  # as others may dance
  return saved_stage.SHIPPED[0] if is_drawing else name


def read_picture(
  image: Image,
  asked: DanceOptions,
  settings: DiffusionSettings,
  frame_size: int,
) -> tuple[Layers | None, UInt8[np.ndarray, "n n 3"], tuple[str, ...]]:
  """Reads a picture as a dance of it would, before anything else is computed.

  Args:
    image: file of any size and format, a PIL image, or an array.
    asked: of which `drawing`, `joining`, `scene`, `size` and `pick` matter.
    settings: the model's, for its framing.
    frame_size: pixels per side of the model's frame.

  Returns:
    The layers if it is drawn in layers, the frame that the network is shown, and
    notes for the user.

  Raises:
    InputError, MediaError: a picture that cannot be used, in one line.
  """
  picture, scene = inputs.read_picture(image), str(asked.scene)
  is_asked = asked.drawing == LAYERS or asked.size is not None
  is_large = max(picture.shape[:2]) > frame_size
  layers, notes = None, ()
  if not asked.shows_decoded and (is_asked or is_large or scene != OWN):
    reads_frames = not settings.joints.weight
    layers, notes = make_layers(
      picture, scene, asked.size, asked.first_pick, is_asked, reads_frames
    )
  if layers is not None:
    return layers, layers.reference(frame_size), notes
  if scene != OWN:
    picture, notes = choreograph(picture, scene, asked.first_pick)
  framing, pad = settings.latents.framing, settings.picture.pad_to_square
  return None, inputs.frame_image(picture, framing, frame_size, pad), notes

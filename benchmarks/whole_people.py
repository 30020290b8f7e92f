"""Pictures of whole people, for measurements of what is found of them."""

import pathlib

import numpy as np
from jaxtyping import UInt8

from dabfusion_jax.inference.layers import fit
from dabfusion_jax.inference.pairs import PICTURE_SUFFIXES
from dabfusion_jax.people.segmenter import Person, Segmenter
from data_pipeline.errors import UserError
from data_pipeline.media import reader


def read_people(
  folder: pathlib.Path, find: Segmenter
) -> list[tuple[UInt8[np.ndarray, "h w 3"], Person]]:
  """Returns the pictures of a folder at the size of a dance, and the people in them.

  Raises:
    UserError: a picture in which no whole person is found, or no picture.
  """
  found = []
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() not in PICTURE_SUFFIXES:
      continue
    picture = fit(reader.read_image(path), None)
    person = find(picture)
    if person is None or person.landmarks is None:
      raise UserError(f"{path}: no whole person was found in this picture.")
    found.append((picture, person))
  if not found:
    raise UserError(f"{folder}: there is no picture in this folder.")
  return found

"""Reads pictures."""

import contextlib
import io
import pathlib
import struct
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
from etils.epath import PathLike
from jaxtyping import Shaped, UInt8

from data_pipeline.media.container import MIN_IMAGE_SIZE, check_file
from data_pipeline.media.errors import MediaError

MAX_IMAGE_SIZE = 4096  # pixels of the longer side; larger pictures are scaled down
_UNREADABLE = (OSError, ValueError, SyntaxError, NotImplementedError)  # by Pillow
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
# Modes whose values a profile explains -> the space that it must be of.
_SPACES = {"RGB": "RGB ", "RGBA": "RGB ", "CMYK": "CMYK", "L": "GRAY"}
# Filters of warnings are those of all threads: who changes them waits for the others.
_FILTERS = threading.RLock()
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def read_image(path: PathLike) -> UInt8[np.ndarray, "h w 3"]:
  """Reads a picture, turned upright (EXIF) and composited on white.

  Colours that its profile (ICC) tells become sRGB. A picture larger than
  `MAX_IMAGE_SIZE` is scaled down by a whole number.

  Raises:
    MediaError: the file is missing, empty, too large, too small or not a picture.
  """
  path = check_file(path)
  with _reading(path), _open_picture(path) as image:
    return _pixels(path, image)


def image_to_array(image: PIL.Image.Image) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the pixels of an open picture, as `read_image` does of its file.

  Raises:
    MediaError: it is too large, too small, or its file is damaged.
  """
  name = getattr(image, "filename", "") or "The picture"
  with _reading(name):
    return _pixels(name, image)


def size_of(path: PathLike) -> tuple[int, int] | None:
  """Returns width and height of a picture by the head of its file; None: unknown."""
  with _FILTERS, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # how large it is is the question
    try:
      with PIL.Image.open(path) as picture:
        return picture.size
    except (*_UNREADABLE, PIL.Image.DecompressionBombError):
      return None


@contextlib.contextmanager
def _reading(name: PathLike) -> Iterator[None]:
  """Says in one line why a picture cannot be read."""
  try:
    with _FILTERS, warnings.catch_warnings():
      warnings.simplefilter("ignore", UserWarning)  # odd metadata
      warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
      yield
  except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
    raise MediaError(f"{name}: the picture is too large; scale it down.") from None
  except MediaError:
    raise
  except (*_UNREADABLE, struct.error, EOFError) as error:
    if "truncated" in str(error):
      raise MediaError(f"{name}: the file is cut off; get it again.") from error
    raise MediaError(
      f"{name}: not a readable picture; convert it to png or jpeg."
    ) from error


def _pixels(name: PathLike, image: PIL.Image.Image) -> UInt8[np.ndarray, "h w 3"]:
  image.load()
  rgba = _scaled(name, _in_srgb(_upright(image))).convert("RGBA")
  white = PIL.Image.new("RGBA", rgba.size, "white")
  return np.array(PIL.Image.alpha_composite(white, rgba).convert("RGB"))


def _open_picture(path: pathlib.Path) -> PIL.Image.Image:
  with path.open("rb") as file:
    start = file.read(12)
  if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
    try:
      import pillow_heif
    except ImportError:
      raise MediaError(
        f'{path}: a HEIC picture; convert it to jpeg, or: pip install "dabfusion_jax'
        '[heic]".'
      ) from None
    pillow_heif.register_heif_opener()
  try:
    return PIL.Image.open(path)
  except ValueError:
    if not start.startswith(_PNG):
      raise
    # Pictures of some programs carry more text than Pillow accepts.
    return PIL.Image.open(io.BytesIO(_without_texts(path.read_bytes())))


def _without_texts(png: bytes) -> bytes:
  """Returns a PNG without the chunks that hold no pixels: texts and EXIF."""
  kept, at = [_PNG], len(_PNG)
  while at + 12 <= len(png):
    (length,) = struct.unpack_from(">I", png, at)
    end = at + 12 + length
    if png[at + 4 : at + 8] not in _PNG_TEXTS:
      kept.append(png[at:end])
    at = end
  return b"".join(kept)


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
  try:
    return PIL.ImageOps.exif_transpose(image)
  except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, struct.error):
    return image  # its EXIF is nonsense


def _in_srgb(image: PIL.Image.Image) -> PIL.Image.Image:
  """Returns a picture in the colours that its profile tells, as viewers show it."""
  profile = image.info.get("icc_profile")
  if profile and (image.mode == "P" or "transparency" in image.info):
    image = image.convert("RGBA")
  if not profile or image.mode not in _SPACES:
    return image
  try:
    own = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if own.profile.xcolor_space != _SPACES[image.mode]:
      return image  # converted since, or nonsense
    srgb, mode = PIL.ImageCms.createProfile("sRGB"), image.mode
    mode = mode if mode == "RGBA" else "RGB"
    return PIL.ImageCms.profileToProfile(image, own, srgb, outputMode=mode) or image
  except (PIL.ImageCms.PyCMSError, OSError, TypeError, ValueError, ImportError):
    return image  # its profile is nonsense


def _scaled(name: PathLike, image: PIL.Image.Image) -> PIL.Image.Image:
  factor = -(-max(image.size) // MAX_IMAGE_SIZE)
  width, height = image.size
  if min(width, height) < MIN_IMAGE_SIZE:
    raise MediaError(
      f"{name}: {width}x{height} pixels are too few; at least {MIN_IMAGE_SIZE} on each "
      "side are needed."
    )
  if min(width, height) < MIN_IMAGE_SIZE * factor:
    raise MediaError(
      f"{name}: {width}x{height} pixels are too narrow a strip; crop the person."
    )
  if image.mode == "F" or image.mode.startswith("I"):
    image = PIL.Image.fromarray(_to_uint8(np.asarray(image)))
  if factor == 1:
    return image
  # Only the values of these modes are brightness, which can be averaged.
  return (image if image.mode in ("L", "RGB") else image.convert("RGBA")).reduce(factor)


def _to_uint8(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
  """Scales grey values that Pillow would clip: 16 or 32 bits, or floats.

  The range is that of the type for 16 bits, otherwise the smallest that holds all
  values: [0, 1] for floats, [0, 255], [0, 65535], or else their own.
  """
  if values.dtype.kind == "u" and values.dtype.itemsize == 2:  # of any byte order
    return (values >> 8).astype(np.uint8)
  is_float = values.dtype.kind == "f"
  values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
  low, high = values.min(), values.max()
  if is_float and low >= 0 and high <= 1:
    values = values * 255
  elif low >= 0 and high <= 65535:
    values = values if high <= 255 else values / 256
  else:
    values = (values - low) * (255 / (high - low))
  return np.clip(values + 0.5, 0, 255).astype(np.uint8)

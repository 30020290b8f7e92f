"""Makes a corpus of damaged and odd files from whole ones, the same for one seed."""

import io
import json
import pathlib
import shutil
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import safetensors.numpy
from etils import epath

from dabfusion_jax.storage import model_file
from dabfusion_jax.storage.model_file import MODEL

RATE = 22_050
VIDEOS = {  # suffix -> codecs of picture and sound
  "mp4": ("libx264", "aac"),
  "mkv": ("libx264", "libopus"),
  "ts": ("libx264", "aac"),
  "webm": ("libvpx-vp9", "libopus"),
  "avi": ("mpeg4", "libmp3lame"),
  "mov": ("mjpeg", "pcm_s16le"),
}
SOUNDS = {
  "wav": "pcm_s16le",
  "mp3": "libmp3lame",
  "flac": "flac",
  "opus": "libopus",
  "aac": "aac",
  "m4a": "aac",
  "aiff": "pcm_s16be",
}
PICTURES = ("png", "jpg", "gif", "webp", "tif", "bmp")

DANCE_FLAGS = (  # of `sample`, beside its inputs
  *("text", "beats", "bpm", "music_start", "duration", "num_frames", "eta", "scene"),
  *("num_inference_steps", "guidance_scale", "size", "pick", "seed", "checkpoint"),
)
EVALUATE_FLAGS = (
  *("samples", "references", "training", "poses", "cache", "label", "seed", "fps"),
  *("num_frames", "frame_size", "segment_frames", "beats_late_seconds", "metrics"),
)

BEATS = {
  "empty": b"",
  "words": b"one\ntwo\n",
  "nan": b"0.5\nnan\n",
  "inf": b"1e999\n",
  "binary": bytes(range(256)),
  "utf16": "0.5\n1.0\n".encode("utf-16"),
  "mark": b"\xef\xbb\xbf0.5\n1.0\n",
  "milliseconds": b"50000\n100000\n",
  "negative": b"-1\n-0.5\n",
  "csv": b"0.5,1\n1.0,2\n",
  "labels": b"0.5\t0.5\tbeat\n1.0\t1.0\tbeat\n",
  "long line": b"0" * 100_000,
  "many": b"0.001\n" * 100_000,
  "clock": b"00:01\n",
  "zeros": bytes(1000),
}


def song(seconds: float, rate: int) -> np.ndarray:
  """Returns clicks over a soft tone, float32 [s]."""
  t = np.arange(round(seconds * rate)) / rate
  tone = 0.1 * np.sin(2 * np.pi * 220 * t)
  return (tone + 0.8 * np.exp(-30 * (t % 0.5))).astype(np.float32)


def write_media(path: pathlib.Path, picture: str | None, sound: str) -> None:
  """Writes 5 s of picture (optional) and sound."""
  rate = 48_000 if "opus" in sound else RATE
  with av.open(str(path), "w") as container:
    video = None
    if picture is not None:
      video = container.add_stream(picture, rate=10)
      video.width = video.height = 64
      video.pix_fmt = "yuvj420p" if picture == "mjpeg" else "yuv420p"
    stream = container.add_stream(sound, rate=rate, layout="mono")
    if video is not None:
      for i in range(50):
        image = np.full((64, 64, 3), 40 + i, np.uint8)
        image[10:50, 5 + i % 50 :][:, :8] = 220
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = i, Fraction(1, 10)
        container.mux(video.encode(frame))
      container.mux(video.encode(None))
    audio = song(5, rate)
    step = stream.codec_context.frame_size or 1024
    for begin in range(0, len(audio), step):
      block = np.ascontiguousarray(audio[None, begin : begin + step])
      frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
      frame.sample_rate, frame.pts = rate, begin
      frame.time_base = Fraction(1, rate)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def picture(suffix: str) -> bytes:
  """Returns a small picture of a format."""
  pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
  name = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
  memory = io.BytesIO()
  PIL.Image.fromarray(pixels).save(memory, name)
  return memory.getvalue()


def damages(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
  """Yields the names and contents of damaged copies."""
  size = len(data)
  for share in (0.02, 0.3, 0.9, 0.999):
    yield f"cut{share}", data[: int(size * share)]
  for count in (1, 8, 64, 512):
    changed = np.frombuffer(data, np.uint8).copy()
    changed[rng.integers(0, size, count)] = rng.integers(0, 256, count)
    yield f"noise{count}", changed.tobytes()
  head = np.frombuffer(data, np.uint8).copy()
  head[rng.integers(0, min(size, 200), 6)] = rng.integers(0, 256, 6)
  yield "header", head.tobytes()
  middle, hole = size // 2, min(400, size // 4)
  yield "hole", data[:middle] + bytes(hole) + data[middle + hole :]
  yield "lost", data[:middle] + data[middle + hole :]
  yield "behind", data + bytes(5000)
  yield "twice", data + data


def odd_pictures() -> dict[str, bytes]:
  """Returns pictures that are whole, and odd."""
  png = picture("png")
  odd = {}
  for name, (width, height) in {
    "bomb.png": (2**31 - 1, 2**31 - 1),
    "wide.png": (5_000_000, 16),
    "none.png": (0, 0),
  }.items():
    odd[name] = png[:16] + struct.pack(">II", width, height) + png[24:]
  for name, image in {
    "ribbon.png": PIL.Image.new("L", (300_000, 16)),
    "long.png": PIL.Image.new("RGB", (300, 30_000)),
    "float.tif": PIL.Image.fromarray(np.full((20, 20), np.nan, np.float32)),
    "infinite.tif": PIL.Image.fromarray(np.full((20, 20), np.inf, np.float32)),
    "flat.tif": PIL.Image.fromarray(np.full((20, 20), -(2**31), np.int32)),
    "one.gif": PIL.Image.new("P", (1, 1)),
    "cmyk.jpg": PIL.Image.new("CMYK", (20, 20)),
    "lab.tif": PIL.Image.new("LAB", (20, 20)),
  }.items():
    memory = io.BytesIO()
    image.save(memory, {"jpg": "jpeg", "tif": "tiff"}.get(name[-3:], name[-3:]))
    odd[name] = memory.getvalue()
  odd["script.png"] = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
  odd["video.png"] = b"\x00\x00\x00\x18ftypmp42" + bytes(100)
  odd["heic.png"] = b"\x00\x00\x00\x18ftypheic" + bytes(100)
  return odd


def damaged_models(
  model: pathlib.Path, folder: pathlib.Path, digest_of: Callable
) -> Iterator[pathlib.Path]:
  """Makes published folders that are damaged, and yields them.

  Args:
    model: a published stage 2.
    folder: for the copies.
    digest_of: of the flat weights, so that some damage has the right digest.
  """
  rng = np.random.default_rng(0)
  whole = (model / "model.safetensors").read_bytes()
  config = json.loads((model / "config.json").read_text())

  def make(name, weights=whole, settings=config):
    place = folder / name
    shutil.copytree(model, place)
    stage1 = model.parent / "autoencoder"
    shutil.copytree(stage1, place / "autoencoder", dirs_exist_ok=True)
    (place / "model.safetensors").write_bytes(weights)
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (place / "config.json").write_text(text)
    return place

  def save(flat):
    metadata = {"step": "100000", "digest": digest_of(flat)}
    return safetensors.numpy.save(flat, metadata)

  for name, weights in damages(whole, rng):
    yield make(f"weights-{name}", weights)
  yield make("weights-huge-header", struct.pack("<Q", 2**60) + whole[8:])
  yield make("weights-empty", b"")
  # As float32: 8 bits go with scales, and the digest is that of their product.
  params, batch_stats, _, _ = model_file.read_model(epath.Path(model) / MODEL)
  flat = model_file.flatten(params, batch_stats)
  yield make("weights-float32", save(flat))  # whole: must be used
  first = sorted(name for name in flat if flat[name].ndim > 1)[0]
  for name, changed in {
    "shape": flat | {first: np.ascontiguousarray(flat[first][..., :1])},
    "dtype": flat | {first: flat[first].astype(np.int8)},
    "foreign": {"layer.weight": np.zeros((2, 2), np.float32)},
    "missing": {key: value for key, value in flat.items() if key != first},
    "more": flat | {"params/nobody/kernel": np.zeros((2, 2), np.float32)},
    "nan": flat | {first: np.full_like(flat[first], np.nan)},
    "clash": flat | {f"{first}/more": np.zeros(2, np.float32)},
  }.items():
    yield make(f"weights-{name}", save(changed))
  for name, settings in {
    "empty": "",
    "list": "[]",
    "number": "1",
    "cut": json.dumps(config)[:200],
    "binary": "\x00\x01",
    "deep": "[" * 100_000,
    "unknown": config | {"colour": "red"},
    "stage": config | {"stage": 7},
    "none": {key: None for key in config},
    "strings": {key: "x" for key in config} | {"stage": "diffusion"},
    "zero": config | {"unet": {key: 0 for key in config["unet"]}},
  }.items():
    yield make(f"config-{name}", settings=settings)

"""The user's API: one picture and a piece of music in, a dance video out.

pipe = DancePipeline.from_pretrained("runs/demo_diffusion")
out = pipe("person.jpg", "song.mp3", num_inference_steps=50, seed=0)
out.save("dance.mp4")
"""

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image

from dabfusion_jax import stage_factory, trained
from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.stages.diffusion import DiffusionStage
from data_pipeline import beats, framing, ingest, media, music_encoders

SAMPLE_RATE = 44_100


class PipelineError(ValueError):
  """Input that cannot become a dance: one line that says what to change."""


@dataclass(frozen=True)
class Music:
  """A window of a song, as the model hears it."""

  audio: np.ndarray  # float32 [s, 2] at SAMPLE_RATE, exactly as long as the video
  embedding: np.ndarray  # float32 [d], unit norm
  beat_times: np.ndarray  # float64 [n], seconds from the window's start


@dataclass(frozen=True)
class Dance:
  """A generated video with its music and every setting that made it."""

  frames: np.ndarray  # uint8 [t, h, w, 3]
  fps: float
  audio: np.ndarray  # float32 [s, 2] at SAMPLE_RATE
  flow: np.ndarray  # float32 [t, s, s, 2], the sampling grids
  settings: dict[str, Any]

  def save(self, path: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes PATH (mp4), a contact sheet (png) and the settings (json) beside it."""
    path = pathlib.Path(path)
    sheet, side = path.with_suffix(".png"), path.with_suffix(".json")
    media.write_video(path, self.frames, int(self.fps), self.audio, SAMPLE_RATE)
    _replace(sheet, PIL.Image.fromarray(contact_sheet(self.frames)).save, "PNG")
    text = json.dumps(self.settings, indent=2) + "\n"
    _replace(side, lambda file, _: file.write(text.encode()), "")
    return [path, sheet, side]


@dataclass(frozen=True, eq=False)
class DancePipeline:
  """Both stages of a trained model."""

  stage: DiffusionStage
  params: Any
  config: Any  # of stage 2
  autoencoder_config: Any
  digests: dict[str, str]

  @classmethod
  def from_pretrained(cls, folder: str | pathlib.Path) -> "DancePipeline":
    """Loads the workdir of a stage-2 training, or a published folder.

    Raises:
      TrainedError, CheckpointError: no trained stage 2 there, or no stage 1 inside it.
    """
    diffusion = trained.load_trained(folder, "diffusion")
    autoencoder = trained.load_autoencoder_of(folder)
    expected = diffusion.config["latents"]["autoencoder"]
    if autoencoder.digest != expected:
      raise trained.TrainedError(
        f"The stage 1 in {folder} has the hash {autoencoder.digest[:12]}, but stage 2"
        f" was trained with {expected[:12]}; restore the right one."
      )
    return cls(
      stage_factory.make_diffusion_stage(diffusion.config, autoencoder),
      diffusion.params,
      diffusion.config,
      autoencoder.config,
      {"diffusion": diffusion.digest, "autoencoder": autoencoder.digest},
    )

  @property
  def fps(self) -> float:
    return float(self.config["latents"]["fps"])

  @property
  def frame_size(self) -> int:
    return self.autoencoder_config["data"]["frame_size"]

  def __call__(
    self,
    image: str | pathlib.Path | np.ndarray,
    music: str | pathlib.Path,
    *,
    num_frames: int | None = None,
    music_start_seconds: float = 0.0,
    method: str | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    seed: int = 0,
    callback: Callable[[int, int], None] | None = None,
  ) -> Dance:
    """Makes a dance of one picture to one piece of music.

    Args:
      image: file of any size and format, or uint8 [h, w, 3].
      music: file of any kind that holds sound.
      num_frames: length; the trained one if None.
      music_start_seconds: where in the song the dance begins.
      method: sampler, `samplers.METHODS`; the config's if None.
      num_inference_steps: network evaluations; the config's if None.
      guidance_scale: 1 is none; the config's if None.
      seed: same seed, same dance, on any number of devices.
      callback: called with (steps done, steps in all).

    Raises:
      MediaError, PipelineError, ValueError: input that cannot be used, in one line.
    """
    if num_frames is None:
      num_frames = self.config["data"]["num_frames"]
    self._check_length(num_frames)
    if guidance_scale is None:
      guidance_scale = self.config["sampling"]["guidance_scale"]
    for name, value in (
      ("music_start", music_start_seconds),
      ("guidance_scale", guidance_scale),
    ):
      if not math.isfinite(value):
        raise PipelineError(f"{name} must be a finite number, not {value}.")
    ref_image = self.prepare_image(image)
    heard = self.prepare_music(music, num_frames, music_start_seconds)
    changes = {"method": method, "num_steps": num_inference_steps}
    changes = {key: value for key, value in changes.items() if value is not None}
    plan = stage_factory.make_sampling_plan(self.config, **changes)
    batch = self.make_batch([ref_image], [heard], num_frames)
    keys = process.example_keys(jax.random.key(seed), jnp.zeros(1, jnp.int32))
    frames, flow = self.generate(batch, keys, plan, guidance_scale, callback)
    settings = {
      "image": "array" if isinstance(image, np.ndarray) else str(image),
      "music": str(music),
      "music_start_seconds": music_start_seconds,
      "num_frames": num_frames,
      "fps": self.fps,
      "seed": seed,
      "guidance_scale": guidance_scale,
      "sampling": dict(self.config["sampling"]) | changes,
      "beat_times": [round(float(t), 3) for t in heard.beat_times],
      "weights": self.digests,
      "jax": jax.__version__,
    }
    return Dance(frames[0], self.fps, heard.audio, flow[0], settings)

  def generate(
    self,
    batch: dict[str, np.ndarray],
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float,
    callback: Callable[[int, int], None] | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [b, t, h, w, 3] and flow [b, t, s, s, 2] of a batch.

    Steps on the host, so that progress can be shown; the numbers are those of
    `DiffusionStage.sample`.
    """
    stage = self.stage
    z_term = self._z_term(self.params, batch["z"])
    step_fn = _step_fn(stage, guidance_scale, bool(np.any(plan.sigma)))
    carry = samplers.first_carry(keys, stage.latent_shape(batch))
    for i in range(len(plan.t)):
      step = samplers.Plan(*(row[i] for row in plan))
      carry = step_fn(self.params, batch, z_term, keys, carry, step)
      if callback is not None:
        jax.block_until_ready(carry)
        callback(i + 1, len(plan.t))
    flow, occlusion = stage.to_flow(carry.x)
    frames = self._decode(batch["z"], flow, occlusion)
    frames = np.uint8(np.clip(np.asarray(frames), 0, 1) * 255 + 0.5)
    return frames, np.asarray(flow)

  def make_batch(
    self, ref_images: Sequence[np.ndarray], heard: Sequence[Music], num_frames: int
  ) -> dict[str, np.ndarray]:
    """Pictures uint8 [h, w, 3] and their music -> a batch to sample from."""
    images = jnp.asarray(np.stack(ref_images), jnp.float32) / 255.0
    grid = [(m.beat_times, 0.0, num_frames, self.fps) for m in heard]
    return {
      "z": self._encode(images),
      "music": np.stack([m.embedding for m in heard]),
      "beats": np.stack([beats.beat_vector(*g) for g in grid]),
      "beat_features": np.stack([beats.beat_features(*g) for g in grid]),
    }

  # Compiled once for a pipeline, not for every dance.
  @functools.cached_property
  def _z_term(self) -> Callable:
    return jax.jit(self.stage.unet.z_term)

  @functools.cached_property
  def _decode(self) -> Callable:
    return jax.jit(self.stage.decode)

  @functools.cached_property
  def _encode(self) -> Callable:
    stage = self.stage
    return jax.jit(
      lambda x: stage.autoencoder.apply(stage.autoencoder_variables, x, method="encode")
    )

  def prepare_image(self, image: str | pathlib.Path | np.ndarray) -> np.ndarray:
    """Any picture -> uint8 [size, size, 3], framed as the training data were."""
    if not isinstance(image, np.ndarray):
      image = media.read_image(image)
    if min(image.shape[:2]) < 16:
      raise PipelineError(
        f"The picture has {image.shape[1]}x{image.shape[0]} pixels; at least 16x16 are"
        " needed."
      )
    name = self.config["latents"]["framing"]
    if (
      name == "letterbox" and self.autoencoder_config["data"]["source"] == "synthdance"
    ):
      image = pad_to_square(image)  # its close films are square: black bars are unknown
    return framing.FRAMINGS[name](image[None], self.frame_size)[0][0]

  def prepare_music(
    self, path: str | pathlib.Path, num_frames: int, start_seconds: float
  ) -> Music:
    """Beats of the whole song, then the window the dance is made to."""
    audio = media.read_audio(path, SAMPLE_RATE, mono=False)
    length = round(num_frames / self.fps * SAMPLE_RATE)
    first = round(start_seconds * SAMPLE_RATE)
    window = audio[first : first + length] if first >= 0 else audio[:0]
    # A hundredth of a second may be lost to encoders.
    if len(window) < length - SAMPLE_RATE // 100:
      raise PipelineError(
        f"{path} lasts {len(audio) / SAMPLE_RATE:.2f} s; a dance of {num_frames} frames"
        f" from {start_seconds:g} s on needs {num_frames / self.fps:.2f} s: choose"
        " longer music, another start, or fewer frames."
      )
    window = np.pad(window, ((0, length - len(window)), (0, 0)))
    encoder = music_encoders.make_same_encoder(self.config["latents"]["encoder"])
    # Heard as the training data were: at the rate of the records.
    song = media.read_audio(path, ingest.SAMPLE_RATE)
    times = beats.track_beats(song, ingest.SAMPLE_RATE)
    times = beats.slice_beats(times, start_seconds, num_frames / self.fps)
    first = round(start_seconds * ingest.SAMPLE_RATE)
    sound = song[first : first + round(num_frames / self.fps * ingest.SAMPLE_RATE)]
    return Music(window, encoder(sound, ingest.SAMPLE_RATE), times)

  def _check_length(self, num_frames: int) -> None:
    trained_frames = self.config["data"]["num_frames"]
    condition = self.config["condition"]
    fixed = condition["beats"] and condition["mode"] == "global_concat"
    if num_frames < 1 or (fixed and num_frames != trained_frames):
      raise PipelineError(
        f"This model makes {trained_frames} frames"
        + (" and no other number (its beats are one vector)" if fixed else " or more")
        + f", not {num_frames}."
      )


@functools.lru_cache(maxsize=8)
def _step_fn(
  stage: DiffusionStage, guidance_scale: float, is_stochastic: bool
) -> Callable:
  """One compiled sampling step; kept, because compiling costs more than sampling."""

  @jax.jit
  def step_fn(params, batch, z_term, keys, carry, step):
    def eps_fn(x_t, t):
      return stage.eps(params, batch, z_term, x_t, t, guidance_scale)

    return samplers.sample_step(
      eps_fn, carry, keys, step, is_stochastic, *stage.threshold
    )

  return step_fn


def pad_to_square(image: np.ndarray) -> np.ndarray:
  """Extends the shorter side by repeating its border: a studio wall goes on."""
  height, width = image.shape[:2]
  side = max(height, width)
  rows, columns = side - height, side - width
  # Where a picture is too low, the floor and not the ceiling ends at the frame.
  padding = ((rows, 0), (columns // 2, columns - columns // 2), (0, 0))
  return np.pad(image, padding, mode="edge")


def contact_sheet(frames: np.ndarray, columns: int = 10) -> np.ndarray:
  """All frames, row by row: uint8 [t, h, w, 3] -> [rows h, columns w, 3]."""
  missing = -len(frames) % columns
  frames = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), np.uint8)])
  count, height, width, _ = frames.shape
  grid = frames.reshape(count // columns, columns, height, width, 3)
  return grid.swapaxes(1, 2).reshape(-1, columns * width, 3)


def _replace(path: pathlib.Path, write: Callable, *args: Any) -> None:
  """Writes a file in one move."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
  try:
    with open(temporary, "wb") as file:
      write(file, *args)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)

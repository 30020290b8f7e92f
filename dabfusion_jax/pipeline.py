"""The user's API: one picture and a piece of music in, a dance video out.

pipe = DancePipeline.from_pretrained("runs/demo_diffusion")
out = pipe("person.jpg", "song.mp3", num_inference_steps=50, seed=0)
out.save("dance.mp4")
"""

import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dabfusion_jax.config import make_diffusion_stage, make_sampling_plan
from dabfusion_jax.diffusion import process
from dabfusion_jax.inference import inputs
from dabfusion_jax.inference.dance import Dance
from dabfusion_jax.inference.inputs import InputError, Music, check_number
from dabfusion_jax.inference.sampler import BatchSampler
from dabfusion_jax.metrics.image import psnr
from dabfusion_jax.ops.details import add_details
from dabfusion_jax.stages.diffusion import DiffusionStage
from dabfusion_jax.storage import saved_stage
from data_pipeline.music import beats as beat_grid
from data_pipeline.music import encoders

# Rendered dancers come back at 26.7 dB or more from the weights that come along,
# from those of `demo` at 23 or more; photographs at 21 dB or less.
FAITHFUL_DB = 22.0


@dataclass(frozen=True, eq=False)
class DancePipeline:
  """Both stages of a trained model, and what it must hear and see.

  `devices` are those of `BatchSampler`.
  """

  stage: DiffusionStage
  params: Any
  config: Any  # of stage 2
  autoencoder_config: Any
  digests: dict[str, str]
  encoder_name: str | None = None
  devices: tuple[jax.Device, ...] | None = None

  @classmethod
  def from_pretrained(
    cls, folder: str | pathlib.Path, encoder: str | None = None
  ) -> "DancePipeline":
    """Loads the workdir of a stage-2 training, or a published folder.

    Args:
      folder: the model.
      encoder: name of the music encoder (`music_encoders.make_encoder`), which must be
        the one the model was trained with; it says where the weights are. None: those
        of the hub's cache, where it needs any.

    Raises:
      TrainedError, CheckpointError: no trained stage 2 there, or no stage 1 inside it.
    """
    diffusion = saved_stage.load_trained(folder, "diffusion")
    autoencoder = saved_stage.load_autoencoder_of(folder)
    expected = diffusion.config["latents"]["autoencoder"]
    if autoencoder.digest != expected:
      raise saved_stage.TrainedError(
        f"The stage 1 in {folder} has the hash {autoencoder.digest[:12]}, but stage 2"
        f" was trained with {expected[:12]}; restore the right one."
      )
    return cls(
      make_diffusion_stage(diffusion.config, autoencoder),
      diffusion.params,
      diffusion.config,
      autoencoder.config,
      {"diffusion": diffusion.digest, "autoencoder": autoencoder.digest},
      encoder,
    )

  @property
  def fps(self) -> float:
    return float(self.config["latents"]["fps"])

  @property
  def frame_size(self) -> int:
    return self.autoencoder_config["data"]["frame_size"]

  @property
  def clip_format(self) -> dict[str, Any]:
    """What clips of a data set must be for this model (`loader.check_manifest`)."""
    latents = self.config["latents"]
    return {key: latents[key] for key in ("fps", "encoder", "framing")} | {
      "frame_size": self.frame_size,
      "num_frames": self.config["data"]["num_frames"],
    }

  def __call__(
    self,
    image: str | pathlib.Path | np.ndarray,
    music: str | pathlib.Path,
    *,
    text: str | None = None,
    beats: str | pathlib.Path | Sequence[float] | None = None,
    bpm: float | None = None,
    num_frames: int | None = None,
    music_start_seconds: float = 0.0,
    method: str | None = None,
    num_inference_steps: int | None = None,
    eta: float | None = None,
    guidance_scale: float | None = None,
    details: bool | None = None,
    seed: int = 0,
    callback: Callable[[int, int], None] | None = None,
  ) -> Dance:
    """Makes a dance of one picture to one piece of music.

    Args:
      image: file of any size and format, or uint8 [h, w, 3].
      music: file of any kind that holds sound.
      text: words that describe the style, in place of what the music sounds like.
      beats: seconds from the song's start, or a file of them (`inputs.read_beats`), in
        place of those that are tracked.
      bpm: tempo of the song, for a tracker that hears it double or half.
      num_frames: length; the trained one if None.
      music_start_seconds: where in the song the dance begins.
      method: sampler, `samplers.METHODS`; the config's if None.
      num_inference_steps: network evaluations; the config's if None.
      eta: noise of the two DDIM forms, 0 to 1; the config's if None.
      guidance_scale: 1 is none; the config's if None.
      details: whether what the codec loses of the picture is moved along
        (`ops.details`). None: where it loses much, as of pictures unlike those it was
        trained on.
      seed: same seed, same dance, on any number of devices.
      callback: called with (steps done, steps in all).

    Raises:
      MediaError, InputError, ValueError: input that cannot be used, in one line.
    """
    if num_frames is None:
      num_frames = self.config["data"]["num_frames"]
    self._check_length(num_frames)
    if guidance_scale is None:
      guidance_scale = self.config["sampling"]["guidance_scale"]
    check_number("music_start", music_start_seconds, 0.0)
    check_number("guidance_scale", guidance_scale, -math.inf)
    check_number("seed", seed, 0, 2**32 - 1)
    if (beats is not None or bpm is not None) and not self.config["condition"]["beats"]:
      raise InputError("This model hears no beats: it cannot follow --beats or --bpm.")
    changes = {"method": method, "num_steps": num_inference_steps, "eta": eta}
    changes = {key: value for key, value in changes.items() if value is not None}
    sampling = dict(self.config["sampling"]) | changes
    check_number("eta", sampling["eta"], 0.0, 1.0)
    if eta is not None and not sampling["method"].startswith("ddim"):
      raise InputError(
        f"eta belongs to ddim and ddim_lfdm, not to {sampling['method']}."
      )
    plan = make_sampling_plan(self.config, **changes)
    data = self.autoencoder_config["data"]
    name = self.config["latents"]["framing"]
    # The close films of SynthDance are square: black bars are unknown to its models.
    pad = name == "letterbox" and data["source"] == "synthdance"
    ref_image = inputs.frame_image(image, name, self.frame_size, pad)
    seconds = num_frames / self.fps
    heard = inputs.hear_music(
      music,
      self.encoder,
      music_start_seconds,
      seconds,
      text=text,
      beat_times=beats,
      bpm=bpm,
    )
    batch = self.make_batch([ref_image], [heard], num_frames)
    keys = process.example_keys(jax.random.key(seed), jnp.zeros(1, jnp.int32))
    sampler = self.sampler
    flow, occlusion = sampler.draw(batch, keys, plan, guidance_scale, callback)
    frames, flow = sampler.decode(batch["z"], flow, occlusion), np.asarray(flow)
    notes = []
    rebuilt = sampler.rebuild(batch["z"])
    if details is None:
      pair = (jnp.asarray(one, jnp.float32) for one in (rebuilt[0], ref_image))
      quality = float(psnr(*pair, 255))
      details = quality < FAITHFUL_DB
      if details:
        notes.append(
          f"The codec gives this picture back at {quality:.0f} dB only; what it loses "
          "is moved along, and what motion uncovers is a guess (--no-details shows the "
          "model alone)."
        )
    if details:
      frames[0] = add_details(frames[0], ref_image, rebuilt[0], flow[0])
    settings = {
      "image": "array" if isinstance(image, np.ndarray) else str(image),
      "music": str(music),
      "music_start_seconds": music_start_seconds,
      "text": text,
      "beats": _as_json(beats),
      "bpm": bpm,
      "num_frames": num_frames,
      "fps": self.fps,
      "details": details,
      "seed": seed,
      "guidance_scale": guidance_scale,
      "sampling": sampling,
      "beat_times": [round(float(t), 3) for t in heard.beat_times],
      "weights": self.digests,
      "jax": jax.__version__,
    }
    inside = (heard.beat_times >= 0) & (heard.beat_times < seconds)
    if self.config["condition"]["beats"] and not inside.any():
      notes.append(
        "No beats were found in this part of the music, so the dance follows none; "
        "--beats=FILE can give them."
      )
    return Dance(frames[0], self.fps, heard.audio, flow[0], settings, tuple(notes))

  def make_batch(
    self, ref_images: Sequence[np.ndarray], heard: Sequence[Music], num_frames: int
  ) -> dict[str, Any]:
    """Pictures uint8 [h, w, 3] and their music -> a batch to sample from."""
    grid = [(m.beat_times, 0.0, num_frames, self.fps) for m in heard]
    return {
      "z": self.sampler.encode(ref_images),
      "music": np.stack([m.embedding for m in heard]),
      "beats": np.stack([beat_grid.beat_vector(*g) for g in grid]),
      "beat_features": np.stack([beat_grid.beat_features(*g) for g in grid]),
    }

  @functools.cached_property
  def sampler(self) -> BatchSampler:
    """Both stages on batches."""
    return BatchSampler(self.stage, self.params, self.devices)

  @functools.cached_property
  def encoder(self) -> encoders.MusicEncoder:
    """The music encoder that the model was trained with."""
    return encoders.make_same_encoder(
      self.config["latents"]["encoder"], self.encoder_name
    )

  def _check_length(self, num_frames: int) -> None:
    trained_frames = self.config["data"]["num_frames"]
    condition = self.config["condition"]
    fixed = condition["beats"] and condition["mode"] == "global_concat"
    if num_frames < 1 or (fixed and num_frames != trained_frames):
      raise InputError(
        f"This model makes {trained_frames} frames"
        + (" and no other number (its beats are one vector)" if fixed else " or more")
        + f", not {num_frames}."
      )


def _as_json(beats: Any) -> str | list[float] | None:
  if beats is None or isinstance(beats, str | pathlib.Path):
    return beats and str(beats)
  return [float(time) for time in beats]

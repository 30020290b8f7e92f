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

from dabfusion_jax import inputs, stage_factory, trained
from dabfusion_jax.dance import Dance
from dabfusion_jax.diffusion import process, samplers
from dabfusion_jax.inputs import InputError, Music, check_number
from dabfusion_jax.metrics.image import psnr
from dabfusion_jax.ops.details import add_details
from dabfusion_jax.ops.grid import identity_grid
from dabfusion_jax.rows import Rows
from dabfusion_jax.stages.diffusion import DiffusionStage
from data_pipeline import beats as beat_grid
from data_pipeline import music_encoders

# Rendered dancers come back at 26.7 dB or more from the weights that come along,
# from those of `demo` at 23 or more; photographs at 21 dB or less.
FAITHFUL_DB = 22.0


@dataclass(frozen=True, eq=False)
class DancePipeline:
  """Both stages of a trained model.

  `devices` share the rows of a batch, which must divide by their number; the first
  local one alone, if None.
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
    plan = stage_factory.make_sampling_plan(self.config, **changes)
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
    flow, occlusion = self.draw(batch, keys, plan, guidance_scale, callback)
    frames, flow = self.decode(batch["z"], flow, occlusion), np.asarray(flow)
    notes = []
    rebuilt = self.rebuild(batch["z"])
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

  def generate(
    self,
    batch: dict[str, Any],
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [b, t, h, w, 3] and flow [b, t, s, s, 2] of a batch."""
    flow, occlusion = self.draw(batch, keys, plan, guidance_scale)
    return self.decode(batch["z"], flow, occlusion), np.asarray(flow)

  def draw(
    self,
    batch: dict[str, Any],
    keys: jax.Array,
    plan: samplers.Plan,
    guidance_scale: float,
    callback: Callable[[int, int], None] | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Flow [b, t, s, s, 2] and occlusion [b, t, s, s, 1] of a batch.

    Steps on the host, so that progress can be shown; the numbers are those of
    `DiffusionStage.sample`.
    """
    stage, params = self.stage, self._shared_params
    z_term = self._z_term(params, batch["z"])
    step_fn = self._step_fn(guidance_scale, bool(np.any(plan.sigma)))
    carry = self._rows.split(samplers.first_carry(keys, stage.latent_shape(batch)))
    for i in range(len(plan.t)):
      step = samplers.Plan(*(row[i] for row in plan))
      carry = step_fn(params, step, batch, z_term, keys, carry)
      if callback is not None:
        jax.block_until_ready(carry)
        callback(i + 1, len(plan.t))
    return stage.to_flow(carry.x)

  def encode(self, ref_images: Sequence[np.ndarray]) -> jax.Array:
    """Pictures uint8 [h, w, 3] -> z [b, s, s, c]."""
    return self._encode(np.stack(ref_images).astype(np.float32) / np.float32(255))

  def decode(self, z: Any, flow: Any, occlusion: Any) -> np.ndarray:
    """Latents of a batch -> frames uint8 [b, t, h, w, 3]."""
    frames = np.asarray(self._decode(z, flow, occlusion))
    return np.uint8(np.clip(frames, 0, 1) * 255 + 0.5)

  def rebuild(self, z: Any) -> np.ndarray:
    """What the codec makes of pictures without motion: uint8 [b, h, w, 3]."""
    size = np.shape(z)[1:3]
    still = np.broadcast_to(identity_grid(*size), (len(z), 1, *size, 2))
    seen = np.ones((len(z), 1, *size, 1), np.float32)
    return self.decode(z, still, seen)[:, 0]

  def make_batch(
    self, ref_images: Sequence[np.ndarray], heard: Sequence[Music], num_frames: int
  ) -> dict[str, Any]:
    """Pictures uint8 [h, w, 3] and their music -> a batch to sample from."""
    grid = [(m.beat_times, 0.0, num_frames, self.fps) for m in heard]
    return {
      "z": self.encode(ref_images),
      "music": np.stack([m.embedding for m in heard]),
      "beats": np.stack([beat_grid.beat_vector(*g) for g in grid]),
      "beat_features": np.stack([beat_grid.beat_features(*g) for g in grid]),
    }

  @functools.cached_property
  def encoder(self) -> music_encoders.MusicEncoder:
    """The music encoder that the model was trained with."""
    return music_encoders.make_same_encoder(
      self.config["latents"]["encoder"], self.encoder_name
    )

  # Compiled once for a pipeline, not for every dance.
  @functools.cached_property
  def _rows(self) -> Rows:
    return Rows(self.devices or jax.local_devices()[:1])

  @functools.cached_property
  def _shared_params(self) -> Any:
    return self._rows.share(self.params)

  @functools.cached_property
  def _z_term(self) -> Callable:
    return self._rows.compile(self.stage.unet.z_term, num_shared=1)

  @functools.cached_property
  def _decode(self) -> Callable:
    return self._rows.compile(self.stage.decode)

  @functools.cached_property
  def _encode(self) -> Callable:
    stage = self.stage
    return self._rows.compile(
      lambda x: stage.autoencoder.apply(stage.autoencoder_variables, x, method="encode")
    )

  @functools.cached_property
  def _step_fn(self) -> Callable:
    """(guidance scale, is stochastic) -> one sampling step."""
    stage = self.stage

    @functools.lru_cache(maxsize=8)
    def compiled(guidance_scale: float, is_stochastic: bool) -> Callable:
      def step_fn(params, step, batch, z_term, keys, carry):
        def eps_fn(x_t, t):
          return stage.eps(params, batch, z_term, x_t, t, guidance_scale)

        return samplers.sample_step(
          eps_fn, carry, keys, step, is_stochastic, *stage.threshold
        )

      return self._rows.compile(step_fn, num_shared=2)

    return compiled

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

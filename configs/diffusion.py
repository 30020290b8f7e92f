r"""Stage 2: diffusion of latent flow from a still picture and music.

  python -m dabfusion_jax.train --config=configs/diffusion.py --workdir=DIR
  python -m dabfusion_jax.train --config=configs/diffusion.py:demo --workdir=DIR

Trains from cached stage-1 outputs (`python -m dabfusion_jax.latents`).

Record (two x86-64 cores, jax 0.10.2, 2026; figures: docs/results.md):
  paper   not run: needs AIST++ and an accelerator; compiled for TPUs (docs/scaling.md)
  people  1,947 steps of 32 clips on an H100, 16 steps/s (two at once), 126 s; strict
          alignment 0.833 (chance 0.224); 700 of 16 with joints on two cores; 1,412 of
          64 on an H200, 0.836: the shipped people_e (docs/people_training.md)
  medium  trained in phases, the last of 2,400 steps in 37 min on one core; strict beat
          alignment 0.793 (chance 0.223); the shipped weights (docs/training.md)
  demo    560 steps at 1.1 steps/s, 8 min with the latents; moves, not on the beat
  smoke   4 steps; tests only
"""

import ml_collections

from configs import common


def get_config(variant: str = "paper") -> ml_collections.ConfigDict:
  """Returns the paper's settings, or those of another variant (`common.VARIANTS`)."""
  c = common.get_loop("diffusion", variant)

  # 10,564 clips / batch 20 = 529 steps per epoch; 250 epochs (sec. 4.1).
  c.num_steps = 132_250
  c.batch_size = 20  # global; the paper is silent
  c.picture_every = 5_000
  c.ema_decay = 0.999

  # Data: cached stage-1 outputs, and the stage 1 that made them.
  c.data = ml_collections.ConfigDict()
  c.data.latents = "data/aist_latents"
  c.data.autoencoder = "runs/paper_autoencoder"  # workdir or published folder
  c.data.num_frames = 40
  c.data.beats = "librosa"  # which beats condition: librosa, crnn or truth
  # Shares of clips shown slower with their beats, and at rest in silence: a departure.
  c.data.slow, c.data.silent = 0.0, 0.0
  # Whether all clips stay in the memory of the device: 1.5 MB each (`people` 0.6).
  c.data.on_device = False

  # Conditioning (sec. 3.4).
  c.condition = ml_collections.ConfigDict()
  # global_concat: DabFusion_e; none: DabFusion_b; per_frame_film: a departure.
  c.condition.beat_mode = "global_concat"
  c.condition.music_scale = 512**0.5  # of the unit-norm embedding
  c.condition.drop_probability = 0.1  # null condition; the paper is silent

  # Denoiser (3D U-Net, sec. 4.1).
  c.unet = ml_collections.ConfigDict()
  c.unet.base_channels = 64
  c.unet.channel_multipliers = (1, 2, 4, 8)
  c.unet.num_heads = 8
  c.unet.head_dim = 32
  c.unet.dtype = "float32"
  c.unet.remat = False

  # What reads from a flow where the joints of a body are, told by generated people: a
  # departure. Pictures of people are moved by it.
  c.joints = ml_collections.ConfigDict()
  c.joints.weight = 0.0  # 0: no reader
  c.joints.channels = 48
  c.joints.num_blocks = 4

  # Process (sec. 4.1) and what it diffuses.
  c.diffusion = ml_collections.ConfigDict()
  c.diffusion.num_timesteps = 1_000
  c.diffusion.noise_shift = 1.0  # of the cosine schedule; above 1, a departure: noisier
  c.diffusion.prediction = "eps"  # or v: a departure
  c.diffusion.velocity_weight = 0.0  # of the error of motion; a departure, for v
  c.diffusion.flow_param = "absolute"  # or residual: a documented departure
  c.diffusion.flow_scale = 1.0  # 0: one over the rms of the training residuals
  c.diffusion.threshold = 0.90  # quantile of dynamic thresholding; 0: plain clip

  # Sampling, for the pictures and as defaults of `sample`.
  c.sampling = ml_collections.ConfigDict()
  c.sampling.method = "ddpm"
  c.sampling.num_inference_steps = 1_000
  c.sampling.eta = 0.0  # noise of DDIM
  c.sampling.guidance_scale = 1.0

  # A user's picture, around the network.
  c.picture = ml_collections.ConfigDict()
  c.picture.pad_to_square = False  # by its border, for models that never saw black bars
  # PSNR of the codec below which `sample` adds what it loses: a departure; 0: never.
  # Rendered dancers come back at 26 dB or more, photographs at 21 dB or less.
  c.picture.details_below_db = 22.0

  # Optimizer: x0.1 after epochs 100, 150, 200 (sec. 4.1); betas of LFDM.
  c.optimizer.learning_rate = 2e-4
  c.optimizer.b1 = 0.9
  c.optimizer.b2 = 0.99
  c.optimizer.milestones = (52_900, 79_350, 105_800)

  if variant in ("people", "medium"):
    _make_small(c)
    c.num_steps, c.optimizer.milestones = 4_000, (3_000, 3_700)
    c.log_every, c.picture_every, c.checkpoint_every = 50, 1_000, 250
    c.eval_every = 250
    c.ema_decay = 0.995
    # At 1, nine tenths of the motion still show at t = 700: a third of the steps are
    # left for what music and picture decide. It takes more steps to sample cleanly.
    c.diffusion.noise_shift = 2.0
    c.diffusion.velocity_weight = 4.0  # without: still off the beat after 1,500 steps
    # As much on the beat as real clips, and as fast (docs/results.md).
    c.sampling.num_inference_steps, c.sampling.guidance_scale = 10, 2.0
    c.data.slow, c.data.silent = 0.35, 0.1
    c.data.latents = f"data/{variant}_latents"
    c.data.autoencoder = f"runs/{variant}_autoencoder"
    if variant == "people":
      c.picture.pad_to_square = False  # its pictures have black bars
      c.batch_size, c.ema_decay = 16, 0.999
      # True motion is large on few cells, and shows through even more noise.
      c.diffusion.noise_shift = 5.0
      # What moves is decided in the first tenth of the noise: 10 steps of DDIM, even in
      # time, jump over it and give 0.7 of the motion that these give.
      # Guidance: as fast as real clips (docs/people_training.md).
      c.sampling.method, c.sampling.guidance_scale = "unipc", 1.25
      c.joints.weight = 1.0
  elif variant == "demo":
    _make_small(c)
  elif variant == "smoke":
    c.num_steps, c.batch_size = 4, 8
    c.log_every, c.picture_every, c.checkpoint_every = 1, 4, 2
    c.eval_every, c.eval_batches = 2, 1
    c.data.latents, c.data.autoencoder = "data/smoke_latents", "runs/smoke_autoencoder"
    c.data.num_frames = 8
    c.unet.base_channels, c.unet.channel_multipliers = 8, (1, 2)
    c.unet.num_heads, c.unet.head_dim = 2, 8
    c.sampling.method, c.sampling.num_inference_steps = "ddim", 2
    c.picture.pad_to_square = True
    c.optimizer.milestones = (3,)
  return c


def _make_small(c: ml_collections.ConfigDict) -> None:
  """Sets a network and a schedule for minutes on two CPU cores, on SynthDance."""
  # Small batches: in minutes, the number of steps is what counts.
  c.num_steps, c.batch_size = 560, 4
  c.log_every, c.picture_every, c.checkpoint_every, c.eval_every = 20, 280, 140, 140
  c.ema_decay = 0.99
  c.data.latents, c.data.autoencoder = "data/demo_latents", "runs/demo_autoencoder"
  c.condition.beat_mode = "per_frame_film"
  c.unet.base_channels, c.unet.channel_multipliers = 24, (1, 2, 4)
  c.unet.num_heads, c.unet.head_dim = 2, 16
  c.diffusion.flow_param, c.diffusion.flow_scale = "residual", 0.0
  c.diffusion.prediction = "v"  # samples well after minutes; eps needs days
  c.diffusion.threshold = 0.0
  c.sampling.method, c.sampling.num_inference_steps = "ddim", 25
  c.picture.pad_to_square = True  # generated close-ups are square, without black bars
  c.optimizer.learning_rate = 2e-3
  c.optimizer.milestones = (450,)
  c.optimizer.warmup_steps = 50
  c.optimizer.clip_norm = 1.0

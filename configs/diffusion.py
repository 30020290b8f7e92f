r"""Stage 2: diffusion of latent flow from a still picture and music.

  python -m dabfusion_jax.train --config=configs/diffusion.py --workdir=DIR
  python -m dabfusion_jax.train --config=configs/diffusion.py:demo --workdir=DIR

Trains from cached stage-1 outputs (`python -m dabfusion_jax.latents`). `paper` is
the paper's setting (sec. 4.1); `medium`, `demo` and `smoke` are the same program in
miniature. `medium` made the weights that come with the package.
"""

import ml_collections
from ml_collections import config_dict

VARIANTS = ("paper", "medium", "demo", "smoke")


def get_config(variant: str = "paper") -> ml_collections.ConfigDict:
  """Settings of a variant, one of `VARIANTS`."""
  c = ml_collections.ConfigDict()
  c.stage = "diffusion"
  c.variant = variant

  # Loop. 10,564 clips / batch 20 = 529 steps an epoch; 250 epochs (sec. 4.1).
  c.seed = 0
  c.num_steps = 132_250
  c.batch_size = 20  # global; the paper is silent
  c.log_every = 50
  c.picture_every = 5_000
  c.checkpoint_every = 1_000
  c.keep_checkpoints = 3
  c.keep_best_checkpoints = 1  # of the lowest training loss between two
  c.ema_decay = 0.999
  c.gradient_accumulation = 1  # parts a batch is taken in, to save memory
  c.mesh = (("data", -1), ("fsdp", 1))
  c.fsdp_min_bytes = 2**20  # smaller parameters are replicated
  c.max_skipped_steps = 0  # bad steps in a row that are skipped; 0: the first ends it
  c.spike_grad_norm = config_dict.placeholder(float)  # a step beyond it is bad
  c.stall_seconds = 0.0  # without a step until the run ends, naming who hangs; 0: never
  c.init_from = ""  # workdir or published folder that lends a fresh run its parameters
  c.init_parts = ()  # the top-level modules it lends; empty: all

  # Data: cached stage-1 outputs, and the stage 1 that made them.
  c.data = ml_collections.ConfigDict()
  c.data.latents = "data/aist_latents"
  c.data.autoencoder = (
    "runs/paper_autoencoder"  # workdir or published folder of stage 1
  )
  # What trains that stage 1 if it is not there; empty: nothing does.
  c.data.autoencoder_config = ""
  c.data.num_frames = 40
  c.data.beats = "librosa"  # which beats condition: librosa or truth
  # Shares of clips shown slower with their beats, and at rest in silence: a departure.
  c.data.slow, c.data.silent = 0.0, 0.0

  # Conditioning (sec. 3.4).
  c.condition = ml_collections.ConfigDict()
  c.condition.beats = True  # False: the paper's DabFusion_b
  c.condition.mode = "global_concat"  # or per_frame_film, beat_channel: departures
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

  # Process (sec. 4.1) and what it diffuses.
  c.diffusion = ml_collections.ConfigDict()
  c.diffusion.num_timesteps = 1_000
  c.diffusion.noise_shift = 1.0  # of the cosine schedule; above 1, a departure: noisier
  c.diffusion.prediction = "eps"  # or v: a departure
  c.diffusion.velocity_weight = 0.0  # of the motion's error; a departure, for v
  c.diffusion.flow_param = "absolute"  # or residual: a documented departure
  c.diffusion.flow_scale = 1.0  # 0: one over the rms of the training residuals
  c.diffusion.threshold = 0.90  # quantile of dynamic thresholding; 0: plain clip

  # Sampling, for the pictures and as defaults of `sample`.
  c.sampling = ml_collections.ConfigDict()
  c.sampling.method = "ddpm"
  c.sampling.num_steps = 1_000
  c.sampling.eta = 0.0  # noise of DDIM
  c.sampling.guidance_scale = 1.0

  # Optimizer: x0.1 after epochs 100, 150, 200 (sec. 4.1); betas of LFDM.
  c.optimizer = ml_collections.ConfigDict()
  c.optimizer.learning_rate = 2e-4
  c.optimizer.b1 = 0.9
  c.optimizer.b2 = 0.99
  c.optimizer.milestones = (52_900, 79_350, 105_800)
  c.optimizer.warmup_steps = 0
  c.optimizer.clip_norm = config_dict.placeholder(float)

  if variant in ("medium", "demo"):
    # Small batches: in minutes, the number of steps is what counts.
    c.num_steps, c.batch_size = 560, 4
    c.log_every, c.picture_every, c.checkpoint_every = 20, 280, 140
    c.ema_decay = 0.99
    c.data.latents, c.data.autoencoder = "data/demo_latents", "runs/demo_autoencoder"
    c.data.autoencoder_config = "configs/autoencoder.py:demo"
    c.condition.mode = "per_frame_film"
    c.unet.base_channels, c.unet.channel_multipliers = 24, (1, 2, 4)
    c.unet.num_heads, c.unet.head_dim = 2, 16
    c.diffusion.flow_param, c.diffusion.flow_scale = "residual", 0.0
    c.diffusion.prediction = "v"  # samples well after minutes; eps needs days
    c.diffusion.threshold = 0.0
    c.sampling.method, c.sampling.num_steps = "ddim", 25
    c.optimizer.learning_rate = 2e-3
    c.optimizer.milestones = (450,)
    c.optimizer.warmup_steps = 50
    c.optimizer.clip_norm = 1.0
    if variant == "medium":
      c.num_steps, c.optimizer.milestones = 4_000, (3_000, 3_700)
      c.log_every, c.picture_every, c.checkpoint_every = 50, 1_000, 250
      c.ema_decay = 0.995
      # At 1, nine tenths of the motion still show at t = 700: a third of the steps are
      # left for what music and picture decide. It takes more steps to sample cleanly.
      c.diffusion.noise_shift = 2.0
      c.diffusion.velocity_weight = 4.0  # without: still off the beat after 1,500 steps
      # As much on the beat as true clips, and as fast (docs/results.md).
      c.sampling.num_steps, c.sampling.guidance_scale = 10, 2.0
      c.data.slow, c.data.silent = 0.35, 0.1
      c.data.latents = "data/medium_latents"
      c.data.autoencoder = "runs/medium_autoencoder"
      c.data.autoencoder_config = "configs/autoencoder.py:medium"
  elif variant == "smoke":
    c.num_steps, c.batch_size = 4, 8
    c.log_every, c.picture_every, c.checkpoint_every = 1, 4, 2
    c.data.latents, c.data.autoencoder = "data/smoke_latents", "runs/smoke_autoencoder"
    c.data.autoencoder_config = "configs/autoencoder.py:smoke"
    c.data.num_frames = 8
    c.unet.base_channels, c.unet.channel_multipliers = 8, (1, 2)
    c.unet.num_heads, c.unet.head_dim = 2, 8
    c.sampling.method, c.sampling.num_steps = "ddim", 2
    c.optimizer.milestones = (3,)
  elif variant != "paper":
    raise ValueError(f"Unknown variant {variant!r}; known: {', '.join(VARIANTS)}.")
  return c

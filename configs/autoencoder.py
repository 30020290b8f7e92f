r"""Stage 1: the latent flow auto-encoder.

  python -m dabfusion_jax.train --config=configs/autoencoder.py --workdir=DIR
  python -m dabfusion_jax.train --config=configs/autoencoder.py:demo --workdir=DIR

`paper` is the paper's setting (sec. 4.1) on AIST++ shards; `medium`, `demo` and `smoke`
are the same program in miniature on SynthDance, which is generated when it is not
there. `medium` made the weights that come with the package.
"""

import ml_collections
from ml_collections import config_dict

VARIANTS = ("paper", "medium", "demo", "smoke")


def get_config(variant: str = "paper") -> ml_collections.ConfigDict:
  """Settings of a variant, one of `VARIANTS`."""
  c = ml_collections.ConfigDict()
  c.stage = "autoencoder"
  c.variant = variant

  # Loop. 10,564 videos x 3 repeats (the paper is silent) / batch 100 = 317 steps an
  # epoch; 150 epochs (sec. 4.1).
  c.seed = 0
  c.num_steps = 47_550
  c.batch_size = 100  # global; sec. 4.1
  c.log_every = 50
  c.picture_every = 1_000
  c.checkpoint_every = 1_000
  c.keep_checkpoints = 3
  c.keep_best_checkpoints = 1  # of the lowest training loss between two
  c.ema_decay = 0.0  # no moving average in stage 1
  c.gradient_accumulation = 1  # parts a batch is taken in, to save memory
  c.mesh = (("data", -1), ("fsdp", 1))
  c.fsdp_min_bytes = 2**20  # smaller parameters are replicated
  c.max_skipped_steps = 0  # bad steps in a row that are skipped; 0: the first ends it
  c.spike_grad_norm = config_dict.placeholder(float)  # a step beyond it is bad
  c.stall_seconds = 0.0  # without a step until the run ends, naming who hangs; 0: never
  c.init_from = ""  # workdir or published folder that lends a fresh run its parameters
  c.init_parts = ()  # the top-level modules it lends; empty: all

  # Data.
  c.data = ml_collections.ConfigDict()
  c.data.source = "aist"
  c.data.folder = "data/aist"
  c.data.preset = ""  # of SynthDance
  c.data.frame_size = 128  # pixels a side
  c.data.num_frames = 40
  c.data.fps = 10  # the paper is silent; its demos have 10
  c.data.encoder = "clap"
  c.data.augment = True  # flips in time and space, colour jitter
  c.data.pairs_per_clip = 4  # drawn from one decoded clip
  c.data.cache_in_memory = False  # decoded clips, 0.5 MB each at 64 px

  # Model (sec. 3.2; FOMM).
  c.model = ml_collections.ConfigDict()
  c.model.num_keypoints = 10
  c.model.detector_features = 32
  c.model.motion_features = 64
  c.model.hourglass_max_features = 1024
  c.model.hourglass_blocks = 5
  c.model.codec_features = 64
  c.model.codec_max_features = 512
  c.model.num_down = 2
  c.model.num_residual = 6
  c.model.dtype = "float32"  # of the convolutions; coordinates are always float32

  # Loss (FOMM: 4 scales x 5 taps, and equivariance).
  c.loss = ml_collections.ConfigDict()
  c.loss.network = "vgg19"  # vgg19, vgg16, alexnet or none
  c.loss.scales = (1.0, 0.5, 0.25, 0.125)
  c.loss.perceptual_weights = (10.0,) * 5  # one per feature map; 0 drops the deepest
  c.loss.pixel_weight = 0.0
  c.loss.equivariance_weight = 10.0

  # Optimizer: x0.1 after epochs 60, 90, 120 (sec. 4.1); betas of LFDM.
  c.optimizer = ml_collections.ConfigDict()
  c.optimizer.learning_rate = 2e-4
  c.optimizer.b1 = 0.5
  c.optimizer.b2 = 0.999
  c.optimizer.milestones = (19_020, 28_530, 38_040)
  c.optimizer.warmup_steps = 0
  c.optimizer.clip_norm = config_dict.placeholder(float)

  if variant in ("medium", "demo"):
    c.num_steps, c.batch_size = 600, 16
    c.log_every, c.picture_every, c.checkpoint_every = 20, 200, 200
    c.data.source, c.data.folder = "synthdance", "data/synthdance_demo"
    c.data.preset, c.data.frame_size = "demo", 64
    c.data.encoder, c.data.cache_in_memory = "spectral", True
    c.model.detector_features, c.model.motion_features = 16, 32
    c.model.hourglass_max_features, c.model.hourglass_blocks = 96, 4
    c.model.codec_features, c.model.num_residual = 16, 4
    # The VGG-16 that comes in a package; the paper uses VGG-19.
    c.loss.network, c.loss.scales = "vgg16", (1.0, 0.5)
    c.loss.perceptual_weights = (10.0, 10.0, 10.0, 10.0, 0.0)
    c.loss.pixel_weight = 20.0  # a departure: minutes instead of days
    c.optimizer.learning_rate = 1e-3
    c.optimizer.milestones = (450,)
    c.optimizer.warmup_steps = 20
    if variant == "medium":
      c.num_steps, c.optimizer.milestones = 5_000, (4_300, 4_800)
      c.data.preset, c.data.folder = "medium", "data/synthdance_medium"
  elif variant == "smoke":
    c.num_steps, c.batch_size = 4, 8
    c.log_every, c.picture_every, c.checkpoint_every = 1, 4, 2
    c.data.source, c.data.folder = "synthdance", "data/synthdance_smoke"
    c.data.preset, c.data.frame_size = "smoke", 32
    c.data.num_frames, c.data.encoder = 8, "spectral"
    c.model.num_keypoints = 3
    c.model.detector_features, c.model.motion_features = 4, 4
    c.model.hourglass_max_features, c.model.hourglass_blocks = 16, 2
    c.model.codec_features, c.model.num_residual = 4, 1
    c.loss.network, c.loss.pixel_weight = "none", 10.0
    c.optimizer.milestones = (3,)
  elif variant != "paper":
    raise ValueError(f"Unknown variant {variant!r}; known: {', '.join(VARIANTS)}.")
  return c

r"""Stage 1: the latent flow auto-encoder.

  python -m dabfusion_jax.train --config=configs/autoencoder.py --workdir=DIR
  python -m dabfusion_jax.train --config=configs/autoencoder.py:demo --workdir=DIR

Record (two x86-64 cores, jax 0.10.2, 2026; figures: docs/results.md):
  paper   not run: needs AIST++ and an accelerator; compiled for TPUs (docs/scaling.md)
  people  not in one go: its parts on a CPU, then 5,425 steps of 64 pairs on an H100 in
          3.7 minutes at 26 steps/s and 1,993 of 128 on an H200; flow error 0.33 of no
          motion on 32 held-out clips (docs/people_training.md)
  medium  1,600 then 5,000 steps at about 2 steps/s, 40 min for the latter; PSNR inside
          the person 19.05 dB; the shipped weights (docs/training.md has the commands)
  demo    600 steps at 1.5 steps/s, 6.5 min; PSNR inside the person 15.49 dB
  smoke   4 steps; tests only
"""

import ml_collections
from ml_collections import config_dict

from configs import common


def get_config(variant: str = "paper") -> ml_collections.ConfigDict:
  """Returns the paper's settings, or those of another variant (`common.VARIANTS`)."""
  c = common.get_loop("autoencoder", variant)

  # 10,564 videos x 3 repeats (the paper is silent) / batch 100 = 317 steps per epoch;
  # 150 epochs (sec. 4.1).
  c.num_steps = 47_550
  c.batch_size = 100  # global; sec. 4.1
  c.ema_decay = 0.0  # no moving average in stage 1

  # Data.
  c.data = ml_collections.ConfigDict()
  c.data.folder = "data/aist"
  # Flags of data_pipeline.build that make it, beside those of size, rate and encoder.
  c.data.build = "--source=aist --videos=DIR --annotations=DIR"
  c.data.frame_size = 128  # pixels per side
  c.data.num_frames = 40
  c.data.fps = 10  # the paper is silent; its demos have 10
  c.data.encoder = "clap"
  c.data.augment = True  # flips in time and space, colour jitter
  c.data.pairs_per_clip = 4  # drawn from one decoded clip
  c.data.cache_in_memory = False  # decoded clips, 0.5 MB each at 64 px
  # Processes that read; 0: threads of the training; None: by the machine.
  c.data.reading_processes = config_dict.placeholder(int)
  # Whether all clips stay in the memory of the device, which makes the pairs: 2 MB each
  # at 128 px, with true motion 9 MB.
  c.data.on_device = False

  # Model (sec. 3.2; FOMM).
  c.model = ml_collections.ConfigDict()
  c.model.num_keypoints = 10
  c.model.detector_features = 32
  c.model.detector_scale = 0.25  # at which the detector sees a frame
  c.model.detector_temperature = 0.1  # of the softmax over a heatmap
  c.model.detector_head_size = 7  # kernels that draw heatmaps and jacobians
  c.model.motion_features = 64
  c.model.hourglass_max_features = 1024
  c.model.hourglass_blocks = 5
  c.model.codec_features = 64
  c.model.codec_max_features = 512
  c.model.num_down = 2
  c.model.motion_down = 0  # how often flow and occlusion are halved below z
  c.model.heat_variance = 0.01  # of the Gaussians that show keypoints to the motion
  c.model.oriented_heat = False  # Gaussians as long as the jacobians: a departure
  # Whether the flow may leave the motion of the keypoints: a departure.
  c.model.motion_correction = False
  c.model.num_residual = 6
  # Whether the decoder draws over the picture instead of from z alone: a departure.
  c.model.keep_picture = False
  # Channels of that decoder at full size (0: codec_features), and whether it refines
  # the flow pixel by pixel.
  c.model.decoder_features, c.model.fine_flow = 0, False
  # Features that find each cell of the driving frame in the reference; 0: of that
  # frame, the flow knows only its keypoints, as in the paper.
  c.model.matching_features = 0
  c.model.dtype = "float32"  # of the convolutions; coordinates are always float32

  # Loss (FOMM: 4 scales x 5 taps, and equivariance).
  c.loss = ml_collections.ConfigDict()
  c.loss.network = "vgg19"  # vgg19, vgg16, alexnet or none
  c.loss.scales = (1.0, 0.5, 0.25, 0.125)
  c.loss.perceptual_weights = (10.0,) * 5  # one per feature map; 0 drops the deepest
  c.loss.pixel_weight = 0.0
  c.loss.equivariance_weight = 10.0
  # Weights of the errors against the true motion and parts of a generated body.
  c.loss.flow_weight = 0.0
  c.loss.parts_weight = 0.0
  # Whether frames are rebuilt by the true motion, for `latents --true_motion`.
  c.loss.rebuild_by_truth = False

  # Optimizer: x0.1 after epochs 60, 90, 120 (sec. 4.1); betas of LFDM.
  c.optimizer.learning_rate = 2e-4
  c.optimizer.b1 = 0.5
  c.optimizer.b2 = 0.999
  c.optimizer.milestones = (19_020, 28_530, 38_040)

  if variant == "people":
    _make_small(c)
    c.num_steps, c.batch_size = 4_000, 8  # small batches: the number of steps counts
    c.optimizer.milestones = (3_200, 3_800)
    c.log_every, c.picture_every, c.checkpoint_every, c.eval_every = 50, 500, 250, 500
    c.data.folder = "data/synthdance_people"
    c.data.build = "--source=synthdance --preset=people"
    c.data.frame_size, c.data.pairs_per_clip = 128, 2
    # Keypoints and regions are the parts of the body, and the flow is its motion.
    c.model.num_keypoints = 21
    # Arms are two pixels wide at a quarter of the frame: too few to find them by. A
    # softmax of temperature 0.1 does not settle at this learning rate.
    c.model.detector_scale, c.model.detector_temperature = 0.5, 1.0
    c.model.detector_head_size = 3
    c.model.detector_features, c.model.hourglass_max_features = 32, 96
    # A flow of 16 x 16 cells can be within 0.09 of the true motion of a body, hands
    # within 0.26; one of 32 x 32 halves that, and stage 2 costs four times as much.
    c.model.motion_down = 1
    # Limbs are two pixels wide; round Gaussians of variance 0.01 cover several.
    c.model.heat_variance, c.model.oriented_heat = 0.0025, True
    # A chest that turns away moves as no part that turns in the picture does.
    c.model.motion_correction = True
    c.model.keep_picture = True
    c.model.decoder_features, c.model.fine_flow = 24, True
    c.model.matching_features = 64
    c.loss.network, c.loss.perceptual_weights = "alexnet", (2.0,) * 5
    c.loss.pixel_weight = 60.0
    c.loss.flow_weight, c.loss.parts_weight = 100.0, 3.0
    # Stage 2 learns from it too: of arms, stage 1 finds little of the motion.
    c.loss.rebuild_by_truth = True
    c.loss.equivariance_weight = 0.0
    c.optimizer.clip_norm = 50.0
  elif variant == "medium":
    _make_small(c)
    c.num_steps, c.optimizer.milestones = 5_000, (4_300, 4_800)
    c.data.folder = "data/synthdance_medium"
    c.data.build = "--source=synthdance --preset=medium"
  elif variant == "demo":
    _make_small(c)
  elif variant == "smoke":
    c.num_steps, c.batch_size = 4, 8
    c.log_every, c.picture_every, c.checkpoint_every = 1, 4, 2
    c.eval_every, c.eval_batches = 2, 1
    c.data.folder = "data/synthdance_smoke"
    c.data.build = "--source=synthdance --preset=smoke"
    c.data.frame_size, c.data.num_frames, c.data.encoder = 32, 8, "spectral"
    c.model.num_keypoints = 3
    c.model.detector_features, c.model.motion_features = 4, 4
    c.model.hourglass_max_features, c.model.hourglass_blocks = 16, 1
    c.model.codec_features, c.model.num_residual = 4, 1
    c.loss.network, c.loss.pixel_weight = "none", 10.0
    c.optimizer.milestones = (3,)
  return c


def _make_small(c: ml_collections.ConfigDict) -> None:
  """Sets a network and a schedule for minutes on two CPU cores, on SynthDance."""
  c.num_steps, c.batch_size = 600, 16
  c.log_every, c.picture_every, c.checkpoint_every, c.eval_every = 20, 200, 200, 200
  c.data.folder = "data/synthdance_demo"
  c.data.build = "--source=synthdance --preset=demo"
  c.data.frame_size, c.data.encoder, c.data.cache_in_memory = 64, "spectral", True
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

r"""Clips per second of every feature that the evaluation computes, and of the cache.

  python -m benchmarks.features --num_clips=2

Synthetic clips of 40 frames of 64 pixels at 10 fps. Compilation is excluded (one call
before the clock starts); networks whose weights are not imported are named and skipped.
The last line is the ratio of a first evaluation to a second one with its cache.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np

from dabfusion_jax.evaluation.reading import blazepose, clips, music_events
from dabfusion_jax.evaluation.reading.cache import FeatureCache
from dabfusion_jax.evaluation.reading.clip_sets import open_clip_set
from dabfusion_jax.evaluation.reading.features import Reading
from dabfusion_jax.evaluation.reading.networks import open_networks
from dabfusion_jax.evaluation.reporting import result
from dabfusion_jax.evaluation.scoring.measure import Extras, Settings
from dabfusion_jax.metrics import appearance, image, optical_flow
from dabfusion_jax.metrics.features import clip_image, i3d, lpips, wav2clip
from dabfusion_jax.pretrained import store
from data_pipeline.cli import positive_int
from data_pipeline.media.pcm import int16_to_sound, sound_to_int16

_FPS = 10


def make_clip(seed: int, count: int, size: int) -> dict[str, np.ndarray]:
  """Returns a clip of a noisy square that moves for `count` frames, with clicks."""
  rng = np.random.default_rng(seed)
  frames = rng.integers(90, 110, (count, size, size, 3), np.uint8)
  for t, frame in enumerate(frames):
    left = int((np.sin(t / 3 + seed) + 1) * (size - 16) / 2)
    frame[size // 3 :, left : left + 12] = (200, 60, 40)
  audio = np.zeros(count * clips.SAMPLE_RATE // _FPS, np.float32)
  audio[:: clips.SAMPLE_RATE // 2] = 0.9
  return {
    "frames": frames,
    "fps": np.float64(_FPS),
    "audio": sound_to_int16(audio),
    "sample_rate": np.int64(clips.SAMPLE_RATE),
  }


def clips_per_second(work, items) -> float:
  """Returns the speed of `work(item)`, after one call that compiles."""
  work(items[0])
  begin = time.perf_counter()
  for item in items:
    work(item)
  return len(items) / (time.perf_counter() - begin)


def feature_rates(videos, networks) -> dict[str, float | str]:
  """Returns clips per second by feature, or why there is no figure."""
  audio = [int16_to_sound(v["audio"]) for v in videos]
  frames = [v["frames"] for v in videos]
  pairs = list(zip(frames, frames[1:] + frames[:1], strict=True))
  rates: dict[str, float | str] = {
    "PSNR and SSIM": clips_per_second(lambda p: image.paired_scores(*p), pairs),
    "optical flow": clips_per_second(optical_flow.flow_motion, frames),
    "onsets": clips_per_second(music_events.find_onsets, audio),
    "beats": clips_per_second(music_events.find_beats, audio),
  }
  for net in ("alex", "vgg"):
    name = f"LPIPS {net}"
    if net in networks:
      score = lambda p, net=net: lpips.clip_lpips(networks[net], net, *p)
      rates[name] = clips_per_second(score, pairs)
    else:
      rates[name] = "no weights"
  if "alex" in networks:
    look = lambda f: appearance.appearance(networks["alex"]["trunk"], f)
    rates["identity drift"] = clips_per_second(look, frames)
  sounds = [music_events.resample(a, wav2clip.SAMPLE_RATE) for a in audio]
  for name, items, work in (
    ("clip", frames, lambda f: clip_image.embed_frames(networks["clip"], f)),
    (
      "wav2clip",
      sounds,
      lambda a: wav2clip.embed_sound(networks["wav2clip"], a, wav2clip.SAMPLE_RATE),
    ),
  ):
    has = name in networks
    rates[name] = clips_per_second(work, items) if has else "no weights"
  for length in sorted({16, len(frames[0])}):
    name = f"I3D, {length} frames"
    if "i3d" in networks:
      see = lambda f, n=length: i3d.i3d_logits(networks["i3d"], f[:n])
      rates[name] = clips_per_second(see, frames)
    else:
      rates[name] = "no weights"
  try:
    pose = blazepose.BlazePose()
    rates["BlazePose"] = clips_per_second(lambda f: pose("", lambda: f), frames)
  except store.MissingWeightsError as error:
    rates["BlazePose"] = str(error)
  return rates


def cache_ratio(videos, networks) -> tuple[float, float]:
  """Returns the seconds of a first and a second evaluation, without 40-frame FVD."""
  with tempfile.TemporaryDirectory(prefix="dabfusion-") as root:
    for part, shift in (("samples", 0), ("references", 1)):
      folder = pathlib.Path(root) / part
      folder.mkdir()
      for i in range(len(videos)):
        clip = videos[(i + shift) % len(videos)]
        clips.write_arrays(folder / f"clip{i}.npz", clip)
    seconds = []
    for _ in range(2):
      begin = time.perf_counter()
      cache = FeatureCache(pathlib.Path(root) / "cache")
      clip_sets = [
        open_clip_set(pathlib.Path(root) / part, part, Reading(), cache)
        for part in ("samples", "references")
      ]
      groups = ("paired", "lpips", "alignment", "motion", "drift", "fvd_16f")
      result.evaluate(*clip_sets, Settings(groups), Extras(networks))
      seconds.append(time.perf_counter() - begin)
  return seconds[0], seconds[1]


def make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--num_clips", type=positive_int, default=2, help="clips on each side")
  add("--num_frames", type=positive_int, default=40, help="frames of a clip")
  add("--frame_size", type=positive_int, default=64, help="pixels")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  args = make_parser().parse_args(argv)
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind} x {jax.device_count()}")
  size = args.num_frames, args.frame_size
  videos = [make_clip(i, *size) for i in range(args.num_clips)]
  networks = open_networks(("alex", "vgg", "i3d", "clip", "wav2clip"))
  for name, rate in feature_rates(videos, networks).items():
    text = rate if isinstance(rate, str) else f"{rate:9.2f} clips/s"
    print(f"{name:18} {text}")
  first, second = cache_ratio(videos, networks)
  print(
    f"evaluation         {first:.2f} s, again {second:.2f} s: {first / second:.1f} x"
  )


if __name__ == "__main__":
  main()

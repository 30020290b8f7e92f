r"""Runs a frozen stage 1 over clips once, so that stage 2 never touches pixels.

  python -m data_pipeline.latent_cache --checkpoint=runs/demo_autoencoder \
    --data=data/synthdance_demo --output=data/demo_latents

Flow and occlusion of every frame from the first, and z of the first (paper sec. 3.3),
as ArrayRecord shards. The cache is bound to the weights, the data and the settings by
hash; an interrupted run goes on at the first missing shard.
"""

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import app, flags
from array_record.python import array_record_module

from dabfusion_jax import stage_factory, trained
from data_pipeline import latent_record, loader
from data_pipeline.latent_record import LatentError

CLIPS_PER_SHARD = 64

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Stage 1: workdir or published.")
_DATA = flags.DEFINE_string("data", None, "Folder made by data_pipeline.build.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the cache.")


def cache_latents(
  checkpoint: str | pathlib.Path,
  data: str | pathlib.Path,
  output: str | pathlib.Path,
) -> None:
  """Writes, or completes, the latent cache of all splits of a data set.

  Raises:
    LatentError: the folder holds a cache of other weights, data or settings.
    TrainedError, RecordError: stage 1 or the data are not there.
  """
  stage1 = trained.load_trained(checkpoint, "autoencoder")
  manifest = loader.read_manifest(data)
  identity = {
    "schema_version": latent_record.SCHEMA_VERSION,
    "autoencoder": stage1.digest,
    "data": manifest["content_sha256"],
    "clips_per_shard": CLIPS_PER_SHARD,
  }
  output = pathlib.Path(output)
  if _is_finished(output, identity):
    print(f"{output} is complete.")
    return
  output.mkdir(parents=True, exist_ok=True)
  model = stage_factory.make_autoencoder(stage1.config)

  @jax.jit
  def analyse(frames):
    frames = frames.astype(jnp.float32) / 255.0
    return model.apply(stage1.variables, frames, method="analyse_clip")

  shards, statistics = {}, []
  for split in sorted(manifest["counts"]):
    clips = loader.open_clips(data, split)
    starts = range(0, len(clips), CLIPS_PER_SHARD)
    shards[split] = []
    with tqdm.tqdm(total=len(clips), desc=f"latents, {split}", unit="clip") as bar:
      for index, start in enumerate(starts):
        name = f"{split}-{index:05d}-of-{len(starts):05d}.array_record"
        shards[split].append(name)
        chosen = range(start, min(start + CLIPS_PER_SHARD, len(clips)))
        sums = output / f"{name}.json"
        if not (output / name).is_file() or not sums.is_file():
          found = _write_shard(output / name, [clips[i] for i in chosen], analyse, bar)
          _replace_json(sums, found)
        else:
          bar.update(len(chosen))
        if split == "train":
          statistics.append(json.loads(sums.read_text()))
  _replace_json(
    output / latent_record.MANIFEST,
    identity
    | {
      key: manifest["settings"][key]
      for key in ("fps", "num_frames", "encoder", "frame_size")
    }
    | {
      "shards": shards,
      "counts": {split: manifest["counts"][split]["clips"] for split in shards},
      "statistics": _combine(statistics),
    },
  )
  size = sum(path.stat().st_size for path in output.glob("*.array_record"))
  print(f"{output}: {size / 2**20:.1f} MiB.")


def _is_finished(output: pathlib.Path, identity: Mapping[str, Any]) -> bool:
  """True for a finished cache of the same identity; refuses any other content."""
  path = output / "identity.json"
  if path.is_file():
    found = json.loads(path.read_text())
    differing = [key for key in identity if found.get(key) != identity[key]]
    if differing:
      raise LatentError(
        f"{output} caches other latents ({', '.join(differing)} differ); choose another"
        " --output or delete it."
      )
    return (output / latent_record.MANIFEST).is_file()
  if output.is_dir() and any(output.iterdir()):
    raise LatentError(f"{output} is not empty and no latent cache; choose another.")
  output.mkdir(parents=True, exist_ok=True)
  _replace_json(path, identity)
  return False


def _write_shard(path: pathlib.Path, clips, analyse, bar) -> dict[str, float]:
  """Writes a shard in one move; returns sums of the residual flow's statistics."""
  temporary = path.with_suffix(".tmp")
  writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
  count, square, largest = 0, 0.0, 0.0
  for clip in clips:
    motion, z = jax.device_get(analyse(clip["frames"]))
    record = {
      "flow": np.asarray(motion.flow),
      "occlusion": np.asarray(motion.occlusion),
      "z": np.asarray(z),
      "music": clip["music"],
      "librosa_beats": clip["beat_times"],
    }
    if "true_beat_times" in clip:
      record["truth_beats"] = clip["true_beat_times"]
    writer.write(latent_record.encode(record, f"{clip['name']}.{clip['window']}"))
    residual = record["flow"] - latent_record.identity_grid(*record["flow"].shape[1:3])
    count += residual.size
    square += float(np.square(residual, dtype=np.float64).sum())
    largest = max(largest, float(np.abs(residual).max()))
    bar.update()
  writer.close()
  temporary.replace(path)
  return {"count": count, "square": square, "largest": largest}


def _combine(sums: list[dict[str, float]]) -> dict[str, float]:
  """Root mean square and largest magnitude of the training clips' residual flow."""
  count = max(sum(s["count"] for s in sums), 1)
  return {
    "residual_rms": (sum(s["square"] for s in sums) / count) ** 0.5,
    "residual_max": max((s["largest"] for s in sums), default=0.0),
  }


def _replace_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  temporary = path.with_suffix(".json.tmp")
  temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
  temporary.replace(path)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  try:
    cache_latents(_CHECKPOINT.value, _DATA.value, _OUTPUT.value)
  except (ValueError, OSError, RuntimeError) as error:
    sys.exit(f"latent_cache: {error}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["checkpoint", "data", "output"])
  app.run(main)

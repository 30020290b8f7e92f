"""Takes the lights of a scene from the panorama around it."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from data_pipeline.synthdance.backdrops.backdrop import Backdrop
from data_pipeline.synthdance.studio import Camera

NUM_LIGHTS = 12
_FLASH_SHARE, _SUN_SHARE = 0.08, 0.18  # clips with a flash, with an additional sun


@dataclasses.dataclass(frozen=True)
class Lights:
  """Directions from which light comes.

  Attributes:
    towards: unit vectors.
    radiance: irradiance that each gives to a surface which faces it.
    axes: two unit vectors across each direction, of its shadow map.
    bounce: what comes up from the floor.
  """

  towards: Float32[np.ndarray, "l 3"]
  radiance: Float32[np.ndarray, "l 3"]
  axes: Float32[np.ndarray, "l 2 3"]
  bounce: Float32[np.ndarray, "3"]


def median_cut(
  light: Float64[np.ndarray, "h w 3"], count: int
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
  """Divides the upper half of a panorama into regions of equal energy.

  Source: Debevec, A Median Cut Algorithm for Light Probe Sampling, 2005.

  Returns:
    Mean directions (x right of its first column, y up, z ahead), and irradiances.
  """
  h, w = light.shape[:2]
  up = np.pi * (0.5 - (np.arange(h) + 0.5) / h)[:, None] + np.zeros((1, w))
  turn = 2 * np.pi * (np.arange(w) + 0.5) / w + np.zeros((h, 1))
  flat = np.cos(up)
  way = np.stack([np.sin(turn) * flat, np.sin(up), np.cos(turn) * flat], -1)
  power = light * (flat * (np.pi / h) * (2 * np.pi / w) / np.pi)[..., None]
  energy = power.sum(-1)
  boxes = [(0, h // 2, 0, w)]
  while len(boxes) < count:
    sums = [
      energy[a:b, c:d].sum() if (b - a) * (d - c) > 1 else 0.0 for a, b, c, d in boxes
    ]
    a, b, c, d = boxes.pop(int(np.argmax(sums)))
    axis = 0 if (b - a) > (d - c) * flat[(a + b) // 2, 0] else 1
    if (b - a, d - c)[axis] < 2:
      axis = 1 - axis
    total = energy[a:b, c:d].sum(1 - axis).cumsum()
    cut = int(np.clip(np.searchsorted(total, total[-1] / 2), 1, len(total) - 1))
    if axis == 0:
      boxes += [(a, a + cut, c, d), (a + cut, b, c, d)]
    else:
      boxes += [(a, b, c, c + cut), (a, b, c + cut, d)]
  towards, radiance = [], []
  for a, b, c, d in boxes:
    share = energy[a:b, c:d, None] + 1e-9
    towards.append((way[a:b, c:d] * share).sum((0, 1)) / share.sum())
    radiance.append(power[a:b, c:d].sum((0, 1)))
  return np.array(towards), np.array(radiance)


def draw_lights(rng: np.random.Generator, camera: Camera, place: Backdrop) -> Lights:
  """Draws the lights of a clip: its panorama, and sometimes a sun or a flash."""
  small = place.surround.light.astype(np.float64)
  h, w = small.shape[:2]
  small = small.reshape(h // 4, 4, w // 4, 4, 3).mean((1, 3))
  local, radiance = median_cut(small, NUM_LIGHTS)
  # The panorama is turned so that the camera looks at what `backdrop` shows of it.
  right, ahead = (np.array(camera.axes[i]) * [1, 0, 1] for i in (0, 2))
  right, ahead = (a / np.sqrt((a * a).sum()) for a in (right, ahead))
  c, s = np.cos(place.turn + np.pi), np.sin(place.turn + np.pi)
  across = local[:, 0] * c - local[:, 2] * s
  forward = local[:, 2] * c + local[:, 0] * s
  towards = across[:, None] * right + forward[:, None] * ahead
  towards = towards + local[:, 1:2] * [0, 1, 0]
  towards = towards / np.sqrt((towards * towards).sum(-1, keepdims=True))
  colour = radiance.sum(0) / radiance.sum()  # cameras balance most of it away
  radiance = radiance / (3 * colour) ** rng.uniform(0.4, 1.0)
  kind = rng.random()
  if kind < _FLASH_SHARE + _SUN_SHARE:
    angle, high = rng.uniform(-1.6, 1.6), rng.uniform(0.35, 1.3)
    if kind < _FLASH_SHARE:
      angle, high = rng.uniform(-0.1, 0.1), 0.25
    flat = np.cos(high)
    sun = -ahead * np.cos(angle) * flat + right * np.sin(angle) * flat
    warm = np.array([1.0, rng.uniform(0.86, 1.0), rng.uniform(0.7, 1.0)])
    towards = np.concatenate([towards, [sun + [0, np.sin(high), 0]]])
    share = rng.uniform(0.6, 2.5) * radiance.sum() / 3
    radiance = np.concatenate([radiance, [warm * share]])
  # The camera exposes for what faces it.
  seen = np.maximum(-(towards * ahead).sum(-1), 0) + 0.5 * np.maximum(towards[:, 1], 0)
  goal = np.exp(rng.uniform(np.log(0.65), np.log(1.35)))
  radiance = radiance * goal / max(float((radiance.mean(-1) * seen).sum()), 1e-6)
  floor = place.pixels()[place.floor]
  tone = floor.mean(0) if len(floor) else np.full(3, 0.2)
  down = (radiance * np.maximum(towards[:, 1:2], 0)).sum(0)
  bounce = np.clip(tone.astype(np.float64), 0.03, 0.6) * down * 0.5
  u = np.cross(towards, [0.0, 1.0, 0.01])
  u = u / np.sqrt((u * u).sum(-1, keepdims=True))
  axes = np.stack([u, np.cross(u, towards)], 1)
  # Rounded to hide last bits that differ between processors.
  return Lights(
    *(np.round(a, 5).astype(np.float32) for a in (towards, radiance, axes, bounce))
  )

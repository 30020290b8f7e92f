"""Lists what is expected of a model that dances: every threshold, with its source."""

from typing import NamedTuple

from dabfusion_jax.evaluation.scoring.aggregate import Estimate

_GOAL = "goal of this project"


class Expectation(NamedTuple):
  """An expectation of a value.

  Attributes:
    relation: "at least" or "at most" compare with `bound`. "above 0" and "not above 0"
      have a margin of `bound` standard errors, "not below real" one of `bound` standard
      errors of the real clips' value. "higher" and "lower" are signs of a difference in
      the paper, which is undecided within `bound` standard errors.
    bound: see `relation`.
    source: where the expectation comes from.
  """

  relation: str
  bound: float
  source: str

  def holds(self, value: Estimate, real: Estimate | None = None) -> bool | None:
    """Returns whether the value is as expected; None if its noise is too large."""
    margin = self.bound * (value.error or 0.0)
    if self.relation == "at least":
      return value.mean >= self.bound
    if self.relation == "at most":
      return value.mean <= self.bound
    if self.relation == "not below real":
      return value.mean >= real.mean - self.bound * (real.error or 0.0)
    if self.relation == "above 0":
      return None if value.error is None else value.mean > margin
    if self.relation == "not above 0":
      return None if value.error is None else value.mean <= margin
    if abs(value.mean) <= margin:
      return None
    return (value.mean > 0) == (self.relation == "higher")

  def __str__(self) -> str:
    errors = f"{self.bound:g} standard errors"
    text = {
      "above 0": f"above 0 by {errors}",
      "not above 0": f"not above 0 by {errors}",
      "not below real": f"not below real clips by {errors}",
      "higher": f"above 0 ({errors})",
      "lower": f"below 0 ({errors})",
    }.get(self.relation, f"{self.relation} {self.bound:.2g}")
    return f"{text}; {self.source}"


# By part of the study and key of the claim.
EXPECTATIONS: dict[str, dict[str, Expectation]] = {
  "stage1": {
    "psnr_mask_gain": Expectation("at least", 6, _GOAL),  # dB
    "lpips_ratio": Expectation("at most", 0.5, _GOAL),
    "body.error_ratio": Expectation("at most", 1 / 3, _GOAL),
  },
  "beats": {
    "e.beat_alignment_strict.fraction": Expectation("at least", 0.7, _GOAL),
    "beat_alignment_strict.e_minus_b": Expectation("above 0", 4, _GOAL),
    "b.beat_alignment_strict.above_chance": Expectation(
      "above 0", 2, "goal of this project, or a reason why not"
    ),
  },
  "control": {
    "half_beat.fraction": Expectation("at least", 0.6, _GOAL),
    "half_beat.own_above_chance": Expectation("not above 0", 2, _GOAL),
    "tempo_0.5.fraction": Expectation("at least", 0.6, _GOAL),
    "tempo_2.fraction": Expectation("at least", 0.6, _GOAL),
    "silence.speed_ratio": Expectation("at most", 0.5, "our choice of what calm means"),
  },
  "models": {
    "psnr.e_minus_b": Expectation("higher", 2, "paper, Table 1"),
    "ssim.e_minus_b": Expectation("higher", 2, "paper, Table 1"),
    "lpips_alex.e_minus_b": Expectation("higher", 2, "paper, Table 1"),
    "fvd.e_minus_b": Expectation("lower", 2, "paper, Table 1"),
  },
  "lengths": {
    "double_minus_single": Expectation("higher", 2, "paper, Table 5"),
  },
  "styles": {
    f"{name}.style_minus_music": Expectation("lower", 2, "paper, Table 6")
    for name in ("e", "b")
  },
  "replay": {
    f"{name}.{key}": Expectation("not below real", 2, "memorised clips would be nearer")
    for name in ("e", "b")
    for key in ("nearest_training", "nearest_ratio")
  },
}

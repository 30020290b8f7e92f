"""A missing optional dependency names the extra that provides it."""

import pytest

from data_pipeline.errors import UserError
from data_pipeline.extras import needs_extra


def test_a_missing_module_names_its_extra_in_one_line():
  with pytest.raises(UserError) as error, needs_extra("beam"):
    import no_such_package  # noqa: F401
  assert str(error.value) == (
    "No module named 'no_such_package'; run: pip install \"dabfusion_jax[beam]\"."
  )


def test_other_errors_pass():
  with pytest.raises(ZeroDivisionError), needs_extra("beam"):
    raise ZeroDivisionError

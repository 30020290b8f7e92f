"""Nested mappings, as config files and config.json hold them, as dataclasses."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from data_pipeline.errors import UserError

T = TypeVar("T")

_MAX_FLOAT = (2 - 2**-23) * 2.0**127  # of 32 bits, in which steps are computed


def from_mapping(
  settings_type: type[T], mapping: Mapping[str, Any], *, strict: bool, name: str = ""
) -> T:
  """Returns the settings that a mapping holds, checked key by key.

  Args:
    settings_type: a dataclass, whose fields may be dataclasses again.
    mapping: values by field name; lists stand for tuples, as in JSON.
    strict: whether a key with a default may not be missing. True for a config file,
      which writes out every default; False for config.json of an older version.
    name: of the mapping itself, as a prefix in messages.

  Raises:
    UserError: a key is unknown, missing or of the wrong type; the message names it.
  """
  fields = {field.name: field for field in dataclasses.fields(settings_type)}
  hints = typing.get_type_hints(settings_type)
  unknown = sorted(set(mapping) - set(fields))
  if unknown:
    raise UserError(
      f"Unknown setting {name}{unknown[0]}; known: {', '.join(sorted(fields))}."
    )
  values = {}
  for key, field in fields.items():
    if key in mapping:
      values[key] = _convert(hints[key], mapping[key], strict, f"{name}{key}")
    elif not _has_default(field) or (strict and not field.metadata.get("resolved")):
      raise UserError(f"The setting {name}{key} is missing.")
  return settings_type(**values)


def to_mapping(settings: Any) -> dict[str, Any]:
  """Returns the nested dict that `from_mapping` reads, with lists for tuples."""
  return _plain(dataclasses.asdict(settings))


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"unet.head_dim": 8} for {"unet": {"head_dim": 8}}."""
  flat = {}
  for key, value in mapping.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def resolved(default: Any = None) -> Any:
  """Returns a field that no config file sets: it is filled in when a run starts."""
  return dataclasses.field(default=default, metadata={"resolved": True})


def _has_default(field: dataclasses.Field) -> bool:
  missing = dataclasses.MISSING
  return field.default is not missing or field.default_factory is not missing


def _convert(hint: Any, value: Any, strict: bool, name: str) -> Any:
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    if value is None:
      return None
    (hint,) = [option for option in typing.get_args(hint) if option is not type(None)]
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return from_mapping(hint, value, strict=strict, name=f"{name}.")
  if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
    item_types = typing.get_args(hint)
    if item_types[-1] is ...:
      item_types = item_types[:1] * len(value)
    if len(item_types) == len(value):
      items = enumerate(zip(item_types, value, strict=True))
      return tuple(_convert(*item, strict, f"{name}[{i}]") for i, item in items)
  if typing.get_origin(hint) is dict and isinstance(value, Mapping):
    return dict(value)
  if hint is float and type(value) in (int, float):
    # Integers may be too large for a float, and NaN passes many a check.
    if abs(value) <= _MAX_FLOAT:
      return float(value)
  elif hint in (bool, int, str) and type(value) is hint:
    return value
  raise UserError(f"The setting {name} must be {_describe(hint)}, not {value!r:.60}.")


def _describe(hint: Any) -> str:
  names = {bool: "true or false", int: "an integer", str: "a text"}
  names[float] = "a finite number of 32 bits"
  if hint in names:
    return names[hint]
  return "a group of settings" if dataclasses.is_dataclass(hint) else f"like {hint}"


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _plain(part) for key, part in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(part) for part in value]
  return value

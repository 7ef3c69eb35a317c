"""Dataclasses of plain values from JSON, checked field by field."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nassuite.errors import InputError
from nassuite.records import SCHEMA_VERSION


def decode_records(kind: type, value: Any, name: str) -> Any:
    """``value``, as JSON text gave it, as a value of the dataclass ``kind``.

    Raises InputError for another kind of file than ``name``, another schema version, and a field that is missing,
    unknown or of a wrong type (named by its path).
    """
    if not isinstance(value, dict) or value.get("kind") != name:
        raise InputError(f"not the records of a report: expected an object of kind '{name}'")
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"records of schema version {version}; this nassuite reads version {SCHEMA_VERSION}: "
            "draw the report with the version that made the run"
        )
    fields = {key: item for key, item in value.items() if key not in ("kind", "schema_version")}
    return _decode(kind, fields, "records")


def _decode(kind: Any, value: Any, where: str) -> Any:
    """``value``, made of JSON's types, as a value of ``kind``; ``where`` names it in errors."""
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, where)
    decoders = {
        types.UnionType: _decode_optional,
        Literal: _decode_literal,
        tuple: _decode_tuple,
        dict: _decode_dict,
    }
    return decoders.get(get_origin(kind), _decode_plain)(kind, value, where)


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    _check(value, dict, where)
    hints = get_type_hints(kind)
    unknown = sorted(value.keys() - hints.keys())
    if unknown:
        raise InputError(f"{where}: unknown field '{unknown[0]}', expected {', '.join(hints)}")
    required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
    missing = sorted(required - value.keys())
    if missing:
        raise InputError(f"{where}: the field '{missing[0]}' is missing")
    return kind(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _decode_optional(kind: Any, value: Any, where: str) -> Any:
    return None if value is None else _decode(get_args(kind)[0], value, where)


def _decode_literal(kind: Any, value: Any, where: str) -> Any:
    if value not in get_args(kind):
        raise InputError(f"{where}: expected one of {', '.join(get_args(kind))}, got {value!r}")
    return value


def _decode_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    _check(value, (list, tuple), where)
    arguments = get_args(kind)
    repeated = arguments[-1] is Ellipsis
    if not repeated and len(value) != len(arguments):
        raise InputError(f"{where}: expected {len(arguments)} values, got {len(value)}")
    kinds = (arguments[0],) * len(value) if repeated else arguments
    return tuple(_decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))


def _decode_dict(kind: Any, value: Any, where: str) -> dict[str, Any]:
    _check(value, dict, where)
    return {key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _check(value, kind, where)
    return value


def _check(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = "list" if isinstance(kind, tuple) else kind.__name__
        raise InputError(f"{where}: expected {expected}, got {value!r:.80}")

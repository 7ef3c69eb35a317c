"""What each network must be: parameters, MACs, published accuracy and their sources, from reference.csv."""

from __future__ import annotations

import ast
import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("reference.csv")


@dataclass(frozen=True)
class Reference:
    """One row. ``call`` is how ``create_model`` gets it; ``macs`` count convolutions and linear layers.

    ``rounded`` says that the source gives ``params`` and ``macs`` to a few digits only. ``top1`` is in percent.
    """

    call: str
    name: str
    config: dict[str, Any]
    size: tuple[int, int]
    num_classes: int
    params: int
    macs: float
    rounded: bool
    top1: float | None
    source: str
    note: str


@cache
def references() -> tuple[Reference, ...]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_reference(row) for row in csv.DictReader(file))


def variants(name: str) -> list[Reference]:
    """The rows of one network, as the paper gives it first."""
    rows = [row for row in references() if row.name == name]
    return sorted(rows, key=lambda row: bool(row.config))


def _reference(row: dict[str, str]) -> Reference:
    name, config = parse_call(row["call"])
    height, _, width = row["input"].partition("x")
    return Reference(
        call=row["call"],
        name=name,
        config=config,
        size=(int(height), int(width or height)),
        num_classes=int(row["classes"]),
        params=int(row["params"].lstrip("~")),
        macs=float(row["macs_M"].lstrip("~")) * 1e6,
        rounded=row["params"].startswith("~") or row["macs_M"].startswith("~"),
        top1=float(row["top1"]) if row["top1"] else None,
        source=row["source"],
        note=row["note"],
    )


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """``mobilenet_v2(width_mult=0.5)`` to its name and options. Raises ValueError for anything else."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            options = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
            if len(options) == len(node.keywords):
                return node.func.id, options
        if isinstance(node, ast.Name):
            return node.id, {}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"{text!r}: expected NAME or NAME(option=value, ...)")

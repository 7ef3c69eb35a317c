"""Reads a search space from TOML and says where a file is wrong."""

from __future__ import annotations

import math
from typing import Any, get_args

from nassuite.errors import InputError
from nassuite.records import read_toml
from nassuite.resources import find_toml
from nassuite.space import Space, Stage
from nassuite.spec import DOWNSAMPLINGS, OPERATORS, Activation

WIDTH_MULTIPLE = 8
MOST_STEP_SUBNETS = 12
STAGE_KEYS = {"width", "depth", "stride", "operator", "downsample", "kernel", "expand", "se", "act"}


def load_space(name: str) -> Space:
    """A shipped space by name, or one's own TOML file by path.

    Raises InputError that names the file, the key and what was expected.
    """
    path = find_toml(name, "search_spaces", what="search space")
    return _Reader(str(path)).space(read_toml(path), path.stem)


class _Reader:
    """Turns a TOML table into a Space and says where it is wrong."""

    def __init__(self, path: str) -> None:
        self.path = path

    def fail(self, key: str, got: Any, expected: str) -> InputError:
        return InputError(f"{self.path}: {key} = {got!r}: expected {expected}")

    def space(self, table: dict[str, Any], name: str) -> Space:
        self.known(table, "", {"resolution", "stem", "stages", "head"})
        stem, head, stages = (table.get(k) for k in ("stem", "head", "stages"))
        for key, value in (("stem", stem), ("head", head)):
            if not isinstance(value, dict):
                raise self.fail(key, value, f"a table [{key}]")
        if not isinstance(stages, list) or not stages or not all(isinstance(s, dict) for s in stages):
            raise self.fail("stages", stages, "at least one table [[stages]]")
        assert isinstance(stem, dict)
        assert isinstance(head, dict)
        self.known(stem, "stem.", {"width", "kernel", "stride", "act"})
        self.known(head, "head.", {"width", "act"})
        space = Space(
            name=name,
            resolution=self.ints(table, "", "resolution", 1, minimum=8),
            stem_width=self.ints(stem, "stem.", "width", WIDTH_MULTIPLE),
            stem_kernel=self.one(stem, "stem.", "kernel", (3, 5, 7), default=3),
            stem_stride=self.one(stem, "stem.", "stride", (1, 2)),
            stem_act=self.one(stem, "stem.", "act", get_args(Activation), default="relu"),
            stages=tuple(self.stage(s, f"stages[{n}].") for n, s in enumerate(stages)),
            head_width=self.ints(head, "head.", "width", WIDTH_MULTIPLE),
            head_act=self.one(head, "head.", "act", get_args(Activation), default="relu"),
        )
        reduction = math.prod([space.stem_stride, *(s.stride for s in space.stages)])
        for resolution in space.resolution:
            if resolution % reduction:
                raise self.fail("resolution", resolution, f"a multiple of the strides' product {reduction}")
        if space.step_subnets > MOST_STEP_SUBNETS:
            raise self.fail(
                "stages", [len(s.operator) for s in space.stages],
                f"operator counts with a common multiple of at most {MOST_STEP_SUBNETS}, so that a step can be fair to all",
            )  # fmt: skip
        return space

    def stage(self, table: dict[str, Any], prefix: str) -> Stage:
        self.known(table, prefix, STAGE_KEYS)
        ratios = "ratios above 1 in rising order, or 1 alone (it has no expanding layer to share)"
        expand = self.choices(table, prefix, "expand", kind=(int, float), expected=ratios)
        if (
            not all(1 <= v < math.inf for v in expand)
            or (1 in expand and len(expand) > 1)
            or not _rises(expand)
        ):
            raise self.fail(prefix + "expand", list(expand), ratios)
        kernel = self.among(table, prefix, "kernel", (3, 5, 7))
        if not _rises(kernel):
            raise self.fail(prefix + "kernel", list(kernel), "3, 5, 7 or some of them, in rising order")
        blocks = tuple(op for op in OPERATORS if op not in DOWNSAMPLINGS)
        downsample = ()
        if "downsample" in table:
            if table.get("stride") != 2:
                raise self.fail(prefix + "downsample", table["downsample"], "nothing, unless stride = 2")
            downsample = self.among(table, prefix, "downsample", tuple(OPERATORS))
        return Stage(
            width=self.ints(table, prefix, "width", WIDTH_MULTIPLE),
            depth=self.ints(table, prefix, "depth", 1),
            stride=self.one(table, prefix, "stride", (1, 2)),
            operator=self.among(table, prefix, "operator", blocks),
            kernel=kernel,
            expand=tuple(map(float, expand)),
            se=self.among(table, prefix, "se", (False, True), default=[False]),
            act=self.among(table, prefix, "act", get_args(Activation), default=["relu"]),
            downsample=downsample,
        )

    def known(self, table: dict[str, Any], prefix: str, keys: set[str]) -> None:
        for key, value in table.items():
            if key not in keys:
                raise self.fail(prefix + key, value, f"no such key, but one of {', '.join(sorted(keys))}")

    def choices(
        self, table: dict[str, Any], prefix: str, key: str, *, kind: Any, expected: str, default: Any = None
    ) -> tuple[Any, ...]:
        values = table.get(key, default)
        values = values if isinstance(values, list) else [values]
        is_bool = kind is bool
        if not values or any(not isinstance(v, kind) or isinstance(v, bool) != is_bool for v in values):
            raise self.fail(prefix + key, table.get(key), expected)
        if len(set(values)) != len(values):
            raise self.fail(prefix + key, values, "every choice once")
        return tuple(values)

    def ints(
        self, table: dict[str, Any], prefix: str, key: str, multiple: int, minimum: int = 1
    ) -> tuple[int, ...]:
        expected = f"one or several positive multiples of {multiple}, in rising order"
        if multiple == 1:
            expected = f"one or several whole numbers >= {minimum}, in rising order"
        values = self.choices(table, prefix, key, kind=int, expected=expected)
        if any(v < minimum or v % multiple for v in values) or not _rises(values):
            raise self.fail(prefix + key, list(values), expected)
        return values

    def among(
        self, table: dict[str, Any], prefix: str, key: str, allowed: tuple[Any, ...], default: Any = None
    ) -> tuple[Any, ...]:
        expected = f"one or several of {', '.join(str(a).lower() if isinstance(a, bool) else str(a) for a in allowed)}"
        values = self.choices(table, prefix, key, kind=type(allowed[0]), expected=expected, default=default)
        if any(v not in allowed for v in values):
            raise self.fail(prefix + key, list(values), expected)
        return values

    def one(
        self, table: dict[str, Any], prefix: str, key: str, allowed: tuple[Any, ...], default: Any = None
    ) -> Any:
        values = self.among(table, prefix, key, allowed, default)
        if len(values) != 1:
            raise self.fail(prefix + key, list(values), f"one of {', '.join(map(str, allowed))}")
        return values[0]


def _rises(values: tuple[Any, ...]) -> bool:
    return list(values) == sorted(values)

"""A target of pruning as one number to get under: of the exported file's latency, the MACs or the parameters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from nassuite.latency.certificate import certify
from nassuite.latency.cost import cost
from nassuite.latency.meter import CALIBRATION, Measurement, Meter
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx

GoalKind = Literal["target_ms", "speedup", "target_macs", "target_params"]


@dataclass(frozen=True)
class Goal:
    """``wanted`` is in milliseconds, a factor over the dense network, or a share of its MACs or parameters."""

    kind: GoalKind
    wanted: float
    percentile: int = 50

    @property
    def aim(self) -> float:
        """The largest ``Judged.value`` that meets the goal."""
        return 1 / self.wanted if self.kind == "speedup" else self.wanted

    @property
    def of_latency(self) -> bool:
        return self.kind in ("target_ms", "speedup")

    def __str__(self) -> str:
        return f"{self.kind.replace('_', '-')} {self.wanted:g}"

    @property
    def counted(self) -> str:
        """What there is to be less of, where that is no latency."""
        return "parameters" if self.kind == "target_params" else "MACs"

    def aim_ms(self, dense_ms: float) -> float:
        """The latency that meets the goal, for a dense network of ``dense_ms``."""
        return dense_ms / self.wanted if self.kind == "speedup" else self.wanted

    def in_words(self, dense_ms: float | None) -> str:
        """What is aimed at; ``dense_ms`` is None where it is not known yet."""
        if not self.of_latency:
            return f"{self.wanted:.1%} of the dense network's {self.counted}"
        dense = "" if dense_ms is None else f"{dense_ms:.3g} ms"
        if self.kind == "speedup":
            times = f"{self.wanted:g} times as fast as the dense network"
            return f"{self.aim_ms(dense_ms):.3g} ms, {times}'s {dense}" if dense_ms else times
        return f"{self.wanted:g} ms at p{self.percentile}" + (
            f"; the dense network takes {dense}" if dense else ""
        )


@dataclass(frozen=True)
class Judged:
    """``value`` is in milliseconds where the goal is, else the share of the dense network's that is left.

    ``dense_ms`` is the dense network's p50 beside it, where that was measured.
    """

    value: float
    met: bool
    said: str
    dense_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """Holds networks to a goal, beside the ``dense`` one; ``shape`` is (C, H, W) of an image."""

    goal: Goal
    dense: nn.Module
    shape: tuple[int, int, int]
    target: Target
    meter: Meter
    seed: int = 0

    def __call__(self, network: nn.Module) -> Judged:
        goal = self.goal
        if not goal.of_latency:
            left = self.share(network)
            return Judged(
                left, left <= goal.wanted, f"{left:.1%} of the {goal.counted}, aim {goal.wanted:.1%}"
            )
        first, second = self.measured([self.dense, network])
        dense_ms = first.p50_ms
        if goal.kind == "speedup":
            left = second.ratio / first.ratio
            said = f"{second.p50_ms:.3g} ms, aim {goal.aim_ms(dense_ms):.3g} ms, dense {dense_ms:.3g} ms"
            return Judged(left, left <= goal.aim, said, dense_ms)
        value = second.percentile_ms(goal.percentile)
        said = f"{value:.3g} ms, aim {goal.wanted:g} ms"
        return Judged(value, meets_ms(second, goal), said, dense_ms)

    def quick_measurements(self, networks: Sequence[nn.Module]) -> list[Measurement]:
        """Of the exported files, by the sampling that is for many networks: ratios are good to about 1 %."""
        return self.measured(networks, quick=True)

    def share(self, network: nn.Module) -> float:
        """What is left of the dense network's MACs, or parameters where the goal is about those."""
        left, whole = cost(network, self.shape), cost(self.dense, self.shape)
        if self.goal.kind == "target_params":
            return left.params / whole.params
        return left.macs / whole.macs

    def measured(self, networks: Sequence[nn.Module], *, quick: bool = False) -> list[Measurement]:
        """Of the exported files, in the same rounds."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.onnx" for number in range(len(networks))]
            for network, path in zip(networks, paths, strict=True):
                export_onnx(network, path, input_shape=self.shape, check=False)
            if quick:
                return self.meter(paths, self.target, sampling=CALIBRATION, seed=self.seed)
            return self.meter(paths, self.target, seed=self.seed)


def meets_ms(measurement: Measurement, goal: Goal) -> bool:
    """Whether the certificate would pass, so that the final one does; where it is too noisy to say, the percentile."""
    verdict = certify(measurement, goal.wanted, percentile=goal.percentile).verdict
    if verdict == "too noisy":
        return measurement.noisy and measurement.percentile_ms(goal.percentile) <= goal.wanted
    return verdict == "pass"

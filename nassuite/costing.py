"""What a network costs, and why: counted from its ONNX file, timed by the runtime's own profile."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nassuite.errors import InputError, first_line
from nassuite.folders import check_no_weights, no_model
from nassuite.latency.alternatives import measure_findings
from nassuite.latency.guidelines import Finding, findings
from nassuite.latency.meter import Meter, Sampling, measure
from nassuite.latency.onnx_cost import GraphCost, Operator, graph_cost, read_graph, with_size
from nassuite.latency.profiling import REORDERS, Kernel, Profile, profile
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress
from nassuite.records import SCHEMA_VERSION, sha256_file

if TYPE_CHECKING:
    from torch import nn

SAMPLING = Sampling(processes=2, rounds=100, repeats=2, least_rounds=25, seconds=1.5)
PART_SECONDS = 1.5
SIZE = 224
CLASSES = 1000


@dataclass(frozen=True)
class Row:
    """One layer: its operators together. ``ms`` is None where no kernel of the runtime could be led back to it."""

    layer: str
    what: str
    out_shape: tuple[int, ...]
    macs: int
    params: int
    memory_access_bytes: int
    ms: float | None


@dataclass(frozen=True)
class NetworkCost:
    """``params`` are the module's where the model is one, else those of the file, in which batch norm is folded.

    ``in_shape`` is that of the input without the batch. ``p50_ms`` and ``noisy`` are of the whole file, in fresh
    processes; the profile's kernels leave out what the runtime does between them. There is a profile of ONNX
    Runtime on the CPU alone.
    """

    model: str
    sha256: str
    in_shape: tuple[int, ...]
    params: int
    cost: GraphCost
    profile: Profile | None
    p50_ms: float
    noisy: bool
    findings: tuple[Finding, ...]
    target: dict[str, Any]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self.profile.kernels if self.profile else ()

    @property
    def conversions_ms(self) -> float:
        """Between the runtime's blocked layout and the plain one."""
        return sum(kernel.ms for kernel in self.kernels if kernel.kind in REORDERS)

    @property
    def unknown_ms(self) -> float:
        """Of kernels that could not be led back to a layer."""
        return sum(kernel.ms for kernel in self.kernels if kernel.operator is None)

    def rows(self) -> list[Row]:
        """In the order of execution."""
        spent: dict[int, float] = {}
        for kernel in self.kernels:
            if kernel.operator is not None:
                spent[kernel.operator] = spent.get(kernel.operator, 0.0) + kernel.ms
        layers: dict[str, list[int]] = {}
        for number, operator in enumerate(self.cost.operators):
            layers.setdefault(operator.layer, []).append(number)
        return [_row(layer, numbers, self.cost.operators, spent) for layer, numbers in layers.items()]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self),
            "memory_access_bytes_per_mac": access_per_mac(self.cost),
            "conversions_ms": self.conversions_ms,
            "rows": [asdict(row) for row in self.rows()],
        }


def access_per_mac(cost: GraphCost) -> float | None:
    """Bytes that are read and written for one multiply-accumulate; None where there are none."""
    return cost.memory_access_bytes / cost.macs if cost.macs else None


def network_cost(
    model: str,
    *,
    size: int | None = None,
    target: Target | None = None,
    alternatives: int = 4,
    meter: Meter = measure,
    progress: Progress = SILENT,
) -> NetworkCost:
    """Of an .onnx file, a folder of a trained or deployed model, or a network by name (``models.make_network``).

    ``size`` is the images' side (default: that of the paper, of the training, or 224). Of the layers that
    break a guideline, ``alternatives`` shapes each are measured beside one that keeps it. Raises
    InputError for what is not there or does not run.
    """
    target = target or Target()
    with tempfile.TemporaryDirectory() as folder:
        path, network = _open(model, size, Path(folder) / "model.onnx")
        graph = read_graph(path)
        cost = graph_cost(graph)
        profiled = profile(path, cost.operators, target) if target.computes_as_onnxruntime else None
        found = measure_findings(
            findings(cost.operators, profiled.kernels if profiled else None), graph, cost.operators, meter, target,
            most=alternatives, progress=progress,
        )  # fmt: skip
        (whole,) = meter([path], target, sampling=SAMPLING, progress=progress)
        image = next(i.name for i in graph.model.graph.input if i.name not in graph.constants)
        return NetworkCost(
            model=model,
            sha256=sha256_file(path),
            in_shape=graph.tensors[image].shape[1:],
            params=sum(p.numel() for p in network.parameters()) if network is not None else cost.params,
            cost=cost,
            profile=profiled,
            p50_ms=whole.p50_ms,
            noisy=whole.noisy,
            findings=tuple(found),
            target=target.describe(),
        )


def part_times(path: Path, parts: Sequence[str], target: Target) -> dict[str, Any] | None:
    """Where the time of an exported file goes, by the modules in ``parts`` (prefixes of layers' names).

    ``runs``, ``total_ms`` of all kernels, and ``parts`` with name and ms. None where nothing can tell: on another
    machine than this, or in another runtime than ONNX Runtime on the CPU.
    """
    if target.device or not target.computes_as_onnxruntime:
        return None
    operators = graph_cost(read_graph(path)).operators
    found = profile(path, operators, target, seconds=PART_SECONDS)
    spent = dict.fromkeys(parts, 0.0)
    for kernel in found.kernels:
        layer = operators[kernel.operator].layer if kernel.operator is not None else ""
        part = next((name for name in parts if layer == name or layer.startswith(f"{name}.")), None)
        if part is not None:
            spent[part] += kernel.ms
    named = [{"name": name, "ms": ms} for name, ms in spent.items()]
    return {"runs": found.runs, "total_ms": found.total_ms, "parts": named}


def _row(layer: str, numbers: Sequence[int], operators: Sequence[Operator], spent: dict[int, float]) -> Row:
    own = [operators[number] for number in numbers]
    main = max(own, key=lambda operator: operator.macs)
    times = [spent[number] for number in numbers if number in spent]
    return Row(
        layer=layer,
        what=describe(main) if main.macs else "+".join(dict.fromkeys(operator.op for operator in own)),
        out_shape=own[-1].out_shape,
        macs=sum(operator.macs for operator in own),
        params=sum(operator.params for operator in own),
        memory_access_bytes=sum(operator.memory_access_bytes for operator in own),
        ms=sum(times) if times else None,
    )


def describe(operator: Operator) -> str:
    """A convolution in short ("1x1", "3x3 dw /2", "3x3 g4"), another operator by its name."""
    c = operator.convolution
    if c is None:
        return operator.op
    stride = f" /{max(c.strides)}" if max(c.strides) > 1 else ""
    groups = "" if c.groups == 1 else " dw" if c.depthwise else f" g{c.groups}"
    return "x".join(map(str, c.kernel)) + groups + stride


def _open(model: str, size: int | None, exported: Path) -> tuple[Path, nn.Module | None]:
    """The file to cost, and the module that it was exported from, if it was."""
    path = Path(model)
    if path.is_dir() and not (path / "model.json").is_file():
        if not (path / "model.onnx").is_file():
            raise no_model(model, "model.onnx")
        return _sized(path / "model.onnx", size, exported), None
    if not path.is_dir() and (path.suffix == ".onnx" or path.exists()):
        check_no_weights(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        return _sized(path, size, exported), None
    from nassuite.onnx_export import export_onnx

    network, shape = _network(model, size)
    try:
        export_onnx(network, exported, input_shape=shape, check=False)
    except RuntimeError as error:
        sides = "x".join(map(str, shape))
        raise InputError(f"{model} cannot take images of {sides}: {first_line(error)}") from None
    return exported, network


def _sized(path: Path, size: int | None, copy: Path) -> Path:
    return path if size is None else with_size(path, size, copy)


def _network(model: str, size: int | None) -> tuple[nn.Module, tuple[int, int, int]]:
    """The module of a training's folder or of a name, and its input's (C, H, W)."""
    from nassuite.models import load_model, make_network, read_description
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import check_size, create_model, parse_model

    if Path(model).is_dir():
        description = read_description(Path(model))
        side = size or description.size
        return load_model(model), (description.in_chans, side, side)
    if ":" in model.partition("(")[0]:
        side = size or SIZE
        return make_network(model, num_classes=CLASSES, in_chans=3), (3, side, side)
    name, config = parse_model(model)
    entry = NETWORKS[name]
    pixels = (size, size) if size else entry.size
    network = create_model(name, **config)
    check_size(network, entry.in_chans, pixels, model)
    return network, (entry.in_chans, *pixels)

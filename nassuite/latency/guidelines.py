"""Which layers break the four guidelines of ShuffleNetV2 (Ma et al. 2018, section 3), and what they take.

G1: equal widths of input and output have the least memory access for their multiply-accumulates.
G2: too many groups raise it. G3: parallel branches of small operators cost more than one large one. G4:
element-wise operators take time and count no multiply-accumulates; depthwise convolutions are much like them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from nassuite.latency.onnx_cost import CONVOLUTIONS, PRODUCTS, Operator
from nassuite.latency.profiling import REORDERS, Kernel

ELEMENTWISE = (
    "Add", "Sub", "Mul", "Div", "Sum", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Gelu", "Erf", "Exp", "Tanh", "Sigmoid",
    "HardSigmoid", "HardSwish", "Softplus", "Sqrt", "Pow", "Abs", "Neg", "BatchNormalization", "QuickGelu",
)  # fmt: skip
MERGES = ("Add", "Sum", "Concat", "Mul")

GUIDELINES = {
    "G1": "unequal widths",
    "G2": "groups",
    "G3": "parallel branches",
    "G4": "element-wise",
}


@dataclass(frozen=True)
class Finding:
    """One place that breaks a guideline. ``operators`` are numbers in ``GraphCost.operators``, ``ms`` what their kernels
    take in the profile (None without one), ``mend`` the change that would keep the guideline.

    ``extra_ms`` is what it costs here: for G4 its own time, for the others its time above that of an
    alternative of equal multiply-accumulates, measured in the same rounds; None where that was not measured.
    ``fork`` is the tensor at which the branches of G3 part.
    """

    guideline: str
    layer: str
    what: str
    operators: tuple[int, ...]
    ms: float | None
    mend: str
    extra_ms: float | None = None
    fork: str = ""


def findings(operators: Sequence[Operator], kernels: Sequence[Kernel] | None) -> list[Finding]:
    """Every place that breaks a guideline, the slowest first; without a profile that of most MACs.

    Element-wise operators other than depthwise convolutions are found in a profile alone: which of them a
    runtime fuses is not in the file.
    """
    if kernels is None:
        found = [*_convolutions(operators, {}), *_branches(operators, {})]
        timeless = [replace(f, ms=None, extra_ms=None) for f in found]
        return sorted(timeless, key=lambda f: -sum(operators[i].macs for i in f.operators))
    ms: dict[int, float] = {}
    for kernel in kernels:
        if kernel.operator is not None and kernel.kind not in REORDERS:
            ms[kernel.operator] = ms.get(kernel.operator, 0.0) + kernel.ms
    found = [
        *_convolutions(operators, ms),
        *_branches(operators, ms),
        *_elementwise(operators, ms),
    ]
    return sorted(found, key=lambda finding: -(finding.ms or 0.0))


def _convolutions(operators: Sequence[Operator], ms: Mapping[int, float]) -> Iterator[Finding]:
    """G1, G2, and depthwise convolutions as G4."""
    for number, operator in enumerate(operators):
        c = operator.convolution
        if c is None:
            continue
        spent, place = ms.get(number, 0.0), _pixels(operator.out_shape)
        if c.depthwise:
            what = f"depthwise {_kernel(c.kernel)}, {c.in_channels} channels{place}"
            mend = "fewer channels, or a dense convolution of as many MACs where it is no slower"
            yield Finding("G4", operator.layer, what, (number,), spent, mend, extra_ms=spent)
        elif c.groups > 1:
            what = f"{_kernel(c.kernel)} in {c.groups} groups, {c.in_channels} to {c.out_channels} channels{place}"
            yield Finding(
                "G2", operator.layer, what, (number,), spent, "no groups, and narrower: as many MACs"
            )
        elif c.pointwise and c.in_channels != c.out_channels and operator.out_shape[1:] not in ((), (1, 1)):
            what = f"1x1, {c.in_channels} to {c.out_channels} channels{place}"
            mend = f"{equal_width(c.in_channels, c.out_channels)} channels in and out: as many MACs"
            yield Finding("G1", operator.layer, what, (number,), spent, mend)


def _elementwise(operators: Sequence[Operator], ms: Mapping[int, float]) -> Iterator[Finding]:
    """Those that the runtime executes on their own; what it fuses into a convolution has no kernel."""
    for number, operator in enumerate(operators):
        if operator.op in ELEMENTWISE and number in ms:
            what = f"{operator.op}, {'x'.join(map(str, operator.out_shape))}"
            if operator.op in ("Add", "Sum"):
                mend = "fewer sums: a wider block instead of two"
            else:
                mend = "relu, which the runtime fuses into the convolution before it"
            yield Finding("G4", operator.layer, what, (number,), ms[number], mend, extra_ms=ms[number])


def _branches(operators: Sequence[Operator], ms: Mapping[int, float]) -> Iterator[Finding]:
    """Merges of two or more branches that each hold a convolution or a product."""
    maker = {output: number for number, o in enumerate(operators) for output in o.outputs}
    before: list[set[int]] = []
    for operator in operators:
        above = [maker[i] for i in operator.inputs if i in maker]
        before.append(set(above).union(*(before[number] for number in above)))
    for number, operator in enumerate(operators):
        ends = [maker[i] for i in dict.fromkeys(operator.inputs) if i in maker]
        if operator.op not in MERGES or len(ends) < 2:
            continue
        common = reduce(set.__and__, ({end} | before[end] for end in ends))
        branches = [({end} | before[end]) - common for end in ends]
        working = [b for b in branches if any(operators[i].op in CONVOLUTIONS | PRODUCTS for i in b)]
        fork = operators[max(common)].outputs[0] if common else ""
        if len(working) < 2 or len(working[0] & working[1]) > 0:
            continue
        inside = tuple(sorted(set().union(*branches) | {number}))
        count = sum(operators[i].op in CONVOLUTIONS | PRODUCTS for i in inside)
        yield Finding(
            "G3", operator.layer, f"{len(working)} branches of {count} convolutions, joined by {operator.op}",
            inside, sum(ms.get(i, 0.0) for i in inside), "one branch of as many MACs", fork=fork,
        )  # fmt: skip


def equal_width(in_channels: int, out_channels: int) -> int:
    """Channels in and out of about as many multiply-accumulates, a multiple of 16 for the runtime's vectors."""
    return max(16, round((in_channels * out_channels) ** 0.5 / 16) * 16)


def _kernel(kernel: tuple[int, ...]) -> str:
    return "x".join(map(str, kernel))


def _pixels(shape: tuple[int, ...]) -> str:
    return f" at {'x'.join(map(str, shape[1:]))}" if len(shape) > 1 else ""

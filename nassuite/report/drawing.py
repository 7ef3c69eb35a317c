"""The drawing of an architecture: a row per stage, a box per block, coloured by family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nassuite.report.content import LayerCost
from nassuite.report.markup import Markup, element, join
from nassuite.report.words import count, percent
from nassuite.spec import Arch, BlockSpec

BOX_WIDTH, BOX_HEIGHT, GAP = 106, 62, 8
LABEL_WIDTH = 132  # beside a row on a wide page; above it on a narrow one

# Okabe and Ito's colours, light paper and dark, by operator; the box names it in words too.
FAMILIES = {
    "inverted_residual": ("inverted residual", "#0072b2", "#56b4e9"),
    "ghost": ("ghost", "#e69f00", "#f0b429"),
    "shuffle": ("shuffle", "#009e73", "#1fc497"),
    "dwcb": ("DWCB", "#cc79a7", "#e29ac2"),
    "group_dwcb": ("group DWCB", "#d55e00", "#ff8c3a"),
    "alt_dwcb": ("alt DWCB", "#7a6a00", "#f0e442"),
    "space_to_depth": ("space to depth", "#3b4252", "#d8dee9"),
    "strided_conv": ("strided conv", "#5f4690", "#b9a3e3"),
}
OTHER = ("", "#666c75", "#a3a9b3")


@dataclass(frozen=True)
class Box:
    """What is written into a box: a title, two lines, and its share of all MACs where it is known."""

    op: str
    title: str
    lines: tuple[str, str]
    macs_share: float | None
    detail: str


@dataclass(frozen=True)
class Row:
    name: str
    shape: str
    boxes: tuple[Box, ...]


def draw(arch: Arch, costs: Sequence[LayerCost], *, width: int, class_: str = "") -> Markup:
    """``arch`` as SVG of ``width`` pixels; boxes that do not fit beside each other wrap.

    ``costs``, where they are as many as the parts (stem, blocks, head), give every box a bar: its
    share of the MACs.
    """
    rows = _rows(arch, costs)
    beside = width >= 600
    left = LABEL_WIDTH if beside else 2
    per_line = max(1, (width - left + GAP) // (BOX_WIDTH + GAP))
    parts, top = [], 4
    for row in rows:
        label_top = top + 24 if beside else top + 13
        parts.append(element("text", row.name, class_="row-name", x=2, y=label_top))
        if beside:
            parts.append(element("text", row.shape, class_="row-shape", x=2, y=label_top + 17))
        else:
            parts.append(element("text", row.shape, class_="row-shape", x=74, y=label_top))
            top += 20
        for index, box in enumerate(row.boxes):
            line, column = divmod(index, per_line)
            x, y = left + column * (BOX_WIDTH + GAP), top + line * (BOX_HEIGHT + GAP)
            if column:
                middle = y + BOX_HEIGHT // 2
                parts.append(element("path", class_="flow", d=f"M{x - GAP} {middle}h{GAP}"))
            parts.append(_box(box, x, y))
        lines = -(-len(row.boxes) // per_line)
        top += lines * (BOX_HEIGHT + GAP) + (6 if beside else 4)
    return element(
        "svg", *parts, viewBox=f"0 0 {width} {top}", role="img",
        aria_label=f"The architecture: {describe(arch)}", class_=f"chart architecture {class_}".strip(),
    )  # fmt: skip


def families(arch: Arch) -> Markup:
    """The legend: the operators that ``arch`` uses, with how often."""
    ops = [block.op for block in arch.blocks]
    items = [
        element("li", element("i", class_=_op_class(op)), f"{FAMILIES.get(op, (op,))[0]} × {ops.count(op)}")
        for op in dict.fromkeys(ops)
    ]
    return element("ul", *items, class_="legend")


def describe(arch: Arch) -> str:
    """One sentence for those who do not see the drawing."""
    stages = "; ".join(
        f"stage {n}: {len(stage)} block{'s' if len(stage) > 1 else ''} of {stage[0].out_channels} channels ("
        + ", ".join(FAMILIES.get(b.op, (b.op,))[0] for b in stage)
        + ")"
        for n, stage in enumerate(arch.stages, start=1)
        if stage
    )
    return f"images of {arch.resolution} pixels, stem of {arch.stem.width} channels; {stages}."


def _rows(arch: Arch, costs: Sequence[LayerCost]) -> list[Row]:
    known = len(costs) == len(arch.blocks) + 2
    total = sum(cost.macs for cost in costs) or 1
    shares = iter([(c.macs / total, c.macs) for c in costs] if known else [])

    def box(op: str, title: str, lines: tuple[str, str], act: str) -> Box:
        share, macs = next(shares, (None, 0))
        cost = "" if share is None else f", {count(macs)} MACs, {percent(share)} of all"
        return Box(op, title, lines, share, f"{title}: {lines[0]}, {lines[1]}, {act}{cost}")

    stem, head = arch.stem, arch.head
    side = -(-arch.resolution // stem.stride)
    first = box(
        "", "convolution", (f"{stem.kernel}×{stem.kernel}", _stride(stem.width, stem.stride)), stem.act
    )
    rows = [Row("stem", f"{side}×{side} × {stem.width}", (first,))]
    for number, stage in enumerate((s for s in arch.stages if s), start=1):
        boxes = []
        for block in stage:
            side = -(-side // block.stride)
            tail = f"{block.out_channels} ch + input" if block.keeps_shape else None
            boxes.append(
                box(
                    block.op,
                    FAMILIES.get(block.op, (block.op,))[0].replace("inverted", "inv."),
                    (_form(block), tail or _stride(block.out_channels, block.stride)),
                    block.act,
                )
            )
        rows.append(Row(f"stage {number}", f"{side}×{side} × {stage[-1].out_channels}", tuple(boxes)))
    last = box("", "classifier", (f"1×1 · {head.width} ch", "pool, linear"), head.act)
    return [*rows, Row("head", "classes", (last,))]


def _box(box: Box, x: int, y: int) -> Markup:
    parts = [
        element("title", box.detail),
        element("rect", class_="face", x=x, y=y, width=BOX_WIDTH, height=BOX_HEIGHT, rx=4),
        element("rect", class_="edge", x=x, y=y, width=4, height=BOX_HEIGHT, rx=2),
        element("text", box.title, class_="box-title", x=x + 11, y=y + 17),
        element("text", box.lines[0], class_="box-line", x=x + 11, y=y + 33),
        element("text", box.lines[1], class_="box-line", x=x + 11, y=y + 48),
    ]
    if box.macs_share is not None:
        full = BOX_WIDTH - 18
        parts.append(element("rect", class_="rail", x=x + 11, y=y + 54, width=full, height=3))
        parts.append(
            element("rect", class_="share", x=x + 11, y=y + 54, width=full * box.macs_share, height=3)
        )
    return element("g", join(parts), class_=_op_class(box.op))


def _form(block: BlockSpec) -> str:
    """Kernel, expand ratio, squeeze-and-excitation: 3×3 · ×4 · SE."""
    height, width = block.kernel
    parts = [f"{height}×{width}"]
    if block.expand != 1.0:
        parts.append(f"exp {block.expand:g}")
    if block.se:
        parts.append("SE")
    return " · ".join(parts)


def _stride(channels: int, stride: int) -> str:
    return f"{channels} ch" + (f", stride {stride}" if stride > 1 else "")


def _op_class(op: str) -> str:
    return f"op op-{op}" if op in FAMILIES else "op"

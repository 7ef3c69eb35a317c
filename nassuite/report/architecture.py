"""An architecture drawn: a row per stage, a box per block, coloured by family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nassuite.report.content import LayerCost
from nassuite.report.drawing import Drawing, Group, Line, Rectangle, Shape, Text
from nassuite.report.markup import Markup, element
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


def draw(arch: Arch, costs: Sequence[LayerCost], *, width: int, title: str = "") -> Drawing:
    """``arch`` in ``width`` pixels; boxes that do not fit beside each other wrap.

    ``costs``, where they are as many as the parts (stem, blocks, head), give every box a bar: its
    share of the MACs.
    """
    beside = width >= 600
    left = LABEL_WIDTH if beside else 2
    per_line = max(1, (width - left + GAP) // (BOX_WIDTH + GAP))
    shapes: list[Shape] = []
    top = 4
    for row in _rows(arch, costs):
        name_at = (2, top + (24 if beside else 13))
        shape_at = (2, name_at[1] + 17) if beside else (74, name_at[1])
        shapes += [Text(row.name, name_at, "heading"), Text(row.shape, shape_at, "row-shape")]
        top += 0 if beside else 20
        for index, box in enumerate(row.boxes):
            line, column = divmod(index, per_line)
            x, y = left + column * (BOX_WIDTH + GAP), top + line * (BOX_HEIGHT + GAP)
            if column:
                middle = y + BOX_HEIGHT // 2
                shapes.append(Line(((x - GAP, middle), (x, middle)), "flow"))
            shapes.append(_box(box, x, y))
        lines = -(-len(row.boxes) // per_line)
        top += lines * (BOX_HEIGHT + GAP) + (6 if beside else 4)
    return Drawing(width, top, tuple(shapes), f"The architecture: {describe(arch)}", title)


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


def _box(box: Box, x: int, y: int) -> Group:
    family, inside = _op_class(box.op), x + 11
    shapes: list[Shape] = [
        Rectangle(x, y, BOX_WIDTH, BOX_HEIGHT, f"face {family}", rounding=4),
        Rectangle(x, y, 4, BOX_HEIGHT, f"edge {family}", rounding=2),
        Text(box.title, (inside, y + 17), "box-title"),
        Text(box.lines[0], (inside, y + 33), "box-line"),
        Text(box.lines[1], (inside, y + 48), "box-line"),
    ]
    if box.macs_share is not None:
        full = BOX_WIDTH - 18
        shapes.append(Rectangle(inside, y + 54, full, 3, f"rail {family}"))
        shapes.append(Rectangle(inside, y + 54, full * box.macs_share, 3, f"share {family}"))
    return Group(tuple(shapes), box.detail)


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
    return f"op-{op}" if op in FAMILIES else "op"

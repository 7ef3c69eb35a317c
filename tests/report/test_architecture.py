import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import OPS, layer_costs, random_arch

from nassuite.report.architecture import BOX_HEIGHT, BOX_WIDTH, FAMILIES, describe, draw, families
from nassuite.report.drawing import flat
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec


def shapes(drawing, class_):
    return [shape for shape, _ in flat(drawing.shapes) if shape.class_.split()[0] == class_]


def words(drawing):
    return [shape.words for shape, _ in flat(drawing.shapes) if hasattr(shape, "words")]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([348, 760, 1000]))
def test_every_block_has_one_box_inside_the_drawing_and_none_overlap(seed, width):
    arch = random_arch(np.random.default_rng(seed))
    drawing = draw(arch, layer_costs(arch), width=width)
    faces = [(face.left, face.top) for face in shapes(drawing, "face")]
    assert len(faces) == len(arch.blocks) + 2
    assert drawing.width == width
    for x, y in faces:
        assert 0 <= x <= width - BOX_WIDTH
        assert 0 <= y <= drawing.height - BOX_HEIGHT
    for n, (x, y) in enumerate(faces):
        for other_x, other_y in faces[:n]:
            assert abs(x - other_x) >= BOX_WIDTH or abs(y - other_y) >= BOX_HEIGHT


def test_resolution_halves_at_each_stride():
    blocks = [BlockSpec("ghost", 16, 24, stride=2), BlockSpec("shuffle", 24, 40, (5, 5), stride=2)]
    arch = Arch(33, StemSpec(16, stride=2), ((blocks[0],), (blocks[1],)), HeadSpec(64))
    sides = [text.words for text in shapes(draw(arch, (), width=760), "row-shape")]
    assert sides == ["17×17 × 16", "9×9 × 24", "5×5 × 40", "classes"]


def test_bars_are_shares_of_the_macs_and_absent_without_costs():
    arch = random_arch(np.random.default_rng(1))
    costs = layer_costs(arch)
    bars = [bar.width for bar in shapes(draw(arch, costs, width=760), "share")]
    assert sum(bars) == pytest.approx(BOX_WIDTH - 18)
    assert bars.index(max(bars)) == max(range(len(costs)), key=lambda n: costs[n].macs)
    assert shapes(draw(arch, costs[:-1], width=760), "share") == []


def test_every_operator_has_a_colour_and_a_name_and_a_new_one_is_drawn_too():
    assert set(OPS) <= FAMILIES.keys()
    for column in (1, 2):
        assert len({colours[column] for colours in FAMILIES.values()}) == len(FAMILIES)
    arch = Arch(32, StemSpec(16), ((BlockSpec("fire", 16, 16),),), HeadSpec(64))
    assert "fire" in words(draw(arch, (), width=760))
    assert "fire × 1" in families(arch)
    assert "fire" in describe(arch)


def test_the_legend_counts_every_block():
    arch = random_arch(np.random.default_rng(2))
    assert sum(int(n) for n in re.findall(r"× (\d+)", families(arch))) == len(arch.blocks)

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nassuite.blocks import BLOCKS, block_layout, build_block
from nassuite.blocks.layers import (
    QUARTERS,
    ConvBN,
    LayerScale,
    PoolShortcut,
    SqueezeExcite,
    half,
    initialise,
    squeezed_channels,
    stream,
)
from nassuite.blocks.shuffle import TRANSFORMED
from nassuite.nn.slicing import layer_of
from nassuite.spec import DOWNSAMPLINGS, OPERATORS, BlockSpec

ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "gelu")
KERNELS = {"alt_dwcb": [(1, 3), (5, 1), (7, 1)]}


@st.composite
def specs(draw, shortcuts=("none", "identity", "pool")) -> BlockSpec:
    op = draw(st.sampled_from(list(OPERATORS)))
    inputs = 8 * draw(st.integers(1, 4))
    only_down = op in DOWNSAMPLINGS
    keeps = not only_down and draw(st.booleans())
    used = {
        "kernel": draw(st.sampled_from(KERNELS.get(op, [(3, 3), (5, 5), (7, 7)]))),
        "expand": draw(st.sampled_from([1.0, 1.5, 2.0, 3.0])),
        "se": draw(st.booleans()),
        "act": draw(st.sampled_from(ACTIVATIONS)),
    }
    return BlockSpec(
        op,
        inputs,
        inputs if keeps else 8 * draw(st.integers(1, 4)),
        stride=1 if keeps else 2 if only_down else draw(st.sampled_from([1, 2])),
        shortcut="identity" if keeps else draw(st.sampled_from([s for s in shortcuts if s != "identity"])),
        layer=draw(st.integers(0, 2)) if op == "shuffle" and keeps else 0,
        **{name: value for name, value in used.items() if name in OPERATORS[op]},
        **({"kernel": (2, 2)} if op == "space_to_depth" else {}),
    )


def fresh(spec: BlockSpec, seed: int = 0) -> nn.Module:
    block = build_block(spec)
    initialise(block, torch.Generator().manual_seed(seed))
    return block


def test_every_operator_has_a_block():
    assert set(BLOCKS) == set(OPERATORS)


@settings(max_examples=60)
@given(specs(), st.sampled_from([8, 9, 14]))
def test_shapes_at_even_and_odd_sizes(spec, side):
    if spec.op == "space_to_depth":
        side += side % 2  # pairs of pixels; a space's sizes are multiples of its strides
    x = torch.rand(2, spec.in_channels, side, side)
    assert fresh(spec)(x).shape == (2, spec.out_channels, -(-side // spec.stride), -(-side // spec.stride))


@settings(max_examples=60)
@given(specs())
def test_layout_accounts_for_every_channel_of_every_parameter(spec):
    layout = block_layout(spec)
    for name, parameter in build_block(spec).named_parameters():
        for segments, size in zip(layout[layer_of(name, layout)], parameter.shape, strict=False):
            assert sum(segments) == size, name
            assert all(segments), name


@settings(max_examples=40)
@given(specs())
def test_the_block_leaves_its_input_alone(spec):
    x = torch.rand(2, spec.in_channels, 8, 8)
    before = x.clone()
    fresh(spec)(x)
    assert torch.equal(x, before)


@settings(max_examples=40)
@given(specs(shortcuts=("pool",)), st.integers(0, 100))
def test_a_fresh_block_passes_its_input_on(spec, seed):
    """All but shuffle units, which end in an activation that a zero would kill, and layer scales."""
    if spec.op == "shuffle" or (spec.keeps_shape and spec.op not in ("inverted_residual", "ghost")):
        return
    x = torch.rand(2, spec.in_channels, 8, 8)
    shortcut = PoolShortcut(spec.in_channels, spec.out_channels, spec.stride)
    shortcut.start_as_identity()
    assert torch.allclose(fresh(spec, seed)(x), x if spec.keeps_shape else shortcut(x), atol=1e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 16), (24, 8), (16, 40)])
def test_pool_shortcut_starts_as_the_identity_of_each_quarter(inputs, outputs):
    shortcut = PoolShortcut(inputs, outputs, 1)
    shortcut.start_as_identity()
    x = torch.rand(2, inputs, 3, 3)
    y = shortcut(x)
    shared = min(inputs, outputs) // QUARTERS
    for from_quarter, to_quarter in zip(x.chunk(QUARTERS, 1), y.chunk(QUARTERS, 1), strict=True):
        assert torch.equal(to_quarter[:, :shared], from_quarter[:, :shared])
        assert not to_quarter[:, shared:].any()


def test_pool_shortcut_averages_what_there_is_at_the_border():
    shortcut = PoolShortcut(8, 8, 2)
    shortcut.start_as_identity()
    assert torch.allclose(shortcut(torch.ones(1, 8, 5, 5)), torch.ones(1, 8, 3, 3))


@pytest.mark.parametrize("channels", [8, 24, 128])
def test_streams_are_four_quarters(channels):
    assert sum(stream(channels)) == channels
    assert len(stream(channels)) == QUARTERS
    assert sum(half(channels)) == channels // 2
    assert stream(channels)[:2] == half(channels)


@pytest.mark.parametrize("layer", range(3))
def test_a_shuffle_unit_moves_two_quarters_and_keeps_two(layer):
    block = fresh(BlockSpec("shuffle", 16, 16, shortcut="identity", layer=layer))
    x = torch.rand(2, 16, 6, 6)
    same = [torch.equal(a, b) for a, b in zip(x.chunk(4, 1), block(x).chunk(4, 1), strict=True)]
    assert [n for n, kept in enumerate(same) if not kept] == list(TRANSFORMED[layer])


def test_shuffle_units_mix_all_quarters_in_a_cycle():
    """Each unit mixes the two that it transforms; after one cycle every quarter has met another, and all
    four hang together."""
    assert sorted(itertools.chain(*TRANSFORMED)) == sorted([0, 2, 1, 3, 2, 3])
    together = {frozenset(pair) for pair in TRANSFORMED}
    reached = {0}
    for _ in TRANSFORMED:
        reached |= {q for pair in together if pair & reached for q in pair}
    assert reached == {0, 1, 2, 3}


def test_a_ghost_module_computes_half_of_its_channels_from_the_other():
    block = fresh(BlockSpec("ghost", 16, 16, expand=2.0, shortcut="identity")).eval()
    y = block.expand(torch.rand(1, 16, 5, 5))
    assert y.shape[1] == 32
    assert torch.equal(block.expand.cheap(y[:, :16]), y[:, 16:])


def test_dwcb_variants():
    spec = BlockSpec("dwcb", 16, 16, (5, 5), expand=2.0, shortcut="identity")
    plain, grouped = build_block(spec), build_block(BlockSpec("group_dwcb", 16, 16, expand=2.0))
    assert (plain.expand.groups, grouped.expand.groups) == (1, 2)
    assert isinstance(plain.scale, LayerScale)
    assert isinstance(grouped.bn, nn.BatchNorm2d)
    for kernel in [(1, 5), (5, 1)]:
        assert build_block(BlockSpec("alt_dwcb", 16, 16, kernel)).depthwise.conv.kernel_size == kernel
    assert torch.equal(plain.scale(torch.ones(1, 16, 2, 2)), torch.full((1, 16, 2, 2), 0.1))


def test_squeeze_and_excitation_scales_whole_channels():
    se = SqueezeExcite(16, squeezed_channels(16))
    x = torch.rand(2, 16, 4, 4) + 0.1
    gate = se(x) / x
    assert torch.allclose(gate, gate[:, :, :1, :1].expand_as(gate))
    assert gate.min() >= 0
    assert gate.max() <= 1 + 1e-5


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_inplace_activations_have_the_gradients_of_others(act):
    layer = ConvBN(4, 8, 3, act=act).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(layer, x.mul(3).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(
    ("op", "shortcut"),
    [
        (op, shortcut)
        for op in OPERATORS
        for shortcut in (("pool", "none") if op in DOWNSAMPLINGS else ("identity", "pool", "none"))
    ],
)
def test_gradients_of_blocks(op, shortcut):
    stride = 1 if shortcut == "identity" else 2
    kernel = (2, 2) if op == "space_to_depth" else (3, 3)
    block = fresh(BlockSpec(op, 8, 8, kernel, stride, shortcut=shortcut, act="hard_swish")).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(block, x.requires_grad_(), fast_mode=True)


def test_initialisation_comes_from_the_generator_alone():
    spec = BlockSpec("ghost", 16, 24, stride=2, expand=3.0, se=True, shortcut="pool")
    one, again, other = (fresh(spec, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)

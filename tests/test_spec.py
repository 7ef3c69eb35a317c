import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import SIX, arch_of

from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec, round_to_multiple

archs = st.integers(0, 2**32).map(lambda seed: arch_of(SIX, seed))

KNOWN = Arch(
    32,
    StemSpec(16),
    (
        (BlockSpec("inverted_residual", 16, 24, (5, 5), 2, 3.0, se=True, shortcut="pool"),),
        (
            BlockSpec("shuffle", 24, 32, stride=2, shortcut="pool"),
            BlockSpec("alt_dwcb", 32, 32, (7, 1), expand=2.0, act="gelu", shortcut="identity"),
        ),
    ),
    HeadSpec(64, "hard_swish"),
)


@given(archs)
def test_json_round_trip(arch):
    again = Arch.from_json(json.loads(json.dumps(arch.to_json())))
    assert again == arch
    assert (hash(again), again.digest) == (hash(arch), arch.digest)


def test_digest_is_the_same_everywhere_and_for_ever():
    assert KNOWN.digest == "064bbe1d910aa462"


@given(archs, archs)
def test_digests_differ_where_values_do(one, other):
    assert (one.digest == other.digest) == (one == other)


def test_every_field_counts_in_the_digest():
    block = KNOWN.stages[0][0]
    changes = {
        "op": "ghost", "in_channels": 8, "out_channels": 40, "kernel": (3, 5), "stride": 1,
        "expand": 4.0, "se": False, "act": "silu", "shortcut": "none", "layer": 1,
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(BlockSpec)}
    digests = {KNOWN.digest}
    for name, value in changes.items():
        stage = (dataclasses.replace(block, **{name: value}),)
        digests.add(dataclasses.replace(KNOWN, stages=(stage, *KNOWN.stages[1:])).digest)
    digests.add(dataclasses.replace(KNOWN, resolution=48).digest)
    digests.add(dataclasses.replace(KNOWN, stem=StemSpec(16, stride=2)).digest)
    digests.add(dataclasses.replace(KNOWN, head=HeadSpec(64)).digest)
    assert len(digests) == 1 + len(changes) + 3


def test_summaries():
    assert KNOWN.depths == (1, 2)
    assert len(KNOWN.blocks) == 3
    assert str(KNOWN) == "32px 16 24[ir5e3s] 32[sh3 alt_dwcb7e2] 64"


@given(st.floats(0.1, 5000), st.sampled_from([1, 4, 8, 16]))
def test_rounding_is_near_and_never_far_below(value, multiple):
    rounded = round_to_multiple(value, multiple)
    assert rounded % multiple == 0
    assert rounded >= max(multiple, 0.9 * value)
    assert rounded <= max(multiple, value + multiple)


@given(st.floats(0.1, 5000), st.floats(0, 500))
def test_rounding_keeps_order(value, more):
    """Or a narrower network would need channels that the maximal one does not have."""
    assert round_to_multiple(value) <= round_to_multiple(value + more)


def test_hidden_channels():
    assert BlockSpec("inverted_residual", 24, 24, expand=1.0).hidden_channels == 24
    assert BlockSpec("inverted_residual", 24, 24, expand=1.5).hidden_channels == 40
    assert BlockSpec("inverted_residual", 16, 24, expand=6.0).hidden_channels == 96


@pytest.mark.parametrize("shape", [{"stride": 2}, {"out_channels": 24}])
def test_an_identity_shortcut_needs_a_kept_shape(shape):
    with pytest.raises(ValueError, match="identity shortcut"):
        BlockSpec(**{"op": "ghost", "in_channels": 16, "out_channels": 16, "shortcut": "identity", **shape})

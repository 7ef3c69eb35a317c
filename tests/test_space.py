import dataclasses
import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import ALL_OPERATORS, DIGIT, INTERFACE, SIX, arch_of, space_of

from nassuite.nn.network import Network
from nassuite.resources import shipped_names
from nassuite.space import Space, Stage
from nassuite.space_file import load_space
from nassuite.spec import Arch

seeds = st.integers(0, 2**32)
SHIPPED = [load_space(name) for name in shipped_names("search_spaces")]
SPACES = st.sampled_from([SIX, DIGIT, *SHIPPED])

SMALL = [
    space_of(Stage((8,), (1,), 1, ("inverted_residual",), (3, 5), (2.0, 3.0)), resolution=(16, 24)),
    space_of(Stage((8, 16), (1, 2), 2, ("ghost",), (3, 5), (2.0,), (False, True)), stem=(8, 16)),
    space_of(Stage((16,), (1, 2), 1, ("ghost", "shuffle"), (3, 5), (2.0,), (False, True))),
    space_of(Stage((8,), (1, 4), 2, ("shuffle",), (3, 5), (2.0, 3.0), (False, True))),
    space_of(Stage((8,), (2,), 2, ("alt_dwcb", "dwcb"), (3, 5), (1.0,), (False,), ("relu", "gelu"))),
    space_of(Stage((8,), (1,), 2, ALL_OPERATORS, (3, 7), (2.0,)), head=(16, 24)),
    space_of(
        Stage((8, 16), (1,), 1, ("dwcb", "group_dwcb"), (3, 5), (2.0,)),
        Stage((16,), (1, 2), 2, ("shuffle", "ghost"), (3,), (2.0,)),
    ),
]


def every_arch(space: Space) -> set[Arch]:
    choices = itertools.product(*space.genes.values())
    return {space.decode(dict(zip(space.genes, chosen, strict=True))) for chosen in choices}


@pytest.mark.parametrize("space", SMALL)
def test_size_is_the_number_of_different_values(space):
    assert space.size == len(every_arch(space))


@pytest.mark.parametrize("space", SMALL)
def test_different_values_are_different_networks(space):
    """As far as a printed network shows them: it tells shapes, kernels and strides, but no resolution."""
    with torch.device("meta"):
        networks = {(arch.resolution, repr(Network(arch, INTERFACE))) for arch in every_arch(space)}
    assert len(networks) == space.size


def test_size_by_hand():
    stage = Stage(
        (8, 16), (1, 2), 2, ("inverted_residual", "shuffle"), (3, 5), (2.0, 3.0, 4.0), (False, True)
    )
    per_layer = 2 * 3 * 2 + 2
    space = space_of(stage, resolution=(16, 32, 48))
    assert space.size == 3 * 2 * (per_layer + per_layer**2)


@given(SPACES, seeds)
def test_encode_is_the_inverse_of_decode(space, seed):
    arch = arch_of(space, seed)
    genes = space.encode(arch)
    assert space.decode(genes) == arch
    assert list(genes) == list(space.genes)
    assert all(genes[name] in choices for name, choices in space.genes.items())


@given(SPACES, seeds)
def test_canonical_genes_are_one_for_each_architecture(space, seed):
    rng = random.Random(seed)
    genes = {name: rng.choice(choices) for name, choices in space.genes.items()}
    canonical = space.canonical(genes)
    assert space.decode(canonical) == space.decode(genes)
    assert space.canonical(canonical) == canonical


@given(SPACES, seeds, st.floats(0, 1))
def test_mutation_stays_in_the_space_and_changes_a_gene(space, seed, probability):
    arch = arch_of(space, seed)
    child = space.mutate(arch, random.Random(seed), probability=probability)
    assert space.decode(space.encode(child)) == child
    assert space.mutate(arch, random.Random(seed), probability=probability) == child


def test_mutation_moves_where_every_gene_matters():
    space = space_of(Stage((8, 16), (1,), 2, ("inverted_residual",), (3, 5), (2.0, 3.0)))
    for seed in range(50):
        arch = arch_of(space, seed)
        child = space.mutate(arch, random.Random(seed), probability=0.0)
        before, after = space.encode(arch), space.encode(child)
        assert sum(before[name] != after[name] for name in before) == 1


def test_mutation_of_the_only_architecture():
    space = space_of(Stage((8,), (1,), 2, ("dwcb",), (3,), (2.0,)))
    arch = arch_of(space, 0)
    assert space.mutate(arch, random.Random(0)) == arch


@given(SPACES, seeds)
def test_sampling_repeats_with_its_seed(space, seed):
    assert arch_of(space, seed) == arch_of(space, seed)


@pytest.mark.parametrize("space", [SIX, DIGIT, *SHIPPED])
@pytest.mark.parametrize(("which", "pick"), [("smallest", min), ("largest", max)])
def test_extremes_take_every_elastic_size(space, which, pick):
    for operator in space.operators:
        arch = space.extreme(which, operator)
        assert arch.resolution == pick(space.resolution)
        assert arch.stem.width == pick(space.stem_width)
        assert arch.head.width == pick(space.head_width)
        for stage, blocks in zip(space.stages, arch.stages, strict=True):
            assert len(blocks) == pick(stage.depth)
            for layer, block in enumerate(blocks):
                assert block.out_channels == pick(stage.width)
                allowed = stage.operators(layer)
                assert block.op == (operator if operator in allowed else allowed[0])
                if block.op == "inverted_residual":
                    assert (block.kernel[0], block.expand, block.se) == (
                        pick(stage.kernel), pick(stage.expand), pick(stage.se),
                    )  # fmt: skip
                assert block.stride == (stage.stride if layer == 0 else 1)


def test_maximal_archs_have_every_operator_in_every_layer():
    found = {
        (s, n, b.op) for a in SIX.maximal_archs() for s, st_ in enumerate(a.stages) for n, b in enumerate(st_)
    }
    assert found == {
        (s, layer, op) for s, stage in enumerate(SIX.stages) for layer in range(max(stage.depth)) for op in stage.operator
    }  # fmt: skip


def test_unknown_genes_are_refused():
    genes = SIX.encode(arch_of(SIX, 0))
    with pytest.raises(ValueError, match=r"stem\.width = 12"):
        SIX.decode(genes | {"stem.width": 12})
    with pytest.raises(KeyError, match=r"head\.width"):
        SIX.decode({name: value for name, value in genes.items() if name != "head.width"})


@settings(max_examples=20)
@given(seeds)
def test_architectures_of_another_space_are_refused(seed):
    with pytest.raises(ValueError, match=r"not in the space|is not one of"):
        DIGIT.encode(arch_of(SIX, seed))


@pytest.mark.parametrize(
    ("operators", "steps"),
    [
        ((1,), 4),
        ((2,), 4),
        ((3,), 6),
        ((4,), 4),
        ((2, 4), 4),
        ((2, 3), 6),
        ((5,), 5),
        ((6,), 6),
        ((3, 4), 12),
    ],
)
def test_a_step_has_room_for_every_operator_equally_often(operators, steps):
    stages = [Stage((8,), (1,), 2, ALL_OPERATORS[:n], (3,), (2.0,)) for n in operators]
    assert space_of(*stages).step_subnets == steps


def test_digest_tells_spaces_apart():
    stage = SIX.stages[0]
    changed = [
        dataclasses.replace(SIX, resolution=(16, 32)),
        dataclasses.replace(SIX, stem_stride=2),
        dataclasses.replace(SIX, head_act="relu"),
        *(
            dataclasses.replace(SIX, stages=(dataclasses.replace(stage, **change), *SIX.stages[1:]))
            for change in ({"width": (8,)}, {"stride": 2}, {"operator": ("dwcb",)}, {"se": (False,)})
        ),
    ]
    assert len({space.digest for space in [SIX, *changed]}) == 1 + len(changed)
    assert dataclasses.replace(SIX, name="other").digest == SIX.digest

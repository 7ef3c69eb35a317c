"""Channel counts by a table of the target: what is chosen, whatever the curves."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nassuite.compress.latency_guided import (
    LOSS_IMAGES,
    SHARES,
    Table,
    as_measured,
    choose_widths,
    loss_on,
    pulled,
    read,
    rising,
    widest_within,
)
from nassuite.compress.netadapt import candidates
from nassuite.compress.surgery import Group
from nassuite.compress.units import even_units
from nassuite.compress.widths import losses, lower_widths


def group(root, width, period=1):
    return Group(root, width, even_units(width, period), (), False)


def table(**curves):
    return Table(curves, curves)


widths = st.integers(3, 20).map(lambda n: 8 * n)


@st.composite
def problems(draw):
    groups = [group(f"g{n}", draw(widths)) for n in range(draw(st.integers(1, 4)))]
    present = draw(st.floats(1, 10))
    curves, scores = {}, {}
    for g in groups:
        won = sorted(draw(st.lists(st.floats(0, 0.2), min_size=2, max_size=2)), reverse=True)
        tried = lower_widths(g, 8, SHARES)
        figures = [present * (1 - share) for share in won][: len(tried)]
        curves[g.root] = rising(tried, figures, g.width, present)
        seed = draw(st.integers(0, 99))
        scores[g.root] = torch.rand(g.width, generator=torch.Generator().manual_seed(seed))
    return groups, scores, Table(curves, curves), present


@given(problem=problems(), share=st.floats(0.5, 1.0))
def test_the_aim_is_kept_or_nothing_that_wins_is_left(problem, share):
    groups, scores, found, present = problem
    chosen = choose_widths(groups, scores, found, 8, aim=share * present)
    expected = present - sum(present - found.value_at(g.root, chosen[g.root]) for g in groups)
    lowest = {g.root: lower_widths(g, 8, SHARES)[0] for g in groups}
    for g in groups:
        assert lowest[g.root] <= chosen[g.root] <= g.width
        assert chosen[g.root] == g.width or chosen[g.root] % 8 == 0
    assert any(chosen[g.root] < g.width for g in groups)  # a step always goes on
    if expected > share * present + 1e-9:
        for g in groups:
            assert found.ms_at(g.root, lowest[g.root]) == pytest.approx(found.ms_at(g.root, chosen[g.root]))


def test_what_costs_time_and_matters_little_goes_first():
    groups = [group("slow", 64), group("fast", 64)]
    same = {g.root: torch.ones(64) for g in groups}
    found = table(slow=((32, 5.0), (48, 7.5), (64, 10.0)), fast=((32, 9.5), (48, 9.7), (64, 10.0)))
    assert choose_widths(groups, same, found, 8, aim=8.0) == {"slow": 48, "fast": 64}
    matters = same | {"slow": 100 * torch.ones(64)}
    assert choose_widths(groups, matters, found, 8, aim=9.7)["fast"] < 64


@given(problem=problems(), rises=st.lists(st.floats(1e-3, 3.0), min_size=8, max_size=8))
def test_scores_sum_to_what_cuts_were_measured_to_lose(problem, rises):
    groups, scores, found, _ = problem
    tried = [(g.root, width) for g in groups for width in lower_widths(g, 8, SHARES)]
    measured = dict(zip(tried, rises, strict=False))
    worth = as_measured(groups, scores, dataclasses.replace(found, rises=measured))
    for g in groups:
        own = {width: rise for (root, width), rise in measured.items() if root == g.root}
        sums = losses(worth[g.root], g)
        factors = [sums[g.width - width] / rise for width, rise in own.items()]
        assert math.prod(factors) == pytest.approx(1.0, rel=1e-3)
        assert worth[g.root].argsort(stable=True).tolist() == scores[g.root].argsort(stable=True).tolist()
    assert all(
        torch.equal(scores[g.root], value)
        for g, value in zip(groups, as_measured(groups, scores, found).values(), strict=True)
    )


def test_a_cut_that_the_loss_does_not_mind_goes_first_whatever_the_scores_say():
    groups = [group("a", 64), group("b", 64)]
    curve = ((32, 5.0), (48, 7.5), (64, 10.0))
    scores = {"a": torch.ones(64), "b": 100 * torch.ones(64)}
    found = Table({"a": curve, "b": curve}, {"a": curve, "b": curve}, {("a", 32): 0.5, ("b", 32): -0.01})
    assert choose_widths(groups, scores, found, 8, aim=7.5) == {"a": 48, "b": 64}
    assert choose_widths(groups, as_measured(groups, scores, found), found, 8, aim=7.5) == {"a": 64, "b": 48}


def test_the_loss_is_that_of_the_first_images():
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 3)
    batches = [(torch.rand(n, 4), torch.randint(3, (n,))) for n in (200, 200, 200)]
    images, labels = (torch.cat(of)[:LOSS_IMAGES] for of in zip(*batches, strict=True))
    expected = torch.nn.functional.cross_entropy(network(images), labels)
    assert loss_on(batches)(network) == pytest.approx(float(expected), rel=1e-5)
    assert loss_on(batches[:1])(network) == pytest.approx(
        float(torch.nn.functional.cross_entropy(network(batches[0][0]), batches[0][1])), rel=1e-5
    )


def test_a_flat_piece_of_a_curve_is_jumped():
    found = table(only=((32, 5.0), (48, 10.0), (64, 10.0)))
    scores = {"only": torch.arange(64.0)}
    assert choose_widths([group("only", 64)], scores, found, 8, aim=9.9)["only"] < 48


def test_where_no_cut_wins_time_one_step_of_the_least_important_goes():
    groups = [group("a", 32), group("b", 32)]
    found = table(a=((16, 1.0), (32, 1.0)), b=((16, 1.0), (32, 1.0)))
    scores = {"a": torch.ones(32), "b": 0.5 * torch.ones(32)}
    assert choose_widths(groups, scores, found, 8, aim=0.5) == {"a": 32, "b": 24}


def test_noise_is_not_won():
    curve = rising([32, 48], [11.0, 9.0], 64, 10.0)
    assert [figure for _, figure in curve] == sorted(figure for _, figure in curve)
    assert max(figure for _, figure in curve) == 10.0
    assert read(curve, 56) == 10.0


def test_losses_count_the_same_channels_in_equal_parts():
    scores = torch.tensor([1.0, 5.0, 2.0, 4.0, 0.0, 3.0])
    assert losses(scores, group("g", 6)) == [0, 0, 1, 3, 6, 10, 15]
    assert losses(scores, group("g", 6, period=2)) == [0, 5, 10, 15]


def test_netadapt_takes_the_widest_that_has_the_reduction():
    found = table(a=((32, 6.0), (48, 8.0), (64, 10.0)), b=((32, 9.0), (48, 9.5), (64, 10.0)))
    groups = [group("a", 64), group("b", 64)]
    assert widest_within(groups[0], found, 8, 8.0) == 48
    assert widest_within(groups[1], found, 8, 8.0) is None
    assert [(c.root, c.width) for c in candidates(groups, found, 8, aim=8.0)] == [("a", 48)]
    assert [(c.root, c.width) for c in candidates(groups, found, 8, aim=9.5)] == [("a", 56), ("b", 48)]
    # No group alone has it: each goes as far as it was measured.
    assert [(c.root, c.width) for c in candidates(groups, found, 8, aim=2.0)] == [("a", 32), ("b", 32)]


@given(seed=st.integers(0, 10**6), noise=st.floats(0, 0.2))
def test_gains_are_pulled_towards_what_costs_explain_and_never_past_it(seed, noise):
    rng = np.random.default_rng(seed)
    costs = rng.uniform(0, 0.3, (20, 3))
    won = costs @ [0.2, 0.7, 0.0] + rng.normal(0, 0.03, 20)
    quiet, fitted = pulled(won, costs, noise=0.0), pulled(won, costs, noise=10.0)
    assert np.allclose(quiet, won)
    found = pulled(won, costs, noise=noise)
    assert (np.abs(found - fitted) <= np.abs(won - fitted) + 1e-12).all()
    assert ((found - fitted) * (won - fitted) >= -1e-12).all()


def test_pulled_gains_are_nearer_to_the_truth_on_a_noisy_machine_whatever_a_cut_has_of_its_own():
    rng = np.random.default_rng(0)
    for own in (0.0, 0.01, 0.05):
        measured, mended = [], []
        for _ in range(50):
            costs = rng.uniform(0, 0.1, (50, 3))
            truth = costs @ [0.3, 0.6, 0.1] + rng.normal(0, own, 50)
            won = truth + rng.normal(0, 0.04, 50)
            measured.append(np.mean((won - truth) ** 2))
            mended.append(np.mean((pulled(won, costs, noise=0.04) - truth) ** 2))
        assert np.mean(mended) < (0.2 if own == 0 else 1.0) * np.mean(measured)


def test_equal_costs_and_no_gain_at_all_stay_as_they_are():
    assert np.array_equal(pulled(np.zeros(4), np.ones((4, 3)), noise=0.1), np.zeros(4))

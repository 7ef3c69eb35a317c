import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import SIX
from toy import TOY, accuracy, latency_ms

from nassuite.search.driver import Objective, SearchConfig, evaluations, open_study, queue, run_trials, sweep
from nassuite.search.growth import grown
from nassuite.space import UNORDERED, Space
from nassuite.spec import Arch


def sizes(space: Space, arch: Arch) -> dict:
    return {name: value for name, value in space.encode(arch).items() if not name.endswith(UNORDERED)}


def operators(arch: Arch) -> list[list[str]]:
    return [[block.op for block in stage] for stage in arch.stages]


@pytest.mark.parametrize("space", [TOY, SIX], ids=lambda space: space.name)
@given(seed=st.integers(0, 10_000), room=st.floats(1.0, 3.0))
def test_what_is_grown_is_larger_and_fits_and_nothing_more_would(space, seed, room):
    arch = space.sample(random.Random(seed))
    limit = room * latency_ms(arch)
    larger = grown(space, arch, worth=latency_ms, fits=lambda a: latency_ms(a) <= limit)
    assert latency_ms(arch) <= latency_ms(larger) <= limit
    before, after = sizes(space, arch), sizes(space, larger)
    # A layer that is new, or of another operator, has sizes of its own; of the rest none was lowered.
    same = [
        name
        for name in before
        if ".layer" not in name or (layer := name.rsplit(".", 1)[0] + ".operator") not in space.genes
        or space.encode(arch)[layer] == space.encode(larger)[layer]
    ]  # fmt: skip
    assert all(after[name] >= before[name] for name in same)
    assert all(len(new) >= len(old) for new, old in zip(larger.stages, arch.stages, strict=True))
    again = grown(space, larger, worth=latency_ms, fits=lambda a: latency_ms(a) <= limit)
    assert again == larger


def test_sizes_are_raised_before_an_operator_is_changed():
    largest = TOY.extreme("largest", "shuffle")
    smaller = {n: min(TOY.genes[n]) for n in sizes(TOY, largest) if not n.endswith(".depth")}
    arch = TOY.decode(TOY.encode(largest) | smaller)
    limit = latency_ms(largest)  # any other operator takes longer once the sizes are raised

    def worth(a: Arch) -> float:
        return 1000 * sum(b.op == "inverted_residual" for b in a.blocks) + latency_ms(a)

    assert grown(TOY, arch, worth=worth, fits=lambda a: latency_ms(a) <= limit) == largest
    others = grown(TOY, largest, worth=worth, fits=lambda a: latency_ms(a) <= 10 * limit)
    assert operators(others)[0] == ["inverted_residual", "inverted_residual"]


@pytest.mark.parametrize("operator", ["inverted_residual", "dwcb"])
def test_without_a_limit_it_grows_to_what_is_worth_most(operator):
    # Inverted residuals take longest in TOY.
    largest = TOY.extreme("largest", "inverted_residual")
    for which in ("smallest", "largest"):
        arch = TOY.extreme(which, operator)
        assert grown(TOY, arch, worth=latency_ms, fits=lambda a: True) == largest


def test_what_is_queued_is_tried_next_once_and_again_after_a_stop(tmp_path):
    archs = [TOY.sample(random.Random(n)) for n in range(4)]
    study = open_study(tmp_path / "journal")
    objective = Objective(accuracy, latency_ms)
    run_trials(study, TOY, objective, SearchConfig(12, (), "guided"))
    done = [e.arch for e in evaluations(study, TOY)]
    queue(study, TOY, [*archs, archs[0], done[0]])
    run_trials(study, TOY, objective, SearchConfig(14, (), "guided"))
    assert [e.arch for e in evaluations(study, TOY)] == [*done, *archs[:2]]
    sweep(study)  # as a run does that was stopped: what still waited is failed
    queue(study, TOY, archs)
    run_trials(study, TOY, objective, SearchConfig(17, (), "guided"))
    found = [e.arch for e in evaluations(study, TOY)]
    assert found[12:16] == archs
    assert len({arch.digest for arch in found}) == 17


def test_what_was_out_of_reach_is_evaluated_under_a_higher_limit(tmp_path):
    study, objective = open_study(tmp_path / "journal"), Objective(accuracy, latency_ms)
    run_trials(study, TOY, objective, SearchConfig(12, (5.0,), "guided"))
    assert all(e.latency_ms <= 5 for e in evaluations(study, TOY))
    slow = next(a for a in (TOY.extreme("largest", op) for op in TOY.operators) if latency_ms(a) > 5)
    queue(study, TOY, [slow])
    run_trials(study, TOY, objective, SearchConfig(13, (100.0,), "guided"))
    found = evaluations(study, TOY)
    assert found[12].arch == slow
    assert found[12].accuracy == accuracy(slow)

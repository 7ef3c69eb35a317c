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


@pytest.mark.parametrize("space", [TOY, SIX], ids=lambda space: space.name)
@given(seed=st.integers(0, 10_000), room=st.floats(1.0, 3.0))
def test_what_is_grown_is_larger_and_fits_and_nothing_more_would(space, seed, room):
    arch = space.sample(random.Random(seed))
    limit = room * latency_ms(arch)
    larger = grown(space, arch, worth=latency_ms, fits=lambda a: latency_ms(a) <= limit)
    assert latency_ms(arch) <= latency_ms(larger) <= limit
    before, after = sizes(space, arch), sizes(space, larger)
    # A layer that is new has sizes of its own; one that is not has none that were lowered.
    assert all(after[name] >= before[name] for name in before)
    assert [[b.op for b in stage] for stage in arch.stages] == [
        [b.op for b in stage[: len(old)]] for stage, old in zip(larger.stages, arch.stages, strict=True)
    ]
    again = grown(space, larger, worth=latency_ms, fits=lambda a: latency_ms(a) <= limit)
    assert again == larger


@pytest.mark.parametrize("operator", ["inverted_residual", "dwcb"])
def test_without_a_limit_it_grows_to_the_largest_of_its_operators(operator):
    # New layers have the first operator that there is; inverted residuals are the first in TOY.
    arch, largest = TOY.extreme("smallest", operator), TOY.extreme("largest", operator)
    assert grown(TOY, arch, worth=latency_ms, fits=lambda a: True) == largest
    assert grown(TOY, largest, worth=latency_ms, fits=lambda a: True) == largest


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

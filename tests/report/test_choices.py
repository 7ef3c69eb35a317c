import dataclasses

import numpy as np
import pytest
from sample import random_arch, sample_content

from nassuite.report.choices import LEAST, choice_facts

ROWS = sample_content(count=60).evaluations


@pytest.fixture(scope="module")
def facts():
    """Of architectures whose accuracy is decided by the share of ghost in the second stage, latency by the stem."""
    rng = np.random.default_rng(1)
    rows = []
    for row in ROWS:
        arch = random_arch(rng)
        arch = dataclasses.replace(
            arch, stem=dataclasses.replace(arch.stem, width=int(rng.choice([8, 16, 24])))
        )
        ghosts = np.mean([block.op == "ghost" for block in arch.stages[1]])
        rows.append(
            dataclasses.replace(
                row, arch=str(arch), accuracy=0.5 + 0.2 * float(ghosts) + 0.01 * rng.random(),
                predicted_ms=arch.stem.width / 100 + 0.01 * rng.random(),
            )
        )  # fmt: skip
    return choice_facts(rows)


def test_what_decides_is_found_for_each_aim(facts):
    by_name = {choice.name: choice for choice in facts.choices}
    assert max(facts.choices, key=lambda c: c.accuracy).name == "stage 2 operator"
    assert max(facts.choices, key=lambda c: c.latency).name == "stem width"
    assert by_name["stem width"].latency > 10 * by_name["stage 2 operator"].latency
    assert facts.latency_r2 > 0.9
    assert facts.n == len(ROWS)


def test_the_front_is_told_by_what_decides(facts):
    """Fast and accurate: narrow stems, ghosts."""
    found = {trait.name: trait for trait in facts.traits}
    assert found["stem width"].on_front < found["stem width"].among_all
    assert all(abs(trait.errors) >= 2 for trait in facts.traits)


def test_of_few_architectures_nothing_is_said():
    assert choice_facts(ROWS[: LEAST - 1]) is None
    assert choice_facts([dataclasses.replace(row, accuracy=0.5) for row in ROWS]) is None
    assert choice_facts([dataclasses.replace(row, arch="no architecture") for row in ROWS]) is None

"""The study of samplers: its sub-space, its table, and its numbers by hand."""

import numpy as np
import pytest
import search_efficiency as study

from nassuite.flow import prepare
from nassuite.progress import SILENT
from nassuite.records import read_jsonl
from nassuite.run_directory import RunDirectory
from nassuite.space_file import load_space


@pytest.fixture
def flow(tiny_run, monkeypatch):
    monkeypatch.chdir(tiny_run.folder)
    run = RunDirectory(tiny_run.run)
    return prepare(run, run.read_settings()[0], progress=SILENT)


def test_the_sub_space_is_a_part_of_the_space_with_its_ends():
    whole = load_space("tiny")
    part = study.subspace(whole)
    archs = study.architectures(part)
    assert len({arch.digest for arch in archs}) == len(archs) == 1920
    assert {block.op for arch in archs for block in arch.blocks} == set(whole.operators)
    assert all(whole.decode(whole.encode(arch)) == arch for arch in archs[::100])


def test_the_table_is_what_a_search_would_find_and_is_made_once(flow, tmp_path):
    archs = study.architectures(study.subspace(flow.space))[:2]
    path = tmp_path / "table.jsonl"
    table = study.evaluate_all(flow.run.root, archs, path, workers=2, progress=SILENT)
    val = flow.data.val.subset(study.VAL_IMAGES, seed=0)
    for arch in archs:
        # Another number of threads adds in another order.
        expected = study.accuracy_of(flow, arch, val), flow.predict_ms(arch)
        assert table[arch.digest] == pytest.approx(expected, abs=0.02)
    assert len(read_jsonl(path)) == 2
    assert study.evaluate_all(flow.run.root, archs, path, workers=2, progress=SILENT) == table
    assert len(read_jsonl(path)) == 2


def test_an_evaluation_is_timed_on_the_images_of_a_search(flow):
    timed = study.evaluation_cost(flow, study.architectures(study.subspace(flow.space))[:2], SILENT)
    assert timed["n"] == 2
    assert timed["recalibration_images"] == sum(map(len, flow.recalibration_batches))
    assert timed["validation_images"] == len(flow.search_val)
    assert "times" in study.speed_words(timed)


def test_the_numbers_by_hand():
    """Four points on the front of area 4 + 3 + 2 + 1 and a dominated one; one sampler finds them sooner."""
    table = {"a": (0.4, 4.0), "b": (0.3, 3.0), "c": (0.2, 2.0), "d": (0.1, 1.0), "e": (0.0, 5.0)}
    fast, slow = list("abcde"), list("edcba")
    rows = [
        {"sampler": sampler, "seed": seed, "order": (order * 50)[:250], "cpu_seconds": 1.0}
        for sampler, order in ((study.OURS, fast), (study.BASE, slow), ("random", slow))
        for seed in range(8)
    ]  # fmt: skip
    found = study.analyse(table, rows)
    by_sampler = {entry["sampler"]: entry for entry in found["samplers"]}
    assert found["on_true_front"] == 4
    assert found["reference"] == (0.0, 5.0)
    assert by_sampler[study.OURS]["needed"] == 4
    assert by_sampler[study.BASE]["needed"] == 5
    assert by_sampler[study.BASE]["at_250"] == pytest.approx([1.0, 1.0, 1.0])
    assert by_sampler[study.BASE]["p_250"] == 1.0
    curve = np.array(found["curves"][study.OURS][:4])
    # a alone 0.4 * 1; b adds 0.3 * 1, c 0.2, d 0.1.
    assert curve == pytest.approx(np.array([0.4, 0.7, 0.9, 1.0]))
    assert found["seeds_below_random"] == 0

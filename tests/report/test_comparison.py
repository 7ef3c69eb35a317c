"""Several networks by one recipe: resumed, drawn, and as baselines of a search's report."""

import dataclasses
import json

import pytest
from deterministic_meter import deterministic_meter
from sample import sample_content

from nassuite import classifying
from nassuite.comparing import compare_networks
from nassuite.errors import InputError
from nassuite.report.comparison import read_comparison, with_baselines, write_comparison
from nassuite.train_settings import TrainSettings

SETTINGS = TrainSettings(data="digits", size=32, train_images=64, epochs=1, batch_size=32)
NAMES = ["lenet5", "mobilenet_v2(width_mult=0.1)"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared")
    return out, compare_networks(
        NAMES, SETTINGS, out=out, meter=deterministic_meter, command=["nassuite", "zoo"]
    )


def test_the_same_again_trains_nothing_and_finds_the_same(compared, monkeypatch):
    out, comparison = compared
    monkeypatch.setattr(classifying, "train_network", None)
    assert (
        compare_networks(
            NAMES, SETTINGS, out=out, meter=deterministic_meter, command=["nassuite", "zoo"]
        ).rows
        == comparison.rows
    )
    with pytest.raises(InputError, match="epochs 1, not 2"):
        compare_networks(NAMES, dataclasses.replace(SETTINGS, epochs=2), out=out, meter=deterministic_meter)


def test_what_is_written_is_read_again(compared):
    out, comparison = compared
    assert read_comparison(out) == dataclasses.replace(comparison)
    text = (out / "report.md").read_text()
    assert all(name in text for name in NAMES)
    assert (out / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_the_front_is_what_nothing_beats(compared):
    _, comparison = compared
    rows = [
        dataclasses.replace(comparison.rows[0], name=name, p50_ms=p50, val_accuracy=val)
        for name, p50, val in (("a", 1.0, 0.5), ("b", 2.0, 0.5), ("c", 2.0, 0.9), ("d", 3.0, 0.8))
    ]
    assert dataclasses.replace(comparison, rows=tuple(rows)).front == {"a", "c"}


def test_same_records_same_bytes(compared, tmp_path):
    out, comparison = compared
    write_comparison(comparison, tmp_path)
    for name in ("records.json", "report.md", "pareto.svg", "pareto.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def as_baselines(comparison, content, **changes):
    row = dataclasses.replace(comparison.rows[0], test_n=content.run.data.test, **changes)
    return dataclasses.replace(comparison, metric=content.metric, rows=(row,))


def test_a_better_baseline_is_said_first(compared):
    content = sample_content()
    budget = max(content.budgets_ms)
    fast_and_good = as_baselines(compared[1], content, name="plain", p50_ms=budget * 0.9, test_accuracy=0.999)
    drawn = with_baselines(content, fast_and_good)
    assert drawn.baselines[0].name == "plain"
    assert drawn.run.misses[0].startswith(f"A baseline is better within {budget:g} ms: plain has 99.9 %")
    assert with_baselines(drawn, fast_and_good).run.misses == drawn.run.misses, "said once"
    too_slow = as_baselines(compared[1], content, p50_ms=budget * 1.1, test_accuracy=0.999)
    assert with_baselines(content, too_slow).run.misses == content.run.misses
    worse = as_baselines(compared[1], content, p50_ms=budget * 0.5, test_accuracy=0.1)
    assert with_baselines(content, worse).run.misses == content.run.misses


def test_what_cannot_be_compared_is_refused(compared, tmp_path):
    content, comparison = sample_content(), compared[1]
    with pytest.raises(InputError, match="tested on"):
        with_baselines(content, dataclasses.replace(comparison, metric=content.metric))
    with pytest.raises(InputError, match="metric"):
        with_baselines(content, dataclasses.replace(comparison, metric="f1"))
    with pytest.raises(InputError, match="no comparison there"):
        read_comparison(tmp_path)
    (tmp_path / "records.json").write_text(json.dumps({"kind": "nassuite report"}))
    with pytest.raises(InputError, match="is no comparison"):
        read_comparison(tmp_path)
    with pytest.raises(InputError, match="each once"):
        compare_networks(["lenet5", "lenet5"], SETTINGS, out=tmp_path, meter=deterministic_meter)

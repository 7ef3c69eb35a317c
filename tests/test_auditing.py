"""nassuite audit on a tiny run: what it draws, that it goes on where it stopped, and where its verdict stands."""

import dataclasses
import json
import shutil

import pytest
from deterministic_meter import deterministic_meter
from tiny_runs import LOOSE_MS, lines, settings

from nassuite import auditing
from nassuite.audit_settings import AuditSettings
from nassuite.auditing import audit, draw_archs, family
from nassuite.cli import main
from nassuite.errors import InputError
from nassuite.progress import SILENT
from nassuite.report import read_report
from nassuite.run_directory import RunDirectory
from nassuite.space_file import load_space
from nassuite.supernet_training import train_supernet_of_run

SETTINGS = AuditSettings(architectures=8, epochs=1, batch_size=32, seed=1)


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    copy = shutil.copytree(tiny_run.run, tmp_path / "run")
    monkeypatch.chdir(tiny_run.folder)
    return copy


def test_architectures_are_spread_over_latencies_and_families():
    space = load_space("tiny")

    def latency(arch):
        return float(sum(block.out_channels * block.expand for block in arch.blocks))

    archs = draw_archs(space, latency, 48, seed=0)
    assert len(set(archs)) == 48
    families = [family(arch) for arch in archs]
    assert {families.count(name) for name in space.operators} == {12}
    ordered = sorted(map(latency, archs))
    assert ordered[-1] > 1.8 * ordered[0]
    assert draw_archs(space, latency, 20, seed=0) == archs[:20]
    assert draw_archs(space, latency, 48, seed=1) != archs


def test_only_those_that_fit_are_drawn():
    space = load_space("tiny")

    def depth(arch):
        return float(len(arch.blocks))

    shallow = draw_archs(space, depth, 12, seed=0, fits=lambda arch: depth(arch) <= 5)
    assert len(shallow) == 12
    assert max(map(depth, shallow)) <= 5
    with pytest.raises(InputError, match="0 fit: raise --max-macs"):
        draw_archs(space, depth, 12, seed=0, fits=lambda arch: False)


def test_what_it_finds_is_written_and_stands_in_the_report(run):
    facts = audit(run, SETTINGS)
    trainings = lines(run / "audit" / "trainings.jsonl")
    assert len(trainings) == 8 + 3
    assert facts.n == len(facts.points) == 8
    by_digest = {t["digest"]: t["accuracy"] for t in trainings if t["seed"] == 0}
    assert {point.digest: point.scratch for point in facts.points} == by_digest
    assert [row.name for row in facts.rows[:5]] == [
        "inherited accuracy", "MACs", "parameters", "latency", "SynFlow"
    ]  # fmt: skip
    assert json.loads((run / "audit" / "audit.json").read_text())["verdict"] == facts.verdict
    assert read_report(run / "report").ranking == facts
    for file in ("audit/audit.md", "report/report.md", "report/index.html"):
        assert "8 architectures were trained from scratch for 1 epochs" in (run / file).read_text()


def test_one_that_was_stopped_goes_on(run, monkeypatch):
    class Stop(Exception):
        pass

    whole = audit(run, SETTINGS)
    path = run / "audit" / "trainings.jsonl"
    kept = path.read_text().splitlines(keepends=True)[:9]
    path.write_text("".join(kept))
    asked = []
    train = auditing.train_from_scratch

    def counting(flow, settings, arch, seed):
        asked.append((arch.digest, seed))
        return train(flow, settings, arch, seed)

    monkeypatch.setattr(auditing, "train_from_scratch", counting)
    assert audit(run) == whole
    assert len(asked) == 2
    assert all(seed == 1 for _, seed in asked)


def test_a_supernet_that_was_trained_alone_is_calibrated_first(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_run.folder)
    alone = tmp_path / "alone"
    train_supernet_of_run(settings(tiny_run.folder, LOOSE_MS, epochs=1), out=alone, progress=SILENT)
    facts = audit(alone, SETTINGS, meter=deterministic_meter)
    assert RunDirectory(alone).stages_done() == {"supernet", "latency"}
    assert audit(alone) == facts


def test_what_is_refused(run, capsys):
    audit_settings = dataclasses.replace(SETTINGS, epochs=2)
    path = run / "audit" / "audit.toml"
    path.parent.mkdir()
    path.write_text("architectures = 8\nepochs = 1\nbatch_size = 32\nlr = 0.1\nworkers = 1\nseed = 1\n")
    with pytest.raises(InputError, match="is an audit with other settings"):
        audit(run, audit_settings)
    assert main(["audit", str(run / "nothing")]) == 2
    assert "no such run directory" in capsys.readouterr().err
    shutil.rmtree(path.parent)
    assert main(["audit", str(run), "--max-macs", "1000"]) == 2
    assert "0 fit: raise --max-macs" in capsys.readouterr().err
    assert not path.exists()
    assert main(["audit", str(run), "--architectures", "3"]) == 2
    assert "--architectures 3: expected 8 or more" in capsys.readouterr().err
    stages = (run / "stages.jsonl").read_text().splitlines(keepends=True)
    (run / "stages.jsonl").write_text(stages[0])
    assert main(["audit", str(run)]) == 2
    assert "its supernet is not trained yet" in capsys.readouterr().err

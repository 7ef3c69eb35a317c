"""The study of rankings, on an audit of a tiny run; and its numbers by hand."""

import random
import sys

import numpy as np
import pytest
import ranking as study
import ranking_analysis as analysis
import ranking_supernet
import torch
from ranking_ablations import ABLATIONS, DEFAULT, Ablation, chosen
from ranking_truth import Trained, Truth, read_truth
from torch import nn
from torch.nn import functional as F

from nassuite.audit_settings import AuditSettings
from nassuite.auditing import audit
from nassuite.errors import InputError
from nassuite.records import read_json, read_jsonl
from nassuite.space_file import load_space

TWO = [DEFAULT, "within"]


@pytest.fixture(scope="module")
def audited(tiny_run, tmp_path_factory):
    """A run with the first ten of its audit's trainings: eight architectures, two of them twice."""
    import shutil

    run = shutil.copytree(tiny_run.run, tmp_path_factory.mktemp("ranking") / "run")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tiny_run.folder)
        audit(run, AuditSettings(architectures=8, epochs=1, batch_size=32, train_images=96))
    return run


def arguments(tmp_path, *more):
    return ["--epochs", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), *more]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals are not what is tested here."""
    monkeypatch.setattr(sys.modules["nassuite.search.ranking"], "BOOTSTRAP_DRAWS", 40)


@pytest.fixture
def here(tiny_run, monkeypatch):
    monkeypatch.chdir(tiny_run.folder)
    return tiny_run.folder


def test_from_an_audit_to_the_report(audited, here, tmp_path, monkeypatch):
    study.main(arguments(tmp_path, "--run", str(audited), "--only", *TWO))
    record = read_json(tmp_path / "out" / "records.json")
    truth, _ = read_truth(tmp_path / "out" / "ground_truth.json")
    trainings = {
        (t["digest"], t["seed"]): t["accuracy"] for t in read_jsonl(audited / "audit" / "trainings.jsonl")
    }
    for row in truth.trained:
        assert row.accuracy[0] == pytest.approx(trainings[row.arch.digest, 0], abs=1e-5)
    assert len(truth.twice[0]) == 3
    assert [entry["name"] for entry in record["ablations"]] == TWO
    whole, within = record["ablations"]
    assert within["macs_a_step"] < whole["macs_a_step"]
    assert all(set(entry["scores"]) == {arch.digest for arch in truth.archs} for entry in (whole, within))
    assert len(record["results"]["rows"]) == 2 * len(analysis.READINGS)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "of the 3 aims" in report
    assert "| within |" in report
    assert (tmp_path / "out" / "inherited.png").is_file()

    # What is done is not done again, by a call that has the ground truth from its file.
    def unused(*_, **__):
        pytest.fail("done twice")

    monkeypatch.setattr(ranking_supernet, "train_supernet", unused)
    monkeypatch.setattr(ranking_supernet, "recalibrated", unused)
    study.main(arguments(tmp_path, "--data", "folder:photos", "--only", *TWO))
    assert read_json(tmp_path / "out" / "records.json")["results"] == record["results"]
    (tmp_path / "out" / "report.md").unlink()
    study.main(arguments(tmp_path, "--analyse"))
    assert (tmp_path / "out" / "report.md").is_file()
    with pytest.raises(InputError, match="the study was run with another epochs"):
        study.main([*arguments(tmp_path, "--data", "folder:photos"), "--epochs", "2"])
    with pytest.raises(InputError, match="are other images than those of"):
        study.main(arguments(tmp_path, "--data", "digits"))


@pytest.mark.slow
def test_one_that_diverges_is_told_and_equal_epochs_are_compared(audited, here, tmp_path, monkeypatch):
    monkeypatch.setitem(study.ABLATIONS, "within, lr 0.2", Ablation("too much", within=True, lr=1e30))
    study.main(arguments(tmp_path, "--run", str(audited), "--only", "within, lr 0.2", "recalibrated on 256"))
    record = read_json(tmp_path / "out" / "records.json")
    failed = {entry["name"]: entry["failed"] for entry in record["ablations"]}
    assert failed == {DEFAULT: None, "within, lr 0.2": failed["within, lr 0.2"], "recalibrated on 256": None}
    assert "is not finite" in failed["within, lr 0.2"]
    assert f"failed: {failed['within, lr 0.2']}" in (tmp_path / "out" / "report.md").read_text()

    study.main(arguments(tmp_path, "--run", str(audited), "--only", DEFAULT, "--equal-epochs", DEFAULT))
    equal = read_json(tmp_path / "out" / "records.json")["equal_epochs"]
    assert [entry["name"] for entry in equal][:2] == ["smallest", "largest"]
    assert equal[0]["macs"] < equal[1]["macs"]
    assert all(0 <= entry["scratch"] <= 1 and entry["epochs"] == 1 for entry in equal)
    assert "from scratch at equal epochs" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_one_epoch_of_their_own_is_set_beside_what_they_inherit(audited, here, tmp_path, monkeypatch):
    started = arguments(tmp_path, "--run", str(audited), "--architectures", "8")
    study.main([*started, "--short", "scratch"])
    study.main([*started, "--short", "within"])
    record = read_json(tmp_path / "out" / "records.json")
    assert [entry["name"] for entry in record["ablations"]] == ["within"]
    from_scratch, further = record["results"]["short"]
    assert (from_scratch["from"], further["from"]) == ("scratch", "within")
    assert from_scratch["n"] == further["n"] == 8
    assert from_scratch["inherited"] is None
    assert further["inherited"] == pytest.approx(record["results"]["rows"][0]["tau"][0])
    assert "After one epoch of its own" in (tmp_path / "out" / "report.md").read_text()
    monkeypatch.setattr(study, "train_network", lambda *_, **__: pytest.fail("done twice"))
    study.main([*started, "--short", "within"])
    assert read_json(tmp_path / "out" / "records.json")["results"] == record["results"]


def test_what_cannot_be_used_is_refused(tiny_run, audited, here, tmp_path):
    with pytest.raises(InputError, match="was not audited"):
        study.main(arguments(tmp_path, "--run", str(tiny_run.run)))
    with pytest.raises(InputError, match="is not there: give --run"):
        study.main(arguments(tmp_path, "--data", "digits"))
    with pytest.raises(InputError, match="no ablation 'luck'"):
        study.main(arguments(tmp_path, "--run", str(audited), "--only", "luck"))
    with pytest.raises(InputError, match="has no records"):
        study.main(arguments(tmp_path, "--analyse"))


def test_a_reading_comes_with_its_supernet():
    assert list(chosen(["recalibrated on 256"])) == [DEFAULT, "recalibrated on 256"]
    assert chosen([]) is ABLATIONS
    for ablation in ABLATIONS.values():
        assert ablation.supernet in (None, *ABLATIONS)


def test_a_refit_classifier_is_the_better_one_on_what_it_was_fitted_to():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = F.one_hot(labels, 3).float() + 0.3 * torch.randn(60, 3, generator=generator)
    classifier = nn.Linear(3, 3)
    nn.init.zeros_(classifier.weight)
    before = classifier.weight.clone()
    fitted = ranking_supernet.refit(classifier, features, labels)
    assert torch.equal(classifier.weight, before)
    assert (fitted(features).argmax(1) == labels).float().mean() > 0.9
    assert F.cross_entropy(fitted(features), labels) < F.cross_entropy(classifier(features), labels)


def row(tau, *, over=(0.1, 0.05, 0.15), bands=(0.5, 0.5, 0.5), ceiling=1.0, name=DEFAULT):
    return {
        "name": name, "reading": "accuracy", "tau": [tau, tau, tau], "over_macs": list(over), "bands": list(bands),
        "of_ceiling": ceiling,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (row(0.7), [True, True, True, True]),
        (row(0.69, ceiling=0.89), [False, False, True, True]),
        (row(0.7, over=(0.1, 0.0, 0.2), ceiling=None), [True, None, False, True]),
        (row(0.7, over=(0.04, 0.01, 0.2), bands=(0.39, 0.6, 0.6)), [True, True, False, False]),
    ],
)
def test_the_aims_by_hand(found, held):
    assert [held for _, _, held in analysis.aims(found, [])] == held
    near, far = ({"supernet": DEFAULT, "accuracy": a, "scratch": 0.5} for a in (0.496, 0.49))
    assert analysis.aims(found, [near])[-1][2] is True
    assert analysis.aims(found, [near, far])[-1][2] is False


def test_what_a_perfect_ranking_would_have():
    rng = np.random.default_rng(0)
    expected = rng.normal(size=2000)
    trained = expected + 0.7 * rng.normal(size=2000)
    assert analysis.attainable(0.7, trained.std()) == pytest.approx(analysis.tau(expected, trained), abs=0.02)
    assert analysis.attainable(0.0, 1.0) == 1.0
    assert analysis.attainable(2.0, 1.0) == 0.0


def test_the_best_of_many_by_luck_is_not_good_elsewhere():
    rng = np.random.default_rng(0)
    scratch = rng.random(60)
    noise = [rng.random(60) for _ in range(30)]
    assert max(analysis.tau(values, scratch) for values in noise) > 0.12
    assert abs(analysis.chosen_elsewhere(noise, scratch, 0)) < 0.1
    assert analysis.chosen_elsewhere([*noise, scratch + 0.1 * rng.random(60)], scratch, 0) > 0.7


def test_some_trainings_correct_a_ranking_that_favours_an_operator():
    """From scratch, size counts; the supernet, which knows the size, rates squeeze-and-excitation too high."""
    space, rng = load_space("tiny"), random.Random(0)
    archs = [space.sample(rng) for _ in range(90)]
    noise = np.random.default_rng(0).normal(size=(90, 3))
    se = np.array([sum(block.se for block in arch.blocks) for arch in archs])
    hidden = noise[:, 0]
    rows = tuple(
        Trained(arch, 10**6, 10**5 + n, 1.0, 0.0, (0.5 + 0.01 * float(hidden[n]),))
        for n, arch in enumerate(archs)
    )
    values = {("within", reading): hidden + se for reading in analysis.READINGS}
    found = analysis.corrected(Truth({}, rows), values, "within", seed=0)
    tau = {(row["trained"], row["from"]): row["tau"] for row in found}
    assert tau[40, "both"] > 0.8
    assert tau[40, "both"] > tau[40, "inherited"] + 0.1
    assert abs(tau[40, "known without training"]) < 0.15
    assert tau[10, "both"] < tau[40, "both"]
    assert analysis.corrected(Truth({}, rows[:70]), values, "within", seed=0) == []


def test_what_several_supernets_say_together_is_less_noisy():
    space, rng = load_space("tiny"), random.Random(0)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(40)))
    noise = np.random.default_rng(0)
    scratch = noise.normal(size=len(archs))
    rows = tuple(
        Trained(a, 10**6 + n, 10**5, 1.0 + n, 0.0, (float(s),))
        for n, (a, s) in enumerate(zip(archs, scratch, strict=True))
    )
    records = [
        {"name": name, "failed": None, "scores": {
            arch.digest: dict.fromkeys(analysis.READINGS, float(score))
            for arch, score in zip(archs, scratch + 0.7 * noise.normal(size=len(archs)), strict=True)
        }}
        for name in (DEFAULT, "within", "within, kin", "within, unfair")
    ]  # fmt: skip
    found = analysis.analyse(Truth({}, rows), records, [], 0)
    assert found["ensemble"][0]["tau"][0] > max(row["tau"][0] for row in found["rows"])
    assert analysis.analyse(Truth({}, rows), records[:1], [], 0)["ensemble"] == []

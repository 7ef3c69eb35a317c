"""The studies of teachers and of int8, on small networks and a meter that knows no time."""

import distillation
import int8
import pytest
from deterministic_meter import deterministic_meter

from nassuite.errors import InputError
from nassuite.records import read_json
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

STUDENT = "mobilenet_v1(width_mult=0.25)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    settings = TrainSettings(
        model=STUDENT, data="digits", size=16, train_images=96, epochs=1, batch_size=32, seed=0
    )
    return train_model(settings, out=tmp_path_factory.mktemp("trained") / "run").folder


@pytest.mark.slow
def test_a_teacher_is_compared_seed_by_seed_and_nothing_is_trained_twice(trained, tmp_path, monkeypatch):
    arguments = [
        "--data", "digits", "--teacher", str(trained), "--student", STUDENT, "--train-images", "96", "--epochs", "1",
        "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--seeds",
    ]  # fmt: skip
    distillation.main([*arguments, "0"])
    first = read_json(tmp_path / "out" / "records.json")["seeds"]
    distillation.main([*arguments, "0", "1"])
    found = read_json(tmp_path / "out" / "records.json")["seeds"]
    assert [row["seed"] for row in found] == [0, 1]
    assert found[0] == first[0]
    record = read_json(tmp_path / "out" / "records.json")
    assert record["teacher"]["test"] == read_json(trained / "result.json")["test"]
    for row in found:
        students = {name: row["students"][name]["test"]["accuracy"] for name in row["students"]}
        assert row["gain_points"] == pytest.approx(100 * (students["with the teacher"] - students["alone"]))
    mean = sum(row["gain_points"] for row in found) / 2
    assert f"Mean gain {mean:+.2f} points" in (tmp_path / "out" / "report.md").read_text()
    monkeypatch.setattr(distillation, "distill", lambda *_, **__: pytest.fail("trained twice"))
    distillation.main([*arguments, "0", "1"])
    with pytest.raises(InputError, match="was trained with another epochs"):
        distillation.main([*arguments, "0", "--epochs", "2"])


@pytest.mark.slow
def test_every_variant_stands_in_the_table_and_nothing_is_quantised_twice(trained, tmp_path, monkeypatch):
    arguments = [
        str(trained),
        "--max-drop",
        "50",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "out"),
    ]
    int8.main(arguments, meter=deterministic_meter)
    (found,) = read_json(tmp_path / "out" / "records.json")["models"]
    assert found["model"].startswith(STUDENT.rstrip(")"))
    assert [variant["name"] for variant in found["variants"]] == ["fp32", "u8s8", "s8s8"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert all(f"{variant['name']}" in report for variant in found["variants"])
    assert f"**{found['chosen']}**" in report
    monkeypatch.setattr(int8, "quantize", lambda *_, **__: pytest.fail("quantised twice"))
    int8.main(arguments, meter=deterministic_meter)

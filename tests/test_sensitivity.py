"""nassuite prune --sensitivity: every layer alone, written and drawn, and gone on with."""

import csv

import pytest

from nassuite.cli import main
from nassuite.prune_settings import SensitivitySettings
from nassuite.sensitivity import Point, as_csv, figure, sensitivity

SETTINGS = SensitivitySettings(
    model="small_networks:plain", data="digits", size=16, train_images=64, align="8"
)


def test_each_layer_alone_at_each_width_and_resumed_the_same(tmp_path):
    points = sensitivity(SETTINGS, out=tmp_path / "out")
    assert points[0] == Point("", 1, 1, points[0].accuracy, 1.0)
    layers = {p.layer: [q.after for q in points if q.layer == p.layer] for p in points[1:]}
    assert layers == {
        "network.stem.0": [8],
        "network.down.0": [24, 16, 8],
        "network.block.0.0": [40, 32, 24, 16],
        "network.last.0": [56, 48, 40, 32, 16],
    }
    assert all(0 <= p.accuracy <= 1 and 0 < p.macs_left < 1 for p in points[1:])
    rows = list(csv.DictReader((tmp_path / "out" / "sensitivity.csv").open()))
    assert [row["layer"] for row in rows] == [p.layer for p in points]
    assert float(rows[2]["ratio"]) == pytest.approx(points[2].ratio, abs=1e-4)
    journal = tmp_path / "out" / "points.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:5]))
    assert main(["prune", "--resume", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "sensitivity.csv").read_text() == as_csv(points)


def test_the_drawing_is_of_the_points_alone():
    points = [Point("", 1, 1, 0.9, 1.0), Point("a", 32, 16, 0.5, 0.8), Point("b", 32, 8, 0.2, 0.7)]
    assert figure(points) == figure(points)
    assert figure(points) != figure(points[:2])


def test_targets_have_no_place_in_it(tmp_path, capsys):
    command = ["prune", "small_networks:plain", "--data", "digits", "--sensitivity", "--speedup", "2"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "leave out --speedup" in capsys.readouterr().err

import dataclasses
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.errors import InputError
from nassuite.records import read_toml, write_toml
from nassuite.resources import shipped_names
from nassuite.settings import (
    LIMITS,
    SUPERNET_SETTINGS,
    Settings,
    flag,
    from_table,
    load_study,
    moved,
    settings_types,
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget_ms": (0.0,)}, "--budget-ms 0: expected a positive"),
        ({"budget_ms": (-1.0,)}, "--budget-ms -1: expected a positive"),
        ({"budget_ms": (math.nan,)}, "--budget-ms nan: expected a positive"),
        ({"budget_ms": (math.inf,)}, "--budget-ms inf: expected a positive"),
        ({"budget_ms": (2.0, 2.0)}, "--budget-ms 2 2: give every budget once"),
        ({"budget_ms": (0.1, 0.1 + 1e-9)}, "--budget-ms 0.1 0.1: give every budget once"),
        ({"sampler": "annealing"}, "--sampler 'annealing': expected one of guided, nsga2, tpe, gp, random"),
        ({"metric": "recall"}, "--metric 'recall'"),
        ({"percentile": 99}, "--percentile 99: expected one of 50, 90"),
        ({"threads": 0}, "--threads 0: expected 1 or more"),
        ({"seed": -1}, "--seed -1: expected 0 to"),
        ({"seed": 2**31}, "--seed 2147483648: expected 0 to"),
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": 1}, "--batch-size 1: expected 2 or more"),
        ({"size": 4}, "--size 4: expected 8 or more"),
        ({"train_images": 0}, "--train-images 0"),
        ({"trials": 0}, "--trials 0"),
        ({"workers": 0}, "--workers 0"),
        ({"prune": 1.0}, "--prune 1"),
        ({"prune": math.nan}, "--prune nan"),
        ({"confidence": 1.0}, "--confidence 1"),
        ({"predicted_confidence": 1.0}, "--predicted-confidence 1: expected 0.5 or more"),
        ({"predicted_confidence": math.nan}, "--predicted-confidence nan: expected 0.5 or more"),
        ({"lr": math.nan}, "--lr nan"),
        ({"lr": 0.0}, "--lr 0"),
        ({"max_params": 0}, "--max-params 0: expected a positive number"),
        ({"max_size_mb": math.nan}, "--max-size-mb nan: expected a positive number"),
        ({"max_memory_mb": -1.0}, "--max-memory-mb -1: expected a positive number"),
        ({"minimise": "time"}, "--minimise 'time': expected one of params, macs, memory, size"),
        ({"refine": "netadapt", "target": "rpi4"}, "--target rpi4 is measured by hand, --refine netadapt measures"),
        ({"time_limit": "soon"}, "--time-limit soon: expected a duration such as 45s"),
        ({"objective": "speed"}, "--objective 'speed': expected one of budget, pareto, mnas"),
        ({"objective": "pareto", "budget_ms": (5.0,)}, "--objective pareto looks for the whole front: leave out"),
        ({"objective": "pareto", "predicted_confidence": 0.9}, "--predicted-confidence is about keeping a budget"),
        ({"objective": "mnas", "predicted_confidence": 0.9}, "--predicted-confidence is about keeping a budget"),
        ({"objective": "mnas", "minimise": "macs"}, "--objective mnas weighs accuracy and latency alone"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(wrong, message):
    with pytest.raises(InputError) as caught:
        Settings(**wrong)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@given(
    st.builds(
        Settings,
        budget_ms=st.lists(st.floats(1e-3, 1e4), max_size=3, unique_by=lambda b: f"{b:g}").map(tuple),
        size=st.none() | st.integers(8, 512),
        lr=st.floats(1e-6, 10),
        prune=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**31 - 1),
        space=st.none() | st.text(),
        metric=st.sampled_from(["top1", "balanced", "f1"]),
        finetune_epochs=st.none() | st.integers(0, 100),
    )
)
def test_settings_come_back_from_toml_as_they_were(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("toml") / "study.toml"
    write_toml(path, settings.to_toml())
    assert Settings(**from_table(read_toml(path), str(path))) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budjet_ms = [1]", "no setting 'budjet_ms'"),
        ('budget_ms = ["1"]', "budget_ms = ['1']: expected float"),
        ("epochs = 2.5", "epochs = 2.5: expected int"),
        ("epochs = true", "epochs = True: expected int"),
        ("data = ['digits']", "data = ['digits']: expected str"),
        ("[epochs]\nmany = 1", "epochs = {'many': 1}: expected int"),
        ("epochs = = 3", "is not a readable TOML file"),
    ],
)
def test_a_study_file_with_a_mistake_is_named_with_the_key(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_study(str(path))
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_study_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(InputError, match="no study 'nope': expected one of cifar10"):
        load_study("nope")


@pytest.mark.parametrize("name", shipped_names("studies"))
def test_shipped_studies_are_valid(name):
    assert Settings(**load_study(name)).budget_ms


def test_whole_numbers_do_for_floats_and_one_budget_for_several():
    assert from_table({"budget_ms": 20}, "x") == {"budget_ms": (20.0,)}
    assert from_table({"budget_ms": [1, 2.5], "lr": 1}, "x") == {"budget_ms": (1.0, 2.5), "lr": 1}


def test_every_setting_has_a_type_a_flag_and_a_help():
    types = settings_types()
    for field in dataclasses.fields(Settings):
        assert types[field.name][0] in (int, float, str)
        assert field.metadata["help"]
        assert flag(field.name) == "--" + field.name.replace("_", "-")
    assert types["budget_ms"] == (float, True)
    assert set(SUPERNET_SETTINGS) <= set(types)


OPTIONAL = (
    "train_images", "baselines", "precision", "target", "predicted_confidence", "minimise", "time_limit",
    "refine", "storage", *LIMITS,
)  # fmt: skip
"""Settings that may stay None."""


@given(st.integers(2, 10**6), st.integers(8, 512))
def test_everything_is_resolved_and_what_was_given_stays(images, size):
    resolved = Settings(epochs=3, space="mine").resolved(images=images, size=size, device="cpu")
    assert None not in {
        getattr(resolved, f.name) for f in dataclasses.fields(resolved) if f.name not in OPTIONAL
    }
    assert (resolved.epochs, resolved.space, resolved.size) == (3, "mine", size)
    assert Settings().resolved(images=images, size=size, device="cpu").space == (
        "mobile" if size > 48 else "tiny" if images >= 5_000 else "micro"
    )
    assert resolved.batch_size >= 2


def test_relative_paths_are_those_of_the_folder_in_which_a_run_began(tmp_path, monkeypatch):
    began, now = tmp_path / "began", tmp_path / "now"
    (began / "photos").mkdir(parents=True)
    (began / "my.toml").touch()
    now.mkdir()
    given_there = Settings(data="folder:photos", space="my.toml")
    monkeypatch.chdir(began)
    assert moved(given_there, os.getcwd()) == given_there
    monkeypatch.chdir(now)
    seen = moved(given_there, str(began))
    assert (seen.data, seen.space) == (f"folder:{began}/photos", f"{began}/my.toml")
    elsewhere = Settings(data="folder:/no/such", space="tiny")
    assert moved(elsewhere, str(began)) == elsewhere
    assert moved(Settings(), str(began)) == Settings()

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite import records

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    records.write_json(path, value)
    assert records.read_json(path) == value


@given(st.lists(values, max_size=5))
def test_lines_round_trip(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("jsonl") / "lines.jsonl"
    for line in lines:
        records.append_jsonl(path, line)
    assert records.read_jsonl(path) == lines


@given(st.lists(st.dictionaries(st.text(), st.integers(), max_size=2), min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines_and_takes_more(tmp_path_factory, lines, data):
    path = tmp_path_factory.mktemp("cut") / "lines.jsonl"
    for line in lines:
        records.append_jsonl(path, line)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    kept = records.read_jsonl(path)
    # Without its newline a line may be whole all the same.
    assert kept in (lines[:whole], lines[: whole + 1])
    records.append_jsonl(path, {"next": 1})
    assert records.read_jsonl(path) == [*kept, {"next": 1}]


def test_an_absent_file_has_no_lines(tmp_path):
    assert records.read_jsonl(tmp_path / "none.jsonl") == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    records.write_json(path, {"old": 1})

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full") as raised:
        records.write_json(path, {"new": 2})
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="disk full") as raised:
        records.append_jsonl(tmp_path / "lines.jsonl", {"new": 2})
    assert raised.value.filename == str(tmp_path / "lines.jsonl")
    assert records.read_json(path) == {"old": 1}
    assert sorted(os.listdir(tmp_path)) == ["lines.jsonl", "value.json"]


def test_what_is_no_json_is_refused_before_the_file_is_touched(tmp_path):
    path = tmp_path / "value.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write_json(path, float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.append_jsonl(tmp_path / "lines.jsonl", [float("inf")])
    assert not path.exists()
    assert records.read_jsonl(tmp_path / "lines.jsonl") == []


def test_written_files_are_readable_by_all_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    records.write_text(path, "café\n")
    assert path.read_bytes() == "café\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert records.sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_environment_is_a_json_value_with_the_versions():
    found = json.loads(json.dumps(records.environment()))
    assert {"torch", "optuna", "onnxruntime", "numpy"} <= set(found["versions"])
    assert found["cores"] >= 1
    assert found["python"].count(".") == 2
    assert found["cpu"]["name"]
    in_checkout = (Path(records.__file__).parent.parent / ".git").exists()
    assert (found["commit"] is not None) == in_checkout

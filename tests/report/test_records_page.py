"""docs/reference/records.md names every key of real records, and none that does not exist."""

import json
import re
from pathlib import Path

import pytest
from sample import sample_comparison, sample_content

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reference" / "records.md").read_text()
SECTIONS = dict(zip(("search", "runs", "zoo"), re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:], strict=True))


def documented(section: str) -> set[str]:
    cells = re.findall(r"^\| (`.*?) \|", SECTIONS[section], re.MULTILINE)
    return {path for cell in cells for path in re.findall(r"`([^`]+)`", cell)}


def paths(value, where="", *, open_ended=()) -> set[str]:
    """The path of every leaf; ``*`` stands for the keys of what is open."""
    if where in open_ended and isinstance(value, dict):
        return {f"{where}.*"}
    if isinstance(value, dict):
        return {
            path
            for key, item in value.items()
            for path in paths(item, f"{where}.{key}".lstrip("."), open_ended=open_ended)
        }
    if isinstance(value, list) and (not value or isinstance(value[0], dict)):
        return {path for item in value for path in paths(item, f"{where}[]", open_ended=open_ended)} or {
            where
        }
    return {where}


OPEN = {
    "search": ("run.seconds", "run.settings", "run.environment", "evaluations[].arch_json", "deployed[].arch_json"),
    "runs": ("runs[].settings",),
    "zoo": ("target", "environment", "recipe"),
}  # fmt: skip


def known(path: str, names: set[str]) -> bool:
    empty_list = any(name.startswith(f"{path}[].") for name in names)
    return empty_list or bool({path, f"{path}[]", path.removesuffix(".*"), path.removesuffix("[]")} & names)


def as_json(value):
    return json.loads(json.dumps(value.to_json()))


@pytest.mark.parametrize("name", ["digits", "cifar10", "zoo_cifar10", "sample", "runs"])
def test_every_key_of_real_records_is_documented(name):
    section = {"zoo_cifar10": "zoo", "runs": "runs"}.get(name, "search")
    made = {"sample": sample_content, "runs": sample_comparison}
    if name in made:
        records = as_json(made[name]())
    else:
        records = json.loads((ROOT / "reports" / name / "records.json").read_text())
    names = documented(section)
    unknown = {path for path in paths(records, open_ended=OPEN[section]) if not known(path, names)}
    assert unknown == set()


@pytest.mark.parametrize("section", ["search", "runs"])
def test_every_documented_key_exists(section):
    records = as_json({"search": sample_content, "runs": sample_comparison}[section]())
    found = paths(records, open_ended=OPEN[section])
    for name in documented(section):
        whole = any(path == name or path.startswith((f"{name}.", f"{name}[")) for path in found)
        assert whole or known(name, found) or f"{name}.*" in found, name

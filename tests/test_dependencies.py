"""What pyproject.toml allows, what the tests run with, and what the oldest run has, agree."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BOUNDS = dict(line.split(">=") for line in PROJECT["dependencies"])
DEVELOPING = dict(line.split(">=") for line in PROJECT["optional-dependencies"]["dev"])
TOOLS = ("ruff", "mypy", "mkdocs")
"""These do not run the package: their oldest versions say nothing about it."""


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def version(text: str) -> tuple[int, ...]:
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@pytest.mark.parametrize("name", [name for name in (*BOUNDS, *DEVELOPING) if name not in TOOLS])
def test_the_oldest_version_is_the_lower_bound(name):
    bound, oldest = (BOUNDS | DEVELOPING)[name], pins("constraints-oldest.txt")[name]
    if (
        name == "torch"
    ):  # a CPU build is not offered for every version, so the oldest run takes the one that is
        assert version(oldest) >= version(bound)
    else:
        assert version(oldest) == version(bound)


@pytest.mark.parametrize("name", [*BOUNDS, *DEVELOPING])
def test_what_is_tested_is_allowed(name):
    assert version(pins("constraints.txt")[name]) >= version((BOUNDS | DEVELOPING)[name])


def test_everything_imported_is_required_and_nothing_else_is():
    modules = {
        "pillow": "PIL", "scikit-learn": "sklearn", "torch-pruning": "torch_pruning", "tomli-w": "tomli_w",
    }  # fmt: skip
    source = "\n".join(path.read_text() for path in (ROOT / "nassuite").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    assert {name for name in BOUNDS if modules.get(name, name) not in imported} == set()

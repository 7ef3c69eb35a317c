"""What pyproject.toml allows, what the tests run with, and what the oldest run has, agree."""

import ast
import re
import sys
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
    if name == "torch":
        # A CPU build is not offered for every version, so the oldest run takes the one that is.
        assert version(oldest) >= version(bound)
    else:
        assert version(oldest) == version(bound)


@pytest.mark.parametrize("name", [*BOUNDS, *DEVELOPING])
def test_what_is_tested_is_allowed(name):
    assert version(pins("constraints.txt")[name]) >= version((BOUNDS | DEVELOPING)[name])


MODULES = {
    "PIL": "pillow", "sklearn": "scikit-learn", "torch_pruning": "torch-pruning", "tomli_w": "tomli-w", "grpc": "grpcio",
}  # fmt: skip
"""Modules that are called otherwise than what brings them."""


def imported() -> set[str]:
    """What brings the modules that the package imports, those of Python itself left out."""
    modules = set()
    for path in (ROOT / "nassuite").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").partition(".")[0])
    return {MODULES.get(name, name) for name in modules - sys.stdlib_module_names - {"nassuite"}}


def test_everything_imported_is_required_and_nothing_else_is():
    extras = {
        re.split(r"[\[><=]", line)[0] for lines in PROJECT["optional-dependencies"].values() for line in lines
    }
    assert imported() - extras == set(BOUNDS) - extras
    assert set(BOUNDS) <= imported()


MET_BY = {
    "torch": "tests/test_study.py",
    "optuna": "tests/search/test_driver.py",
    "torch-pruning": "tests/compress/test_prune.py",
    "numpy": "tests/latency/test_certificate.py",
    "scikit-learn": "tests/latency/test_predictor.py",
    "matplotlib": "tests/test_sensitivity.py",
    "onnx": "tests/test_onnx_export.py",
    "onnxruntime": "tests/compress/test_quantize.py",
    "safetensors": "tests/test_models.py",
    "pillow": "tests/data/test_preprocess.py",
    "pooch": "tests/data/test_official.py",
    "requests": "tests/data/test_official.py",
    "rich": "tests/test_terminal.py",
    "filelock": "tests/test_run_directory.py",
    "tomli-w": "tests/test_settings.py",
    "scipy": "tests/search/test_ranking.py",
    "sqlalchemy": "tests/search/test_storage.py",
    "threadpoolctl": "tests/search/test_guided.py",
    "shtab": "tests/test_cli.py",
    "platformdirs": "tests/latency/test_devices.py",
}
"""The tests that would notice, if the oldest version of a package did not do what we ask of it: CI runs these with it."""


def test_ci_meets_the_oldest_version_of_everything():
    assert set(MET_BY) == set(BOUNDS)
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (paths,) = re.findall(r"^OLDEST_PART := (.*)$", makefile, re.MULTILINE)
    assert sorted(paths.split()) == sorted(set(MET_BY.values()))
    assert "\nmake test-oldest-part\n" in (ROOT / ".ci" / "run").read_text()

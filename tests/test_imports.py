"""Imports run one way, down a fixed order of rooms, and the command line starts without the heavy packages."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nassuite

ROOT = Path(nassuite.__file__).parent

ORDER = [
    {"errors", "options"},
    {"storage_url", "time_shares"},
    {"spec", "records", "progress", "resources"},
    {"space", "folders"},
    {"space_file", "settings"},
    {"train_settings", "prune_settings", "audit_settings", "quantize_settings"},
    {"blocks"},
    {"nn", "zoo"},
    {"data", "metrics"},
    {"predicting"},
    {"onnx_export", "card"},
    {"train", "formats"},
    {"latency"},
    {"benchmark", "compress"},
    {"models"},
    {"model_source", "named_network"},
    {"search", "costing"},
    {"deploy"},
    {"deploy_card", "report"},
    {"run_directory", "checkpoints"},
    {"summary", "training_job"},
    {"classifying", "segmenting"},
    {"pruning_source"},
    {"onnx_source"},
    {"pruning_result", "int8_candidates"},
    {"training", "pruning", "exporting", "quantizing"},
    {"comparing", "comparing_runs", "prune_api", "sensitivity", "distilling"},
    {"flow"},
    {"stages", "refining"},
    {"exploring", "hand_over", "auditing", "starting", "pacing"},
    {"nominating"},
    {"study", "joining"},
    {"supernet_training"},
    {"terminal"},
    {"terminal_models", "terminal_cost", "terminal_status"},
    {"cli"},
    {"__main__"},
]
"""A room imports from those above it, and from itself; rooms of one line know nothing of each other."""

LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
HEAVY = ("torch", "sklearn", "matplotlib", "onnxruntime", "onnx", "optuna", "torch_pruning", "PIL", "scipy")
WITHOUT_TORCH = (
    "spec", "space", "space_file", "records", "settings", "time_shares", "latency.target", "latency.certificate",
    "search.driver", "search.finalists", "report.content", "run_directory", "predicting", "cli.export",
)  # fmt: skip

MODULES = sorted(
    path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py" and "_data" not in path.parts
)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST) -> Iterator[str]:
    """Every imported name, those inside functions included, those for type checkers alone not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from imports(other)
        else:
            yield from imports(child)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in imports(ast.parse(path.read_text()))]
    return {parts[1] for parts in names if parts[0] == "nassuite" and parts[1] in LEVEL}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path)
    assert room in LEVEL, f"{room} has no place in the order"
    for other in rooms_imported(path) - {room}:
        assert LEVEL[other] < LEVEL[room], f"{room} imports {other}"


def test_modules_of_a_room_import_each_other_one_way():
    sources = {}
    for path in MODULES:
        parts = ("nassuite", *path.relative_to(ROOT).with_suffix("").parts)
        sources[".".join(parts).removesuffix(".__init__")] = path.read_text()
    graph = {}
    for name, source in sources.items():
        # What is imported from a module is a module itself or one of its names.
        found = {i if i in sources else i.rpartition(".")[0] for i in imports(ast.parse(source))}
        graph[name] = (found & set(sources)) - {name}
    while graph:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        assert free, f"these import each other in a circle: {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("package", ["optuna", "torch_pruning"])
def test_only_one_room_knows(package):
    rooms = {"optuna": {"search"}, "torch_pruning": {"compress"}}[package]
    found = {
        room_of(path)
        for path in MODULES
        if any(name.split(".")[0] == package for name in imports(ast.parse(path.read_text())))
    }
    assert found == rooms


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_command_line_starts_without_the_heavy_packages():
    assert not loaded_by("import nassuite, nassuite.cli") & set(HEAVY)


def test_what_reads_records_does_without_torch():
    modules = ", ".join(f"nassuite.{name}" for name in WITHOUT_TORCH)
    assert "torch" not in loaded_by(f"import {modules}")

"""A run directory: its files, its lock, and what of the run is done."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nassuite.errors import Busy, InputError
from nassuite.records import SCHEMA_VERSION, append_jsonl, read_json, read_jsonl, write_bytes, write_json
from nassuite.settings import Settings, from_table, read_toml, write_toml

if TYPE_CHECKING:
    from nassuite.train.loop import Checkpoint

STAGES = ("data", "supernet", "latency", "search", "finalists", "deploy", "report")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run. DESIGN: only the flow and the command line know it, no stage does."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.toml"

    @property
    def supernet(self) -> Path:
        return self.root / "supernet" / "checkpoint.safetensors"

    @property
    def samples(self) -> Path:
        return self.root / "latency" / "samples.jsonl"

    @property
    def predictor(self) -> Path:
        return self.root / "latency" / "predictor.json"

    @property
    def journal(self) -> Path:
        return self.root / "search.journal"

    @property
    def finalists(self) -> Path:
        return self.root / "finalists.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def deploy(self, budget_ms: float) -> Path:
        return self.root / "deploy" / f"{budget_ms:g}ms"

    def training(self, name: str) -> Path:
        return self.root / "training" / f"{name}.safetensors"

    # --- settings ---

    def write_settings(self, settings: Settings, facts: dict[str, Any]) -> None:
        table = {"schema_version": SCHEMA_VERSION, **facts, "settings": settings.to_toml()}
        write_toml(self.study, table)

    def read_settings(self) -> tuple[Settings, dict[str, Any]]:
        """The resolved settings and the facts beside them; refuses a run of another version."""
        if not self.study.is_file():
            raise InputError(f"{self.root} is no run directory: it has no study.toml")
        table = read_toml(self.study)
        version = table.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.root} was written by another version of nassuite (schema {version}, this one has "
                f"{SCHEMA_VERSION}): use that version, or start a new run"
            )
        settings = Settings(**from_table(table.pop("settings", {}), str(self.study)))
        return settings, table

    # --- stages ---

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage; a stage that was interrupted adds up over its attempts."""
        started = time.monotonic()
        try:
            yield
        except BaseException:
            append_jsonl(self.root / "stages.jsonl", _stage_entry(name, started, done=False))
            raise
        append_jsonl(self.root / "stages.jsonl", _stage_entry(name, started, done=True))

    def stage_seconds(self) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for entry in read_jsonl(self.root / "stages.jsonl"):
            seconds[entry["stage"]] = seconds.get(entry["stage"], 0.0) + entry["seconds"]
        return {name: round(s, 1) for name, s in seconds.items()}

    def stages_done(self) -> set[str]:
        return {entry["stage"] for entry in read_jsonl(self.root / "stages.jsonl") if entry["done"]}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process; a second one is refused. A killed process holds nothing."""
        import filelock

        lock = filelock.FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Busy(f"{self.root} is in use by another nassuite process: wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()


def _stage_entry(name: str, started: float, *, done: bool) -> dict[str, Any]:
    return {"stage": name, "seconds": round(time.monotonic() - started, 2), "done": done}


def create_run(root: Path, *, resume: bool) -> RunDirectory:
    """A new, empty run directory, or the existing one to resume. Raises InputError with the reason."""
    run = RunDirectory(root)
    if resume:
        if not root.is_dir():
            raise InputError(f"--resume {root}: no such run directory")
        return run
    if root.exists() and (not root.is_dir() or any(p.name != ".lock" for p in root.iterdir())):
        raise InputError(f"{root} exists already: continue it with --resume {root}, or give another --out")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {root}: {error.strerror or error}") from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {root}: choose another --out")
    return run


@dataclass(frozen=True)
class FileCheckpoints:
    """Checkpoints of one training in one safetensors file, JSON values in its metadata."""

    path: Path

    def load(self) -> Checkpoint | None:
        from safetensors import SafetensorError, safe_open

        from nassuite.train.loop import Checkpoint

        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return Checkpoint(tensors, json.loads(file.metadata()["meta"]))
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{self.path} is damaged ({error}): delete it to train again") from None

    def save(self, checkpoint: Checkpoint) -> None:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
        write_bytes(self.path, save(tensors, {"meta": json.dumps(checkpoint.meta)}))


def cached(path: Path, make: Any) -> Any:
    """The JSON value in ``path``, made and written first if it is not there."""
    if not path.exists():
        write_json(path, make())
    return read_json(path)

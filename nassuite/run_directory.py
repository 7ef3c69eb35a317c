"""A run directory: its files, its lock, and what of the run is done."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nassuite.errors import Busy, InputError
from nassuite.folders import check_untaken, check_writable, is_another
from nassuite.records import (
    SCHEMA_VERSION,
    append_jsonl,
    read_json,
    read_jsonl,
    read_toml,
    write_toml,
)
from nassuite.settings import Settings, from_table, moved

S = TypeVar("S")

STAGES = ("latency", "supernet", "search", "finalists", "deploy", "report")
FACTS = ("command", "started", "data_digest", "space_digest", "target")
"""What study.toml has beside the settings, in any case."""


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
    def initial_supernet(self) -> Path:
        """The weights that the supernet's training starts from, where those are another run's."""
        return self.root / "supernet" / "initial.safetensors"

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
    def measured(self) -> Path:
        """Measurements of finalists, while not all of them are known."""
        return self.root / "finalists.jsonl"

    @property
    def places(self) -> Path:
        """The budgets that a search of the whole front found, by what they are there."""
        return self.root / "places.json"

    def budgets_ms(self, settings: Settings) -> tuple[float, ...]:
        """Those that were asked for, or those that a search of the whole front found."""
        if settings.objective != "pareto" or not self.places.exists():
            return settings.budget_ms
        return tuple(dict.fromkeys(read_record(self.places).values()))

    @property
    def report(self) -> Path:
        return self.root / "report"

    def deploy(self, budget_ms: float) -> Path:
        return self.root / "deploy" / f"{budget_ms:g}ms"

    def training(self, name: str) -> Path:
        return self.root / "training" / f"{name}.safetensors"

    def tried(self, name: str) -> Path:
        return self.root / "training" / f"{name}.jsonl"

    def cuts(self, name: str) -> Path:
        return self.root / "training" / f"{name}-cuts.json"

    # --- settings ---

    def write_settings(self, settings: Settings, facts: dict[str, Any]) -> None:
        table = {
            "schema_version": SCHEMA_VERSION,
            "folder": os.getcwd(),
            **facts,
            "settings": settings.to_toml(),
        }
        write_toml(self.study, table)

    def read_settings(self) -> tuple[Settings, dict[str, Any]]:
        """The resolved settings and the facts beside them; refuses a run of another version.

        Relative paths in the settings are those of the folder in which the run began, seen from here.
        """
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such run directory")
        if not self.study.is_file():
            other = is_another(self.root, "search")
            raise InputError(other or f"{self.root} is no run directory: it has no study.toml")
        table = read_toml(self.study)
        version = table.pop("schema_version", None)
        if version is None:
            raise InputError(f"{self.study} is damaged: it lacks schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.root} was written by another version of nassuite (schema {version}, this one has "
                f"{SCHEMA_VERSION}): use that version, or start a new run"
            )
        facts = {name: table.get(name) for name in FACTS}
        settings = table.get("settings")
        if not isinstance(settings, dict) or not all(isinstance(fact, str) for fact in facts.values()):
            lacking = [name for name, fact in facts.items() if not isinstance(fact, str)] or ["settings"]
            raise InputError(f"{self.study} is damaged: it lacks {', '.join(lacking)}")
        table.pop("settings")
        return moved(
            Settings(**from_table(settings, str(self.study))), table.get("folder", os.getcwd())
        ), table

    def study_name(self) -> str:
        """What the study is called where many runs are kept: the folder's name, and what tells it from its like."""
        _, facts = self.read_settings()
        if "study" not in facts:
            raise InputError(f"{self.study} is damaged: it lacks study")
        return facts["study"]

    # --- stages ---

    @property
    def stages(self) -> Path:
        return self.root / "stages.jsonl"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage; one that was interrupted adds up over its attempts, one that is done counts no more."""
        if name in self.stages_done():
            yield
            return
        started = time.monotonic()
        try:
            yield
        except BaseException:
            with suppress(OSError):  # a full disk must not hide what went wrong
                append_jsonl(self.stages, _stage_entry(name, started, done=False))
            raise
        append_jsonl(self.stages, _stage_entry(name, started, done=True))

    def stage_seconds(self) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for entry in self._stage_entries():
            seconds[entry["stage"]] = seconds.get(entry["stage"], 0.0) + entry["seconds"]
        return {name: round(s, 1) for name, s in seconds.items()}

    def stages_done(self) -> set[str]:
        return {entry["stage"] for entry in self._stage_entries() if entry["done"]}

    def _stage_entries(self) -> list[dict[str, Any]]:
        entries = read_lines(self.stages)
        if any(
            not isinstance(entry, dict) or set(entry) != {"stage", "seconds", "done"} for entry in entries
        ):
            raise InputError(f"{self.stages} is damaged: delete it (times are lost, results are not)")
        return entries

    # --- one process at a time ---

    def check_new(self) -> None:
        """Raises InputError if a new run cannot begin here; touches nothing."""
        root = self.root
        try:
            if root.exists() and not root.is_dir():
                raise InputError(f"--out {root}: that is a file, expected a folder that is new or empty")
            # Hidden files are a lock and temporary files, of a command that was killed as it began.
            if root.exists() and any(not p.name.startswith(".") for p in root.iterdir()):
                check_untaken(root)
                raise InputError(f"--out {root} is not empty: give a folder that is new or empty")
        except OSError as error:
            raise InputError(f"--out {root}: {error.strerror or error}") from None
        check_writable(root, f"--out {root}")

    def create(self) -> None:
        self.check_new()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # the latter for a name that no folder can have
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"--out {self.root}: cannot create it: {reason}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process; a second one is refused. A killed process holds nothing."""
        import filelock

        lock = filelock.FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Busy(f"{self.root} is in use by another nassuite process: wait for it or stop it") from None
        except OSError as error:
            raise InputError(f"cannot write to {self.root}: {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()

    def in_use(self) -> bool:
        """Whether a process works on this run now."""
        if not (self.root / ".lock").exists():
            return False
        try:
            with self.locked():
                return False
        except Busy:
            return True
        except InputError:  # a folder that cannot be written to is in nobody's use
            return False


def file_name(text: str) -> str:
    """``text``, a network with its options say, as the name of a folder."""
    return re.sub(r"\W+", "_", text).strip("_")


def dated_folder(*words: str) -> Path:
    """Where a command writes that was not told where: runs/<words>-<date>."""
    return Path("runs") / "-".join([*words, time.strftime("%Y%m%d-%H%M%S")])


def _stage_entry(name: str, started: float, *, done: bool) -> dict[str, Any]:
    return {"stage": name, "seconds": round(time.monotonic() - started, 2), "done": done}


def read_record(path: Path, *keys: str) -> Any:
    """The JSON object in a file of a run; InputError if the file is damaged or has not the ``keys``."""
    try:
        value = read_json(path)
        if not isinstance(value, dict) or not set(keys) <= set(value):
            raise ValueError(f"expected an object with {', '.join(keys)}")
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, and --resume makes it again") from None
    return value


def read_lines(path: Path) -> list[Any]:
    """The JSON lines of a file of a run; InputError if it is no text."""
    try:
        return read_jsonl(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, and --resume makes it again") from None


def read_settings(path: Path, kind: type[S], what: str) -> tuple[S, dict[str, Any]]:
    """Settings of a ``kind`` from the TOML file of a training or pruning (``what``), and the facts beside them."""
    if not path.is_file():
        other = is_another(path.parent, what)
        raise InputError(other or f"{path.parent} is no {what}: it has no {path.name}")
    table = read_toml(path)
    values = table.pop("settings", None)
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged: it lacks settings")
    return kind(**from_table(values, str(path), kind)), table


def begin_or_resume(
    path: Path, kind: type[S], settings: S | None, *, what: str, resume: bool, command: Sequence[str] | None
) -> tuple[S, dict[str, Any]]:
    """The settings of a training or pruning (``what``) that is to be at ``path``, and the facts beside them.

    With ``resume`` those that are there. Without, the ``settings`` that were given, and the ``command``; nothing is
    written yet. Raises InputError where there is nothing to go on with, or a new one cannot begin.
    """
    if resume:
        return read_settings(path, kind, what)
    if settings is None:
        raise InputError("no settings: give a model, or --resume")
    RunDirectory(path.parent).check_new()
    return settings, {"command": shlex.join(command) if command else f"from Python: {what}"}


def check_unchanged(facts: dict[str, Any], digests: Mapping[str, str], folder: Path, what: str) -> None:
    """Fills in the ``digests`` of "data" and "model"; InputError if a ``what`` that goes on had others."""
    for name, digest in digests.items():
        if facts.setdefault(f"{name}_digest", digest) != digest:
            other = {"data": "images", "model": "weights"}[name]
            raise InputError(f"{folder} began with other {other} than there are now: start a new {what}")


def remembering(path: Path) -> Callable[[str, Callable[[], Any]], Any]:
    """A function of (name, make) that gives what was made under that name, and makes it where that is not in the file.

    Values are JSON, one line each, written as soon as they are made.
    """
    known = {entry["name"]: entry["value"] for entry in read_lines(path)}

    def remember(name: str, make: Callable[[], Any]) -> Any:
        if name not in known:
            known[name] = make()
            append_jsonl(path, {"name": name, "value": known[name]})
        return known[name]

    return remember

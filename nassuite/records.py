"""How results are written: whole or not at all, with the evidence beside them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from nassuite.errors import InputError

SCHEMA_VERSION = 1
_INNERMOST = re.compile(r"[\[{]\n[^\[\]{}]*\n *[\]}]")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file whole or not at all (temporary file, fsync, rename)."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with _naming(target), os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """A full disk does not say which file it was."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = os.fspath(target)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """As ``write_bytes``, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """As ``write_bytes``, the innermost lists and objects each on a line.

    Raises ValueError for what JSON has no number for: NaN and infinity.
    """
    spread = json.dumps(value, indent=1, allow_nan=False)
    write_text(path, _INNERMOST.sub(_on_one_line, spread) + "\n")


def _on_one_line(found: re.Match[str]) -> str:
    return re.sub(r"\n *", "", re.sub(r",\n *", ", ", found[0]))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Raises OSError for a file that cannot be read, ValueError for one that is no JSON."""
    return json.loads(Path(path).read_text())


def append_jsonl(path: str | os.PathLike[str], value: Any) -> None:
    """Adds one line and syncs it; a line cut short by a crash is dropped by ``read_jsonl``."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _naming(target), open(target, "a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_jsonl(path: str | os.PathLike[str]) -> list[Any]:
    """The lines that were written whole; an absent file has none."""
    target = Path(path)
    if not target.exists():
        return []
    values = []
    for line in target.read_text().split("\n"):
        if line:
            try:
                values.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Raises InputError for a file that cannot be read, or is no TOML."""
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is not a readable TOML file: {error}") from None


def write_toml(path: str | os.PathLike[str], table: dict[str, Any]) -> None:
    """As ``write_text``; a value that is None has no place in TOML."""
    import tomli_w

    write_text(path, tomli_w.dumps(table))


def sha256_file(path: str | os.PathLike[str]) -> str:
    """64 hexadecimal digits. Raises OSError for a file that cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cpu_info() -> dict[str, Any]:
    """Name and instruction-set flags of this CPU, as the kernel tells them; empty where it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    return parse_cpu_info(text, platform.processor() or platform.machine())


def parse_cpu_info(text: str, processor: str) -> dict[str, Any]:
    """The same from the text of /proc/cpuinfo, of this machine or another; ``processor`` if it names none."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", "")).split()
    telling = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd")
    return {
        "name": fields.get("model name", processor),
        "flags": [flag for flag in flags if flag in telling],
    }


def environment() -> dict[str, Any]:
    """Host and versions, for the evidence beside a figure."""
    packages = (
        "nassuite", "torch", "optuna", "torch-pruning", "onnx", "onnxruntime",
        "numpy", "scikit-learn", "matplotlib", "pillow",
    )  # fmt: skip
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_info(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The checkout's commit where the package runs from one, with '+' if files were changed."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()

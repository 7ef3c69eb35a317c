"""What is there: shipped files (search spaces, studies), in a checkout and in a wheel, the user's own folders, and cores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from nassuite.errors import InputError, did_you_mean


def data_folder(name: str) -> Path:
    """The folder ``search_spaces`` or ``studies``."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def find_toml(name: str, folder: str, *, what: str) -> Path:
    """The file of a shipped name, or the path itself where it is a file. Raises InputError where neither is, no such ``what``."""
    shipped = data_folder(folder) / f"{name}.toml"
    if "/" not in name and shipped.is_file():
        return shipped
    path = Path(name)
    if not path.is_file():
        known = shipped_names(folder)
        expected = f"expected one of {', '.join(known)}, or the path of a TOML file"
        raise InputError(f"no {what} {name!r}: {f'{did_you_mean(name, known)} {expected}'.lstrip()}")
    return path


def usable_cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def user_folder(kind: Literal["cache", "data"]) -> Path:
    """Where the system keeps what this user may lose ("cache") or not ("data") of nassuite; it may not exist."""
    import platformdirs

    find = {"cache": platformdirs.user_cache_path, "data": platformdirs.user_data_path}[kind]
    return find("nassuite", appauthor=False)


def shipped_names(folder: str) -> list[str]:
    return sorted(path.stem for path in data_folder(folder).glob("*.toml"))

"""Finds what is shipped (search spaces, studies), in a checkout and in a wheel, and the user's own folders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def data_folder(name: str) -> Path:
    """The folder ``search_spaces`` or ``studies``."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def find_toml(name: str, folder: str) -> Path | None:
    """The file of a shipped name, or the path itself where it is a file; None where neither is."""
    shipped = data_folder(folder) / f"{name}.toml"
    if "/" not in name and shipped.is_file():
        return shipped
    path = Path(name)
    return path if path.is_file() else None


def user_folder(kind: Literal["cache", "data"]) -> Path:
    """Where the system keeps what this user may lose ("cache") or not ("data") of nassuite; it may not exist."""
    import platformdirs

    find = {"cache": platformdirs.user_cache_path, "data": platformdirs.user_data_path}[kind]
    return find("nassuite", appauthor=False)


def shipped_names(folder: str) -> list[str]:
    return sorted(path.stem for path in data_folder(folder).glob("*.toml"))

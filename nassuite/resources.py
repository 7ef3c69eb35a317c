"""Finds the search spaces and studies that are shipped, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


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


def shipped_names(folder: str) -> list[str]:
    return sorted(path.stem for path in data_folder(folder).glob("*.toml"))

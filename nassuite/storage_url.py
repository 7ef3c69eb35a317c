"""Where several machines keep a search: an URL, which may hold a password that nobody else is to read."""

from __future__ import annotations

import os
import re

from nassuite.errors import InputError

STORAGE_VARIABLE = "NASSUITE_STORAGE"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""What an URL that names no driver means."""
SCHEMES = ("postgresql", "mysql", "grpc")


def check_storage(url: str) -> None:
    """Raises InputError for what cannot be a storage of several machines."""
    scheme, separator, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        raise InputError(
            f"--storage {url}: SQLite is for one machine, where a run needs no storage: leave it out (--workers N "
            "searches with N processes), or give postgresql://USER@HOST/DATABASE"
        )
    if not separator or not rest or kind not in (*SCHEMES, "postgres"):
        raise InputError(
            f"--storage {without_password(url)}: expected postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE "
            "or grpc://HOST:PORT"
        )
    if kind == "grpc" and not re.fullmatch(r"[^/@]+:\d+/?", rest):
        raise InputError(f"--storage {without_password(url)}: expected grpc://HOST:PORT")


def without_password(text: str) -> str:
    """An URL, or a text with one in it, as it may be written down: without the password."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1@", text)
    return re.sub(r"(?i)([?&](?:password|passwd|sslpassword)=)[^&\s]*", r"\1...", text)


def with_password(url: str) -> str:
    """The URL as given, or the whole one that the environment has for it."""
    whole = os.environ.get(STORAGE_VARIABLE, "")
    return whole if without_password(whole) == url else url


def with_driver(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{DRIVERS.get(scheme, scheme)}://{rest}"

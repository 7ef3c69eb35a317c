"""A PostgreSQL server of one's own, on loopback, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "s3cret/of:tests"
"""With characters that an URL has to escape."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lacking() -> str | None:
    """Why no server can be started here."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (nassuite[distributed])"
    if _programs() is None:
        return "PostgreSQL's server is not installed (Debian: postgresql)"
    if os.geteuid() == 0 and not _as_nobody():
        return "PostgreSQL refuses root, and there is no user postgres to run it"
    return None


def _programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``: Debian keeps it off the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "pg_ctl").exists()), None)


def _as_nobody() -> list[str]:
    import pwd

    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return []
    return ["runuser", "-u", "postgres", "--"] if shutil.which("runuser") else []


@contextmanager
def server() -> Iterator[str]:
    """Gives the URL of its one database, without the password."""
    programs = _programs()
    assert programs is not None
    before = _as_nobody() if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="nassuite-postgres-"))

    def call(program: str, *arguments: str) -> None:
        command = [*before, str(programs / program), *arguments]
        # Its output goes to a file: a server that inherited a pipe would keep it open.
        with open(folder / "calls.log", "a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")

    try:
        (folder / "password").write_text(PASSWORD)
        (folder / "calls.log").touch()
        if before:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data, port = str(folder / "data"), free_port()
        call("initdb", "-D", data, "-U", "nas", "-A", "scram-sha-256", "--no-sync",
             f"--pwfile={folder / 'password'}")  # fmt: skip
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        call("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "server.log"), "-w", "start")
        try:
            yield f"postgresql://nas@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_secret(url: str) -> str:
    from urllib.parse import quote

    return url.replace("nas@", f"nas:{quote(PASSWORD, safe='')}@")

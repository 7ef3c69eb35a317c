"""Devices over ssh: a bundle is copied, run and fetched, so measuring there is measuring like here."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.latency.bundle import SCRIPTS, Planned, describe_machine, read_results, write_bundle
from nassuite.latency.devices import StoredMeter, find_device
from nassuite.latency.meter import CERTIFICATE, Measurement, Sampling
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress

SSH = "ssh:"
OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
"""Nobody is there to type a password: keys, and the user's own ssh configuration."""


@dataclass(frozen=True)
class SshMeter:
    """A ``Meter`` on the machine that ``ssh host`` reaches; it needs python3, numpy and onnxruntime there."""

    host: str

    def __call__(
        self,
        paths: Sequence[Path],
        target: Target,
        *,
        sampling: Sampling = CERTIFICATE,
        progress: Progress = SILENT,
        seed: int = 0,
    ) -> list[Measurement]:
        """Raises InputError where the host cannot be reached or measure.py fails there."""
        if not paths:
            return []
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            planned = [
                Planned(f"{number}-{path.name}", partial(shutil.copyfile, path), {"name": path.name})
                for number, path in enumerate(paths)
            ]
            write_bundle(
                bundle, planned, sampling=sampling, about={"kind": "files"}, threads=target.threads,
                batch=target.batch, seed=seed,
            )  # fmt: skip
            for _ in progress.track([self.host], "measuring over ssh", unit="devices"):
                self._measured(bundle)
            found = read_results(bundle / "results.json")
        if found.target != target.describe():
            raise InputError(f"{self.host} is another machine or runtime than when this began: begin anew")
        return [m for _, m in found.models]

    def target(self, threads: int) -> Target:
        """What the host says it is."""
        with self._folder() as there:
            self._copy(SCRIPTS["measure.py"], f"{there}/measure.py", back=False)
            said = self._ssh(f"cd {there} && python3 measure.py --machine")
        try:
            description = describe_machine(json.loads(said), {"threads": threads, "batch": 1})
        except (ValueError, KeyError, TypeError):
            raise InputError(f"ssh {self.host}: measure.py does not say what machine it is") from None
        return Target.elsewhere(description)

    def _measured(self, bundle: Path) -> None:
        with self._folder() as there:
            self._copy(bundle, there, back=False)
            self._ssh(f"cd {there}/{bundle.name} && python3 measure.py")
            self._copy(bundle / "results.json", f"{there}/{bundle.name}/results.json", back=True)

    def _folder(self) -> _RemoteFolder:
        return _RemoteFolder(self)

    def _copy(self, here: Path, there: str, *, back: bool) -> None:
        ends = [f"{self.host}:{there}", str(here)] if back else [str(here), f"{self.host}:{there}"]
        self._run(["scp", "-q", "-r", *OPTIONS, "--", *ends])

    def _ssh(self, command: str) -> str:
        return self._run(["ssh", *OPTIONS, "--", self.host, command])

    def _run(self, command: list[str]) -> str:
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            raise InputError(
                f"--target ssh:{self.host} takes the programs ssh and scp: {command[0]} is not here"
            ) from None
        if run.returncode != 0:
            said = [line for line in run.stderr.strip().splitlines() if not line.startswith("measured ")]
            reason = said[-1] if said else f"exit code {run.returncode}"
            raise InputError(f"{command[0]} {self.host}: {reason}")
        return run.stdout


@dataclass
class _RemoteFolder:
    """A new folder on the host, its name quoted for a shell; gone afterwards."""

    meter: SshMeter
    name: str = ""

    def __enter__(self) -> str:
        self.name = shlex.quote(self.meter._ssh("mktemp -d").strip())
        return self.name

    def __exit__(self, *_: object) -> None:
        self.meter._ssh(f"rm -rf {self.name}")


def meter_of(
    name: str, *, threads: int, folder: Path, go_on: str, about: dict[str, Any] | None = None
) -> tuple[Target, SshMeter | StoredMeter]:
    """The target that ``--target`` names, and what measures on it.

    ``threads`` are for a host over ssh, a device of the store has its own; ``folder``, ``about`` and ``go_on``
    are those of ``StoredMeter``. Raises InputError for a name that is neither, or a host that does not answer.
    """
    if not name.startswith(SSH):
        device = find_device(name)
        return device.target, StoredMeter(device, folder, about or {}, go_on)
    remote = ssh_meter(name.removeprefix(SSH))
    return remote.target(threads), remote


def ssh_meter(name: str) -> SshMeter:
    """Of "user@host" or a name of the user's ssh configuration. Raises InputError for what ssh would misread."""
    if not name or name.startswith("-") or any(character.isspace() or character == ":" for character in name):
        raise InputError(f"ssh:{name}: expected ssh:user@host (ports and keys: ~/.ssh/config)")
    return SshMeter(name)

"""Devices by name: what was measured on them, kept for searches here.

A device that cannot be reached from here gets bundles by hand: what a search or a pruning needs measured and
the store has not is written as one, and the command ends until its results are imported.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nassuite.errors import DeviceNeeded, InputError
from nassuite.latency import protocol
from nassuite.latency.bundle import Imported, Planned, read_results, write_bundle
from nassuite.latency.calibrate import Sample
from nassuite.latency.certificate import Certificate, certify
from nassuite.latency.meter import CERTIFICATE, Measurement, Sampling
from nassuite.latency.target import Target, target_key
from nassuite.progress import SILENT, Progress
from nassuite.records import SCHEMA_VERSION, read_json, sha256_file, write_json
from nassuite.resources import user_folder
from nassuite.space import Space


@dataclass(frozen=True)
class Device:
    """A device of the store; ``root`` is its folder."""

    name: str
    root: Path
    target: Target

    def samples(self, space: Space, in_chans: int) -> list[Sample]:
        """What was measured of a space. Raises InputError where that is nothing."""
        path = self._samples(space.digest, in_chans)
        if not path.is_file():
            grey = " --grey" if in_chans == 1 else ""
            raise InputError(
                f"--target {self.name} has no latencies of the space {space.name} yet: nassuite latency plan "
                f"--space {space.name}{grey} --out bundle, run it there, and import what comes back"
            )
        return [Sample.from_json(value) for value in _read(path)["samples"]]

    def measurement(self, sha256: str, sampling: Sampling) -> Measurement | None:
        """Of exactly this file under this protocol; None where the device has not measured it."""
        path = self._file(sha256)
        if not path.is_file():
            return None
        value = _read(path)
        return Measurement.from_json(value["measurement"]) if value["sampling"] == asdict(sampling) else None

    def keep(self, found: Imported) -> None:
        """Adds what a bundle brought: samples of a space, or measurements of files."""
        about = found.about
        if about["kind"] == "samples":
            path = self._samples(about["space_digest"], about["in_chans"])
            known = {Sample.from_json(v).arch: v for v in _read(path)["samples"]} if path.is_file() else {}
            for model, m in found.models:
                sample = Sample.from_json({**_sample(m), "arch": model["arch"]})
                known[sample.arch] = sample.to_json()
            write_json(path, {"schema_version": SCHEMA_VERSION, **about, "samples": list(known.values())})
        else:
            for _, m in found.models:
                write_json(self._file(m.sha256), {"sampling": found.sampling, "measurement": m.to_json()})

    def _samples(self, space_digest: str, in_chans: int) -> Path:
        return self.root / "samples" / f"{space_digest}-{in_chans}.json"

    def _file(self, sha256: str) -> Path:
        return self.root / "measured" / f"{sha256}.json"


def _sample(m: Measurement) -> dict[str, Any]:
    return {"ratio": m.ratio, "reference_ms": m.reference_ms, "noisy": m.noisy}


def find_device(name: str) -> Device:
    """Raises InputError that lists the devices there are."""
    root = _root(name)
    if not (root / "device.json").is_file():
        known = sorted(path.parent.name for path in root.parent.glob("*/device.json"))
        raise InputError(
            f"no device {name!r}: expected {', '.join([*known, 'ssh:user@host'])} (nassuite latency import adds one)"
        )
    return Device(name, root, Target.elsewhere(_read(root / "device.json")["target"]))


def _root(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise InputError(f"{name!r}: the name of a device is letters, digits, '-', '_' and '.'")
    return user_folder("data") / "devices" / name


def import_results(path: Path, name: str) -> tuple[Device, Imported]:
    """Reads the results of a bundle into the store. Raises InputError as ``read_results`` does, and if
    ``name`` is another machine, runtime or number of threads than these results are of.
    """
    root = _root(name)
    found = read_results(path)
    if (root / "device.json").is_file():
        known = target_key(_read(root / "device.json")["target"])
        if known != target_key(found.target):
            raise InputError(
                f"{name} is ({known}), these results are of ({target_key(found.target)}): give another --name"
            )
    else:
        write_json(root / "device.json", {"schema_version": SCHEMA_VERSION, "target": found.target})
    device = Device(name, root, Target.elsewhere(found.target))
    device.keep(found)
    return device, found


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, and import its results again") from None


@dataclass(frozen=True)
class StoredMeter:
    """A ``Meter`` that knows what its device measured; for the rest it writes a bundle into ``folder``.

    ``about`` goes into the bundle: budgets to certify at the import. ``go_on`` is the command to
    give after it. Raises DeviceNeeded where something is to be measured first.
    """

    device: Device
    folder: Path
    about: dict[str, Any]
    go_on: str

    def __call__(
        self,
        paths: Sequence[Path],
        target: Target,
        *,
        sampling: Sampling = CERTIFICATE,
        progress: Progress = SILENT,
        seed: int = 0,
    ) -> list[Measurement]:
        digests = [sha256_file(path) for path in paths]
        found = [self.device.measurement(sha256, sampling) for sha256 in digests]
        missing = {s: p for s, p, m in zip(digests, paths, found, strict=True) if m is None}
        if missing:
            self._ask(missing, target, sampling=sampling, seed=seed)
        return [replace(m, file=path.name) for m, path in zip(found, paths, strict=True) if m is not None]

    def _ask(self, missing: dict[str, Path], target: Target, *, sampling: Sampling, seed: int) -> None:
        bundle = self.folder / protocol.digest([sorted(missing), asdict(sampling)])[:12]
        if not bundle.exists():
            planned = [
                Planned(f"{number}-{path.name}", partial(shutil.copyfile, path), {"name": path.name})
                for number, path in enumerate(missing.values())
            ]
            write_bundle(
                bundle, planned, sampling=sampling, about={"kind": "files", **self.about},
                threads=target.threads, batch=target.batch, seed=seed,
            )  # fmt: skip
        name = self.device.name
        raise DeviceNeeded(
            f"{len(missing)} file(s) are to be measured on {name}: copy {bundle} there, run python3 measure.py in it, "
            f"bring results.json back into it; then: nassuite latency import {bundle / 'results.json'} --name {name}; "
            f"{self.go_on}"
        )


def certificates(found: Imported) -> list[tuple[Certificate, str]]:
    """Of every file of a bundle that names budgets, and the name for each."""
    about = found.about
    return [
        (
            certify(m, budget, percentile=about["percentile"], confidence=about["confidence"]),
            f"{Path(m.file).stem}-{budget:g}ms.json",
        )
        for budget in about.get("budgets_ms", ())
        for _, m in found.models
    ]

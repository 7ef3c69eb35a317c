"""What a new user waits for: the time to the first line, the first progress and the first result of the README's commands.

    python studies/first_hour.py [--images folder:DIR] [--work DIR] [--make] [--out reports/first_hour.md]

Every command runs in a terminal of its own, as a user's would, with no compiler on its path; one is stopped with Ctrl-C and
goes on, one is written to a file. Photos are made of the embedded digits, of different sizes, formats and rotations, unless
``--images`` names a folder of class folders. ``--make`` also clones this checkout, runs both make targets of the README in the
clone, and installs the wheel into an empty environment: these fetch packages, so their time is the network's too.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import selectors
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nassuite.records import SCHEMA_VERSION, environment, write_json, write_text

PROGRESS = r"\b\d+/\d+"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--epochs=1", "--trials=8", "--calibration=24", "--finetune-epochs=1", "--prune-epochs=0")
"""For a run that tries this script and not the suite."""


@dataclass(frozen=True)
class Step:
    """A command. ``shown`` is how a user types it; ``result`` is the regular expression of its first result's line.

    ``stop_at`` is that of the output at which Ctrl-C is pressed; ``piped`` writes to files instead of a terminal of so many
    ``columns``.
    """

    title: str
    shown: str
    command: tuple[str, ...]
    result: str = "."
    stop_at: str = ""
    columns: int = 80
    piped: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Seconds after the start of a command, None for what did not come; ``problems`` is empty where all went well."""

    title: str
    shown: str
    first_line: float | None
    first_progress: float | None
    first_result: float | None
    seconds: float
    code: int
    problems: tuple[str, ...]


def timed(step: Step, folder: Path, *, path: str = "") -> Timing:
    """Runs the step in ``folder``; ``path`` is all that its PATH has."""
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    variables |= {"PATH": path, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | dict(step.variables)
    ends = [os.pipe() if step.piped else _terminal(step.columns) for _ in range(2)]
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background ignores it, and so would the command
    started = time.monotonic()
    process = subprocess.Popen(
        step.command, cwd=folder, env=variables, stdout=ends[0][1], stderr=ends[1][1], stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    for _, theirs in ends:
        os.close(theirs)
    texts, seen = ["", ""], dict.fromkeys(("line", "progress", "result"))
    stopped = False
    for stream, text in _read([ours for ours, _ in ends]):
        now = round(time.monotonic() - started, 2)
        texts[stream] += text
        said = [CONTROL.sub("", one) for one in texts]
        for name, found in (
            ("line", "".join(said).strip()),
            ("progress", re.search(PROGRESS, said[1])),
            ("result", re.search(step.result, said[0], re.MULTILINE)),
        ):
            if found and seen[name] is None:
                seen[name] = now
        if step.stop_at and not stopped and re.search(step.stop_at, said[1]):
            stopped = True
            os.killpg(process.pid, signal.SIGINT)
    code = process.wait()
    seconds = round(time.monotonic() - started, 2)
    problems = tuple(_problems(step, texts, code, stopped))
    return Timing(
        step.title, step.shown, seen["line"], seen["progress"], seen["result"], seconds, code, problems
    )


def _terminal(columns: int) -> tuple[int, int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    return ours, theirs


def _read(ends: Sequence[int]) -> Iterator[tuple[int, str]]:
    """What comes in at the ends, (end's number, text), until all are closed."""
    with selectors.DefaultSelector() as selector:
        for number, end in enumerate(ends):
            selector.register(end, selectors.EVENT_READ, number)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    chunk = os.read(key.fd, 65536)
                except OSError:  # what Linux says at the end of a terminal
                    chunk = b""
                if chunk:
                    yield key.data, chunk.decode(errors="replace")
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)


def _problems(step: Step, texts: Sequence[str], code: int, stopped: bool) -> Iterator[str]:
    together = "".join(texts)
    if "Traceback" in together:
        yield "a traceback"
    if stopped and code != 130:
        yield f"exit code {code} after Ctrl-C, not 130"
    if step.stop_at and not stopped:
        yield "it ended before Ctrl-C"
    if not stopped and code not in (0, 1):
        last = CONTROL.sub("", together).strip().splitlines() or ["no word"]
        yield f"exit code {code}: {last[-1][:160]}"
    if step.piped and CONTROL.search(together):
        yield "control characters in a file"
    if "NO_COLOR" in step.variables and re.search(r"\x1b\[(?:\d+;)*3[0-7]m", together):
        yield "colours in spite of NO_COLOR"
    # A table must fit; sentences are broken by the terminal.
    wide = [row for row in CONTROL.sub("", texts[0]).splitlines() if re.match(r"[* ] \w+ +\d", row)]
    if any(len(row.rstrip()) > step.columns for row in wide) and not step.piped:
        yield f"a table wider than {step.columns} columns"


def make_photos(folder: Path, *, of_a_class: int = 60) -> None:
    """Four classes of scanned digits as a user's photos are: JPEG, PNG and WebP, grey, with a palette or transparent, of
    sides from 24 to 90 pixels, some rotated by EXIF, one that is no image."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    for label, name in enumerate(("zero", "one", "two", "three")):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for number, index in enumerate(np.flatnonzero(digits.target == label)[:of_a_class]):
            pixels = (digits.images[index] * 255 / 16).round().astype(np.uint8)
            image = Image.fromarray(pixels).resize(tuple(int(side) for side in rng.integers(24, 90, 2)))
            _save(image, place / f"{number:03}", number)
    (folder / "zero" / "broken.jpg").write_bytes(b"no image")


def _save(image: Image.Image, path: Path, number: int) -> None:
    kinds = ("jpg", "grey.png", "palette.png", "transparent.png", "webp", "rotated.jpg")
    kind = kinds[number % len(kinds)]
    if kind == "rotated.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees to the right
        image.convert("RGB").rotate(90, expand=True).save(f"{path}.{kind}", exif=exif)
    elif kind == "palette.png":
        image.convert("P").save(f"{path}.{kind}")
    elif kind == "transparent.png":
        image.convert("RGBA").save(f"{path}.{kind}")
    else:
        (image if kind == "grey.png" else image.convert("RGB")).save(f"{path}.{kind}")


def steps(data: str, photo: str, flags: Sequence[str] = ()) -> list[Step]:
    """The hour, in the order in which it is lived; ``flags`` are added to the search."""
    deploy = "runs/photos/deploy/5ms"
    few = ("--finetune-epochs", "1") if flags else ()

    def step(title: str, *words: str, **more: Any) -> Step:
        command = (sys.executable, "-m", "nassuite", *words)
        return Step(title, shlex.join(["nassuite", *words]), command, **more)

    search = (
        "search",
        "--data",
        data,
        "--budget-ms",
        "5",
        "--budget-ms",
        "10",
        "--out",
        "runs/photos",
        *flags,
    )
    return [
        step("version", "--version"),
        step("help", "--help"),
        step("what this machine has", "doctor", result="^data"),
        step("own photos, then Ctrl-C", *search, result="^deploy", stop_at=rf"supernet\D*{PROGRESS}"),
        step("what is left", "status", "runs/photos", result="supernet"),
        step("going on, 60 columns", "search", "--resume", "runs/photos", result="^deploy", columns=60),
        step(
            "another budget, the same supernet",
            "search", "--from", "runs/photos", "--budget-ms", "3", "--out", "runs/photos-3ms", result="^deploy",
        ),
        step("a label", "predict", deploy, photo),
        Step(
            "a label, without nassuite", f"python {deploy}/predict.py {photo}",
            (sys.executable, f"{deploy}/predict.py", photo), variables={"PYTHONPATH": ""},
        ),
        step("a certificate, checked", "certify", "--check", deploy),
        step("a certificate of one's own", "certify", deploy, "--budget-ms", "5", "--out", "certificate.json"),
        step("the report again, into a file", "report", "runs/photos", piped=True),
        step("the status, NO_COLOR", "status", "runs/photos", variables={"NO_COLOR": "1"}),
        step(
            "a network of the zoo",
            "train", "mobilenet_v2(width_mult=0.25)", "--data", data, "--epochs", "1" if flags else "5", "--out", "runs/mbv2",
            result="^mobilenet",
        ),
        step(
            "pruned, with a weights file",
            "prune", "mobilenet_v2(width_mult=0.25)", "--weights", "runs/mbv2/model.safetensors", "--data", data,
            "--target-macs", "0.5", "--out", "runs/mbv2-half", *few, result="^model .*onnx",
        ),
    ]  # fmt: skip


def fresh_steps(work: Path) -> list[Step]:
    """Both commands of the README in a fresh clone, and the wheel in an empty environment."""
    clone, env = work / "clone", work / "env"
    shell = ("/bin/sh", "-c")
    install = (
        f"{shlex.quote(sys.executable)} -m pip wheel -q --no-deps -w dist . && {shlex.quote(sys.executable)} -m venv {env} && "
        f"{env}/bin/python -m pip install -q -c constraints.txt dist/*.whl"
    )
    there = {"PYTHONPATH": ""}
    return [
        Step("a clone", "git clone", ("git", "clone", "-q", str(ROOT), str(clone)), variables=there),
        Step(
            "make search, fresh clone", "make search", (*shell, f"cd {clone} && make search"),
            result="^deploy", variables=there,
        ),
        Step("make test", "make test", (*shell, f"cd {clone} && make test"), result=r"\d+ passed", variables=there),
        Step("the wheel", "pip install", (*shell, f"cd {clone} && {install}"), variables=there),
        Step("the wheel at work", "nassuite space show mobile", (f"{env}/bin/nassuite", "space", "show", "mobile"), variables=there),
    ]  # fmt: skip


def markdown(record: dict[str, Any]) -> str:
    def said(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    about = record["environment"]
    lines = [
        "# The first hour",
        "",
        "Seconds until a new user sees something, command by command as in the README: the first line, the first progress (a count "
        "of steps), the first result, the end. Each ran in a terminal of its own, without a compiler on its path.",
        "",
        *record["remarks"],
        "",
        "| what | command | first line | first progress | first result | end | exit | went wrong |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in record["timings"]:
        seconds = " | ".join(
            said(row[name]) for name in ("first_line", "first_progress", "first_result", "seconds")
        )
        wrong = "; ".join(row["problems"]) or "–"
        lines.append(f"| {row['title']} | `{row['shown']}` | {seconds} | {row['code']} | {wrong} |")
    lines += [
        "", "## How to repeat it", "", "```sh", record["command"], "```", "",
        f"- {about['cpu']['name']}, {about['cores']} cores, Python {about['python']}, nassuite at commit {about.get('commit')}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", default="", help="folder:DIR of class folders (default: photos made of digits)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/first_hour"), help="new folder to live the hour in"
    )
    parser.add_argument(
        "--make", action="store_true", help="a fresh clone, both make targets and the wheel too"
    )
    parser.add_argument("--small", action="store_true", help="hardly any training: tries this script alone")
    parser.add_argument("--remark", action="append", default=[], help="a sentence for the report's head")
    parser.add_argument("--out", type=Path, default=Path("reports/first_hour.md"))
    given = parser.parse_args(arguments)
    work = given.work.resolve()
    work.mkdir(parents=True)
    data = given.images or "folder:photos"
    if not given.images:
        make_photos(work / "photos")
    photos = Path(data.removeprefix("folder:"))
    photo = next(path for path in sorted((work / photos).rglob("*.jpg")) if path.stem != "broken")
    shown = str(photo.relative_to(work)) if photo.is_relative_to(work) else str(photo)
    planned = [(step, "") for step in steps(data, shown, SMALL if given.small else ())]
    planned += [(step, os.environ["PATH"]) for step in (fresh_steps(work) if given.make else ())]
    timings = []
    for step, path in planned:
        timings.append(timed(step, work, path=path))
        print(f"{timings[-1].seconds:8.1f} s  {step.shown}  {'; '.join(timings[-1].problems)}", flush=True)
    repeated = [f"--{name}" for name in ("make", "small") if getattr(given, name)]
    repeated += ["--images", "folder:DIR"] if given.images else []
    record = {
        "schema_version": SCHEMA_VERSION,
        "command": shlex.join(["python", "studies/first_hour.py", *repeated]),
        "remarks": given.remark,
        "timings": [asdict(timing) for timing in timings],
        "environment": environment(),
    }
    write_json(given.out.with_suffix(".json"), record)
    write_text(given.out, markdown(record))
    print(given.out)


if __name__ == "__main__":
    main()

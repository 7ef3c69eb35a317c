"""Every command of the README: run here, in the README's order and under its names, or excused with what tests it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import first_hour
import pytest
from deterministic_meter import deterministic_meter
from fake_device import answer
from readme import ROOT, mentioned, typed
from tiny_runs import write_space

from nassuite.cli import main
from nassuite.latency import meter


@dataclass(frozen=True)
class Here:
    """Run in one folder with all the others; it has to exit with ``code``, ``leave`` a file and say what ``says``.

    ``flags`` are added (the later of two wins) and ``words`` replaced, for a reason, ``why``. ``before`` is what the user
    does between two commands. Latencies are those of the deterministic meter, unless it is ``measured``: then the verdict
    is this machine's. ``needs`` is a module without which it is skipped.
    """

    flags: str = ""
    why: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Path], object] = lambda home: None
    code: int = 0
    leaves: str = ""
    says: str = ""
    measured: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """Not run here, for a reason; ``file`` is what tests it, or what it led to, and holds ``text``."""

    why: str
    file: str
    text: str


def as_pytorch_file(home: Path) -> None:
    """Somebody's weights."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(home / FEWER / "model.safetensors"), home / "w.pt")


def own_model(home: Path) -> None:
    shutil.copy(home / "exported/model.onnx", home / "model.onnx")


SMALL = shlex.join(first_hour.SMALL)
SHORT = f"{SMALL} --space space.toml"
OF_HOURS = "a supernet of five small layers, one epoch and eight trials in place of an hour"
ONE_EPOCH = "one epoch of few pixels"
FEWER = "runs/zoo/models/resnet20_cifar"
OF_FEWER_LAYERS = "a network of fewer layers, since it tries them all"
FETCHED = "cifar10 comes from the internet: the photos in its place"
NO_CLUSTER = "takes several processes or a database"
A_BOARD = "takes a board that is reached by ssh"
CI = "is what CI runs"

PLAN: dict[str, Here | Elsewhere] = {
    "make search": Here(
        f'ARGS="--budget-ms 20 --out runs/digits {SMALL}"', OF_HOURS, measured=True,
        leaves="runs/digits/report/index.html", says="^deploy runs/digits/deploy/20ms/model.onnx",
    ),
    "make test": Elsewhere(CI, "Makefile", "check: lint types docs test\n"),
    "nassuite search --data folder:photos --budget-ms 5 --budget-ms 10 --out runs/photos": Here(
        SHORT, OF_HOURS, leaves="runs/photos/report/index.html", says="^deploy runs/photos/deploy/10ms/model.onnx"
    ),
    "nassuite status runs/photos": Here(says="^all done"),
    "nassuite search --resume runs/photos": Here(says="^report runs/photos/report/index.html"),
    "nassuite search --from runs/photos --budget-ms 3": Here(leaves="runs/photos-3ms-*/deploy/3ms/model.onnx"),
    "nassuite search --data folder:photos --budget-ms 5 --time-limit 90m": Here(
        SHORT, OF_HOURS, leaves="runs/photos-5ms-*/deploy/5ms/predict.py"
    ),
    "nassuite search --data folder:few --budget-ms 5 --init runs/photos": Here(
        SHORT, OF_HOURS, leaves="runs/few-5ms-*/deploy/5ms/model.onnx"
    ),
    "nassuite search --data folder:photos --objective pareto": Here(
        SHORT, OF_HOURS, leaves="runs/photos-pareto-*/deploy/*/model.onnx"
    ),
    "nassuite zoo list": Here(says="MobileNetV2"),
    'nassuite zoo show "mobilenet_v2(width_mult=0.5)"': Here(says="1,968,680"),
    "nassuite zoo bench mobilenet_v2 ghostnet --size 96": Here(says="ghostnet"),
    "nassuite train mobilenet_v2 --data folder:photos --epochs 30 --out runs/mbv2": Here(
        "--epochs 1 --size 32", ONE_EPOCH, leaves="runs/mbv2/model.onnx"
    ),
    'nassuite zoo compare resnet20_cifar "mobilenet_v2(width_mult=0.5)" --data cifar10 --out runs/zoo': Here(
        "--epochs 1 --size 32", f"{ONE_EPOCH}; {FETCHED}", {"cifar10": "folder:photos"}, leaves="runs/zoo/records.json"
    ),
    "nassuite search --data cifar10 --budget-ms 0.3 --baselines runs/zoo": Here(
        SHORT, f"{OF_HOURS}; {FETCHED}", {"cifar10": "folder:photos"}, leaves="runs/photos-0.3ms-*/report/index.html"
    ),
    "nassuite prune runs/mbv2 --speedup 2 --out runs/mbv2-half": Here(
        "--strategy uniform --finetune-epochs 0", "it looks for one ratio in place of each layer's width, and no fine-tuning",
        leaves="runs/mbv2-half/pruning.json",
    ),
    "nassuite prune mobilenet_v2 --weights w.pt --data folder:photos --target-ms 3 --strategy netadapt": Here(
        "--steps 1 --finetune-epochs 0 --size 64", f"{OF_FEWER_LAYERS}, of so many pixels that it takes more than 3 ms",
        {"mobilenet_v2": "resnet20_cifar"}, as_pytorch_file, leaves="runs/prune-resnet20_cifar-*/certificate.json",
    ),
    "nassuite prune runs/mbv2 --sensitivity": Here(
        "", OF_FEWER_LAYERS, {"runs/mbv2": FEWER}, leaves="runs/sensitivity-*/sensitivity.svg"
    ),
    'nassuite distill "mobilenet_v2(width_mult=0.5)" --teacher runs/mbv2 --data folder:photos --loss dkd --compare --out '
    "runs/student": Here("--epochs 1 --size 32", ONE_EPOCH, leaves="runs/student/distill.md"),
    "nassuite quantize runs/student --max-drop 0.5 --out runs/int8": Here(
        "--finetune-epochs 0 --calibration-images 32", "few images, and no fine-tuning", leaves="runs/int8/card.md"
    ),
    "nassuite export mobilenet_v2 --size 96 --out exported": Here(leaves="exported/model.onnx"),
    "nassuite predict runs/int8 photo.jpg": Here(says=r"photo\.jpg.*(zero|one|two|three)"),
    "nassuite latency measure runs/photos/deploy/5ms mobilenet_v2": Here(says="mobilenet_v2"),
    "nassuite latency measure mobilenet_v2 --size 96 --runtime auto": Elsewhere(
        "torch.compile takes minutes", "tests/latency/test_runtimes.py", '"--runtime", "auto"'
    ),
    "nassuite cost mobilenet_v2 --size 96": Here(says="MACs"),
    "nassuite cost mobilenet_v2 --runtime openvino": Here(says="MACs", needs="openvino"),
    "nassuite certify model.onnx --budget-ms 5 --out certificate.json": Here(
        before=own_model, measured=True, leaves="certificate.json", says="pass|fail|too noisy"
    ),
    "nassuite certify model.onnx --budget-ms 15 --target ssh:pi@board": Elsewhere(
        A_BOARD, "tests/latency/test_sshd.py", '"--target", "ssh:device"'
    ),
    "nassuite certify --check runs/photos/deploy/5ms": Here(says="^pass: runs/photos/deploy/5ms/model.onnx"),
    "nassuite latency plan --space mobile --samples 200 --out bundle": Here(
        "--space space.toml --samples 24 --classes 4", "few networks of few pixels", leaves="bundle/measure.py"
    ),
    "nassuite latency import bundle/results.json --name rpi4": Here(
        before=lambda home: answer(home / "bundle"), says="24 architectures of space"
    ),
    "nassuite search --data folder:photos --space mobile --budget-ms 30 --target rpi4": Here(
        SHORT, OF_HOURS, code=1, leaves="runs/photos-30ms-*/device/*/measure.py"
    ),
    "nassuite prune runs/mbv2 --speedup 2 --target ssh:pi@board": Elsewhere(
        A_BOARD, "tests/latency/test_sshd.py", 'meter_of("ssh:device"'
    ),
    "nassuite audit runs/photos --architectures 60": Here(
        "--architectures 8 --epochs 1", "eight trainings of one epoch", says="rank"
    ),
    "nassuite compare runs/photos runs/mbv2 runs/mbv2-half --measure --out comparison": Here(
        leaves="comparison/index.html"
    ),
    "torchrun --nproc-per-node 8 -m nassuite train-supernet --data folder:photos --budget-ms 5 --out runs/cluster": Elsewhere(
        NO_CLUSTER, "tests/test_many_machines.py", '"train-supernet"'
    ),
    "nassuite search --data folder:photos --budget-ms 5 --storage postgresql://nas@db/nas --trials 500 --out "
    "runs/big": Elsewhere(NO_CLUSTER, "tests/test_many_machines.py", "storage=postgres"),
    "nassuite worker runs/big": Elsewhere(NO_CLUSTER, "tests/test_many_machines.py", "join("),
}  # fmt: skip
"""The commands of the shell blocks, in their order."""

MENTIONED: dict[str, Here | Elsewhere] = {
    "pip install -c constraints.txt .": Elsewhere(
        "CI does it, with the tools", "Makefile", "pip install --quiet --disable-pip-version-check -c constraints.txt"
    ),
    "nassuite space show mobile": Here(says="^smallest"),
    "nassuite search --study cifar10 --data folder:cifar10 --out runs/cifar10": Elsewhere(
        "takes 90 minutes, and the images", "reports/cifar10/report.md",
        "nassuite search --study cifar10 --data folder:cifar10 --out runs/cifar10",
    ),
    "python studies/budget_guarantee.py": Elsewhere(
        "takes half an hour of a quiet machine", "reports/budget_guarantee/report.md", "python studies/budget_guarantee.py"
    ),
    "python studies/cifar10_baseline.py --data folder:cifar10 --epochs 30": Elsewhere(
        "takes an hour, and the images", "reports/cifar10/baseline/report.md",
        "studies/cifar10_baseline.py --data folder:cifar10 --epochs 30",
    ),
    "pip install 'nassuite[distributed]'": Elsewhere(
        "takes a package index; what the extra brings is installed and tested", "tests/test_dependencies.py",
        "optional-dependencies",
    ),
    "make docs": Elsewhere(CI, "Makefile", "check: lint types docs test\n"),
    "make check": Elsewhere(CI, ".ci/run", "\nmake check\n"),
    "make test-slow": Elsewhere("runs this very test", "Makefile", "pytest -m slow\n"),
    "make test-oldest": Elsewhere("takes an environment of its own; CI runs a part of it", ".ci/run", "\nmake test-oldest-part\n"),
}  # fmt: skip
"""Those within sentences, but for beginnings of commands that are planned anyhow."""

RUN_HERE = {command: plan for command, plan in (PLAN | MENTIONED).items() if isinstance(plan, Here)}


def without_arguments(command: str) -> str:
    """What ``make`` is given beside its target is the command's that it runs."""
    words = shlex.split(command)
    return shlex.join(words[:2]) if words[0] == "make" else command


def test_every_command_is_run_or_excused():
    assert [without_arguments(line) for line in typed()] == list(PLAN)
    others = {without_arguments(line) for line in mentioned()}
    assert {line for line in others if not any(f"{known} ".startswith(f"{line} ") for known in PLAN)} == set(
        MENTIONED
    )


def test_what_excuses_a_command_is_there():
    for plan in (PLAN | MENTIONED).values():
        if isinstance(plan, Elsewhere):
            assert plan.why
            assert plan.text in (ROOT / plan.file).read_text(), plan


def test_a_command_that_is_run_is_checked_and_every_change_of_it_has_a_reason():
    for command, plan in RUN_HERE.items():
        assert plan.leaves or plan.says, command
        assert bool(plan.why) == bool(plan.flags or plan.words), command
        assert set(plan.words) <= set(shlex.split(command)), command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder: photos, few of them, and one that is to be named."""
    folder = tmp_path_factory.mktemp("home")
    first_hour.make_photos(folder / "photos")
    first_hour.make_photos(folder / "few", of_a_class=12)
    shutil.copy(next((folder / "photos" / "one").glob("*.jpg")), folder / "photo.jpg")
    write_space(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN_HERE)
def test_it_does_what_the_readme_says(command, home, monkeypatch, capfd):
    plan = RUN_HERE[command]
    if plan.needs and importlib.util.find_spec(plan.needs) is None:
        pytest.skip(f"{plan.needs} is not installed here")
    monkeypatch.chdir(home)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    if not plan.measured:
        monkeypatch.setattr(meter, "measure_each", unmeasured)
    plan.before(home)
    words = [plan.words.get(word, word) for word in shlex.split(command)] + shlex.split(plan.flags)
    code = made(words) if words[0] == "make" else main(words[1:])
    said = capfd.readouterr()
    assert code == plan.code or (plan.measured and code in (0, 1)), said.err
    assert "Traceback" not in said.err
    assert re.search(plan.says, said.out, re.MULTILINE), said.out
    assert not plan.leaves or list(home.glob(plan.leaves)), sorted(home.glob("runs/*"))


def unmeasured(models, **more):
    """In place of ``meter.measure_each``."""
    return [one for path, target in models for one in deterministic_meter([path], target, **more)]


def made(words: list[str]) -> int:
    """What ``make`` exits with, when the environment is this one."""
    there = Path(sys.executable).parent
    if shutil.which("make") is None or not (there / "nassuite").is_file():
        pytest.skip("no make, or nassuite is not installed here as a command")
    installed = [f"--file={ROOT / 'Makefile'}", "--assume-old=.venv/.installed", f"BIN={there}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*words, *installed], check=False, env=environment).returncode

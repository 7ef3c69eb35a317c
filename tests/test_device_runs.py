"""Whole searches and prunings for a device that somebody carries bundles to, and the device itself in a bare venv."""

import json
import os
import subprocess
import sys

import pytest
from fake_device import answer
from tiny_runs import LOOSE_MS, settings, stages_done, write_photos, write_space

from nassuite.cli import main
from nassuite.errors import DeviceNeeded
from nassuite.latency.certificate import check
from nassuite.latency.devices import import_results
from nassuite.latency.target import Target
from nassuite.progress import SILENT
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import prune_model
from nassuite.study import search
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

pytestmark = pytest.mark.slow
MOST_WALKS = 4


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def carried(command, folder):
    """Gives the command until it ends, and carries what it asks for to the device; how many walks that were."""
    for walks in range(MOST_WALKS + 1):
        try:
            return command(walks), walks
        except DeviceNeeded:
            (asked,) = [p for p in folder.iterdir() if not (p / "results.json").exists()]
            import_results(answer(asked), "rpi4")
    raise AssertionError("it asks for ever more")


def test_a_search_for_a_device_ends_with_certificates_from_it(tmp_path):
    write_photos(tmp_path)
    space = write_space(tmp_path)
    plan = f"latency plan --space {space} --samples 30 --classes 4 --out {tmp_path / 'plan'}"
    assert main(plan.split()) == 0
    import_results(answer(tmp_path / "plan"), "rpi4")
    out = tmp_path / "run"
    wanted = settings(tmp_path, LOOSE_MS, target="rpi4")

    def command(walks):
        if walks == 0:
            return search(wanted, out=out, progress=SILENT)
        return search(out=out, resume=True, progress=SILENT)

    outcome, walks = carried(command, out / "device")
    assert walks == 2  # finalists, then the deployed files
    assert outcome.ok
    assert stages_done(out)[-1] == "report"
    folder = out / "deploy" / "0.5ms"
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["measurement"]["target"]["host"] == "raspberrypi"
    assert check(certificate, folder / "model.onnx") == "pass"
    samples = (out / "latency" / "samples.jsonl").read_text().splitlines()
    assert len(samples) == len(json.loads((tmp_path / "plan" / "manifest.json").read_text())["models"])


def test_a_pruning_for_a_device_ends_with_a_certificate_from_it(tmp_path):
    training = TrainSettings(
        model="resnet20_cifar", data="digits", size=16, train_images=128, epochs=1, batch_size=32
    )
    trained = train_model(training, out=tmp_path / "trained").folder
    # Any results make a device.
    first = tmp_path / "first"
    assert main(f"latency plan --space micro --samples 24 --grey --out {first}".split()) == 0
    import_results(answer(first), "rpi4")
    wanted = PruneSettings(
        model=str(trained), finetune_epochs=1, batch_size=32, align="8", speedup=1.3, target="rpi4"
    )
    out = tmp_path / "out"
    found, walks = carried(
        lambda resume: prune_model(None if resume else wanted, out=out, resume=resume), out / "device"
    )
    assert walks == 2  # every candidate, then the distilled file
    assert found.met
    assert 1 / found.rows[1].ratio >= 1.3
    assert json.loads((out / "pruning.json").read_text())["target"]["host"] == "raspberrypi"


def test_a_bare_environment_is_device_enough(tmp_path):
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(bare)], check=True)
    python = bare / "bin" / "python"
    install = subprocess.run(
        [python, "-m", "pip", "install", "-q", "numpy", "onnxruntime"],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode != 0:
        pytest.skip(f"pip cannot install here: {install.stderr.strip().splitlines()[-1:]}")
    bundle = tmp_path / "bundle"
    assert main(f"latency plan --space micro --samples 24 --grey --out {bundle}".split()) == 0
    # Without this package, and with one core, as a board has.
    command = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); os.execv({str(python)!r}, [{str(python)!r}, '-I', 'measure.py'])"
    run = subprocess.run(
        [python, "-c", command], cwd=bundle, capture_output=True, text=True, env={}, check=False
    )
    assert run.returncode == 0, run.stderr
    device, found = import_results(bundle / "results.json", "board")
    assert len(found.models) == 24
    assert device.target.describe()["host"] == Target().describe()["host"]
    assert all(len(process) == len(m.samples_ms[0]) for _, m in found.models for process in m.samples_ms)
    first = min(os.sched_getaffinity(0))
    assert all(cores == [first] for _, m in found.models for cores in m.conditions["cores"])

"""Devices over ssh, with programs ssh and scp that reach this very machine."""

import os
import stat

import pytest
from torch import nn

from nassuite.errors import InputError
from nassuite.latency.meter import Sampling
from nassuite.latency.remote import meter_of, ssh_meter
from nassuite.latency.target import Target, target_key
from nassuite.onnx_export import export_onnx

QUICK = Sampling(processes=1, rounds=4, repeats=2, least_rounds=4, warmup=2)

SSH = """\
#!/bin/sh
echo "ssh $*" >> "{log}"
while [ "$1" != -- ]; do shift; done
shift
[ "$1" = user@board ] || {{ echo "ssh: Could not resolve hostname $1" >&2; exit 255; }}
shift
cd "{home}" && exec sh -c "$*"
"""
SCP = """\
#!/bin/sh
echo "scp $*" >> "{log}"
while [ "$1" != -- ]; do shift; done
shift
exec cp -r "${{1#user@board:}}" "${{2#user@board:}}"
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Puts programs ssh and scp before all others; the board has the python that runs this."""
    import sys

    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    for name, text in (("ssh", SSH), ("scp", SCP), ("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')):
        path = programs / name
        path.write_text(text.format(log=tmp_path / "log", home=home) if name != "python3" else text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(home))
    return tmp_path


@pytest.fixture
def model(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(network, tmp_path / "model.onnx", input_shape=(3, 16, 16), check=False)
    return tmp_path / "model.onnx"


def left_there(board):
    """What a measurement leaves on the board; runtimes keep hidden files of their own."""
    return [path.name for path in (board / "home").iterdir() if not path.name.startswith(".")]


def measure_py(board, text):
    """What python3 on the board does instead."""
    (board / "bin" / "python3").write_text(f"#!/bin/sh\n{text}\n")


def test_measured_over_ssh_like_here(board, model):
    target, meter = meter_of("ssh:user@board", threads=1, folder=board / "unused", go_on="")
    assert target.key == Target().key
    assert target.describe() == Target().describe()
    (measurement,) = meter([model], target, sampling=QUICK)
    assert len(measurement.samples_ms[0]) == 8
    assert target_key(measurement.target) == target.key
    assert measurement.ratio > 0
    assert left_there(board) == []
    log = (board / "log").read_text()
    assert log.count("BatchMode=yes") == log.count("\n")
    assert meter([], target, sampling=QUICK) == []


def test_what_goes_wrong_there_is_told_in_one_line(board, model):
    target, meter = meter_of("ssh:user@board", threads=1, folder=board / "unused", go_on="")
    measure_py(board, "echo \"measure.py: No module named 'onnxruntime'\" >&2; exit 2")
    with pytest.raises(InputError, match=r"ssh user@board: measure.py: No module named 'onnxruntime'"):
        meter([model], target, sampling=QUICK)
    assert left_there(board) == []
    measure_py(board, "echo hello")
    with pytest.raises(InputError, match="does not say what machine it is"):
        ssh_meter("user@board").target(1)
    with pytest.raises(InputError, match="Could not resolve hostname"):
        ssh_meter("user@nowhere").target(1)


def test_another_machine_behind_the_same_name_is_refused(board, model):
    meter = ssh_meter("user@board")
    other = Target.elsewhere({**Target().describe(), "host": "another"})
    with pytest.raises(InputError, match="another machine or runtime than when this began"):
        meter([model], other, sampling=QUICK)


def test_without_ssh_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="takes the programs ssh and scp: ssh is not here"):
        ssh_meter("user@board").target(1)


@pytest.mark.parametrize("name", ["", "-oProxyCommand=touch x", "user@board rm", "user@board:22"])
def test_names_that_ssh_would_misread_are_refused(name):
    with pytest.raises(InputError, match="expected ssh:user@host"):
        ssh_meter(name)

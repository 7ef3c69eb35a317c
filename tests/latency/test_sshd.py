"""Over ssh to a real sshd on loopback, into an environment that holds numpy and onnxruntime alone."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

import pytest
from torch import nn

from nassuite.cli import main
from nassuite.latency.calibrate import measure_archs
from nassuite.latency.certificate import check
from nassuite.latency.remote import meter_of
from nassuite.latency.target import Target
from nassuite.nn.network import Interface
from nassuite.onnx_export import export_arch, export_onnx
from nassuite.space_file import load_space

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CLIENTS = {name: shutil.which(name) for name in ("ssh", "scp", "ssh-keygen")}
SEPARATION = Path("/run/sshd")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="no sshd here (openssh-server)"),
    pytest.mark.skipif(None in CLIENTS.values(), reason="no ssh, scp or ssh-keygen here (openssh-client)"),
]

SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
SetEnv PATH={device}/bin:/usr/bin:/bin HOME={folder}
"""
CLIENT = """\
Host device
    HostName 127.0.0.1
    Port {port}
    User {user}
    HostKeyAlias device
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with numpy and onnxruntime and nothing else, from the files of this one."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("numpy", "onnxruntime"):
        files = metadata.distribution(name).files or []
        for top in {file.parts[0] for file in files if ".." not in file.parts}:
            (packages / top).symlink_to(metadata.distribution(name).locate_file(top))
    asked = (
        "import numpy, onnxruntime, importlib.util as u; print(u.find_spec('torch'), u.find_spec('nassuite'))"
    )
    python = [folder / "bin" / "python3", "-c", asked]
    told = subprocess.run(python, capture_output=True, text=True, check=False, cwd=folder, env={"PATH": ""})
    if told.returncode != 0:
        pytest.skip(f"no environment of numpy and onnxruntime alone can be made here: {told.stderr[-200:]}")
    assert told.stdout.split() == ["None", "None"]
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def keys(folder):
    for name in ("host_key", "user_key"):
        command = [CLIENTS["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)


@pytest.fixture
def device(environment, tmp_path, monkeypatch):
    """A running sshd; ssh and scp of this test reach it as ``device``, with a configuration of their own."""
    keys(tmp_path)
    port = free_port()
    (tmp_path / "known_hosts").write_text(f"device {(tmp_path / 'host_key.pub').read_text()}")
    (tmp_path / "sshd_config").write_text(SERVER.format(port=port, folder=tmp_path, device=environment))
    (tmp_path / "ssh_config").write_text(CLIENT.format(port=port, folder=tmp_path, user=getpass.getuser()))
    (tmp_path / "bin").mkdir()
    for name in ("ssh", "scp"):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {CLIENTS[name]} -F "{tmp_path}/ssh_config" "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    ours = os.geteuid() == 0 and not SEPARATION.exists()
    if ours:
        SEPARATION.mkdir(mode=0o755)  # a root's sshd does not start without it
    command = [SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"]
    with (tmp_path / "sshd.log").open("w") as log:
        server = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while subprocess.run(["ssh", "device", "true"], capture_output=True, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"sshd does not serve here: {(tmp_path / 'sshd.log').read_text()[-300:]}")
            time.sleep(0.2)
        yield tmp_path
    finally:
        server.terminate()
        server.wait(10)
        if ours:
            SEPARATION.rmdir()


@pytest.fixture
def model(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(network, tmp_path / "model.onnx", input_shape=(3, 16, 16), check=False)
    return tmp_path / "model.onnx"


def test_a_file_is_certified_on_the_other_side(device, model, capsys):
    out = device / "certificate.json"
    command = ["certify", str(model), "--budget-ms", "1000", "--target", "ssh:device", "--out", str(out)]
    code = main(command)
    certificate = json.loads(out.read_text())
    assert code == (0 if certificate["verdict"] == "pass" else 1)
    assert check(certificate, model) == certificate["verdict"]
    assert certificate["measurement"]["target"] == Target().describe()
    assert certificate["verdict"] in capsys.readouterr().out


def test_architectures_are_measured_there_for_the_predictor(device):
    space = load_space("micro")
    interface = Interface(3, 10, (0.5,) * 3, (0.25,) * 3)
    target, meter = meter_of("ssh:device", threads=1, folder=device / "unused", go_on="")
    ends = [space.extreme(which) for which in ("smallest", "largest")]
    smallest, largest = measure_archs(
        ends, lambda arch, path: export_arch(arch, interface, path), meter, target
    )
    assert 0 < smallest.ratio < largest.ratio
    assert smallest.reference_ms == largest.reference_ms


def test_nothing_is_left_there_and_another_host_key_is_refused(device, model, capsys):
    listing = [
        sys.executable,
        "-c",
        "import glob, tempfile; print(glob.glob(tempfile.gettempdir() + '/tmp.*'))",
    ]
    before = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    target, _ = meter_of("ssh:device", threads=1, folder=device / "unused", go_on="")
    assert target.key == Target().key
    assert subprocess.run(listing, capture_output=True, text=True, check=True).stdout == before
    other = device / "other"
    other.mkdir()
    keys(other)
    (device / "known_hosts").write_text(f"device {(other / 'host_key.pub').read_text()}")
    assert main(["certify", str(model), "--budget-ms", "1", "--target", "ssh:device"]) == 2
    told = capsys.readouterr().err.strip()
    assert "Host key verification failed" in told
    assert len(told.splitlines()) == 1

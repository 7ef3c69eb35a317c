import functools
import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import idx, tar_of, write_cifar, write_fashion

from nassuite.data import official
from nassuite.data.dataset import DataConfig, load_data
from nassuite.errors import InputError


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    write_cifar(folder)
    return folder


def refused(name: str, match: str, **options: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_data(DataConfig(name), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_cifar10_from_its_folder_its_parent_or_the_archive(cifar: Path, tmp_path: Path) -> None:
    data = load_data(DataConfig(f"cifar10:{cifar}"))
    assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 40)
    assert data.val.class_counts().tolist() == [2] * 10
    assert data.labels == tuple(f"class{n}" for n in range(10))
    assert (data.size, data.in_chans) == (32, 3)
    raw = np.frombuffer((cifar / "test_batch.bin").read_bytes(), np.uint8).reshape(-1, 3073)
    assert isinstance(data.test.images, torch.Tensor)
    assert np.array_equal(data.test.images.numpy(), raw[:, 1:].reshape(-1, 3, 32, 32))
    assert data.test.labels.tolist() == raw[:, 0].tolist()

    packed = tmp_path / "packed"
    packed.mkdir()
    tar_of(cifar, packed / "cifar-10-binary.tar.gz")
    for folder in (cifar.parent, packed):
        assert load_data(DataConfig(f"cifar10:{folder}")).digest == data.digest
    assert sorted(path.name for path in packed.iterdir()) == ["cifar-10-binary.tar.gz"]


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    write_cifar(tmp_path, hundred=True)
    data = load_data(DataConfig(f"cifar100:{tmp_path}"))
    assert data.labels[99] == "fine99"
    assert data.test.labels.tolist() == [n % 100 for n in range(300)]
    assert (len(data.train), len(data.val)) == (200, 100)


def test_fashion_mnist(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    data = load_data(DataConfig(f"fashion-mnist:{tmp_path}"))
    assert (len(data.train), len(data.val), len(data.test)) == (50, 10, 20)
    assert (data.size, data.in_chans, data.labels[9]) == (32, 1, "Ankle boot")
    images, _ = next(iter(data.test.batches(20)))
    assert images.shape == (20, 1, 32, 32)


def test_damaged_cifar_files_are_refused(cifar: Path) -> None:
    name = f"cifar10:{cifar}"
    batch = cifar / "data_batch_2.bin"
    content = batch.read_bytes()
    batch.write_bytes(content[:-1])
    refused(name, "data_batch_2.bin: 122919 bytes are not whole records of 3073")
    batch.write_bytes(bytes([200]) + content[1:])
    refused(name, "10 classes, but there are labels up to 200")
    batch.unlink()
    refused(name, "lacks data_batch_2.bin")
    batch.write_bytes(content)
    (cifar / "batches.meta.txt").write_text("\n".join("abcdefghijkl"))
    refused(name, "do not match its 12 classes")


def test_missing_and_damaged_archives_are_refused(cifar: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(f"cifar10:{empty}", "neither cifar-10-binary.tar.gz nor data_batch_1.bin")
    refused(f"cifar10:{tmp_path / 'nowhere'}", "no folder")
    archive = empty / "cifar-10-binary.tar.gz"
    tar_of(cifar, archive)
    archive.write_bytes(archive.read_bytes()[:5000])
    refused(f"cifar10:{empty}", "damaged|lacks")
    archive.write_bytes(b"no archive")
    refused(f"cifar10:{empty}", "damaged")
    (cifar / "data_batch_5.bin").unlink()
    tar_of(cifar, archive)
    refused(f"cifar10:{empty}", r"lacks data_batch_5.bin: is it the binary version\?")


def test_damaged_fashion_files_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    name, labels = f"fashion-mnist:{tmp_path}", tmp_path / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(19)))
    refused(name, "20 images but 19 labels")
    labels.write_bytes(idx(np.full(20, 10)))
    refused(name, "not fashion-mnist")
    labels.write_bytes(idx(np.zeros((20, 1))))
    refused(name, "not a whole IDX file of 1 dimensions")
    labels.write_bytes(whole[:-9])
    refused(name, "damaged")
    labels.unlink()
    refused(name, "lacks t10k-labels-idx1-ubyte.gz")


@pytest.fixture
def served(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ThreadingHTTPServer, list[str]]]:
    """A server of the small files, their checksums in place of the official ones, an empty cache."""
    folder = tmp_path / "served"
    write_fashion(folder)
    tar_of(cifar, folder / "cifar-10-binary.tar.gz")
    for file in folder.iterdir():
        monkeypatch.setitem(official.MD5, file.name, hashlib.md5(file.read_bytes()).hexdigest())
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NASSUITE_DATA_URL", f"http://127.0.0.1:{server.server_port}/")
    yield server, asked
    server.shutdown()
    server.server_close()


def test_official_files_are_fetched_once(served: tuple[ThreadingHTTPServer, list[str]], cifar: Path) -> None:
    _, asked = served
    data = load_data(DataConfig("cifar10"))
    assert data.digest == load_data(DataConfig(f"cifar10:{cifar}")).digest
    assert load_data(DataConfig("cifar10")).digest == data.digest
    assert asked == ["/cifar-10-binary.tar.gz"]
    assert len(load_data(DataConfig("fashion-mnist")).test) == 20
    assert len(asked) == 5


def test_a_wrong_checksum_leaves_nothing_in_the_cache(
    served: tuple[ThreadingHTTPServer, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(official.MD5, "cifar-10-binary.tar.gz", "0" * 32)
    refused("cifar10", "its checksum does not match.*by hand into DIR and use --data cifar10:DIR")
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


def test_a_network_failure_is_one_line(served: tuple[ThreadingHTTPServer, list[str]], tmp_path: Path) -> None:
    server, _ = served
    base = f"http://127.0.0.1:{server.server_port}"
    refused("cifar10", "HTTP status 404", base_url=f"{base}/nowhere")
    server.shutdown()
    server.server_close()
    refused("cifar10", "cannot fetch .*ConnectionError.*by hand into DIR", base_url=base)


def test_the_cache_is_whole_after_a_damaged_copy(
    served: tuple[ThreadingHTTPServer, list[str]], tmp_path: Path
) -> None:
    digest = load_data(DataConfig("cifar10")).digest
    (cached,) = (tmp_path / "cache").rglob("*.tar.gz")
    shutil.copy(__file__, cached)
    assert load_data(DataConfig("cifar10")).digest == digest

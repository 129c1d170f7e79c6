"""Fetching against a real server on loopback, and the table against torchvision's own."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slimming import datasets
from slimming.datasets import download
from slimming.datasets.base import Download, File, Source
from slimming.datasets.digits import DIGITS
from slimming.datasets.svhn import SVHN
from slimming.errors import InputError

BATCH = random.Random(0).randbytes(600_000)  # incompressible, so that the archive has the size to break in


class Host(ThreadingHTTPServer):
    """Serves `body`, and logs in `asked` which ranges it was asked for.

    ranges: whether it can send a part; breaks: after how many bytes its answers break off, in turn; stall:
    after how many bytes an answer hangs.
    """

    daemon_threads = True

    def __init__(self, body: bytes | None, ranges: bool = True, breaks: tuple[int, ...] = (), stall: int = 0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.ranges, self.breaks, self.stall = body, ranges, list(breaks), stall
        self.asked: list[str | None] = []
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/archive.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        host = self.server
        host.asked.append(self.headers["Range"])
        if host.body is None:
            return self.send_error(404)
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if host.ranges else 0
        if start and start >= len(host.body):
            return self.send_error(416)
        piece = host.body[start:]
        self.send_response(206 if host.ranges else 200)
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        if host.stall:
            self.wfile.write(piece[: host.stall])
            self.wfile.flush()
            host.released.wait()
        else:
            self.wfile.write(piece[: host.breaks.pop(0)] if host.breaks else piece)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve():
    hosts = []

    def start(*arguments, **settings) -> Host:
        hosts.append(Host(*arguments, **settings))
        return hosts[-1]

    yield start
    for host in hosts:
        host.released.set()
        host.shutdown()
        host.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def archive(member: str = "batches/batch_1", content: bytes = BATCH) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return whole.getvalue()


ARCHIVE = archive()


def source(*addresses: str, sum_: str = md5(ARCHIVE)) -> Source:
    download = Download(File("archive.tar.gz", sum_), addresses, (File("batches/batch_1", md5(BATCH)),))
    return dataclasses.replace(DIGITS, name="tiny", downloads=(download,))


def names(root) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


WHOLE = ["archive.tar.gz", "batches/batch_1"]


def test_an_archive_is_fetched_and_extracted(tmp_path, serve):
    host = serve(ARCHIVE)
    download.fetch(source(host.address), tmp_path / "data")
    assert names(tmp_path / "data") == WHOLE
    assert (tmp_path / "data/batches/batch_1").read_bytes() == BATCH
    assert host.asked == ["bytes=0-"]


def test_a_plain_file_is_fetched(tmp_path, serve):
    host = serve(BATCH)
    plain = Download(File("train.mat", md5(BATCH)), (host.address,))
    download.fetch(dataclasses.replace(DIGITS, downloads=(plain,)), tmp_path)
    assert (tmp_path / "train.mat").read_bytes() == BATCH
    assert names(tmp_path) == ["train.mat"]


def test_extracted_files_at_hand_fetch_nothing(tmp_path, serve):
    host = serve(ARCHIVE)
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches/batch_1").write_bytes(BATCH)
    download.fetch(source(host.address), tmp_path)
    assert host.asked == []
    assert names(tmp_path) == ["batches/batch_1"]


def test_an_archive_at_hand_is_extracted_and_fetches_nothing(tmp_path, serve):
    host = serve(ARCHIVE)
    (tmp_path / "archive.tar.gz").write_bytes(ARCHIVE)
    download.fetch(source(host.address), tmp_path)
    assert host.asked == []
    assert names(tmp_path) == WHOLE


def test_a_damaged_extracted_file_is_restored(tmp_path, serve):
    host = serve(ARCHIVE)
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches/batch_1").write_bytes(BATCH[:-1])
    download.fetch(source(host.address), tmp_path)
    assert (tmp_path / "batches/batch_1").read_bytes() == BATCH


def test_a_broken_connection_continues_where_it_stopped(tmp_path, serve):
    host = serve(ARCHIVE, breaks=(200_000, 150_000))
    download.fetch(source(host.address), tmp_path)
    assert host.asked == ["bytes=0-", "bytes=200000-", "bytes=350000-"]
    assert names(tmp_path) == WHOLE


def test_a_killed_process_continues_where_it_stopped(tmp_path, serve):
    host = serve(ARCHIVE, stall=200_000)
    code = f"""
from slimming.datasets import download
from slimming.datasets.base import Download, File, Source
download.fetch({source(host.address)!r}, {str(tmp_path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "archive.tar.gz.part"
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = part.stat().st_size
    host.stall = 0
    download.fetch(source(host.address), tmp_path)
    assert 0 < left <= 200_000
    assert host.asked == ["bytes=0-", f"bytes={left}-"]
    assert names(tmp_path) == WHOLE


def test_a_server_that_ignores_ranges_starts_over_cleanly(tmp_path, serve):
    host = serve(ARCHIVE, ranges=False, breaks=(200_000,))
    download.fetch(source(host.address), tmp_path)
    assert len(host.asked) == 2
    assert names(tmp_path) == WHOLE


def test_a_part_that_was_already_whole_is_taken(tmp_path, serve):
    host = serve(ARCHIVE)
    (tmp_path / "archive.tar.gz.part").write_bytes(ARCHIVE)
    download.fetch(source(host.address), tmp_path)
    assert host.asked == [f"bytes={len(ARCHIVE)}-"]
    assert names(tmp_path) == WHOLE


def test_a_damaged_part_is_thrown_away_and_fetched_anew(tmp_path, serve):
    host = serve(ARCHIVE)
    (tmp_path / "archive.tar.gz.part").write_bytes(bytes(1000))
    download.fetch(source(host.address), tmp_path)
    assert host.asked == ["bytes=1000-", "bytes=0-"]
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize("body", [None, ARCHIVE[:-1] + b"x"], ids=["not found", "wrong bytes"])
def test_the_mirror_is_taken_when_the_primary_fails(tmp_path, serve, body):
    primary, mirror = serve(body), serve(ARCHIVE)
    download.fetch(source(primary.address, mirror.address), tmp_path)
    assert names(tmp_path) == WHOLE
    assert mirror.asked == ["bytes=0-"]


def test_the_mirror_continues_what_the_primary_began(tmp_path, serve):
    primary, mirror = serve(ARCHIVE, breaks=(200_000, 0)), serve(ARCHIVE)
    download.fetch(source(primary.address, mirror.address), tmp_path)
    assert mirror.asked == ["bytes=200000-"]
    assert names(tmp_path) == WHOLE


def test_wrong_bytes_are_never_kept(tmp_path, serve):
    host = serve(ARCHIVE[:-1] + b"x", breaks=(200_000,))
    with pytest.raises(InputError, match="its md5 differs"):
        download.fetch(source(host.address), tmp_path)
    assert names(tmp_path) == []


def test_a_failed_download_says_which_file_goes_where_and_keeps_what_came(tmp_path, serve):
    gone, broken = serve(None), serve(ARCHIVE, breaks=(100_000, 0))
    closed = serve(ARCHIVE)
    closed.shutdown()
    closed.server_close()
    first = source(closed.address, gone.address, broken.address)
    other = Download(File("extra.mat", md5(BATCH)), (gone.address,))
    with pytest.raises(InputError) as raised:
        download.fetch(dataclasses.replace(first, downloads=(*first.downloads, other)), tmp_path)
    message = str(raised.value)
    assert raised.value.status == 2
    assert "\n" not in message
    for part in (
        f"archive.tar.gz (md5 {md5(ARCHIVE)}), extra.mat (md5 {md5(BATCH)}) into {tmp_path}",
        f"{closed.address} (<urlopen error [Errno 111] Connection refused>)",
        f"{gone.address} (HTTP Error 404: Not Found)",
        f"{broken.address} (the connection broke after 100000 of {len(ARCHIVE)} bytes)",
    ):
        assert part in message
    assert (tmp_path / "archive.tar.gz.part").read_bytes() == ARCHIVE[:100_000]


def test_a_file_system_that_refuses_is_not_taken_for_a_failed_download(tmp_path, serve):
    host = serve(ARCHIVE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=f"cannot write under {tmp_path}: File too large") as raised:
            download.fetch(source(host.address), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.status == 2
    assert names(tmp_path) == ["archive.tar.gz.part"]


def test_an_archive_cannot_write_outside_the_root(tmp_path, serve):
    bad = archive("../outside", b"x")
    host = serve(bad)
    with pytest.raises(tarfile.FilterError):
        download.fetch(source(host.address, sum_=md5(bad)), tmp_path / "data")
    assert not (tmp_path / "outside").exists()


def test_a_log_gets_a_line_at_every_tenth(tmp_path, serve, capsys):
    body = bytes(4_000_000)
    plain = Download(File("train.mat", md5(body)), (serve(body).address,))
    download.fetch(dataclasses.replace(DIGITS, downloads=(plain,)), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "downloading train.mat: 4000000 of 4000000 bytes"


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(InputError, match="unknown data set 'cifar-10': did you mean 'cifar10'"):
        datasets.get("cifar-10")
    assert datasets.get("svhn") is SVHN


def test_files_sums_and_primary_addresses_are_torchvisions():
    from slimming.vision import datasets as published

    for name, kind in (("cifar10", published.CIFAR10), ("cifar100", published.CIFAR100)):
        (archive,) = datasets.get(name).downloads
        assert archive.file == File(kind.filename, kind.tgz_md5)
        assert archive.addresses[0] == kind.url
        meta = [kind.meta["filename"], kind.meta["md5"]]
        expected = {(f"{kind.base_folder}/{path}", sum_) for path, sum_ in [*kind.train_list, *kind.test_list, meta]}
        assert {(file.path, file.md5) for file in archive.wanted} == expected
    expected = {(path, sum_, address) for address, path, sum_ in published.SVHN.split_list.values()}
    svhn = {(item.file.path, item.file.md5, item.addresses[0]) for item in SVHN.downloads}
    assert svhn == expected


def test_every_source_is_complete():
    for name, item in datasets.registry().items():
        assert item.name == name
        assert len(item.mean) == len(item.std) == item.channels


def test_names_can_be_checked_without_torch_or_network_modules():
    code = "import sys; from slimming import datasets; print({'torch', 'numpy', 'ssl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"

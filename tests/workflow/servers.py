"""Servers on loopback that keep a DVC remote: SSH, WebDAV and S3, each for one test."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tools

BUCKET = "slimming"


def needs(*packages: str) -> None:
    """Skip where one of `packages` is not installed."""
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e .[dev])")


@contextlib.contextmanager
def ssh(folder: Path) -> Iterator[dict[str, str]]:
    """sshd with keys and configuration of its own: the remote's settings."""
    needs("dvc_ssh")
    tools.need("sshd", "ssh-keygen")
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": "none",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictModes": "no",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its privileges
    with subprocess.Popen(
        [shutil.which("sshd"), "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL
    ) as server:
        try:
            _listening(port)
            yield {
                "url": f"ssh://127.0.0.1{folder}/store",
                "port": str(port),
                "user": getpass.getuser(),
                "keyfile": str(folder / "user"),
            }
        finally:
            server.terminate()


@contextlib.contextmanager
def webdav(folder: Path, gate: Callable[[dict], None] = lambda request: None) -> Iterator[dict[str, str]]:
    """wsgidav: the remote's settings. `gate` sees every request first, and may make it wait."""
    needs("dvc_webdav", "wsgidav", "cheroot")
    from cheroot.wsgi import Server
    from wsgidav.wsgidav_app import WsgiDAVApp

    (folder / "store").mkdir(parents=True, exist_ok=True)  # DVC makes the folders below it, not itself
    application = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": {"reader": {"password": "secret"}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "logging": {"enable": False},
            "verbose": 0,
        }
    )

    def gated(request: dict, start_response: Callable) -> object:
        gate(request)
        return application(request, start_response)

    server = Server(("127.0.0.1", 0), gated)
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield {"url": f"webdav://127.0.0.1:{server.bind_addr[1]}/store", "user": "reader", "password": "secret"}
    finally:
        server.stop()


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """moto's S3: the remote's settings."""
    needs("dvc_s3", "moto", "flask", "flask_cors", "boto3")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {"url": f"s3://{BUCKET}/store", "endpointurl": f"http://{host}:{port}"}
        settings |= {"access_key_id": "test", "secret_access_key": "test"}
        client = boto3.client(
            "s3",
            endpoint_url=settings["endpointurl"],
            region_name="us-east-1",
            aws_access_key_id=settings["access_key_id"],
            aws_secret_access_key=settings["secret_access_key"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield settings
    finally:
        server.stop()


def _listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")

"""A warm process: it has torch loaded and forks a child for each command, which so starts without loading torch again.

    slimming command -> request over a socket: arguments, folder, environment, standard streams
                     <- process id, and at the end the exit status

`start` is called by who starts many commands; they find the socket in the environment (VARIABLE), and where none
answers, a command starts plainly. The child is the command: it has its folder, environment and streams, gets its
signals, and ends when it is killed. Only other packages are loaded before a fork, none of slimming's modules, and
no thread has begun to compute: results have the bits of a plain start, by the code that lies there then.

The warm process ends with who started it, however that ends. Not for batch systems, whose limits a child would escape.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

VARIABLE = "SLIMMING_WARM"
KILLED = 128 + signal.SIGKILL  # the exit status where a child ends without saying one
STREAMS = (0, 1, 2)
# What takes time, and computes nothing when it is loaded.
TRAINING = ("numpy", "pydantic", "safetensors.torch", "torch", "tqdm", "yaml")
REPORTING = (
    "pandas",
    "pandera.pandas",
    "scipy.stats",
    "scipy.optimize",
    "matplotlib.figure",
    "matplotlib.style",
    "seaborn",
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start(threads: int) -> int:
    """Start a warm process for jobs of so many threads, and say in the environment where it listens.

    Returns the descriptor of a pipe: the warm process ends when that is closed, or when this process ends.
    """
    path = Path(tempfile.mkdtemp(prefix="slimming-"), "warm")
    alive, held = os.pipe()
    number = str(threads)  # read by libraries as they are loaded, and set for every job alike
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), number)
    subprocess.Popen(
        [sys.executable, "-m", "slimming.warm", str(path), str(alive)],
        env=environment,
        pass_fds=[alive],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt at the terminal is for the commands, which hand it on
    )
    os.close(alive)
    os.environ[VARIABLE] = str(path)
    return held


def ask(arguments: Sequence[str]) -> int | None:
    """Have the command run by the warm process, and return its exit status; None where no such process answers."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        return None
    request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
    text = json.dumps(request).encode()
    with connection, connection.makefile("r") as answers:
        socket.send_fds(connection, [len(text).to_bytes(8)], STREAMS)
        connection.sendall(text)
        child = answers.readline()
        if not child:
            return None

        def forward(number: int, _: object) -> None:
            with suppress(ProcessLookupError):  # it has just ended, and its status is on the way
                os.kill(int(child), number)

        for number in FORWARDED:
            signal.signal(number, forward)
        status = answers.readline()
        return int(status) if status else KILLED


def serve(path: Path, alive: int) -> None:
    """Listen at `path` until the pipe `alive` is closed, and fork a child for each request.

    What training needs is loaded before the first request is taken, what reports need between requests.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children here
    _load(TRAINING)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    later = [*REPORTING]
    while alive not in (ready := select.select([listener, alive], [], [], 0 if later else None)[0]):
        if not ready:
            _load([later.pop(0)])
        if listener in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                os.close(alive)
                os._exit(_run(connection))
            connection.close()
    path.unlink()
    path.parent.rmdir()


def _load(names: Sequence[str]) -> None:
    """Load what is there of these modules; a command that needs another one says so itself."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def _run(connection: socket.socket) -> int:
    """In a child: become the command that is asked for; its exit status."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, streams, *_ = socket.recv_fds(connection, 8, len(STREAMS))
        request = _received(connection, int.from_bytes(size))
        _take_over(streams, request["folder"], request["environment"])
        connection.sendall(f"{os.getpid()}\n".encode())
        threading.Thread(target=_end_with, args=[connection], daemon=True).start()
        sys.argv = request["arguments"]
        status = _command()
        connection.sendall(f"{status}\n".encode())
        return status
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def _command() -> int:
    """Run slimming's command line as the interpreter would: a defect is a traceback and status 1."""
    from slimming import cli

    try:
        status = cli.main(sys.argv[1:])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status


def _received(connection: socket.socket, size: int) -> dict:
    with connection.makefile("rb", buffering=0) as stream:
        text = b""
        while len(text) < size and (part := stream.read(size - len(text))):
            text += part
    return json.loads(text)


def _take_over(streams: Sequence[int], folder: str, environment: Mapping[str, str]) -> None:
    """Take the streams, folder and environment of who asked."""
    for number, stream in zip(STREAMS, streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    # As the interpreter opens them: what is read by no one at once is written in blocks.
    sys.stdout = open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop(VARIABLE, None)
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with(connection: socket.socket) -> None:
    """Wait for the end of who asked; whoever kills that, means this process."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))

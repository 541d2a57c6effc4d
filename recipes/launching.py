"""Start the processes of a run on this machine, watch them, and end them all when one has ended badly.

Each is a new Python that is handed the task and what `fit` was called with. So nothing is asked of the caller's script:
it needs no `__main__` guard and is not run again, and a notebook or a test will do as well. A fork of the caller would
need neither, but hangs where the caller has computed on several threads before, or has used a GPU.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recipes import ranks
from recipes.errors import OptionError, TrainingError

if TYPE_CHECKING:
    from recipes.task import Task

# How long the others have to notice that one has ended, and then to end themselves, in seconds.
_TO_NOTICE, _TO_END = 10.0, 5.0

_WORK = "from recipes import launching; launching.work()"


def fit(task: Task, arguments: dict[str, Any], devices: int) -> Task:
    """A task like this one, fitted in `devices` processes of this machine.

    Args:
        task: the task; only its options go to the processes.
        arguments: what its `fit` was called with.
        devices: how many processes.

    Raises:
        RecipesError: what the first process raised that raised anything.
        TrainingError: a process was killed.
        KeyboardInterrupt: stopped before there was anything to keep.
    """
    folder = Path(tempfile.mkdtemp(prefix="recipes-run-"))
    try:
        (folder / "job").write_bytes(_packed((task, arguments)))
        with _forwarded() as signals:
            processes = [_started(number, devices, folder) for number in range(devices)]
            signals.processes = processes
            with _shown(processes[0]):
                codes = _watched(processes)
        if any(codes):
            raise _reason(codes, folder, signals.received, bool(arguments.get("out")))
        return type(task).load(arguments["out"] if arguments.get("out") is not None else folder / "model")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _packed(job: Any) -> bytes:
    """The job as bytes for the other processes.

    Raises:
        OptionError: something in it cannot be sent.
    """
    try:
        packed = pickle.dumps(job)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise OptionError(f"with devices of 2 or more, all arguments are sent to other processes ({error})") from error
    if b"__main__" in packed and any(found == "__main__" for _, found, _ in pickletools.genops(packed)):
        raise OptionError(
            "with devices of 2 or more, what is defined in the script or notebook itself cannot be sent to other "
            "processes; put it into a module of its own, or start the script with torchrun"
        )
    return packed


def _started(number: int, devices: int, folder: Path) -> subprocess.Popen[bytes]:
    """A process of the run, told its place in torchrun's words."""
    threads = max((os.cpu_count() or 1) // devices, 1)
    place = {"RANK": number, "WORLD_SIZE": devices, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": devices, "GROUP_RANK": 0}
    told = {name: str(value) for name, value in place.items()}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _port(folder)}
    told |= {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)}
    told |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    quiet: Any = (folder / f"output-{number}").open("wb") if number else None
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK, os.fspath(folder)],
        stdin=subprocess.PIPE,  # that it closes tells the process that the caller has ended
        stdout=quiet,
        stderr=quiet if number else None if _is_own(sys.stderr) else subprocess.PIPE,
        env={**os.environ, **told},
        start_new_session=True,  # Ctrl-C reaches the caller, who hands it on
    )
    if quiet:
        quiet.close()
    return process


def _port(folder: Path) -> str:
    """A port that is free, the same for all processes of the run."""
    kept = folder / "port"
    if not kept.exists():
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            kept.write_text(str(found.getsockname()[1]))
    return kept.read_text()


def _is_own(stream: Any) -> bool:
    """Whether it is the process's own stderr, rather than a notebook's or a test's."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(stream.fileno() == 2)
    return False


@contextlib.contextmanager
def _shown(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand on what the first process says, where the caller's stderr is none that it could write to itself."""
    if process.stderr is None:
        yield
        return

    def hand_on(source: IO[bytes]) -> None:
        for line in source:
            sys.stderr.write(line.decode("utf-8", "backslashreplace"))

    thread = threading.Thread(target=hand_on, args=(process.stderr,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=5)


class _Signals:
    """What was received, and who is to hear of it."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.processes: Sequence[subprocess.Popen[bytes]] = ()

    def __call__(self, number: int, frame: Any) -> None:
        self.received = number
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.send_signal(number)


@contextlib.contextmanager
def _forwarded() -> Iterator[_Signals]:
    """Hand Ctrl-C and SIGTERM on to the processes, which stop after their step and keep the best."""
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watched(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The exit codes of all, once they have ended; when one ends badly, the others soon do."""
    ends = None
    try:
        while any(process.poll() is None for process in processes):
            if ends is None and any(process.returncode for process in processes):
                ends = time.monotonic() + _TO_NOTICE
            if ends is not None and time.monotonic() > ends:
                break
            time.sleep(0.05)
    finally:
        codes = [process.returncode for process in processes]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
    return [0 if code is None else code for code in codes]  # one that had to be ended is not the reason


def _reason(codes: Sequence[int], folder: Path, received: int | None, kept: bool) -> BaseException:
    """Why the run has ended: a process that was killed, or else the first error that is not the loss of another."""
    errors = {number: _error(folder, number) for number, code in enumerate(codes) if code > 0}
    if received is not None:
        return KeyboardInterrupt()
    for number, code in enumerate(codes):
        if code < 0:
            name = signal.Signals(-code).name
            more = "; to go on with the run: the same command with --resume (resume=True)" if kept else ""
            return TrainingError(f"process {number} of {len(codes)} was ended by {name}, and the run with it{more}")
    known = [error for error in errors.values() if error is not None]
    own = [error for error in known if not isinstance(error, ranks.LostError)]
    if own or known:
        return (own or known)[0]
    return TrainingError(f"process {next(iter(errors))} of {len(codes)} has ended without a word")


def _error(folder: Path, number: int) -> BaseException | None:
    with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError):
        found: BaseException = pickle.loads((folder / f"error-{number}").read_bytes())
        return found
    return None


# ---------------------------------------------------------------------------------------------------------------------
# In each process


def work() -> None:
    """Do this process's part of the job in the folder that it was called with."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    folder = Path(sys.argv[1])
    try:
        task, arguments = pickle.loads((folder / "job").read_bytes())
        task.fit(**arguments)
        if ranks.rank() == 0 and arguments.get("out") is None:
            task.save(folder / "model")
    except BaseException as error:
        _write_error(folder / f"error-{ranks.rank()}", error)
        sys.stderr.flush()
        os._exit(1)  # the way through the libraries' own ends may wait for processes that are gone


def _end_with_caller() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _write_error(path: Path, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    try:
        if not getattr(error, "exit_code", 0):
            error.add_note(trace)
        error.__cause__ = error.__context__ = None
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        content = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    path.write_bytes(content)

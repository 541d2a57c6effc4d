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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import IO, TYPE_CHECKING, Any

from recipes import ranks
from recipes.errors import OptionError, RecipesError, TrainingError

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
    quiet: Any = (folder / f"output-{number}").open("wb") if number else None
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK, os.fspath(folder)],
        stdin=subprocess.PIPE,  # that it closes tells the process that the caller has ended
        stdout=quiet,
        stderr=quiet if number else None if _is_own(sys.stderr) else subprocess.PIPE,
        env=_environment(number, devices, folder),
        start_new_session=True,  # Ctrl-C reaches the caller, who hands it on
    )
    if quiet:
        quiet.close()
    return process


def _environment(number: int, devices: int, folder: Path) -> dict[str, str]:
    threads = max((os.cpu_count() or 1) // devices, 1)
    place = {"RANK": number, "WORLD_SIZE": devices, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": devices, "GROUP_RANK": 0}
    told = {name: str(value) for name, value in place.items()}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _port(folder)}
    told |= {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)}
    told |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    return {**os.environ, **told}


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
        with source:
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
        # The first process stops them all; another that heard of it late could take it for a second one.
        hearing = self.processes[:1] if self.received is None else self.processes
        self.received = number
        for process in hearing:
            with contextlib.suppress(OSError, ValueError):
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
            more = ranks.resume(kept)
            return TrainingError(f"process {number} of {len(codes)} was ended by {name}, and the run with it{more}")
    known = [error for error in errors.values() if error is not None]
    own = [error for error in known if not isinstance(error, ranks.LostError)]
    if own or known:
        return (own or known)[0]
    return TrainingError(f"process {next(iter(errors))} of {len(codes)} has ended without a word")


def _error(folder: Path, number: int) -> BaseException | None:
    with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError):
        found, trace = pickle.loads((folder / f"error-{number}").read_bytes())
        found.__cause__ = None if isinstance(found, RecipesError) else RuntimeError(f"in process {number}:\n{trace}")
        return found  # type: ignore[no-any-return]
    return None


# ---------------------------------------------------------------------------------------------------------------------
# In each process


def work() -> None:
    """Do this process's part of the job in the folder that it was called with."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_caller, args=(folder,), daemon=True).start()
    try:
        task, arguments = pickle.loads((folder / "job").read_bytes())
        task.fit(**arguments)
        if ranks.rank() == 0 and arguments.get("out") is None:
            task.save(folder / "model")
    except BaseException as error:
        _write_error(folder / f"error-{ranks.rank()}", error)
        sys.stderr.flush()
        os._exit(1)  # the way through the libraries' own ends may wait for processes that are gone


def _end_with_caller(folder: Path) -> None:
    os.read(0, 1)  # sys.stdin would be locked by this thread when Python ends
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _write_error(path: Path, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    try:
        content = pickle.dumps((error, trace))
        pickle.loads(content)
    except Exception:
        content = pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), trace))
    path.write_bytes(content)


# ---------------------------------------------------------------------------------------------------------------------
# Predicting


def predicted(task: Task, sources: Iterable[Any], devices: int, running: dict[str, Any]) -> Iterator[Any]:
    """The predictions for all sources, each once and in order, by processes that take turns.

    Args:
        task: a fitted task.
        sources: the inputs; they are taken as they are needed.
        devices: how many processes; of GPUs each has its own.
        running: what `predict_each` is called with in each process.

    Raises:
        TrainingError: a process was killed.
    """
    assert task.codec is not None
    number = 1 if task.codec.dense else running["batch_size"] * (16 if task.codec.ragged else 1)
    rest, pending = iter(sources), deque[Future[list[Any]]]()
    folder = Path(tempfile.mkdtemp(prefix="recipes-run-"))
    idle: Queue[_Predictor] = Queue()
    with ExitStack() as held:
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        pool = held.enter_context(ThreadPoolExecutor(devices, thread_name_prefix="recipes-asker"))
        task.save(folder / "model")
        for rank in range(devices):
            idle.put(held.enter_context(_Predictor(rank, devices, folder, running)))

        def ask(part: list[Any]) -> list[Any]:
            predictor = idle.get()
            try:
                return predictor.answer(part)
            finally:
                idle.put(predictor)

        while part := list(islice(rest, number)):
            pending.append(pool.submit(ask, part))
            if len(pending) > 2 * devices:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class _Predictor:
    """A process that predicts what it is handed."""

    def __init__(self, rank: int, devices: int, folder: Path, running: dict[str, Any]) -> None:
        self.name = f"process {rank} of {devices}"
        with (folder / f"output-{rank}").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from recipes import launching; launching.predict()", os.fspath(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(rank, devices, folder),
                start_new_session=True,
            )
        self.running = running

    def __enter__(self) -> _Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def answer(self, sources: list[Any]) -> list[Any]:
        """The predictions for these sources, in order."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump((self.running, sources), self.process.stdin)
            self.process.stdin.flush()
            found, error = pickle.load(self.process.stdout)
        except (OSError, EOFError) as problem:
            raise TrainingError(f"{self.name} has ended, and the predictions with it") from problem
        if error is not None:
            raise error
        return found  # type: ignore[no-any-return]


def predict() -> None:
    """Predict what comes on stdin, until it ends."""
    import recipes

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    rank = ranks.here().rank
    task = recipes.load(Path(sys.argv[1]) / "model")
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            running, sources = pickle.load(sys.stdin.buffer)
            try:
                answer: Any = list(task.predict_each(iter(sources), **_on_own_device(running, rank))), None
            except Exception as error:
                answer = None, error
            pickle.dump(answer, answers)
            answers.flush()


def _on_own_device(running: dict[str, Any], rank: int) -> dict[str, Any]:
    import torch

    own = running["device"] in ("auto", "cuda") and torch.cuda.is_available()
    return {**running, "device": f"cuda:{rank}" if own else running["device"]}

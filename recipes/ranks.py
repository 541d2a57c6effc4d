"""Which process of a run this is, and how the processes of one run agree; a run of one process asks nobody.

The processes of a run are numbered, from 0 on: that number is a rank. Rank 0 writes the files and speaks; what is
computed once is computed there and handed to the others.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from recipes.errors import OptionError, RecipesError, TrainingError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from recipes.presets import Preset

T = TypeVar("T")

# What torchrun tells each process.
_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# How long to wait until all are there; and how long for one that computes for all, such as the features of a large set.
# One that has ended is noticed at once, because its connections close.
_TO_MEET, _TO_COMPUTE = timedelta(minutes=10), timedelta(days=2)

# How long threads of gloo get to hand back what they hold, in seconds.
_TO_HAND_BACK = 0.2

#: The ways of training on several devices.
STRATEGIES = ("auto", "ddp", "fsdp")


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its run.

    Args:
        rank: its number among all.
        world: how many there are.
        local_rank: its number among those of its machine.
        local_world: how many run on each machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def nodes(self) -> int:
        """How many machines take part."""
        return self.world // self.local_world


def here() -> Place:
    """The place of this process, as torchrun, SLURM or recipes itself has told it."""
    told = os.environ
    try:
        if all(name in told for name in _TOLD):
            place = Place(*(int(told[name]) for name in _TOLD[:4]))
        elif "SLURM_STEP_NUM_TASKS" in told:  # which srun tells, and a batch script that runs without srun is not told
            world, nodes = int(told["SLURM_STEP_NUM_TASKS"]), int(told.get("SLURM_STEP_NUM_NODES", 1))
            place = Place(int(told["SLURM_PROCID"]), world, int(told["SLURM_LOCALID"]), max(world // nodes, 1))
        else:
            return Place()
    except (KeyError, ValueError):
        return Place()
    return place if place.world > 1 else Place()


def rank() -> int:
    """The number of this process."""
    distributed = _distributed()
    return int(distributed.get_rank()) if distributed else here().rank


def world() -> int:
    """How many processes can agree here: 1 before they have met."""
    distributed = _distributed()
    return int(distributed.get_world_size()) if distributed else 1


def _distributed() -> Any:
    """torch.distributed, where processes have met."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None


# ---------------------------------------------------------------------------------------------------------------------
# What a run asks for


def check(preset: Preset) -> None:
    """Refuse what cannot work on several devices, before anything is read.

    Raises:
        OptionError: there are not so many devices, no such strategy, no launcher for several machines, or the batch
            cannot be shared out evenly.
    """
    place, strategy = here(), preset.strategy
    if strategy not in STRATEGIES:
        raise _no_strategy(strategy)
    for name, asked, found in (
        ("devices", preset.devices, place.local_world),
        ("num_nodes", preset.num_nodes, place.nodes),
    ):
        if place.world > 1 and asked not in (1, found):
            raise OptionError(
                f"{name}={asked}, but the launcher has started {place.local_world} processes on each of {place.nodes} "
                f"machines; leave {name} out, or give the launcher the same number"
            )
    if preset.num_nodes > 1 and place.world == 1:
        raise OptionError(
            f"num_nodes={preset.num_nodes} needs a launcher that starts the same command on each machine: torchrun, or "
            f"srun under SLURM"
        )
    processes = max(preset.devices, place.local_world)
    if processes > 1:
        check_precision(preset)
        check_devices(processes, preset.accelerator)
    total = processes * place.nodes
    if total > 1 and not preset.find_batch_size:
        check_batch(preset.batch_size, total)


def check_precision(preset: Preset) -> None:
    """Refuse numbers that the strategy cannot compute in."""
    if preset.strategy == "fsdp" and preset.precision == "fp16":
        raise OptionError("strategy='fsdp' goes with precision=bf16 or 32, not with fp16; take bf16, or strategy=ddp")


def check_batch(batch_size: int, processes: int) -> None:
    """Refuse a batch that cannot be shared out evenly."""
    if batch_size % processes:
        lower = max(batch_size // processes, 1) * processes
        raise OptionError(
            f"batch_size={batch_size} is the batch of all {processes} processes together and cannot be shared out "
            f"evenly; take {lower} or {lower + processes}"
        )


def _no_strategy(name: str) -> OptionError:
    from importlib.util import find_spec

    if name.startswith("deepspeed"):
        there = "is not installed" if find_spec("deepspeed") is None else "recipes has not been tried with"
        return OptionError(f"strategy={name!r} needs the package deepspeed, which {there}; take ddp")
    if name.startswith("ddp_"):
        return OptionError(f"strategy={name!r} is not needed: recipes starts the processes itself; take ddp")
    return OptionError(f"there is no strategy {name!r}{did_you_mean(name, STRATEGIES)} (strategies: auto, ddp, fsdp)")


def check_devices(number: int, accelerator: str) -> None:
    """Refuse no devices, more than there are on this machine, and a kind that is not there."""
    import torch

    if number < 1:
        raise OptionError(f"devices={number} cannot be: it is at least 1")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        kind, found = "GPU", torch.cuda.device_count()
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        kind, found = "GPU", 1
    elif accelerator in ("gpu", "cuda", "mps"):
        raise OptionError(f"there is no accelerator {accelerator!r} here; take auto or cpu")
    else:
        kind, found = "core", os.cpu_count() or 1
        if here().world > 1:  # a launcher was asked for them in so many words
            return
    if number > found:
        there = f"1 {kind}" if found == 1 else f"{found} {kind}s"
        raise OptionError(f"devices={number}, but this process sees {there}; take devices={found}")


# ---------------------------------------------------------------------------------------------------------------------
# Meeting and parting


@contextmanager
def met(preset: Preset, resumable: bool) -> Iterator[None]:
    """Meet the other processes of the run, if a launcher has started any, and say in one line when one is lost.

    Args:
        preset: the settings of the run.
        resumable: whether the run can be taken up again.

    Raises:
        OptionError: see `check`.
        TrainingError: another process has ended, or did not come.
    """
    if here().world == 1:
        check(preset)
        yield
        return
    with _connected(resumable):
        _meet(preset.accelerator)
        with together():
            check(preset)
        yield


def _meet(accelerator: str) -> None:
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    place = here()
    check_devices(place.local_world, accelerator)
    _tell_as_torchrun(place)
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place.local_rank)
    rendezvous = distributed.rendezvous  # type: ignore[attr-defined]
    store, _, _ = next(rendezvous("env://", place.rank, place.world, timeout=_TO_MEET))
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"  # flags, scores and objects travel from memory to memory
    distributed.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=_TO_COMPUTE)
    atexit.register(_part)


def _tell_as_torchrun(place: Place) -> None:
    """Say what SLURM says in torchrun's words, which Lightning and torch both read."""
    told = os.environ
    if "MASTER_ADDR" not in told or "MASTER_PORT" not in told:
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = told.get("SLURM_STEP_NODELIST") or told.get("SLURM_NODELIST", "127.0.0.1")
        told["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
        told["MASTER_PORT"] = str(15000 + int(told.get("SLURM_JOB_ID", "0")[-4:]))
    numbers = {"RANK": place.rank, "WORLD_SIZE": place.world, "LOCAL_RANK": place.local_rank}
    numbers |= {"LOCAL_WORLD_SIZE": place.local_world, "GROUP_RANK": place.rank // place.local_world}
    told.update({name: str(value) for name, value in numbers.items()})


def _part() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
        # gloo's threads need the interpreter to hand their last tensors back. A mesh of devices keeps them alive, and
        # one that asks for the interpreter when it has ended aborts the process (3 of 35 runs; none since).
        time.sleep(_TO_HAND_BACK)


@contextmanager
def _connected(resumable: bool) -> Iterator[None]:
    """Say in one line that another process is lost.

    Raises:
        TrainingError: it has ended, or did not come.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RecipesError) or not is_lost_connection(error):
            raise
        raise LostError(f"another process of this run has ended, so this one ends, too{resume(resumable)}") from error


def resume(resumable: bool) -> str:
    """The end of a message that says how to go on."""
    return "; to go on with the run: the same command with --resume (resume=True)" if resumable else ""


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    from torch import distributed

    kinds = (distributed.DistBackendError, distributed.DistNetworkError, distributed.DistStoreError)
    words = str(error).lower()
    return isinstance(error, kinds) or any(
        word in words for word in ("gloo", "connection closed by peer", "connection reset", "nccl", "broken pipe")
    )


class LostError(TrainingError):
    """Another process of the run has ended."""


# ---------------------------------------------------------------------------------------------------------------------
# Agreeing


def gathered(value: T) -> list[T]:
    """What each process has, in order."""
    if world() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value)
    return found


def shared(value: T) -> T:
    """What rank 0 has."""
    if world() == 1:
        return value
    from torch import distributed

    found = [value if rank() == 0 else None]
    distributed.broadcast_object_list(found, src=0)
    return found[0]  # type: ignore[return-value]


def largest(number: int) -> int:
    """The largest of all processes' numbers."""
    if world() == 1:
        return number
    import torch
    from torch import distributed

    found = torch.tensor(number, device=_device())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def summed(numbers: list[float]) -> list[float]:
    """The sums of all processes' numbers."""
    if world() == 1:
        return numbers
    import torch
    from torch import distributed

    kind = torch.float32 if _device().type == "mps" else torch.float64
    found = torch.tensor(numbers, dtype=kind, device=_device())
    distributed.all_reduce(found)
    return [float(value) for value in found]


def _device() -> Any:
    """Where numbers are agreed on: in memory, unless somebody has met with GPUs alone."""
    import torch
    from torch import distributed

    here = "gloo" in str(distributed.get_backend_config())
    return torch.device("cpu") if here else torch.device("cuda", torch.cuda.current_device())


@contextmanager
def together() -> Iterator[None]:
    """What goes wrong in one process goes wrong in all, with the same line; nothing inside may ask the others.

    Raises:
        RecipesError: what the first of the processes raised that raised any.
    """
    if world() == 1:
        yield
        return
    problem: RecipesError | None = None
    try:
        yield
    except RecipesError as error:
        problem = error
    problems = gathered(None if problem is None else (problem, socket.gethostname()))
    found = [(number, *entry) for number, entry in enumerate(problems) if entry is not None]
    if not found:
        return
    number, told, host = found[0]
    if number:  # where all have seen the same, it is the first one's word that counts
        told.args = (f"process {number} (on {host}): {told}",)
    told.agreed = True
    raise told from problem


def first(find: Callable[[], T]) -> T:
    """What rank 0 finds, for all; the others wait, and share its error.

    Raises:
        RecipesError: what rank 0 raised.
    """
    if world() == 1:
        return find()
    found: Any = None
    with together():
        if rank() == 0:
            with all_cores():
                found = find()
    return shared(found)  # type: ignore[no-any-return]


@contextmanager
def all_cores() -> Iterator[None]:
    """Let this process compute on all cores of the machine while the others wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads * here().local_world, os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def once_per_machine(find: Callable[[], T]) -> T:
    """What the first process of each machine finds, for all on that machine.

    Raises:
        RecipesError: what one of them raised.
    """
    place = here()
    if world() == 1:
        return find()
    from torch import distributed

    found: list[Any] = [None]
    with together():
        if place.local_rank == 0:
            found = [find()]
    if place.local_world == 1:
        return found[0]  # type: ignore[no-any-return]
    for start in range(0, place.world, place.local_world):
        group: Any = distributed.new_group(list(range(start, start + place.local_world)), backend="gloo")
        if start <= place.rank < start + place.local_world:
            distributed.broadcast_object_list(found, src=start, group=group)
            distributed.destroy_process_group(group)
    return found[0]  # type: ignore[no-any-return]


def rows_of_all(own: Tensor, counts: list[int]) -> Tensor:
    """The rows of all processes' tensors, shape (all rows, …); a gradient flows into one's own rows alone.

    Each process takes the loss of all rows, and Lightning takes the mean of the gradients over the processes. So one's
    own rows count as often as there are processes, and the mean becomes the gradient of the whole batch: for any loss,
    however unevenly the rows are shared out.

    Args:
        own: this process's rows.
        counts: how many rows each process has.
    """
    number = len(counts)
    if number == 1:
        return own
    import torch
    from torch import distributed

    padded = own.detach().new_zeros((max(counts), *own.shape[1:]))
    padded[: len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    rows = [part[:count] for part, count in zip(parts, counts, strict=True)]
    if own.requires_grad:
        rows[distributed.get_rank()] = own * number - own.detach() * (number - 1)
    return torch.cat(rows)


def sum_of_all(own: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape."""
    from torch import distributed

    found = own.contiguous().clone()
    distributed.all_reduce(found)
    return found


def whole(part: Tensor) -> Tensor:
    """The whole of a tensor of which each process may keep a part; all processes ask together."""
    gather = getattr(part, "full_tensor", None)
    return gather() if gather else part


def part_of(value: T, like: Tensor) -> T | Tensor:
    """This process's part of a whole tensor, where `like` is one of that shape that is shared out; else the value.

    All processes ask together.
    """
    mesh = getattr(like, "device_mesh", None)
    if mesh is None or getattr(value, "shape", None) != like.shape or hasattr(value, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    places: Any = like.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(like.device), mesh, places)  # type: ignore[attr-defined]


def counts_of_all(own: int) -> list[int]:
    """How many rows each process has, in order."""
    if world() == 1:
        return [own]
    import torch
    from torch import distributed

    mine = torch.tensor(own, device=_device())
    counts = [torch.zeros_like(mine) for _ in range(world())]
    distributed.all_gather(counts, mine)
    return [int(count) for count in counts]

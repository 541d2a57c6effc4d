"""The model folder: written whole or not at all, found on disk or on the Hub, read without running anything.

    pets/
      config.json         the network in timm's own layout; timm opens the folder with it
      model.safetensors   the weights, in the network's own names
      recipe.json         the task, the labels, the preparation, scores and history; written last
      split.json          which file was in which split
      files.json          size and checksum of each of them
      recipe.yaml         the settings that repeat the run
      metrics.csv         loss and scores of each epoch
      curves.png          the same, drawn
    model.onnx          of a quantized model, its network; model.safetensors is empty then
    account.json        what the run cost: time, examples, memory, and an estimate of energy and CO2e
      tokenizer.json      of a model for texts, the tokenizer; with tokenizer_config.json as transformers reads it
      training.png        a few training examples as the network sees them
      worst.png           the validation examples that the model does worst on; of texts worst.csv

JSON and safetensors only. Nothing is unpickled, no name from a file is imported, and no path in a file is followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import socket
import stat
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.display import listed
from recipes.errors import ModelError, OutputError, printable

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import torch

#: The version of the folder's layout; a newer one is refused, older ones are read for ever.
FORMAT = 1

MANIFEST, WEIGHTS, CONFIG = "recipe.json", "model.safetensors", "config.json"
SPLIT, FILES, RECIPE, METRICS, CURVES = "split.json", "files.json", "recipe.yaml", "metrics.csv", "curves.png"
SEEN, WORST, MISTAKES, ACCOUNT = "training.png", "worst.png", "worst.csv", "account.json"
ONNX = "model.onnx"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")

#: The state of a run that is not finished, and the file that tells others that it is running.
CHECKPOINT, LOCK = "checkpoint.safetensors", "running.lock"

#: Every name that recipes writes into a model folder; only these are ever replaced or removed.
NAMES = frozenset(
    {MANIFEST, WEIGHTS, CONFIG, SPLIT, FILES, RECIPE, METRICS, CURVES, SEEN, WORST, MISTAKES, ACCOUNT, ONNX, *TOKENIZER}
    | {CHECKPOINT, LOCK}
)

# What a probe for write permission is called; a kill in the middle of one may leave it behind.
_PROBE = ".recipes-"

_LARGEST_JSON = 256 * 2**20  # a split of ten million names; more is no model of ours


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def check_output(folder: str | os.PathLike[str], overwrite: bool, resume: bool = False) -> None:
    """Check that a model can be written to a folder, before any work is spent: it is tried, and leaves no trace.

    Args:
        folder: where the model shall be; it may not exist yet.
        overwrite: whether a model that recipes wrote there may be replaced.
        resume: whether an unfinished run there is to go on.

    Raises:
        OutputError: the folder holds other files, a finished model, an unfinished run, or cannot be written.
    """
    path, given = _resolved(folder), printable(folder)
    if path.is_dir():
        foreign = sorted(entry.name for entry in path.iterdir() if not _ours(entry))
        if foreign:
            raise OutputError(
                f"{given} holds files that recipes did not write ({listed(foreign)}); choose another folder"
            )
        if not overwrite and not resume:
            if (path / CHECKPOINT).exists():
                raise OutputError(
                    f"{given} holds a run that was stopped; go on with resume=True (--resume), or start "
                    f"again with overwrite=True (--overwrite)"
                )
            if (path / MANIFEST).exists():
                raise OutputError(
                    f"{given} holds a finished model; choose another folder, or replace it with "
                    f"overwrite=True (--overwrite)"
                )
    elif os.path.lexists(path):
        raise OutputError(f"{given} is a file; choose a folder's name for the model")
    try:
        shutil.rmtree(_scratch(path))
        if path.is_dir():  # the folder itself may refuse what the one around it allows
            os.rmdir(tempfile.mkdtemp(prefix=_PROBE, dir=path))
    except OSError as error:
        raise _not_writable(folder, error) from error


def _resolved(folder: str | os.PathLike[str]) -> Path:
    """The folder as an absolute path, links followed, so that what is replaced is what was meant."""
    try:
        path = os.path.realpath(os.path.expanduser(folder))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)  # raises for a name that no file can have
        return Path(path)
    except ValueError as error:
        raise OutputError(f"{printable(folder)} cannot be written ({error}); choose another folder") from error
    except OSError as error:
        raise _not_writable(folder, error) from error


def _ours(entry: Path) -> bool:
    """Whether recipes wrote it (a probe that a kill left behind, too), or the system did without being asked."""
    return entry.name == ".DS_Store" or entry.name.startswith(_PROBE) or (entry.name in NAMES and entry.is_file())


def write(
    folder: str | os.PathLike[str], files: Mapping[str, bytes], overwrite: bool = True, keep: Sequence[str] = ()
) -> Path:
    """Write a model folder whole or not at all.

    Everything is written and flushed beside the folder and moved there in one step. A kill at any byte leaves what was
    there before, or the new model.

    Args:
        folder: where the model shall be.
        files: contents by bare file name.
        overwrite: whether a model that recipes wrote there is replaced.
        keep: names of files that stay when the rest is replaced.

    Raises:
        OutputError: the folder holds other files or cannot be written.
    """
    path = _resolved(folder)
    check_output(path, overwrite)
    try:
        scratch = _scratch(path)
        try:
            for name, content in files.items():
                _write_file(scratch / name, content)
            for name in keep:
                if (path / name).exists():
                    shutil.copy2(path / name, scratch / name)
            _sync(scratch)
            _move(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _sync(path.absolute().parent)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return Path(folder)


def _scratch(path: Path) -> Path:
    """A new hidden folder beside `path`, on the same file system, so that a rename can move it there."""
    parent = path.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}-", dir=parent))
    open_to_all(scratch, 0o777)
    return scratch


def open_to_all(path: str | os.PathLike[str], mode: int) -> None:
    """Give a temporary file or folder the mode that any program would have made it with; tempfile's is private."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, mode & ~mask)


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, content: bytes) -> None:
    """Replace one file of ours, whole or not at all.

    Raises:
        OutputError: it cannot be written; what was there before stays.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.unlink(missing_ok=True)
        _write_file(scratch, content)
        os.replace(scratch, path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise OutputError(f"{printable(path)} cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def running(folder: str | os.PathLike[str], files: Mapping[str, bytes], anew: bool) -> Iterator[None]:
    """Hold a folder for one run, with the files that describe it; the kernel lets go of it even after a kill.

    Args:
        folder: the run's folder.
        files: contents by name.
        anew: whether to forget the state of a run that was there before.

    Raises:
        OutputError: another run holds it, or it cannot be written.
    """
    path = _resolved(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / LOCK, "wb")  # noqa: SIM115, closed below, after the run
    except OSError as error:
        raise _not_writable(folder, error) from error
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OutputError(f"{printable(folder)} is in use by another run; choose another folder") from error
        if anew:
            (path / CHECKPOINT).unlink(missing_ok=True)
        for name, content in files.items():
            write_file(path / name, content)
        yield


def _move(scratch: Path, path: Path) -> None:
    """Put a finished folder in its place in one step; where that is refused, file by file, the manifest last."""
    try:
        os.rename(scratch, path)  # also over an empty folder
    except OSError as error:
        if not path.is_dir() or error.errno == errno.ENOSPC:
            raise
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and _exchanged(scratch, path):
            return  # the old model is in the scratch folder now, which is removed
        # A mount point, the working directory of some system, or a system that cannot exchange folders.
        (path / MANIFEST).unlink(missing_ok=True)
        for entry in [entry for entry in path.iterdir() if _ours(entry) and entry.is_file()]:
            if not (scratch / entry.name).exists():
                entry.unlink()
        for entry in sorted(scratch.iterdir(), key=lambda entry: entry.name == MANIFEST):
            os.replace(entry, path / entry.name)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, as Linux can; False where that is not possible."""
    try:
        import ctypes

        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
        here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of the Linux headers
        return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def _sync(folder: Path) -> None:
    if os.name == "posix":  # Windows cannot open a folder, and needs no flush of it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_writable(path: str | os.PathLike[str], error: OSError) -> OutputError:
    return OutputError(f"{printable(path)} cannot be written ({error.strerror or error}); choose another folder")


def json_bytes(values: Any) -> bytes:
    """Readable JSON in plain ASCII, so that a file name of any bytes survives; numbers that are none become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return (json.dumps(finite(values), indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def yaml_bytes(values: Mapping[str, Any]) -> bytes:
    """Settings as YAML, one on each line, as `recipes fit --config` reads them."""
    import yaml

    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=False)
    return text.encode("ascii")


def weights_bytes(state: Mapping[str, torch.Tensor]) -> bytes:
    """A network's weights as safetensors, in plain memory layout on the CPU."""
    import torch
    from safetensors.torch import save

    def plain(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format).clone()

    return save({name: plain(tensor) for name, tensor in state.items()}, metadata={"format": "pt"})


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def locate(name: str | os.PathLike[str]) -> Path:
    """The folder of a model: a folder on disk, or `hf-hub:OWNER/NAME`, from the cache or the Hub.

    Raises:
        ModelError: there is no such folder or no model in it, or the Hub cannot be reached.
    """
    text = os.fspath(name)
    if text.startswith("hf-hub:"):
        return _from_hub(text.removeprefix("hf-hub:"))
    path = Path(os.path.expanduser(text))
    if "\0" in text or not path.is_dir():
        kind = "is a file; give the folder that holds it" if os.path.isfile(path) else "does not exist"
        raise ModelError(f"expected a model folder, but {printable(path)} {kind}")
    if not (path / MANIFEST).is_file():
        raise ModelError(f"{printable(path)} holds no model: it has no {MANIFEST}, which a finished fit or save writes")
    return path


def _from_hub(name: str) -> Path:
    repository, _, revision = name.partition("@")
    try:
        for file in (WEIGHTS, MANIFEST):
            found = fetched(repository, file, revision or None)
        for file in read_json(found.parent, MANIFEST).get("files") or ():
            if file in TOKENIZER:  # a name of ours, not any path that a manifest might hold
                fetched(repository, file, revision or None)
    except OSError as error:
        raise ModelError(
            f"hf-hub:{printable(name)} is neither in the cache nor to be had from the Hub "
            f"({printable(str(error), 120)})"
        ) from error
    return found.parent


def fetched(repository: str, file: str, revision: str | None = None) -> Path:
    """A file of a Hub repository: from the cache if it is there, at once and without network, else downloaded.

    Raises:
        OSError: it is not in the cache and cannot be had; the message says why.
    """
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        check_connection(huggingface_hub.constants.ENDPOINT)
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except HFValidationError as error:
        raise OSError(f"{repository!r} does not have the form OWNER/NAME") from error
    except GatedRepoError as error:
        raise OSError("its licence has to be accepted on its page there, then: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise OSError("there is no such repository, or it is private") from error
    except OSError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(lines[0]) from error


def fetched_if_there(repository: str, file: str, revision: str | None = None) -> Path | None:
    """Like `fetched`; None for a file that the repository has not."""
    try:
        return fetched(repository, file, revision)
    except OSError:
        return None


def cache_folder() -> str:
    """Where downloads from the Hub are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def check_connection(address: str) -> None:
    """Fail at once where there is no network: the Hub's own client would try for 47 seconds before it says so."""
    if urllib.request.getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return  # a proxy answers for all hosts; the client itself refuses in offline mode
    parts = urllib.parse.urlsplit(address)
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout=5).close()
    except OSError as error:
        raise OSError(f"no connection to {parts.hostname}") from error


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        ModelError: the file is missing, too large, or not an object.
    """
    path = folder / name
    try:
        _check_regular(path)
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f"{printable(path)} is larger than any model's settings; it is not opened")
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{printable(folder)} is damaged: {name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{printable(path)} is damaged ({printable(str(error), 80)})") from error
    if not isinstance(values, dict):
        raise ModelError(f"{printable(path)} is damaged: expected a JSON object, found {type(values).__name__}")
    return values


def finished(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds the model of a run that has come to its end."""
    path = _resolved(folder)
    return (path / MANIFEST).is_file() and not (path / CHECKPOINT).exists()


def recorded(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """The files about the run in a folder: its recipe, its split, its metrics and curves, as far as they are there."""
    found = {}
    for name in (SPLIT, FILES, RECIPE, METRICS, CURVES, SEEN, WORST, MISTAKES, ACCOUNT):
        with contextlib.suppress(OSError):
            path = Path(folder) / name
            if path.is_file() and path.stat().st_size <= _LARGEST_JSON:
                found[name] = path.read_bytes()
    return found


def fingerprints(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Size and checksum of each file that a run was fitted on; none if the folder does not tell."""
    try:
        values = json.loads(recorded(folder).get(FILES, b"{}"))
    except (ValueError, RecursionError):
        values = None
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}


def read_yaml(content: bytes | None) -> dict[str, Any]:
    """Settings from YAML; none if there is no such file or it is damaged."""
    import yaml

    try:
        values = yaml.safe_load(content or b"")
    except (ValueError, yaml.YAMLError):
        values = None
    return values if isinstance(values, dict) else {}


def _check_regular(path: Path) -> None:
    """Refuse what is no regular file: opening a pipe would wait for ever.

    Raises:
        ModelError: it is something else.
        FileNotFoundError: it is not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ModelError(f"{printable(path)} is no regular file; it is not opened")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after checking that this version can read it."""
    manifest = read_json(folder, MANIFEST)
    version = manifest.get("format")
    if type(version) is not int or version < 1:
        raise ModelError(
            f"{printable(folder / MANIFEST)} is no manifest of recipes (format {printable(str(version))!r})"
        )
    if version > FORMAT:
        wrote = printable(str(manifest.get("recipes")), 20)
        raise ModelError(
            f"{printable(folder)} was written by a newer recipes ({wrote}, format {version}; this one reads up to "
            f"{FORMAT}); upgrade with: pip install -U torch-recipes"
        )
    return manifest


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file, before any of them is read.

    Raises:
        ModelError: the file is missing or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_regular(path)
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{printable(path)} is missing") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{printable(path)} is no safetensors file ({printable(str(error), 80)})") from error


def read_weights(folder: Path, expected: str) -> dict[str, torch.Tensor]:
    """The weights of a model folder, if they are the ones that its manifest was written for.

    Args:
        folder: the model folder.
        expected: SHA-256 of the weights' file, in hexadecimal.

    Raises:
        ModelError: the file is missing, damaged, or another one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(_intact(folder, WEIGHTS, expected))
    except SafetensorError as error:
        raise ModelError(f"{printable(folder / WEIGHTS)} is damaged ({printable(str(error), 80)})") from error


def read_graph(folder: Path, expected: str) -> bytes:
    """The graph of a model folder that holds one in ONNX, if it is the one that its manifest was written for.

    Raises:
        ModelError: the file is missing, damaged, or another one.
    """
    return _intact(folder, ONNX, expected)


def _intact(folder: Path, name: str, expected: str) -> bytes:
    try:
        _check_regular(folder / name)
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"{printable(folder)} is damaged: {name} cannot be read ({error.strerror})") from error
    if digest(content) != expected:
        raise ModelError(f"{printable(folder)} is damaged: {name} is not the file that {MANIFEST} was written for")
    return content


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# The state of a run


def write_state(path: Path, state: Any) -> None:
    """Write nested plain values and tensors as one safetensors file, whole or not at all.

    The tensors are the file's tensors; where they belong stands as JSON in its header.

    Raises:
        OutputError: it cannot be written; what was there before stays.
    """
    import torch
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}

    def packed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            name = str(len(tensors))
            flat = value.detach().cpu()
            last = flat.dim() == 4 and not flat.is_contiguous()
            tensors[name] = flat.contiguous(memory_format=torch.contiguous_format).clone()
            return {"tensor": name, "last": last}
        if isinstance(value, Mapping):
            return {"items": [[packed(key), packed(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"list" if isinstance(value, list) else "tuple": [packed(item) for item in value]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise OutputError(
            f"a callback wants to keep a {type(value).__name__} in the checkpoint, which holds numbers, texts and "
            f"tensors alone; leave out=FOLDER away to train without checkpoints"
        )

    header = {"state": json.dumps(packed(state))}
    write_file(path, save(tensors, metadata=header))


def read_state(path: Path) -> Any:
    """What `write_state` wrote.

    Raises:
        ModelError: the file is damaged.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    def unpacked(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            tensor = file.get_tensor(value["tensor"])
            return tensor.contiguous(memory_format=torch.channels_last) if value["last"] else tensor
        if "items" in value:
            return {unpacked(key): unpacked(item) for key, item in value["items"]}
        return [unpacked(item) for item in value["list"]] if "list" in value else tuple(map(unpacked, value["tuple"]))

    try:
        with safe_open(path, framework="pt") as file:
            return unpacked(json.loads(file.metadata()["state"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{printable(path)} is damaged ({printable(str(error), 80)})") from error

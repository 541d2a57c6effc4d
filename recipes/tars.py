"""Tars in the form of webdataset, as `datasets` reads them, but all alike: what one shard may have, each may have."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import datasets
import pyarrow as pa
from datasets.features.features import cast_to_python_objects
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from datasets.utils.file_utils import xopen

from recipes import images
from recipes.archives import Header
from recipes.errors import DataError, printable

# So many examples of the first shard say which columns there are.
_FIRST = 20

# What the library adds to an example.
_KEYS = {"__key__", "__url__"}


def _text(content: bytes) -> str:
    return content.decode("utf-8").strip()


class Tars(WebDataset):  # type: ignore[misc]
    """The library's reader, whose columns do not hang on the first examples, and which notices damage.

    Labels in `.cls` are texts, because one shard may have numbers and another names. A picture with an ending that no
    column has goes where the others are.
    """

    DECODERS = {ending: _text if read is int else read for ending, read in WebDataset.DECODERS.items()}  # noqa: RUF012

    def _get_pipeline_from_tar(self, tar_path: str, tar_iterator: Any) -> Iterator[dict[str, Any]]:
        """The examples of a tar, which is opened here.

        Raises:
            DataError: it is cut off or damaged, or a file in it is not what its ending says.
        """
        latest = ""

        def files() -> Iterator[tuple[str, Any]]:
            nonlocal latest
            for latest, file in _files(tar_path):  # noqa: UP028, it must be known when the library fails
                yield latest, file

        examples = super()._get_pipeline_from_tar(tar_path, files())
        while True:
            try:
                example = next(examples, None)
            except DataError:
                raise
            except ValueError as error:
                twice = str(error).startswith("Duplicate field")
                said = f"{latest} comes twice" if twice else f"{latest} is not what its ending says: {error}"
                raise DataError(printable(said)) from None
            if example is None:
                return
            yield _into_columns(example, self.info.features or ())

    def _split_generators(self, dl_manager: Any) -> Any:
        """The library's, with the columns that the first examples have; of a tar without any, with none."""
        if not self.info.features:
            (path,) = dl_manager.download(self.config.data_files)["train"]
            self.info.features = self._features(list(islice(self._get_pipeline_from_tar(path, ()), _FIRST)))
        return super()._split_generators(dl_manager)

    def _features(self, examples: list[dict[str, Any]]) -> Any:
        columns: dict[str, None] = {}
        for example in examples:
            columns |= dict.fromkeys(_into_columns(example, columns))
        fullest = {*max(examples, key=len, default={})} - _KEYS
        kept = [example for example in examples if fullest & {*example}]  # and not a README.md
        names = [name for name in columns if any(name in example for example in kept)]
        rows = [{name: example.get(name) for name in names} for example in kept]
        try:
            schema = pa.Table.from_pylist(cast_to_python_objects(rows, only_1d_for_numpy=True)).schema
        except pa.ArrowException as error:
            raise DataError(f"its first examples differ in what a name stands for: {printable(str(error))}") from None
        found = datasets.Features.from_arrow_schema(schema)
        for kind in ("Image", "Audio", "Video", "Mesh"):
            endings = getattr(self, f"{kind.upper()}_EXTENSIONS", ())
            named = [name for name in found if name.rpartition(".")[2].lower() in endings]
            found.update({name: getattr(datasets, kind)() for name in named})
        return found or datasets.Features({name: datasets.Value("string") for name in sorted(_KEYS)})


def _into_columns(example: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """The example, a picture of which goes into the column of pictures that it lacks: `jpeg` into `jpg`."""
    for name in [name for name in example if name not in columns and _is_picture(name)]:
        free = (
            column
            for column in columns
            if column not in example and _is_picture(column) and _stem(column) == _stem(name)
        )
        if column := next(free, None):
            example[column] = example.pop(name)
    return example


def _is_picture(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in images.SUFFIXES


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _files(path: str) -> Iterator[tuple[str, Any]]:
    """The files in a tar here or elsewhere, one after the other; tars that were joined are read on.

    Raises:
        DataError: it is cut off.
        ReadError: it is damaged.
    """

    class Ending(Header):
        """With an end of its own."""

    with xopen(path, "rb", block_size=0) as file:
        # The stream of tarfile itself takes the end of a packed file on trust.
        packed = path.lower().endswith((".gz", ".tgz"))
        plain = gzip.GzipFile(fileobj=file) if packed else file
        with tarfile.open(fileobj=plain, mode="r|*", tarinfo=Ending, ignore_zeros=True) as archive:
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all
                parts = [part for part in member.name.split("/") if part != "."]
                if member.isreg() and not any(map(images.ignored, parts)) and not parts[-1].startswith("__"):
                    yield member.name, archive.extractfile(member)
    if not Ending.ended:
        raise DataError("it is cut off")

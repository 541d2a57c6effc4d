"""Data in shards, read a window for each epoch: what comes, that nothing is lost or seen twice, and what is refused."""

from __future__ import annotations

import functools
import gzip
import http.server
import io
import json
import socket
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COLOURS, QUICK, TINY, draw_picture
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch.utils.data import BatchSampler

from recipes import ImageClassifier, ImageRegressor, Segmenter, TextClassifier
from recipes.data import DataModule, EpochSampler, Share
from recipes.errors import DataError, OptionError
from recipes.examples import Examples, Reading, Splits
from recipes.presets import Preset
from recipes.streams import SHARDS, Held, digest, shards

datasets = pytest.importorskip("datasets")

WINDOW: dict[str, Any] = {**QUICK, "window": 24, "epochs": 3}


def draw_tar(path: Path, number: int, first: int = 0, names: tuple[str, ...] = ("blue", "green", "red")) -> Path:
    """A tar as webdataset has it: for each example a JPEG and, beside it, its label's name in JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for place in range(first, first + number):
            label, file = names[place % len(names)], io.BytesIO()
            draw_picture(COLOURS.get(label, (90, 90, 90)), place).save(file, "JPEG")
            for ending, content in (("jpg", file.getvalue()), ("json", json.dumps({"label": label}).encode())):
                member = tarfile.TarInfo(f"{place:05}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def files_in(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def draw_tars(folder: Path, number: int = 4, each: int = 12) -> str:
    for shard in range(number):
        draw_tar(folder / f"train-{shard}.tar", each, each * shard)
    return f"{folder}/train-*.tar"


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four shards of twelve pictures; they are only read."""
    return draw_tars(tmp_path_factory.mktemp("tars"))


def read(data: Any, val: Any = None, window: int = 24, **options: Any) -> Splits:
    return ImageClassifier(**TINY, **options).read(data, val, Reading(window=window))


def names(examples: Examples | None) -> list[str]:
    assert examples is not None
    return examples.called()


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "shards/train-*.tar",
        "train-{000..099}.tar",
        "https://host/a.tar",
        "s3://bucket/x/*.parquet",
        "texts-?.jsonl.gz",
        "hf://datasets/OWNER/NAME",
    ],
)
def test_a_name_that_can_only_mean_shards_does(name: str) -> None:
    assert SHARDS.match(name)


@pytest.mark.parametrize(
    "name", ["photos.tar", "photos/", "train.csv", "photos/*.jpg", "https://host/page.html", "C:\\a.tar"]
)
def test_a_name_of_one_file_or_folder_stays_what_it_is(name: str) -> None:
    assert not SHARDS.match(name)


def test_ranges_in_braces_name_shards_in_order() -> None:
    assert shards("s3://a/t-{08..11}.tar") == [f"s3://a/t-{number}.tar" for number in ("08", "09", "10", "11")]
    assert shards("s3://a/t-{11..08}.tar") == [f"s3://a/t-{number}.tar" for number in ("11", "10", "09", "08")]
    assert shards("s3://{a,b}/{0..1}.tar") == ["s3://a/0.tar", "s3://a/1.tar", "s3://b/0.tar", "s3://b/1.tar"]


def test_one_file_with_a_glob_in_its_name_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "data[1].csv"
    path.write_text("text,label\n" + "good one,a\nbad one,b\n" * 4)
    splits = TextClassifier(backbone="ngrams").read(str(path), None, Reading())
    assert len(splits.train) + len(splits.val) == 8
    assert splits.stream is None


# -- windows -----------------------------------------------------------------------------------------------------------


def test_the_same_stream_gives_the_same_windows(tars: str) -> None:
    one, other = (read(tars).stream for _ in range(2))
    for epoch in range(1, 6):
        assert names(one.window(epoch, 0, 1, epoch % 2 == 0)) == names(other.window(epoch, 0, 1, False))
    one.close()


def test_each_example_comes_once_in_a_pass_and_validation_never(tars: str) -> None:
    splits = read(tars)
    val = {digest(source) for source in splits.val.inputs}
    stream, seen = splits.stream, Counter[str](splits.train.called())
    assert len(val) == len(splits.val) > 3
    others = 48 - len(val)
    for epoch in range(1, 11):
        window = stream.window(epoch, 0, 1, False)
        assert len(window) == len(splits.train)
        assert not val.intersection(map(digest, window.inputs))
        seen.update(names(window))
    assert len(seen) == others
    rounds = 11 * len(splits.train) / others
    assert all(rounds - 1.5 <= number <= rounds + 1.5 for number in seen.values())
    splits = read(tars, window=18)  # of which two are less than a pass
    assert not {*names(splits.train), *names(splits.val)}.intersection(names(splits.stream.window(1, 0, 1, False)))


def test_splits_that_were_read_once_may_be_trained_on_several_times(tars: str) -> None:
    task, preset = ImageClassifier(**TINY), Preset()
    splits = task.read(tars, None, Reading(window=24))
    first = splits.train.called()
    codec, _ = task.make(splits, preset)
    each = []
    for _ in range(2):
        data = DataModule(splits, codec, preset)
        each.append([names(data.splits.stream.window(epoch, 0, 1, False)) for epoch in (1, 2)])
        assert data.splits is not splits
        assert splits.train.called() == first
    assert each[0] == each[1]


def test_a_stream_that_fits_into_one_window_is_an_ordinary_set(tars: str) -> None:
    splits = read(tars, window=100)
    assert splits.stream is None
    assert len(splits.train) + len(splits.val) == 48
    assert any("4 shards of" in note and "48 examples, which fit into one window" in note for note in splits.notes)


def test_pictures_of_a_window_are_held_as_they_are_encoded(tars: str) -> None:
    splits = read(tars)
    window = splits.stream.window(1, 0, 1, False)
    assert all(isinstance(source, Held) and source.fetch()[:3] == b"\xff\xd8\xff" for source in window.inputs)
    assert all(str(source).startswith("train-") for source in window.inputs)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_read_their_lanes_alone_and_together_see_the_batches_of_one(tars: str, world: int) -> None:
    whole = read(tars).stream
    each = [read(tars).stream for _ in range(world)]
    assert whole.lanes == 4
    for epoch in (1, 2, 3):
        sampler = EpochSampler(whole.window_size, 0, lanes=whole.lanes)
        sampler.set_epoch(epoch)
        batches = BatchSampler(sampler, 4 * world, False)
        alone = names(whole.window(epoch, 0, 1, False))
        wanted = [[alone[place] for _, place in batch] for batch in batches]
        assert sorted(name for batch in wanted for name in batch) == sorted(alone)
        shares = []
        for rank, stream in enumerate(each):
            own = names(stream.window(epoch, rank, world, False))
            assert len(own) == len(range(rank, whole.window_size, world))
            shares.append([[own[place // world] for _, place in batch] for batch in Share(batches, rank, world)])
        for number, batch in enumerate(wanted):
            for rank in range(world):
                assert shares[rank][number] == batch[rank::world]


# -- from fit to predict -----------------------------------------------------------------------------------------------


def test_a_classifier_is_fitted_on_shards_and_predicts(tars: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = ImageClassifier(**TINY).fit(tars, **{**WINDOW, "epochs": 5})
    assert task.codec is not None
    assert task.codec.labels == ("blue", "green", "red")
    assert [
        found.label for found in task.predict([draw_picture(COLOURS["red"], 900), draw_picture(COLOURS["blue"], 901)])
    ] == ["red", "blue"]
    assert "read 24 pictures of 4 shards as the first window; it has 3 labels" in " ".join(
        capsys.readouterr().err.split()
    )


def test_the_head_is_fitted_on_the_first_window_and_quick_needs_no_other(tars: str) -> None:
    task = ImageClassifier(**TINY).fit(tars, preset="quick", window=24, workers=0, quiet=True)
    assert task.history is not None
    assert task.history.epochs == []


def test_texts_in_jsonl_shards_are_learnt_window_by_window(tmp_path: Path) -> None:
    for shard in range(4):
        rows = [
            {
                "text": f"{'good fine' if at % 2 else 'bad poor'} thing {shard} {at} " * (1 + at % 5),
                "label": "ab"[at % 2],
            }
            for at in range(40)
        ]
        (tmp_path / f"part-{shard}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = TextClassifier(backbone="ngrams").fit(
        f"{tmp_path}/part-{{0..3}}.jsonl",
        epochs=4,
        window=64,
        batch_size=8,
        find_batch_size=False,
        workers=0,
        quiet=True,
    )
    assert [found.label for found in task.predict(["bad poor thing", "good fine thing"])] == ["a", "b"]


def test_parquet_knows_all_labels_and_numbers_are_learnt_too(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["blue", "green", "red"]),
            "age": datasets.Value("float32"),
        }
    )
    for shard in range(2):
        rows = [
            {
                "image": draw_picture(list(COLOURS.values())[at % 3 if shard else at % 2], at + 50 * shard),
                "label": at % 3 if shard else at % 2,
                "age": at / 2,
            }
            for at in range(20)
        ]
        datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / f"p{shard}.parquet")
    files = f"{tmp_path}/p*.parquet"
    splits = ImageClassifier(**TINY, label="label").read(files, None, Reading(window=12))
    assert splits.train.labels == ("blue", "green", "red")
    numbers = ImageRegressor(**TINY, label="age").read(files, None, Reading(window=12))
    assert all(isinstance(target, float) for target in numbers.stream.window(1, 0, 1, False).targets)


def test_a_data_set_without_a_length_is_windowed_with_its_own_splits(tmp_path: Path) -> None:
    rows = [
        {"image": draw_picture(list(COLOURS.values())[at % 3], at), "label": sorted(COLOURS)[at % 3]}
        for at in range(36)
    ]
    parts = {
        "train": datasets.Dataset.from_list(rows[:30]).to_iterable_dataset(num_shards=5),
        "validation": datasets.Dataset.from_list(rows[30:]).to_iterable_dataset(),
    }
    splits = read(datasets.IterableDatasetDict(parts), window=15)
    assert len(splits.train) == 15
    assert len(splits.val) == 6
    assert splits.stream.lanes == 1
    seen = [name for epoch in range(1, 2) for name in names(splits.stream.window(epoch, 0, 1, False))]
    assert len({*seen}) == 15

    def loud(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "label": row["label"].upper()}

    with pytest.raises(DataError, match=r"does not know its columns; .*features=ds.features"):
        read(parts["train"].map(loud), window=12)
    mapped = read(parts["train"].map(loud, features=parts["train"].features), window=12)
    assert mapped.train.labels == ("BLUE", "GREEN", "RED")
    assert len(mapped.stream.window(1, 0, 1, False)) == len(mapped.train)


def test_validation_may_be_shards_of_its_own(tars: str, tmp_path: Path) -> None:
    for shard in range(2):
        draw_tar(tmp_path / f"val-{shard}.tar", 20, 500 + 20 * shard)
    splits = read(tars, f"{tmp_path}/val-*.tar")
    assert len(splits.train) == len(splits.val) == 24
    assert any("took 24 examples of" in note and "it has more" in note for note in splits.notes)


def test_images_with_masks_come_from_shards_too(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"train-{shard}.tar", "w") as tar:
            for place in range(10):
                picture, mask = draw_picture((20, 30, 40), place + 10 * shard), np.zeros((32, 40), np.uint8)
                mask[4:20, place : place + 15] = 1
                picture.paste((250, 240, 0), (place, 4, place + 15, 20))
                for ending, drawn in (("png", picture), ("mask.png", Image.fromarray(mask))):
                    file = io.BytesIO()
                    drawn.save(file, "PNG")
                    member = tarfile.TarInfo(f"{shard}{place}.{ending}")
                    member.size = len(file.getvalue())
                    tar.addfile(member, io.BytesIO(file.getvalue()))
    task = Segmenter(backbone="resnet18", pretrained=False, size=32)
    splits = task.read(f"{tmp_path}/train-*.tar", None, Reading(window=10))
    assert len(splits.train.labels) == 2
    assert len(splits.stream.window(1, 0, 1, False)) == len(splits.train) == 8
    settings = {**WINDOW, "window": 10, "lr": 1e-3, "epochs": 2, "quiet": True}
    task.fit(f"{tmp_path}/train-*.tar", **settings)
    assert task.history is not None
    assert len(task.history.epochs) == 2


def test_shards_here_are_read_without_asking_anybody(tars: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host: asked.append(host) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, host: asked.append(host))
    assert len(read(tars).stream.window(1, 0, 1, False)) > 9
    assert asked == []


@pytest.fixture
def address(tars: str) -> Iterator[str]:
    """Where a server on this machine has the shards."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    handler = functools.partial(Quiet, directory=str(Path(tars).parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_behind_an_address_give_what_files_give(tars: str, address: str) -> None:
    there, here = read(f"{address}/train-{{0..3}}.tar"), read(tars)
    assert names(there.train) == names(here.train)
    assert names(there.stream.window(1, 0, 1, False)) == names(here.stream.window(1, 0, 1, False))


@pytest.mark.slow
def test_two_processes_end_where_one_ends(tars: str, tmp_path: Path) -> None:
    calm: dict[str, Any] = {**WINDOW, "epochs": 2, "optimizer": "sgd", "accelerator": "cpu", "quiet": True}
    vit = {**TINY, "backbone": "test_vit"}
    alone = ImageClassifier(**vit).fit(tars, **calm)
    together = ImageClassifier(**vit).fit(tars, devices=2, out=tmp_path / "model", **calm)
    assert alone.history is not None
    assert together.history is not None
    for one, two in zip(alone.history.epochs, together.history.epochs, strict=True):
        for score in ("train_loss", "val_loss"):
            assert two[score] == pytest.approx(one[score], rel=1e-3, abs=1e-4)


# -- a run that is taken up again --------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_with_the_windows_it_would_have_had(tars: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Kill(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 3:
                raise Killed

    settings = {**WINDOW, "epochs": 5, "quiet": True}
    whole = ImageClassifier(**TINY).fit(tars, out=tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        ImageClassifier(**TINY).fit(tars, out=tmp_path / "cut", callbacks=[Kill()], **settings)
    again = ImageClassifier(**TINY).fit(tars, out=tmp_path / "cut", resume=True, **settings)
    assert again.history is not None
    assert whole.history is not None
    assert len(again.history.epochs) == 5
    losses = [[row["train_loss"] for row in task.history.epochs] for task in (whole, again)]
    assert losses[0] == losses[1]
    for one, other in zip(whole.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert one.equal(other)


def test_a_run_is_not_resumed_with_other_shards(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path / "tars")
    splits = read(tars)
    before = dict(splits.fingerprints)
    draw_tar(tmp_path / "tars" / "train-4.tar", 12, 48)
    assert read(tars).fingerprints.keys() - before.keys() == {str(tmp_path / "tars" / "train-4.tar")}


def test_a_state_is_where_the_next_window_begins(tars: str) -> None:
    splits, other = read(tars), read(tars)
    windows = [names(splits.stream.window(epoch, 0, 1, True)) for epoch in range(1, 4)]
    state = splits.stream.state()
    other.stream.go_on(**json.loads(json.dumps(state)))
    assert other.stream.window(2, 0, 1, False) is None  # which is over
    assert names(other.stream.window(4, 0, 1, False)) == names(splits.stream.window(4, 0, 1, False))
    assert len(windows) == 3


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_labels_that_the_first_window_did_not_have_are_counted_and_named(tmp_path: Path) -> None:
    for shard in range(3):
        draw_tar(
            tmp_path / f"train-{shard}.tar",
            12,
            12 * shard,
            ("blue", "green", "red") if shard == 1 else ("blue", "green"),
        )
    stream = next(
        stream
        for seed in range(9)
        if (
            stream := ImageClassifier(**TINY)
            .read(f"{tmp_path}/train-*.tar", None, Reading(seed=seed, window=12))
            .stream
        ).labels
        == ("blue", "green")
    )
    for epoch in range(1, 5):
        assert len(stream.window(epoch, 0, 1, False)) == stream.window_size
    (line,) = stream.summary()
    assert "of later windows, whose labels the first window did not have: train-1.tar:000" in line


def test_a_shard_that_is_cut_off_stops_the_first_window_and_not_the_others(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path, 4, 12)
    splits = read(tars, window=12)
    cut = tmp_path / "train-2.tar"
    cut.write_bytes(cut.read_bytes()[:20_000])
    for epoch in range(1, 7):
        assert len(splits.stream.window(epoch, 0, 1, False)) == len(splits.train)
    (line,) = splits.stream.summary()
    assert "1 shard of 4 could not be read to the end: train-2.tar (" in line
    with pytest.raises(DataError, match=r"the shard train-2.tar cannot be read \(.*\); repair it, or take it away"):
        read(tars, window=48)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path, packed: bool) -> None:
    draw_tars(tmp_path, 4, 12)
    with tarfile.open(tmp_path / "train-2.tar") as tar:
        place = tar.getmembers()[10].offset
    content = bytearray((tmp_path / "train-2.tar").read_bytes())
    content[place : place + 100] = b"\xff" * 100
    (tmp_path / "train-2.tar").write_bytes(content)
    if packed:
        for path in tmp_path.glob("*.tar"):
            path.with_suffix(".tar.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    with pytest.raises(DataError, match=r"the shard train-2.tar\S* cannot be read \(ReadError: bad checksum\); repair"):
        read(f"{tmp_path}/train-*.tar{'.gz' * packed}", window=48)


def test_a_packed_shard_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    draw_tars(tmp_path, 2, 12)
    with tarfile.open(tmp_path / "train-1.tar") as tar:
        place = tar.getmembers()[10].offset
    for path in tmp_path.glob("*.tar"):
        content = path.read_bytes()[: place if "1" in path.name else None]
        path.with_suffix(".tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"the shard train-1.tar.gz cannot be read \(it is cut off\)"):
        read(f"{tmp_path}/train-*.tar.gz", window=48)


@pytest.mark.parametrize("place", [0, 1])
def test_tars_that_were_joined_are_read_to_the_end(tmp_path: Path, place: int) -> None:
    draw_tars(tmp_path, 3, 12)
    with (tmp_path / f"train-{place}.tar").open("ab") as file:
        file.write((tmp_path / "train-2.tar").read_bytes())
    (tmp_path / "train-2.tar").unlink()
    splits = read(f"{tmp_path}/train-*.tar", window=48)
    assert len(splits.train) + len(splits.val) == 36


@pytest.mark.parametrize("shard", [0, 2])
def test_pictures_of_all_endings_are_one_column_in_every_shard(tmp_path: Path, shard: int) -> None:
    tars = draw_tars(tmp_path, 4, 12)
    path = tmp_path / f"train-{shard}.tar"
    named = {
        name.replace(".jpg", ".jpeg") if place % 4 == 0 else name: content
        for place, (name, content) in enumerate(files_in(path).items())
    }
    write_tar(path, named)
    splits = read(tars, window=48)
    assert len(splits.train) + len(splits.val) == 48


@pytest.mark.parametrize("shard", [0, 2])
def test_what_is_odd_in_a_shard_is_taken_alike_in_the_first_and_in_later_ones(tmp_path: Path, shard: int) -> None:
    tars = draw_tars(tmp_path, 4, 12)
    path = tmp_path / f"train-{shard}.tar"
    files = files_in(path)
    del files[next(name for name in files if name.endswith(".json"))]
    write_tar(path, {"._00000.jpg": b"x", "README.md": b"About these", **files})
    splits = read(tars, window=60)
    assert len(splits.train) + len(splits.val) == 47
    notes = "\n".join(splits.notes)
    assert f"left out 1 row of train-*.tar with no picture: train-{shard}.tar:README" in notes
    assert f"with no label: train-{shard}.tar:README, train-{shard}.tar:000{12 * shard:02}" in notes


@pytest.mark.parametrize("shard", [0, 2])
def test_an_empty_shard_is_counted(tmp_path: Path, shard: int) -> None:
    tars = draw_tars(tmp_path, 4, 12)
    write_tar(tmp_path / f"train-{shard}.tar", {})
    splits = read(tars, window=60)
    assert len(splits.train) + len(splits.val) == 36
    assert f"1 shard of 4 without an example: train-{shard}.tar" in splits.notes
    stream = read(tars, window=12).stream
    for epoch in range(1, 7):
        stream.window(epoch, 0, 1, False)
    assert f"1 shard of 4 without an example: train-{shard}.tar" in stream.summary()


def test_labels_in_cls_may_be_names(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path, 2, 12)
    for path in tmp_path.glob("*.tar"):
        labels = {"json": "cls", "jpg": "jpg"}
        named = {f"{name[:6]}{labels[name[6:]]}": content for name, content in files_in(path).items()}
        texts = {
            name: json.loads(content)["label"].encode() + b"\n" for name, content in named.items() if "cls" in name
        }
        write_tar(path, named | texts)
    assert read(tars, window=30).train.labels == ("blue", "green", "red")


def test_a_file_that_is_not_what_its_ending_says_is_named(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path, 2, 12)
    write_tar(tmp_path / "train-0.tar", files_in(tmp_path / "train-0.tar") | {"00001.json": b"{oops"})
    with pytest.raises(DataError, match=r"the shard \S*train-0.tar cannot be read \(00001.json is not what its ending"):
        read(tars)


def test_a_first_window_that_is_too_small_is_told_from_the_data(tmp_path: Path) -> None:
    for shard, label in enumerate(["blue", "green"]):
        draw_tar(tmp_path / f"train-{shard}.tar", 12, 12 * shard, (label,))
    hint = r"; that is the first window \(%d examples?\) alone: take a larger one \(--window\)$"
    draw_tar(tmp_path / "val.tar", 4, 90, ("blue", "green", "red"))
    draw_tar(tmp_path / "odd-0.tar", 12, 0, ("blue", "green"))
    with pytest.raises(DataError, match="one label only, blue; two or more are needed" + hint % 3):
        read(f"{tmp_path}/train-{{0,0}}.tar", window=3)
    with pytest.raises(DataError, match="1 label that training did not know: red.*" + hint % 9):
        read(f"{tmp_path}/odd-[0].tar", f"{tmp_path}/va[l].tar", window=9)


def test_one_shard_by_its_plain_name_is_told_how_to_be_one(tmp_path: Path) -> None:
    files = files_in(draw_tar(tmp_path / "drawn.tar", 12))
    texts = {name[:6] + "txt": json.loads(files[name])["label"].encode() for name in files if "json" in name}
    pictures = {name: files[name] for name in files if "jpg" in name}
    write_tar(tmp_path / "train-0.tar", dict(sorted((pictures | texts).items())))
    with pytest.raises(DataError, match=r"train-0.tar holds 12 pictures but no folders for labels") as caught:
        read(tmp_path / "train-0.tar")
    assert str(caught.value).startswith(f"{tmp_path}/train-0.tar ")
    named = f"{tmp_path}/train-[0].tar"
    assert str(caught.value).endswith(f"; or read it as a shard of webdataset: '{named}'")
    assert len(read(named).train) > 0


def test_copies_in_shards_are_told_to_the_byte(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path, 2, 12)
    files = files_in(tmp_path / "train-0.tar")
    write_tar(tmp_path / "train-1.tar", {f"1{name}": content for name, content in files.items()})
    notes = "\n".join(read(tars, window=30).notes)
    assert "12 pictures of 24 for training repeat others with the same label, 12 of them byte for byte" in notes


def test_a_picture_that_cannot_be_read_later_is_named_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tars = draw_tars(tmp_path, 4, 8)
    with tarfile.open(tmp_path / "train-2.tar", "a") as tar:
        for ending, content in (("jpg", b"\xff\xd8\xff no more"), ("json", b'{"label": "red"}')):
            member = tarfile.TarInfo(f"99999.{ending}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    ImageClassifier(**TINY).fit(tars, **{**WINDOW, "window": 16, "epochs": 5})
    said = capsys.readouterr().err
    assert "warning: 1 files could not be read during training: train-2.tar:99999" in said


def test_a_stream_whose_shards_have_all_gone_ends_the_run_with_one_line(tmp_path: Path) -> None:
    tars = draw_tars(tmp_path, 2, 12)
    stream = read(tars, window=12).stream
    stream.close()
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    with pytest.raises(DataError, match=r"no shard of .* gives examples any more \(train-.*FileNotFoundError"):
        stream.window(3, 0, 1, False)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("train-*.tar", "no shard is called .*train-\\*.tar"),
        ("train-{0..3}.tar", "of 4 shards in .* missing: .*train-0.tar"),
        ("http://127.0.0.1:9/train-{0..1}.tar", r"http://127.0.0.1:9/train-0.tar cannot be read \("),
        ("nowhere://a/train-{0..1}.tar", "cannot be read .*[Pp]rotocol"),
        ("s3://bucket/folder", "s3://bucket/folder names no shards; they end in .tar"),
    ],
)
def test_shards_that_are_not_there_are_refused_in_one_line(tmp_path: Path, data: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        ImageClassifier(**TINY).fit(data if "://" in data else f"{tmp_path}/{data}", **QUICK)
    assert "\n" not in str(caught.value)


def test_what_windows_cannot_keep_is_refused(tars: str) -> None:
    with pytest.raises(OptionError, match="group='folder' cannot be kept"):
        ImageClassifier(**TINY, group="folder").fit(tars, quiet=True, **WINDOW)
    with pytest.raises(OptionError, match="sampler='balanced' would draw from one window"):
        ImageClassifier(**TINY).fit(tars, quiet=True, sampler="balanced", **WINDOW)
    with pytest.raises(OptionError, match="window=0 cannot be"):
        Preset(window=0)


def test_shards_without_labels_are_refused(tmp_path: Path) -> None:
    for shard in range(2):
        (tmp_path / f"t{shard}.jsonl").write_text(
            "".join(json.dumps({"text": f"some words {at}"}) + "\n" for at in range(9))
        )
    with pytest.raises(DataError, match="has no column of labels"):
        TextClassifier(backbone="ngrams").fit(f"{tmp_path}/t*.jsonl", quiet=True)

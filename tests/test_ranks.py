"""Several processes: they end where one process ends, agree on everything, write once, and end together."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

import recipes
from recipes import ImageClassifier, Preset, accounts, ranks
from recipes.data import EpochSampler, LengthBatches, Share
from recipes.demo import draw_messages, draw_scenes
from recipes.errors import OptionError

VIT: dict[str, Any] = {"backbone": "test_vit", "pretrained": False, "size": 32}
CALM: dict[str, Any] = {
    **QUICK,
    "epochs": 2,
    "optimizer": "sgd",
    "accelerator": "cpu",
    "patience": 0,
    "cache": False,
}

# Runs in one process, and in two that torchrun has started: one start for all of them, because a start takes seconds.
SCRIPT = """
import os, sys, torch
from pathlib import Path
from recipes import ImageClassifier, ImageRegressor, Segmenter, TextClassifier, tiles
from test_ranks import CALM, SHARED_OUT, VIT, Stop

torch.set_num_threads(1)
data, out = sys.argv[1:]
rank = os.environ.get("RANK", "0")

def run(name, task, folder, **settings):
    before = sum(os.times()[:4])
    task.fit(f"{data}/{folder}", **{**CALM, "out": f"{out}/{name}", **settings})
    Path(f"{out}/{name}-{rank}.cpu").write_text(str(sum(os.times()[:4]) - before))
    torch.save((task.network.state_dict(), task.codec), f"{out}/{name}-{rank}.pt")

run("pictures", ImageClassifier(**VIT), "photos")
run("weighed", ImageClassifier(**VIT), "photos", class_weights="balanced", accumulate=2, ema=0.9)
run("several", ImageClassifier(**VIT, multi_label=True), "several.csv", epochs=1, find_batch_size=True)
run("head", ImageClassifier(**VIT), "photos", head_first=True, epochs=1, lr=1e-3)
run("norms", ImageClassifier(**{**VIT, "backbone": "test_resnet"}), "photos", epochs=1)
run("numbers", ImageRegressor(**VIT), "numbers.csv")
run("ngrams", TextClassifier(backbone="ngrams"), "messages.csv", epochs=1, find_batch_size=False)
run("masks", Segmenter(backbone="test_resnet", pretrained=False), "scenes", epochs=1)
if "RANK" in os.environ:  # two processes are stopped and go on, one runs through
    run("shared-out", ImageClassifier(**VIT), "photos", callbacks=[Stop(f"{out}/share-{rank}")], **SHARED_OUT)
run("shared-out", ImageClassifier(**VIT), "photos", resume=True, **SHARED_OUT)
tiles.TILE, tiles.OVERLAP = 64, 16
run("shared-masks", Segmenter(backbone="test_resnet", pretrained=False), "tall", epochs=1, strategy="fsdp")
run("time", ImageClassifier(**VIT), "photos", epochs=10_000, time="1s")
"""

RUNS = ("pictures", "weighed", "several", "head", "norms", "numbers", "ngrams", "masks", "shared-out", "shared-masks")

# All that weights and an optimizer's state in parts could do otherwise.
SHARED_OUT: dict[str, Any] = {
    "strategy": "fsdp",
    "epochs": 3,
    "optimizer": "adamw",
    "lr": 1e-3,
    "layer_decay": 0.7,
    "clip_grad": 0.5,
    "accumulate": 2,
    "ema": 0.9,
    "freeze": 1,
}


class Stop(Callback):
    """Notes what share of the weights this process keeps, and stops the run as Ctrl-C does."""

    def __init__(self, note: str) -> None:
        self.note = note

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights: list[Any] = list(pl_module.parameters())
        kept, whole = sum(one.to_local().numel() for one in weights), sum(one.numel() for one in weights)
        Path(self.note).write_text(str(kept / whole))
        if trainer.is_global_zero:
            os.kill(os.getpid(), signal.SIGINT)


def environment() -> dict[str, str]:
    tests = Path(__file__).parent
    return {
        **os.environ,
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]


def port() -> str:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set for each kind of task; their sizes leave uneven last batches."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "photos").symlink_to(photos)
    pictures = sorted(photos.glob("*/*.png"))
    for name, header, value in (
        ("several.csv", ["image", "labels"], lambda path, number: f"{path.parent.name}|{'ab'[number % 2]}"),
        ("numbers.csv", ["image", "value"], lambda path, number: len(path.parent.name) + number / 100),
    ):
        with open(folder / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([os.fspath(path), value(path, number)] for number, path in enumerate(pictures))
    draw_messages(folder / "messages.csv", 45, seed=0)
    draw_scenes(folder / "scenes", 9, seed=0, size=64)
    draw_scenes(folder / "tall", 9, seed=0, size=64)
    for path in (folder / "tall").glob("*/*[02468].png"):  # of some images there are more tiles than of others
        with Image.open(path) as picture:
            picture.resize((64, 160), Image.Resampling.NEAREST).save(path)
    return folder


@pytest.fixture(scope="module")
def alone_and_together(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The folders of all runs by one process and by two, and what the two said."""
    folder = tmp_path_factory.mktemp("runs")
    script = folder / "runs.py"
    script.write_text(SCRIPT)
    commands = {
        "alone": [sys.executable, str(script), str(data), str(folder / "alone")],
        "together": [*TORCHRUN, port(), str(script), str(data), str(folder / "together")],
    }
    said = {}
    for name, command in commands.items():
        (folder / name).mkdir()
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        said[name] = done.stderr
    return folder / "alone", folder / "together", said["together"]


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv") as file:
        found = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name != "examples_per_second"} for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_end_where_one_ends(name: str, alone_and_together: tuple[Path, Path, str]) -> None:
    alone, together, _ = alone_and_together
    for one, two in zip(rows(alone / name), rows(together / name), strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-4)
    states = [torch.load(folder / f"{name}-0.pt", weights_only=False)[0] for folder in (alone, together)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key].float(), value.float(), rtol=2e-3, atol=2e-3)
    manifests = [json.loads((folder / name / "recipe.json").read_text()) for folder in (alone, together)]
    assert manifests[0]["history"]["best_epoch"] == manifests[1]["history"]["best_epoch"]
    assert manifests[1]["scores"] == pytest.approx(manifests[0]["scores"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RUNS, "time"])
def test_every_process_has_the_fitted_model(name: str, alone_and_together: tuple[Path, Path, str]) -> None:
    folder = alone_and_together[1]
    (first, codec), (second, other) = (torch.load(folder / f"{name}-{rank}.pt", weights_only=False) for rank in (0, 1))
    assert codec == other
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_one_process_speaks_and_writes_for_all(alone_and_together: tuple[Path, Path, str]) -> None:
    alone, together, said = alone_and_together
    assert said.count("\nepoch 1/1 ") == 6  # several, head, norms, ngrams, masks, shared-masks
    assert said.count(f"saved to {together / 'norms'};") == 1
    for name in RUNS:
        assert {path.name for path in (together / name).iterdir()} == {path.name for path in (alone / name).iterdir()}


@pytest.mark.slow
def test_each_process_keeps_half_of_what_is_shared_out(alone_and_together: tuple[Path, Path, str]) -> None:
    shares = [float((alone_and_together[1] / f"share-{rank}").read_text()) for rank in (0, 1)]
    assert sum(shares) == pytest.approx(1)
    assert max(shares) < 0.6  # what has one row, such as a bias of a normalisation's kind, is with the first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pictures", "shared-masks"])
def test_one_account_counts_what_all_processes_took(name: str, alone_and_together: tuple[Path, Path, str]) -> None:
    folder = alone_and_together[1]
    took = [float((folder / f"{name}-{rank}.cpu").read_text()) for rank in (0, 1)]
    account = json.loads((folder / name / "account.json").read_text())
    assert max(took) < account["cpu_seconds"] <= sum(took)
    assert account["energy_wh"] > account["cpu_seconds"] * accounts.core_watts()[0] / 3600


@pytest.mark.slow
def test_processes_that_see_different_data_do_not_begin(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os, recipes.ranks\n"
        "from recipes.cli import main\n"
        "recipes.ranks.once_per_machine = lambda find: find()  # as on two machines\n"
        "data = os.environ['DATA'] + ('' if os.environ['RANK'] == '0' else '-other')\n"
        f"raise SystemExit(main(['fit', 'image-classifier', data, '--out', r'{tmp_path / 'model'}', '--pretrained', "
        "'false', '--backbone', 'test_vit', '--size', '32', '--batch-size', '4', '--accelerator', 'cpu']))\n"
    )
    (tmp_path / "photos").symlink_to(photos)
    other = tmp_path / "photos-other"
    for path in photos.glob("*/*.png"):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        (other / path.parent.name / path.name).write_bytes(path.read_bytes())
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(other / "red" / "0.png")
    done = subprocess.run(
        [*TORCHRUN, port(), str(script)],
        env={**environment(), "DATA": str(tmp_path / "photos")},
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: process 1 (on ")
    assert "are not those of process 0" in errors[0]
    assert "red" in errors[0]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("setting", ["seed", "lr", "batch_size", "size"])
def test_processes_with_other_settings_do_not_begin(setting: str, photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os\n"
        "from recipes.cli import main\n"
        f"others = {{'seed': '1', 'lr': '0.1', 'batch_size': '64', 'size': '64'}}['{setting}']\n"
        f"other = ['--{setting.replace('_', '-')}', others] if os.environ['RANK'] == '1' else []\n"
        f"raise SystemExit(main(['fit', 'image-classifier', r'{photos}', '--out', r'{tmp_path / 'model'}', *other, "
        "'--pretrained', 'false', '--backbone', 'test_vit', '--accelerator', 'cpu']))\n"
    )
    done = subprocess.run([*TORCHRUN, port(), str(script)], env=environment(), capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: process 1 (on ")
    assert f"): {setting}=" in errors[0]
    assert errors[0].endswith(" in process 0; start all with the same command")
    assert not (tmp_path / "model").exists()


# ---------------------------------------------------------------------------------------------------------------------
# Processes that recipes starts itself


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long run of two processes from a script without a guard, in its second epoch."""
    process = start(photos, tmp_path, "")
    wait_for(tmp_path / "model" / "metrics.csv", process)
    yield process
    process.kill()
    process.wait()


def start(photos: Path, folder: Path, more: str, devices: int = 2) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(
        "from recipes import ImageClassifier\n"
        "from recipes.cli import main\n"
        "from test_ranks import CALM, VIT\n"
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "torch.ones(500, 500) @ torch.ones(500, 500)\n"
        "try:\n"
        f"    task = ImageClassifier(**VIT).fit(r'{photos}', out=r'{folder / 'model'}', "
        f"**{{**CALM, 'epochs': 30, 'devices': {devices}}}{more})\n"
        "except Exception as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error}')\n"
        f"print(task.predict(r'{photos / 'red' / '0.png'}')[0].label, len(task.history.epochs), task.history.stopped)\n"
    )
    return subprocess.Popen(
        [sys.executable, str(script)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def workers(process: subprocess.Popen[str]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(number) for number in found]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_killed_process_ends_the_run_and_the_run_goes_on_to_the_same_end(
    run: subprocess.Popen[str], photos: Path, tmp_path: Path
) -> None:
    os.kill(workers(run)[1], signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("TrainingError: process 1 of 2 was ended by SIGKILL, and the run with it; to go on")
    done = len(rows(tmp_path / "model"))
    again = start(photos, tmp_path, ", resume=True")
    shown, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert done < 30
    assert shown.split() == ["red", "30", "None"]
    whole = ImageClassifier(**VIT).fit(photos, **{**CALM, "epochs": 30}, quiet=True)
    for one, two in zip(whole.history.epochs, rows(tmp_path / "model"), strict=True):
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals of POSIX")
def test_ctrl_c_stops_all_processes_and_keeps_the_best(run: subprocess.Popen[str], tmp_path: Path) -> None:
    run.send_signal(signal.SIGINT)
    shown, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    label, epochs, stopped = shown.split()
    assert label in ("blue", "green", "red")
    assert int(epochs) < 30
    assert stopped == "SIGINT"
    assert said.count("SIGINT: stopping after this step") == 1
    assert (tmp_path / "model" / "recipe.json").exists()
    assert (tmp_path / "model" / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_the_shell_shares_a_network_out(photos: Path, tmp_path: Path) -> None:
    options = {**VIT, **CALM, "epochs": 1, "devices": 2, "strategy": "fsdp", "optimizer": "adamw"}
    told = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value).lower())]
    command = [
        sys.executable,
        "-m",
        "recipes",
        "fit",
        "image-classifier",
        str(photos),
        "--out",
        str(tmp_path / "model"),
    ]
    done = subprocess.run([*command, *told], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert recipes.load(tmp_path / "model").predict(photos / "red" / "0.png")[0].label in ("blue", "green", "red")
    told[told.index("adamw")] = "mars"
    done = subprocess.run([*command, "--overwrite", *told], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: optimizer='mars' cannot work on weights that are shared out (")


@pytest.mark.slow
def test_what_one_process_raises_is_raised_where_fit_was_called(photos: Path, capfd: Any) -> None:
    with pytest.raises(OptionError, match="there is no setting 'nonsense'"):
        ImageClassifier(**VIT).fit(photos, devices=2, nonsense=1, **CALM)


# ---------------------------------------------------------------------------------------------------------------------
# Predicting


@pytest.mark.slow
def test_two_processes_predict_every_input_once_and_in_order(model_folder: Path, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [*map(str, sorted(photos.glob("*/*.png"))), str(broken), str(photos / "red" / "0.png")]
    task = recipes.load(model_folder)
    alone = list(task.predict_each(iter(paths), batch_size=3))
    together = list(task.predict_each(iter(paths), batch_size=3, devices=2))
    assert [one.file for one in together] == paths
    assert [one.error for one in together] == [one.error for one in alone]
    assert [one.label for one in together] == [one.label for one in alone]
    command = [sys.executable, "-m", "recipes", "predict", str(model_folder), str(photos), "--format", "csv"]
    rows = [subprocess.run([*command, *more], capture_output=True, check=True) for more in ([], ["--devices", "2"])]
    assert rows[0].stdout == rows[1].stdout


@pytest.mark.parametrize(
    ("devices", "words"),
    [(10_000, "devices=10000, but this process sees"), (0, "devices=0 cannot be"), (-1, "devices=-1")],
)
def test_more_devices_than_there_are_or_none_do_not_predict(
    devices: int, words: str, fitted: ImageClassifier, photos: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        fitted.predict(photos, devices=devices)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, in one line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": 10_000}, r"devices=10000, but this process sees \d+ cores?; take devices=\d+"),
        ({"devices": 2, "batch_size": 5}, "batch_size=5 is the batch of all 2 processes.*; take 4 or 6"),
        ({"num_nodes": 2}, "num_nodes=2 needs a launcher .*torchrun"),
        ({"strategy": "dpp"}, "there is no strategy 'dpp'; did you mean ddp"),
        ({"strategy": "deepspeed"}, "strategy='deepspeed' needs the package deepspeed"),
        ({"strategy": "ddp_spawn"}, "recipes starts the processes itself; take ddp"),
        ({"strategy": "fsdp", "devices": 2, "precision": "fp16"}, "strategy='fsdp' goes with precision=bf16 or 32"),
        ({"strategy": "fdsp"}, "there is no strategy 'fdsp'; did you mean fsdp"),
        ({"devices": 0}, "devices=0 cannot be: it is at least 1"),
    ],
)
def test_what_cannot_work_is_refused_at_once(settings: dict[str, Any], words: str, photos: Path) -> None:
    if settings.get("devices") == 2 and (os.cpu_count() or 1) < 2:
        pytest.skip("one core")
    with pytest.raises(OptionError, match=words):
        ImageClassifier(**VIT).fit(photos, **{**CALM, **settings})


def test_a_kind_of_device_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match="there is no accelerator 'gpu' here; take auto or cpu"):
        ImageClassifier(**VIT).fit(photos, **{**CALM, "devices": 2, "accelerator": "gpu"})


def test_a_launcher_with_another_number_of_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "x"}
    for name, value in {**told, "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert ranks.here() == ranks.Place(1, 4, 1, 2)
    assert ranks.here().nodes == 2
    with pytest.raises(OptionError, match="devices=4, but the launcher has started 2 processes on each of 2 machines"):
        ranks.check(Preset(devices=4))
    with pytest.raises(OptionError, match="num_nodes=3, but the launcher"):
        ranks.check(Preset(num_nodes=3))


def test_what_is_defined_in_the_script_cannot_be_sent(photos: Path, tmp_path: Path) -> None:
    code = (
        "from pytorch_lightning import Callback\n"
        "from recipes import ImageClassifier\n"
        "from test_ranks import CALM, VIT\n"
        "class Own(Callback): pass\n"
        f"ImageClassifier(**VIT).fit(r'{photos}', devices=2, callbacks=[Own()], **CALM)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert "OptionError: with devices of 2 or more, what is defined in the script" in done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# Places and shares


def test_srun_tells_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"PROCID": 5, "STEP_NUM_TASKS": 8, "STEP_NUM_NODES": 2, "LOCALID": 1}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert ranks.here() == ranks.Place(5, 8, 1, 4)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")  # a batch script that runs without srun
    assert ranks.here() == ranks.Place()


def test_shares_make_up_the_batches() -> None:

    arrays = [np.zeros((1, 1, length), np.int32) for length in (3, 50, 4, 9, 9, 30, 8, 2, 2, 5, 6)]
    sampler = EpochSampler(len(arrays), seed=3)
    sampler.set_epoch(2)
    batches = LengthBatches(arrays, 3, sampler)
    shares = [list(Share(batches, rank, 3)) for rank in range(3)]
    for batch, *parts in zip(batches, *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(batch)
    assert any(not share for share in shares[2])  # a long text stands alone, and the others have nothing to do

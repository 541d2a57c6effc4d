"""Training: what is kept, what stops it, how it goes on, and what the settings do."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchmetrics.classification import BinaryAccuracy

import recipes
from recipes import ImageClassifier, Preset, artifact, backbones, data, preparing
from recipes.callbacks import KeepBest
from recipes.cli import main
from recipes.errors import DataError, OptionError, OutputError, TrainingError
from recipes.training_module import TrainingModule

OPTIONS: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
# Every source of chance is on, so that a run that goes on must bring each of them back.
SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 8,
    "lr": 5e-3,
    "mixup": 0.2,
    "cutmix": 0.5,
    "ema": 0.9,
    "auto_augment": "trivialaugment",
    "random_erasing": 0.3,
    "precision": "32",
    "patience": 0,
    "mix_off": 0.0,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, colour in {"blue": (60, 80, 200), "green": (60, 180, 80), "red": (200, 70, 60)}.items():
        (folder / label).mkdir()
        for number in range(14):
            pixels = (np.array(colour) + rng.normal(0, 60, (36, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def script(photos: Path, out: Path, extra: str = "") -> str:
    return f"""
import os, signal, sys
import pytorch_lightning as pl
from recipes import ImageClassifier
class Cut(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        {extra or "pass"}
task = ImageClassifier(**{OPTIONS!r})
resume = "--resume" in sys.argv
task.fit({str(photos)!r}, out={str(out)!r}, quiet=True, callbacks=[Cut()], resume=resume, **{SETTINGS!r})
print(task.history.stopped, task.history.best_epoch)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 7, 11])
def test_a_killed_run_ends_with_the_same_weights_as_one_that_was_not(photos: Path, tmp_path: Path, step: int) -> None:
    ImageClassifier(**OPTIONS).fit(photos, out=tmp_path / "whole", quiet=True, **SETTINGS)
    cut = tmp_path / "cut"
    killed = run(script(photos, cut, f"trainer.global_step == {step} and os.kill(os.getpid(), signal.SIGKILL)"))
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(recipes.RecipesError):
        recipes.load(cut)
    again = run(script(photos, cut), "--resume")
    assert again.returncode == 0, again.stderr
    assert weights(cut) == weights(tmp_path / "whole")
    assert (cut / "metrics.csv").read_text().count("\n") == 5
    assert not (cut / artifact.CHECKPOINT).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_command_keeps_the_best_and_the_run_goes_on(
    photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    ImageClassifier(**OPTIONS).fit(photos, out=tmp_path / "whole", quiet=True, **SETTINGS)
    out = tmp_path / "cut"
    flags = [f"--{name}={str(value).lower()}" for name, value in {**OPTIONS, **SETTINGS}.items()]
    command = [sys.executable, "-m", "recipes", "fit", "image-classifier", str(photos), "--out", str(out), *flags]
    said = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "epoch 2/" not in said:
            said += process.stderr.readline()
        process.send_signal(number)
        said += process.stderr.read()
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "--resume" in said
    assert recipes.load(out).predict(photos)
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(out) == weights(tmp_path / "whole")


def test_a_run_with_other_settings_or_data_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut = run(script(photos, out, "trainer.global_step == 9 and os.kill(os.getpid(), signal.SIGKILL)"))
    assert cut.returncode == -signal.SIGKILL
    task = ImageClassifier(**OPTIONS)
    with pytest.raises(OutputError, match="resume=True"):
        task.fit(photos, out=out, quiet=True, **SETTINGS)
    with pytest.raises(OptionError, match="epochs=4, not 5"):
        task.fit(photos, out=out, quiet=True, resume=True, **{**SETTINGS, "epochs": 5})
    with pytest.raises(OptionError, match="backbone"):
        ImageClassifier(**{**OPTIONS, "backbone": "test_vit"}).fit(photos, out=out, quiet=True, resume=True, **SETTINGS)
    more = tmp_path / "photos"
    for path in sorted(photos.glob("*/*.png"))[1:]:
        (more / path.parent.name).mkdir(parents=True, exist_ok=True)
        (more / path.parent.name / path.name).symlink_to(path)
    with pytest.raises(OptionError, match="data"):
        task.fit(more, out=out, quiet=True, resume=True, **SETTINGS)
    with pytest.raises(OptionError, match="out="):
        task.fit(photos, resume=True)


def test_a_repeated_run_says_which_files_have_changed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)
    ImageClassifier(**OPTIONS).fit(own, out=tmp_path / "run", quiet=True, epochs=1, batch_size=8)
    command = ["fit", "--config", str(tmp_path / "run" / "recipe.yaml"), "--out"]
    assert main([*command, str(tmp_path / "same")]) == 0
    assert "all files are the same" in capsys.readouterr().err
    assert weights(tmp_path / "same") == weights(tmp_path / "run")
    shutil.copy(own / "red" / "01.png", own / "red" / "00.png")
    (own / "blue" / "03.png").unlink()
    shutil.copy(own / "green" / "01.png", own / "green" / "new.png")
    assert main([*command, str(tmp_path / "other")]) == 0
    said = capsys.readouterr().err
    assert "1 file changed: red/00.png; 1 file missing: blue/03.png; 1 file new: green/new.png" in said


def test_two_runs_do_not_share_a_folder(photos: Path, tmp_path: Path) -> None:
    first, second = (artifact.running(tmp_path / "run", {}, anew=True) for _ in range(2))
    with first, pytest.raises(OutputError, match="in use"):
        second.__enter__()


def test_a_loss_that_is_no_number_stops_and_keeps_the_good_weights(photos: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step \d+ .* lower the learning rate"):
        task.fit(photos, out=tmp_path / "model", quiet=True, epochs=3, batch_size=8, lr=1e30, clip_grad=0.0)
    kept = recipes.load(tmp_path / "model")
    assert kept.network is not None
    assert all(value.isfinite().all() for value in kept.network.state_dict().values() if value.is_floating_point())


def test_zero_epochs_fit_the_last_layer_alone(photos: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    task.fit(photos, preset="quick", quiet=True)
    assert task.history is not None
    assert task.history.epochs == []
    assert task.evaluate(photos).accuracy > 0.6
    with pytest.raises(OptionError, match="nothing would be trained"):
        task.fit(photos, epochs=0, head_first=False)


def test_the_head_is_fitted_as_the_features_say(photos: Path) -> None:
    torch.manual_seed(0)
    features = torch.randn(400, 16) * torch.logspace(-1, 3, 16)
    targets = (features[:, 3] > 0).long()
    weight, bias = preparing._logistic_regression((features, targets), (features, targets), 2, preparing._STRENGTHS)
    assert ((features @ weight.T + bias).argmax(1) == targets).float().mean() > 0.95


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "torchvision/squeezenet1_1", "torchvision/mobilenet_v3_small"]
)
def test_any_kind_of_network_trains(photos: Path, name: str) -> None:
    size = 64 if name.startswith("torchvision") else 32 if name == "test_resnet" else 64
    task = ImageClassifier(backbone=name, pretrained=False, size=size)
    task.fit(photos, quiet=True, epochs=1, batch_size=16, precision="32")
    assert len(task.predict(photos)) == 42


def test_frozen_stages_do_not_change(photos: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    _, module = task.lightning(photos, freeze=2, epochs=1, batch_size=8, head_first=False)
    trained = {name for name, value in module.network.body.named_parameters() if value.requires_grad}
    assert 0 < len(trained) < len(list(module.network.body.parameters()))
    before = {name: value.clone() for name, value in module.network.body.state_dict().items()}
    task.fit(photos, freeze=2, epochs=1, batch_size=8, head_first=False, quiet=True, limit_val_batches=0)
    assert task.network is not None
    after = task.network.body.state_dict()
    assert torch.equal(before["conv1.0.weight"], after["conv1.0.weight"])
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert any(not torch.equal(before[name], after[name]) for name in trained)


def test_layers_nearer_the_input_learn_more_slowly(photos: Path) -> None:
    import pytorch_lightning as pl

    task = ImageClassifier(**OPTIONS)
    batches, module = task.lightning(photos, lr=1e-2, layer_decay=0.5, epochs=1, batch_size=8, warmup=0.0)
    trainer = pl.Trainer(
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, batches)
    rates = {round(group["lr"] / group["lr_scale"], 6) for group in trainer.optimizers[0].param_groups}
    scales = {group["lr_scale"] for group in trainer.optimizers[0].param_groups}
    assert len(rates) == 1
    assert max(scales) == 1.0
    assert min(scales) < 0.2


def test_mixing_is_for_training_batches_and_not_for_the_last_epochs(photos: Path) -> None:
    pixels = torch.arange(4 * 3 * 8 * 8).reshape(4, 3, 8, 8).to(torch.uint8)
    targets = torch.tensor([0, 1, 2, 0])
    mixed, shares = data.mixed(pixels, targets, 3, Preset(mixup=0.4, cutmix=1.0), seed=3)
    assert shares.shape == (4, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    again, _ = data.mixed(pixels, targets, 3, Preset(mixup=0.4, cutmix=1.0), seed=3)
    assert torch.equal(mixed, again)


def test_the_mirrored_prediction_is_the_mean_of_both(photos: Path) -> None:
    task = ImageClassifier(**OPTIONS).fit(photos, quiet=True, epochs=1, batch_size=8, mirror=True)
    picture = Image.open(next(photos.glob("red/*.png")))
    turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one, two = task.predict([picture, turned])
    np.testing.assert_allclose(list(one.scores.values()), list(two.scores.values()), atol=1e-5)


def kept(name: str, metric: Any, epochs: list[tuple[float, float]]) -> tuple[int | None, bool]:
    """The epoch that is kept of those with these scores and losses, and whether training was stopped."""

    class Trainer:
        sanity_checking = False
        should_stop = False
        current_epoch = 0

    module = object.__new__(TrainingModule)
    nn.Module.__init__(module)
    module.network = nn.Linear(1, 1)  # type: ignore[assignment]
    module.decisive, module.metrics = name, MetricCollection({name: metric})
    keep = KeepBest(patience=2)
    trainer: Any = Trainer()
    for epoch, (score, loss) in enumerate(epochs):
        trainer.current_epoch = epoch
        module.validation = {"val_loss": loss, name: score}
        keep.on_validation_end(trainer, module)
    return keep.best_epoch, trainer.should_stop


def test_the_better_loss_decides_among_equal_scores() -> None:
    assert kept("accuracy", BinaryAccuracy(), [(0.5, 1.0), (0.5, 0.9), (0.4, 0.1), (0.5, 0.95)]) == (2, True)


def test_of_an_error_the_lowest_is_kept() -> None:
    assert kept("mae", MeanAbsoluteError(), [(5.0, 1.0), (3.0, 1.0), (4.0, 0.1), (6.0, 1.0)]) == (2, True)


def test_a_time_budget_ends_the_run_with_a_model(photos: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    began = time.monotonic()
    task.fit(photos, quiet=True, epochs=10_000, batch_size=8, time="3s", patience=0)
    assert task.history is not None
    assert 0 < len(task.history.epochs) < 10_000
    assert time.monotonic() - began < 120
    with pytest.raises(OptionError, match="1h30m"):
        task.fit(photos, time="soon")


def test_a_batch_larger_than_the_data_is_one_step_and_one_of_a_single_picture_is_refused(photos: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    task.fit(photos, quiet=True, epochs=1, batch_size=1000)
    with pytest.raises(TrainingError, match="batch norm cannot train on one picture"):
        task.fit(photos, quiet=True, epochs=1, batch_size=1)


def test_settings_that_contradict_each_other_or_this_machine_are_refused(photos: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    with pytest.raises(OptionError, match="give one of them"):
        task.fit(photos, out=tmp_path / "model", resume=True, overwrite=True)
    with pytest.raises(OptionError, match="needs no learning rate"):
        task.fit(photos, preset="quick", find_lr=True)
    with pytest.raises(OptionError, match="mirror=False"):
        task.fit(photos, preset="best", hflip=0.0)
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="no accelerator 'gpu' here"):
            task.fit(photos, quiet=True, epochs=1, accelerator="gpu")
    with pytest.raises(TrainingError, match="batch norm cannot train on one picture"):
        task.fit(photos, quiet=True, epochs=2, batch_size=1)  # long enough to try out precisions first


def test_memory_that_runs_out_names_the_setting_to_lower(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    task = ImageClassifier(**OPTIONS)
    monkeypatch.setattr(backbones.ImageNetwork, "forward", full)
    with pytest.raises(TrainingError, match=r"batch_size=16, and accumulate=2.*find_batch_size"):
        task.fit(photos, quiet=True, epochs=1)


def test_every_optimizer_name_is_checked(photos: Path) -> None:
    ImageClassifier(**OPTIONS).fit(photos, quiet=True, epochs=1, optimizer="lion", lr=1e-4)
    with pytest.raises(OptionError, match="did you mean adam"):
        ImageClassifier(**OPTIONS).fit(photos, quiet=True, epochs=1, optimizer="adm")


def test_precisions_give_nearly_the_same_and_auto_is_recorded(photos: Path, tmp_path: Path) -> None:
    for precision in ("bf16", "auto"):
        task = ImageClassifier(**OPTIONS).fit(
            photos, quiet=True, epochs=1, batch_size=8, precision=precision, out=tmp_path / precision
        )
        assert task.history is not None
        recorded = artifact.read_yaml((tmp_path / precision / "recipe.yaml").read_bytes())
        assert recorded["precision"] == task.history.precision in ("32", "bf16")


def test_a_logger_by_name_writes_where_it_says(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ImageClassifier(**OPTIONS).fit(photos, quiet=True, epochs=1, logger="csv")
    assert list(tmp_path.glob("logs/**/metrics.csv"))


def test_a_checkpoint_survives_json_and_tensors(tmp_path: Path) -> None:
    state = {
        "a": {0: torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": [1, 2.5, None, (True, "x")]},
        "c": torch.tensor(3),
    }
    artifact.write_state(tmp_path / "state", state)
    found = artifact.read_state(tmp_path / "state")
    assert torch.equal(found["a"][0], state["a"][0])  # type: ignore[index]
    assert found["a"]["b"] == [1, 2.5, None, (True, "x")]
    assert found["c"] == 3


def test_backbone_names_and_weights_are_checked_before_pictures_are_read(photos: Path) -> None:
    with pytest.raises(OptionError, match="did you mean"):
        ImageClassifier(backbone="resnet181").fit(photos)
    with pytest.raises(recipes.RecipesError, match="no such file"):
        ImageClassifier(weights="nowhere.safetensors").fit(photos)
    with pytest.raises(DataError, match="does not exist"):
        ImageClassifier(backbone="resnet181").fit(photos / "nowhere")


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18", "hf-hub:nobody/nothing"])
def test_weights_that_cannot_be_had_name_the_two_ways_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(recipes.RecipesError, match=r"looked in .*pretrained=False.*weights=FILE"):
        backbones.build(name, 2)


def test_a_new_network_with_batch_norms_starts_without_a_fitted_head(photos: Path) -> None:
    new, _ = backbones.build("test_resnet", 3, pretrained=False)
    assert not backbones.knows_figures(new)
    assert backbones.knows_figures(backbones.build("test_vit", 3, pretrained=False)[0])  # it has no batch norms
    new.train()(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    assert backbones.knows_figures(new)


def test_the_learning_rate_finder_takes_one_that_learns_and_the_recipe_repeats_it(photos: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    task.fit(photos, quiet=True, epochs=1, batch_size=8, find_lr=True, out=tmp_path / "model", precision="32")
    recorded = artifact.read_yaml((tmp_path / "model" / "recipe.yaml").read_bytes())
    assert 1e-6 < recorded["lr"] < 0.1
    assert recorded["find_lr"] is False
    again = ImageClassifier(**OPTIONS)
    again.fit(photos, quiet=True, epochs=1, batch_size=8, lr=recorded["lr"], out=tmp_path / "again", precision="32")
    assert weights(tmp_path / "model") == weights(tmp_path / "again")


def test_a_run_that_found_its_settings_goes_on_with_them(photos: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "find_lr": True, "find_batch_size": True}
    task = ImageClassifier(**OPTIONS)
    task.fit(photos, out=tmp_path / "whole", quiet=True, **settings)
    cut = tmp_path / "cut"
    code = script(photos, cut, "trainer.global_step == 9 and os.kill(os.getpid(), signal.SIGKILL)")
    code = code.replace(repr(SETTINGS), repr(settings))
    assert run(code).returncode == -signal.SIGKILL
    again = run(code.replace("== 9", "== -1"), "--resume")
    assert again.returncode == 0, again.stderr
    assert weights(cut) == weights(tmp_path / "whole")


def test_the_batch_size_finder_leaves_ten_steps_and_fits_into_memory(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ImageClassifier(**OPTIONS)
    batches, module = task.lightning(photos, val_fraction=0.1)
    assert preparing.batch_size(module.network, module.loss, batches) == 2  # of 36 pictures
    batches.splits.train = batches.splits.train.take([0, 20] * 2000)
    assert preparing.batch_size(module.network, module.loss, batches) == 256
    monkeypatch.setattr(preparing, "free_memory", lambda: 20 * 2**20)
    assert 2 <= preparing.batch_size(module.network, module.loss, batches) < 256


def test_balanced_labels_count_alike_in_plain_and_mixed_batches(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)
    for path in sorted((own / "red").iterdir())[4:]:
        path.unlink()
    task = ImageClassifier(**OPTIONS)
    batches, module = task.lightning(own, class_weights="balanced", label_smoothing=0.0)
    counts = torch.tensor(batches.splits.train.counts(), dtype=torch.float32)
    weight = batches.class_weights
    assert weight is not None
    torch.testing.assert_close(weight * counts, torch.full((3,), float(counts.sum() / 3)))
    scores, targets = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 2, 1])
    shares = nn.functional.one_hot(targets, 3).float()
    torch.testing.assert_close(module.loss(scores, targets), module.loss(scores, shares))
    torch.testing.assert_close(module.loss(scores, targets), nn.functional.cross_entropy(scores, targets, weight))
    mixed = 0.5 * shares + 0.5 * shares.roll(1, 0)
    one_by_one = -(weight * mixed * scores.log_softmax(1)).sum() / (weight * mixed).sum()
    torch.testing.assert_close(module.loss(scores, mixed), one_by_one)
    task.fit(own, quiet=True, epochs=1, batch_size=8, class_weights="balanced", mixup=0.2, precision="32")


def test_the_curves_are_drawn_beside_the_table_of_metrics(photos: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**OPTIONS).fit(photos, quiet=True, epochs=2, batch_size=8, out=tmp_path / "model")
    with Image.open(tmp_path / "model" / "curves.png") as picture:
        assert picture.size == (1000, 400)
    assert task.history is not None
    recipes.load(tmp_path / "model").save(tmp_path / "copy")
    assert (tmp_path / "copy" / "curves.png").read_bytes() == (tmp_path / "model" / "curves.png").read_bytes()


def test_a_lost_output_folder_or_a_full_disk_is_one_line_and_leaves_what_was_there(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script(photos, tmp_path / "lost", "trainer.global_step == 9 and __import__('shutil').rmtree(OUT)")
    lost = run(code.replace("OUT", repr(str(tmp_path / "lost"))))
    assert "OutputError" in lost.stderr.splitlines()[-1]
    assert "cannot be written" in lost.stderr.splitlines()[-1]

    written = artifact.write_file
    states: list[bytes] = []

    def full(path: Path, content: bytes) -> None:
        if path.name == artifact.CHECKPOINT and states:
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
                written(path, content)
        written(path, content)
        if path.name == artifact.CHECKPOINT:
            states.append(content)

    monkeypatch.setattr(artifact, "write_file", full)
    out = tmp_path / "full"
    flags = [f"--{name}={str(value).lower()}" for name, value in {**OPTIONS, **SETTINGS}.items()]
    assert main(["fit", "image-classifier", str(photos), "--out", str(out), *flags]) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert (out / artifact.CHECKPOINT).read_bytes() == states[0]
    monkeypatch.undo()
    assert main(["fit", "image-classifier", str(photos), "--out", str(out), *flags, "--resume"]) == 0

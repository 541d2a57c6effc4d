"""From a preset to a trained network: the training module, the Trainer, what it keeps, shows and does when stopped."""

from __future__ import annotations

import inspect
import logging
import math
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.callbacks.weight_averaging import WeightAveraging
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torchmetrics import MetricCollection

from recipes import artifact, backbones, inference, preparing
from recipes.backbones import Network
from recipes.codec import Codec
from recipes.data import Batch, DataModule
from recipes.display import console, listed, say
from recipes.errors import OptionError, TrainingError, did_you_mean
from recipes.presets import Preset, seconds, setting_types
from recipes.results import History

Loss = Callable[[Tensor, Tensor], Tensor]


class TrainingModule(pl.LightningModule):
    """A network in training, for any Lightning Trainer; what it trains is the task's own network.

    Args:
        network: the network.
        codec: how the network's scores are read in prediction, so that validation reads them alike.
        loss: the task's loss of (scores, targets).
        metrics: the task's validation scores; the first is the one that decides which epoch is kept.
        preset: optimizer, learning rates and schedule.
    """

    def __init__(self, network: Network, codec: Codec, loss: Loss, metrics: MetricCollection, preset: Preset) -> None:
        super().__init__()
        self.network, self.codec, self.loss, self.metrics, self.preset = network, codec, loss, metrics, preset
        backbones.freeze(network, preset.freeze)
        self.frozen = backbones.frozen_parts(network, preset.freeze_bn)
        self.step_network: Any = torch.compile(network) if preset.compile else network
        self.validation: dict[str, float] = {}
        self.lost: set[str] = set()
        self._val_loss: list[tuple[Tensor, int]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores for pixels, as the network gives them."""
        return self.network(pixels)  # type: ignore[no-any-return]

    def on_train_epoch_start(self) -> None:
        """Chance inside the network (dropout) depends on (seed, epoch), so that a run can be taken up again."""
        torch.manual_seed(int(np.random.default_rng((self.preset.seed, self.current_epoch)).integers(2**62)))
        self.network.train()  # Lightning leaves it as it finds it, and the last layer was fitted in evaluation mode
        for part in self.frozen:
            part.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        pixels, targets, lost = batch
        self.lost.update(lost)
        value = self.loss(self.step_network(pixels), targets)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(pixels))
        return value

    def on_validation_epoch_start(self) -> None:
        """Forget the epoch before."""
        self.metrics.reset()
        self._val_loss.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores of one clean batch."""
        pixels, targets, lost = batch
        self.lost.update(lost)
        scores = inference.scores_of(self.step_network, self.codec, pixels).float()
        self._val_loss.append((self.loss(scores, targets).detach(), len(targets)))
        self.metrics.update(scores, targets)

    def on_validation_epoch_end(self) -> None:
        """The scores over all validation examples."""
        number = sum(count for _, count in self._val_loss)
        loss = sum(float(value) * count for value, count in self._val_loss) / max(number, 1)
        scores = {name: float(value) for name, value in self.metrics.compute().items()} if number else {}
        self.validation = {"val_loss": loss, **scores}
        self.log_dict(self.validation)

    def configure_optimizers(self) -> Any:
        """The preset's optimizer with a warm-up and a cosine over all steps."""
        optimizer = backbones.optimizer(self.network, self.preset)
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        warmup = max(round(self.preset.warmup * steps), 1)

        def scaled(share: float, step: int) -> float:
            if step < warmup:
                return share * (step + 1) / warmup
            return share * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

        # timm notes each layer's share of the learning rate in its group and leaves it to the schedule to apply it.
        shares = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [partial(scaled, share) for share in shares])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


# ---------------------------------------------------------------------------------------------------------------------
# What watches a run


class KeepBest(Callback):
    """Keeps the weights of the epoch with the best validation score, and stops when none better comes.

    Among equal scores the lower loss is better: a small validation set gives many equal ones.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: tuple[float, float] | None = None
        self.best_epoch: int | None = None
        self.state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "best_epoch": self.best_epoch, "state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint gives back."""
        self.best, self.best_epoch, self.state = state_dict["best"], state_dict["best_epoch"], state_dict["state"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch that was just validated with the best so far."""
        assert isinstance(pl_module, TrainingModule)
        scores = pl_module.validation
        if not math.isfinite(scores["val_loss"]):
            return
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        rank = (next((value for name, value in scores.items() if name != "val_loss"), 0.0), -scores["val_loss"])
        if self.best is None or rank > self.best:
            self.best, self.best_epoch = rank, epoch
            self.state = {name: value.detach().cpu().clone() for name, value in pl_module.network.state_dict().items()}
        elif self.patience and epoch - (self.best_epoch or 0) >= self.patience:
            trainer.should_stop = True


class MovingAverage(WeightAveraging):
    """An exponential moving average of the weights, which is what validation sees and what is kept.

    The decay rises from 0.1 to its full value, `min(decay, (1 + n) / (10 + n))` after n steps, so that a short run is
    not held back by where it began.
    """

    def __init__(self, decay: float) -> None:
        def averaged(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            if not average.is_floating_point():
                return current
            return torch.lerp(current, average, min(decay, (1 + int(steps)) / (10 + int(steps))))

        super().__init__(avg_fn=averaged)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not yet: the averaged weights stay until they have been kept."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Back to the weights in training."""
        super().on_validation_epoch_end(trainer, pl_module)


class Recorder(Callback):
    """Writes one row for each epoch into the history."""

    def __init__(self, history: History, lr: float) -> None:
        self.history, self.lr = history, lr
        self.began, self.images, self.rate = 0.0, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"epochs": self.history.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint gives back."""
        self.history.epochs[:] = state_dict["epochs"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count, and refuse to go on with numbers that are none."""
        self.images += len(batch[0])
        self.rate = self.images / (time.perf_counter() - self.began)
        if not torch.isfinite(outputs["loss"]):
            raise Diverged(
                f"the loss became {float(outputs['loss']):g} at step {trainer.global_step} (epoch "
                f"{trainer.current_epoch + 1}); lower the learning rate, for example lr={self.lr / 10:g}"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row."""
        assert isinstance(pl_module, TrainingModule)
        loss = float(trainer.callback_metrics.get("train_loss", math.nan))
        row = {"epoch": trainer.current_epoch + 1, "train_loss": loss, **pl_module.validation}
        self.history.epochs.append({**row, "images_per_second": round(self.rate, 1)})


class ProgressBar(Callback):
    """One bar for the whole run on a terminal, one line for each epoch elsewhere; both on stderr."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.bar: Progress | None = None

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how good the network is that training starts from: it is what "epoch 0" means."""
        if trainer.is_global_zero:
            say(f"before training{_scores(pl_module)}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar where there is somebody to see it."""
        screen = console()
        if trainer.is_global_zero and (screen.is_terminal or screen.is_jupyter):
            columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[words]}"))
            self.bar = Progress(*columns, TimeRemainingColumn(compact=True), console=screen, transient=True)
            self.task = self.bar.add_task("training", total=trainer.estimated_stepping_batches, words="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self.bar is not None:
            words = f"loss {float(outputs['loss']):.3f}{_scores(pl_module)}  {self.recorder.rate:.0f} images/s"
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.update(self.task, completed=trainer.global_step, description=epoch, words=words)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        if self.bar is None and trainer.is_global_zero:
            row = self.recorder.history.epochs[-1]
            say(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {row['train_loss']:.3f}"
                f"{_scores(pl_module)}  {self.recorder.rate:.0f} images/s"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove the bar, however the run ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back before the error is printed."""
        self.teardown(trainer, pl_module, "fit")


def _scores(module: pl.LightningModule) -> str:
    values = module.validation if isinstance(module, TrainingModule) else {}
    return "".join(f"  {name} {value:.3f}" for name, value in values.items())


class Diverged(Exception):  # noqa: N818, the error is raised once the good weights are back
    """The loss is no number any more."""


class Saver(Callback):
    """Writes the state of the run at the end of each epoch, so that a killed run can be taken up again."""

    def __init__(self, run: Path, history: History) -> None:
        self.run, self.history = run, history

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint, then the table of metrics."""
        trainer.save_checkpoint(self.run / artifact.CHECKPOINT)
        if trainer.is_global_zero:
            artifact.write_file(self.run / "metrics.csv", self.history.csv().encode())


class StateFiles(CheckpointIO):
    """Checkpoints as one safetensors file, written whole; Lightning's own are pickled and may be torn by a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the state of a run."""
        artifact.write_state(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the state of a run."""
        state: dict[str, Any] = artifact.read_state(Path(path))
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Forget the state of a run."""
        Path(path).unlink(missing_ok=True)


class Stopped(Exception):  # noqa: N818, an end and no error
    """Training was asked to stop by a signal."""


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM end a run after the step it is in; a second signal ends it at once.

    Lightning would leave the process on Ctrl-C, and end with exit code 0 on SIGTERM.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over, after Lightning has taken them; `signals_put_back` gives them back."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._receive)

    on_train_start = on_sanity_check_start

    def _receive(self, number: int, frame: Any) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        say(f"{self.received}: stopping after this step (once more to stop at once)")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Stop here if asked to."""
        if self.received:
            raise Stopped(self.received)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Stop here if asked to."""
        if self.received:
            raise Stopped(self.received)


@contextmanager
def signals_put_back() -> Iterator[None]:
    """Leave the caller's signal handlers as they were."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------------------------------------------------------------
# Running


def train(
    module: TrainingModule,
    data: DataModule,
    trainer_arguments: Mapping[str, Any],
    *,
    quiet: bool = False,
    run: Path | None = None,
) -> History:
    """One `Trainer.fit`; the best epoch's weights are in the network afterwards.

    Args:
        module: the network in training; its preset's precision is settled.
        data: its batches.
        trainer_arguments: for `pl.Trainer`, over those that the preset gives.
        quiet: show no progress.
        run: a folder for the state of the run; if there is one already, the run goes on from it.

    Raises:
        TrainingError: memory ran out, or a layer cannot train on such batches.
        KeyboardInterrupt: stopped before there was anything to keep.
    """
    preset = module.preset
    began = time.perf_counter()
    inference.keep_freed_memory()
    history = History(precision=preset.precision)
    checkpoint = run / artifact.CHECKPOINT if run and (run / artifact.CHECKPOINT).exists() else None
    if preset.head_first and checkpoint is None:
        preparing.fit_head(module.network, data)
    best, recorder = KeepBest(preset.patience), Recorder(history, preset.lr)
    watchers: list[Callback] = [recorder, best]
    watchers += [MovingAverage(preset.ema)] if preset.ema else []
    watchers += [] if quiet else [ProgressBar(recorder)]
    watchers += [Saver(run, history)] if run else []
    with _quiet_lightning(), signals_put_back():
        if preset.epochs:
            trainer = make_trainer(preset, [*watchers, StopOnSignal()], trainer_arguments)
            try:
                trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
            except Stopped as reason:
                history.stopped = str(reason)
            except Diverged as reason:
                if not best.state:
                    raise TrainingError(str(reason)) from reason
                history.stopped = str(reason)
            except SIGTERMException:  # Lightning looks for it, too, between epochs, and would end with exit code 0
                history.stopped = "SIGTERM"
            except (RuntimeError, ValueError) as error:
                raise _explained(error, preset) from error
    if best.state:
        module.network.load_state_dict(best.state)
    elif history.stopped:
        raise KeyboardInterrupt
    history.best_epoch = best.best_epoch
    history.seconds = round(time.perf_counter() - began, 1)
    module.network.cpu().eval().requires_grad_(True)
    if module.lost:
        say(f"warning: {len(module.lost)} files could not be read during training: {listed(sorted(module.lost))}")
    return history


def _explained(error: Exception, preset: Preset) -> Exception:
    """The two ways in which torch commonly refuses, in words; anything else as it is."""
    words = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in words:
        smaller = max(1, preset.batch_size // 2)
        return TrainingError(
            f"memory ran out at batch_size={preset.batch_size}; try batch_size={smaller}, and accumulate=2 for the "
            f"same effect"
        )
    if "more than 1 value per channel" in words:
        return TrainingError(
            f"batch norm cannot train on one picture at a time (batch_size={preset.batch_size}); take 2 or more"
        )
    return error


def make_trainer(preset: Preset, callbacks: list[Callback], arguments: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer with the preset's settings; any argument of `pl.Trainer` in `arguments` comes over them.

    Raises:
        OptionError: `pl.Trainer` has no such argument, or a logger's package is missing.
    """
    check_trainer_arguments(arguments)
    settings = {
        "max_epochs": preset.epochs,
        "accelerator": preset.accelerator,
        "devices": preset.devices,
        "precision": {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[preset.precision],
        "accumulate_grad_batches": preset.accumulate,
        "gradient_clip_val": preset.clip_grad or None,
        "max_time": timedelta(seconds=seconds(preset.time)) if preset.time else None,
        "num_sanity_val_steps": -1 if preset.head_first else 0,  # the fitted head is a candidate like any epoch
        "logger": _logger(preset.logger),
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 10,
    }
    more = {
        **arguments,
        "callbacks": [*callbacks, *_as_list(arguments.get("callbacks"))],
        "plugins": [StateFiles(), *_as_list(arguments.get("plugins"))],
    }
    return pl.Trainer(**{**settings, **more})


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _logger(name: str) -> Any:
    from pytorch_lightning import loggers

    if name == "none":
        return False
    kind = {"tensorboard": loggers.TensorBoardLogger, "wandb": loggers.WandbLogger, "csv": loggers.CSVLogger}[name]
    try:
        return kind(save_dir="logs")
    except (ImportError, ModuleNotFoundError) as error:
        raise OptionError(f"logger={name} needs a package that is not installed: pip install {name}") from error


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse names that neither a preset nor `pl.Trainer` knows, with the nearest ones that they do."""
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    for name in arguments:
        if name not in known:
            raise OptionError(
                f"there is no setting {name!r}{did_you_mean(name, [*setting_types(), *known])} (the settings of a "
                f"preset and the arguments of pytorch_lightning.Trainer are accepted)"
            )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """No tips, device lines or warnings about choices that recipes has made on purpose."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|lightning_utilities)")
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.optim\.lr_scheduler")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seed everything inside, and leave the caller's random state as it was."""
    state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(state[0])
            np.random.set_state(state[1])

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
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torchmetrics import MetricCollection

from recipes import backbones, preparing
from recipes.backbones import Network
from recipes.data import Batch, DataModule
from recipes.display import console, listed, say
from recipes.errors import OptionError, TrainingError, did_you_mean
from recipes.presets import Preset, setting_types
from recipes.results import History

Loss = Callable[[Tensor, Tensor], Tensor]


class TrainingModule(pl.LightningModule):
    """A network in training, for any Lightning Trainer; what it trains is the task's own network.

    Args:
        network: the network.
        loss: the task's loss of (scores, targets).
        metrics: the task's validation scores; the first is the one that decides which epoch is kept.
        preset: optimizer, learning rates and schedule.
    """

    def __init__(self, network: Network, loss: Loss, metrics: MetricCollection, preset: Preset) -> None:
        super().__init__()
        self.network, self.loss, self.metrics, self.preset = network, loss, metrics, preset
        self.validation: dict[str, float] = {}
        self.lost: set[str] = set()
        self._val_loss: list[tuple[Tensor, int]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores for pixels, as the network gives them."""
        return self.network(pixels)  # type: ignore[no-any-return]

    def on_train_epoch_start(self) -> None:
        """Chance inside the network (dropout) depends on (seed, epoch), so that a run can be taken up again."""
        torch.manual_seed(int(np.random.default_rng((self.preset.seed, self.current_epoch)).integers(2**62)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Raises:
            TrainingError: it is not a finite number.
        """
        pixels, targets, lost = batch
        self.lost.update(lost)
        value = self.loss(self.network(pixels), targets)
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
        scores = self.network(pixels).float()
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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch that was just validated with the best so far."""
        assert isinstance(pl_module, TrainingModule)
        scores = pl_module.validation
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        rank = (next((value for name, value in scores.items() if name != "val_loss"), 0.0), -scores["val_loss"])
        if self.best is None or rank > self.best:
            self.best, self.best_epoch = rank, epoch
            self.state = {name: value.detach().cpu().clone() for name, value in pl_module.network.state_dict().items()}
        elif self.patience and epoch - (self.best_epoch or 0) >= self.patience:
            trainer.should_stop = True


class Recorder(Callback):
    """Writes one row for each epoch into the history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.began, self.images = 0.0, 0

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
            raise TrainingError(
                f"the loss became {float(outputs['loss']):g} at step {trainer.global_step} (epoch "
                f"{trainer.current_epoch + 1}); lower the learning rate, for example to a tenth"
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


class Stopped(Exception):  # noqa: N818, an end and no error
    """Training was asked to stop by a signal."""


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM end a run after the step it is in; a second signal ends it at once.

    Lightning would leave the process on Ctrl-C, and end with exit code 0 on SIGTERM.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over; Lightning puts back what was there when it ends."""
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}

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
    module: TrainingModule, data: DataModule, trainer_arguments: Mapping[str, Any], quiet: bool = False
) -> History:
    """One `Trainer.fit`; the best epoch's weights are in the network afterwards.

    Args:
        module: the network in training.
        data: its batches.
        trainer_arguments: for `pl.Trainer`, over those that the preset gives.
        quiet: show no progress.

    Raises:
        TrainingError: the loss is no number any more, or memory ran out.
        KeyboardInterrupt: stopped before there was anything to keep.
    """
    preset = module.preset
    began = time.perf_counter()
    history = History(precision=preparing.precision(module, data, trainer_arguments))
    if preset.head_first:
        preparing.fit_head(module, data)
    best, recorder, stop = KeepBest(preset.patience), Recorder(history), StopOnSignal()
    watchers = [recorder, best, *([] if quiet else [ProgressBar(recorder)]), stop]
    with _quiet_lightning(), signals_put_back():
        trainer = make_trainer(preset, history.precision, watchers, trainer_arguments)
        try:
            trainer.fit(module, data)
        except Stopped as reason:
            history.stopped = str(reason)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"memory ran out at batch_size={preset.batch_size}; try batch_size={max(1, preset.batch_size // 2)}"
            ) from error
    if best.state:
        module.network.load_state_dict(best.state)
    elif history.stopped:
        raise KeyboardInterrupt
    history.best_epoch = best.best_epoch
    history.seconds = round(time.perf_counter() - began, 1)
    module.network.cpu().eval()
    if module.lost:
        say(f"warning: {len(module.lost)} files could not be read during training: {listed(sorted(module.lost))}")
    return history


def make_trainer(preset: Preset, precision: str, callbacks: list[Callback], arguments: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer with the preset's settings; any argument of `pl.Trainer` in `arguments` comes over them.

    Raises:
        OptionError: `pl.Trainer` has no such argument.
    """
    check_trainer_arguments(arguments)
    own = arguments.get("callbacks") or []
    settings = {
        "max_epochs": preset.epochs,
        "accelerator": preset.accelerator,
        "devices": preset.devices,
        "precision": {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[precision],
        "gradient_clip_val": preset.clip_grad or None,
        "num_sanity_val_steps": -1 if preset.head_first else 0,  # the fitted head is a candidate like any epoch
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 10,
    }
    more = {**arguments, "callbacks": [*callbacks, *(own if isinstance(own, (list, tuple)) else [own])]}
    return pl.Trainer(**{**settings, **more})


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

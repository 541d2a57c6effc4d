"""What watches a run: keeps its best and its state, records and shows it, and stops it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import CheckpointIO
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from recipes import accounts, artifact, ranks
from recipes.data import Batch
from recipes.display import console, say
from recipes.results import History, shown
from recipes.training_module import TrainingModule


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
        rank = (_merit(pl_module), -scores["val_loss"])
        if self.best is None or rank > self.best:
            self.best, self.best_epoch = rank, epoch
            state = pl_module.network.state_dict()
            self.state = {name: ranks.whole(value.detach()).cpu().clone() for name, value in state.items()}
        elif self.patience and epoch - (self.best_epoch or 0) >= self.patience:
            trainer.should_stop = True


class EpochScores(Callback):
    """Hands the validation scores of each epoch to a function, which may end the run by raising an error.

    Args:
        watch: is given the epoch, from 1, and the scores by name.
    """

    def __init__(self, watch: Callable[[int, Mapping[str, float]], None]) -> None:
        self.watch = watch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand them over; what was there before training is no epoch."""
        if isinstance(pl_module, TrainingModule) and not trainer.sanity_checking:
            self.watch(trainer.current_epoch + 1, pl_module.validation)


def _merit(module: TrainingModule) -> float:
    """The score that decides, or its negative where less is better, as its metric knows."""
    score = module.validation.get(module.decisive, 0.0)
    less = module.decisive in module.metrics and module.metrics[module.decisive].higher_is_better is False
    return -score if less else score


class MovingAverage(Callback):
    """An exponential moving average of the weights, which is what validation sees and what is kept.

    The decay rises from 0.1 to its full value, `min(decay, (1 + n) / (10 + n))` after n steps, so that a short run is
    not held back by where it began. Lightning's own callback cannot average a network that is shared out.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "average": {name: ranks.whole(value) for name, value in self.average.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint gives back."""
        self.steps, self.average = state_dict["steps"], state_dict["average"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring what a checkpoint gave back to where the weights are."""
        for name, value in _values(pl_module) if self.average else ():
            self.average[name] = ranks.part_of(self.average[name], value).to(value.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Count what the step has changed."""
        if trainer.global_step == self.steps:
            return  # gradients are still being summed
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps = trainer.global_step
        for name, value in _values(pl_module):
            if name in self.average and value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name] = value.clone()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The averaged weights, until they have been kept."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Back to the weights in training."""
        self._swap(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The averaged weights are what was learned."""
        self._swap(pl_module)

    def _swap(self, pl_module: pl.LightningModule) -> None:
        for name, value in _values(pl_module) if self.average else ():
            other = value.clone()
            value.copy_(self.average[name])
            self.average[name] = other


def _values(pl_module: pl.LightningModule) -> list[tuple[str, Tensor]]:
    """The network's weights and figures; to change them is to change the network."""
    assert isinstance(pl_module, TrainingModule)
    return [(name, value.detach()) for name, value in pl_module.network.state_dict().items()]


class Recorder(Callback):
    """Writes one row for each epoch into the history."""

    def __init__(self, history: History, lr: float) -> None:
        self.history, self.lr = history, lr
        self.began, self.examples, self.rate = 0.0, 0, 0.0
        self.before = "training"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"epochs": self.history.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a checkpoint gives back."""
        self.history.epochs[:] = state_dict["epochs"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began, self.examples = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count, and refuse to go on with numbers that are none."""
        self.examples += len(batch[1]) * ranks.world()  # the others have as many, to within one
        self.rate = self.examples / (time.perf_counter() - self.began)
        if not torch.isfinite(outputs["loss"]):
            raise Diverged(
                f"the loss became {float(outputs['loss']):g} at step {trainer.global_step} (epoch "
                f"{trainer.current_epoch + 1}); lower the learning rate, for example lr={self.lr / 10:g}"
            )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time the validation apart."""
        self.before = accounts.switch("validation")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Back to training."""
        accounts.switch(self.before)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row."""
        assert isinstance(pl_module, TrainingModule)
        accounts.saw(self.examples // ranks.world(), epochs=1)  # each process counts its own
        loss = float(trainer.callback_metrics.get("train_loss", math.nan))
        row = {"epoch": trainer.current_epoch + 1, "train_loss": loss, **pl_module.validation}
        self.history.epochs.append({**row, "examples_per_second": round(self.rate, 1)})


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
            rate = f"{self.recorder.rate:.0f} {_things(pl_module)}/s"
            words = f"loss {float(outputs['loss']):.3f}{_scores(pl_module)}  {rate}"
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.update(self.task, completed=trainer.global_step, description=epoch, words=words)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        if self.bar is None and trainer.is_global_zero:
            row = self.recorder.history.epochs[-1]
            say(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {row['train_loss']:.3f}"
                f"{_scores(pl_module)}  {self.recorder.rate:.0f} {_things(pl_module)}/s"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove the bar, however the run ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back before the error is printed."""
        self.teardown(trainer, pl_module, "fit")


def _things(module: pl.LightningModule) -> str:
    return module.codec.things if isinstance(module, TrainingModule) else "examples"


def _scores(module: pl.LightningModule) -> str:
    values = module.validation if isinstance(module, TrainingModule) else {}
    return "".join(f"  {name} {shown(value)}" for name, value in values.items())


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
        """Stop here if asked to; all processes of a run stop if one is asked to."""
        if number := ranks.largest(signal.Signals[self.received] if self.received else 0):
            raise Stopped(signal.Signals(number).name)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Stop here, too."""
        self.on_train_batch_end(trainer, pl_module)


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

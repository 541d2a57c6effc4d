"""From a preset to a trained network: one `Trainer.fit`, its arguments, and the ways in which it may end."""

from __future__ import annotations

import inspect
import logging
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from recipes import accounts, artifact, inference, preparing, ranks
from recipes.callbacks import (
    Diverged,
    KeepBest,
    MovingAverage,
    ProgressBar,
    Recorder,
    Saver,
    StateFiles,
    StopOnSignal,
    Stopped,
    signals_put_back,
)
from recipes.data import DataModule, training_device
from recipes.display import listed, say
from recipes.errors import OptionError, TrainingError, did_you_mean
from recipes.presets import Preset, seconds, setting_types
from recipes.results import History
from recipes.training_module import TrainingModule, batch_norms_agree


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
    preset, network = module.preset, module.network
    began = time.perf_counter()
    inference.keep_freed_memory()
    accounts.computes_on(training_device(preset.accelerator).type)
    history = History(precision=preset.precision)
    goes_on = ranks.shared(run is not None and (run / artifact.CHECKPOINT).exists())
    checkpoint = run / artifact.CHECKPOINT if run and goes_on else None
    if preset.head_first and checkpoint is None:
        with accounts.part("head"):
            _fit_head(module, data, quiet)
    best, recorder = KeepBest(preset.patience), Recorder(history, preset.lr)
    watchers: list[Callback] = [recorder, best]
    watchers += [MovingAverage(preset.ema)] if preset.ema else []
    watchers += [] if quiet else [ProgressBar(recorder)]
    watchers += [Saver(run, history)] if run else []
    if preset.strategy == "fsdp" and ranks.world() > 1:
        from recipes import sharding

        module = sharding.SharedOut(module)
    with _quiet_lightning(), signals_put_back(), accounts.part("training"), batch_norms_agree(network):
        if preset.epochs:
            try:
                with explained(preset):
                    reloaded = {"reload_dataloaders_every_n_epochs": 1} if data.splits.stream is not None else {}
                    trainer = make_trainer(preset, [*watchers, StopOnSignal()], {**reloaded, **trainer_arguments})
                    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
            except Stopped as reason:
                history.stopped = str(reason)
            except Diverged as reason:
                if not best.state:
                    raise TrainingError(str(reason)) from reason
                history.stopped = str(reason)
            except SIGTERMException:  # Lightning looks for it, too, between epochs, and would end with exit code 0
                history.stopped = "SIGTERM"
            finally:
                if data.splits.stream is not None:
                    data.splits.stream.close()
    if best.state:
        network.load_state_dict(best.state)
    elif history.stopped:
        raise KeyboardInterrupt
    history.best_epoch = best.best_epoch
    history.seconds = round(time.perf_counter() - began, 1)
    network.cpu().eval().requires_grad_(True)
    if lost := set().union(*ranks.gathered(module.lost)):
        say(f"warning: {len(lost)} files could not be read during training: {listed(sorted(lost))}")
    if data.splits.stream is not None:
        told = ranks.gathered(data.splits.stream.summary())  # the same of all, or each of its own lanes
        for line in dict.fromkeys(line for lines in told for line in lines):
            say(f"warning: {line}")
    return history


def _fit_head(module: TrainingModule, data: DataModule, quiet: bool) -> None:
    """Fit the last layer, in one process for all: the looks at all examples are what is dear about it."""

    def fitted() -> dict[str, Tensor] | None:
        module.known_scores = preparing.fit_head(module.network, data, quiet)
        return None if module.network.head is None else module.network.head.state_dict()

    weights = ranks.first(fitted)
    if weights is not None and module.network.head is not None:
        module.network.head.load_state_dict(weights)


@contextmanager
def explained(preset: Preset) -> Iterator[None]:
    """Say in words what torch and Lightning commonly refuse; anything else stays as it is.

    Raises:
        TrainingError: memory ran out, or a batch is too small for batch norm.
        OptionError: there is no such device here.
    """
    try:
        yield
    except MisconfigurationException as error:
        words = str(error).lower()
        if preset.accelerator not in words or not ("not available" in words or "no supported" in words):
            raise
        raise OptionError(f"there is no accelerator {preset.accelerator!r} here; take auto or cpu") from error
    except (RuntimeError, ValueError) as error:
        if ranks.world() > 1 and ranks.is_lost_connection(error):
            raise
        words = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in words:
            smaller = max(1, preset.batch_size // 2)
            raise TrainingError(
                f"memory ran out at batch_size={preset.batch_size}; try batch_size={smaller}, and accumulate=2 for the "
                f"same effect, or find_batch_size=True"
            ) from error
        if "more than 1 value per channel" in words:
            raise TrainingError(
                f"batch norm cannot train on one picture at a time (batch_size={preset.batch_size}); take 2 or more"
            ) from error
        raise


def make_trainer(preset: Preset, callbacks: list[Callback], arguments: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer with the preset's settings; any argument of `pl.Trainer` in `arguments` comes over them.

    Raises:
        OptionError: `pl.Trainer` has no such argument, or a logger's package is missing.
    """
    check_trainer_arguments(arguments)
    settings = {
        "max_epochs": preset.epochs,
        "accelerator": preset.accelerator,
        **_devices(preset),
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
        "plugins": [StateFiles(), *_environment(), *_as_list(arguments.get("plugins"))],
    }
    return pl.Trainer(**{**settings, **more})


def _devices(preset: Preset) -> dict[str, Any]:
    """How many devices there are, and how they work together."""
    place = ranks.here()
    if place.world == 1:
        return {"devices": preset.devices}
    ranks.check_precision(preset)  # which a run to go on with may have settled
    return {
        "devices": place.local_world,
        "num_nodes": place.nodes,
        "strategy": _strategy(preset.strategy),
        "inference_mode": preset.strategy != "fsdp",  # what is gathered then could not be trained with afterwards
        "use_distributed_sampler": False,  # batches are shared out by `data.Share`
    }


def _strategy(name: str) -> Any:
    if name == "fsdp":
        from recipes.sharding import Sharded

        return Sharded()
    from pytorch_lightning import strategies

    # Figures of batch norms agree already; to send them before each look would ask for equally many looks of all.
    return strategies.DDPStrategy(broadcast_buffers=False)


def _environment() -> list[Any]:
    """Whoever has started the processes, they know their places in torchrun's words."""
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    return [TorchElasticEnvironment()] if ranks.here().world > 1 else []


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
        warnings.filterwarnings("ignore", category=UserWarning, message=".*compute.*before the .*update.*")
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

"""What every task shares: fit, predict, evaluate, save. A task is a dataclass of plain options; it loads no torch.

Fitting a task reads the data, makes a codec and a network, and trains. From then on an input goes one way:
`codec.encode → network → codec.decode`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import recipes
from recipes import accounts, artifact, presets, ranks
from recipes.codec import Codec, rebuilt
from recipes.display import console, say, table
from recipes.errors import DataError, ModelError, NotFittedError, OptionError, TrainingError, printable
from recipes.examples import Reading, Splits, changed_files, note_rare
from recipes.labelled import names_in
from recipes.presets import Preset
from recipes.results import Evaluation, History, shown

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import MetricCollection

    from recipes.backbones import Network
    from recipes.comparing import Comparison
    from recipes.data import DataModule
    from recipes.examples import Examples
    from recipes.shrinking import Shrinking
    from recipes.training_module import TrainingModule
    from recipes.tuning import Tuning

Self = TypeVar("Self", bound="Task")

# What a run is computed on; each batch is the same, however it is shared out.
_ON_WHAT = ("accelerator", "devices", "num_nodes", "strategy")


@dataclass
class Task(ABC):
    r"""A kind of model to fit and to predict with.

    Subclasses fill in `read`, `make`, `loss`, `metrics` and `evaluation`; everything else is finished here.

    Args:
        group: what stays on one side of the split: `folder` for the files of one folder, a column of the table, or a
            regular expression whose match in a file's name says what it belongs to, such as `patient_\d+`.
        exclude_list: a file that names examples to leave out, one on a line, as `recipes check` writes it.
    """

    group: str | None = field(default=None, kw_only=True)
    exclude_list: str | None = field(default=None, kw_only=True)

    #: The task's name in the shell and in model folders.
    command: ClassVar[str]
    #: The class of the task's codec.
    codec_class: ClassVar[type[Codec]]
    #: Settings of a preset that this task has no use for; the shell's help leaves them out.
    foreign: ClassVar[tuple[str, ...]] = ()
    #: What a recipe says that changes nothing in what comes out.
    free: ClassVar[tuple[str, ...]] = ("recipes", "cache", "workers", "time", "logger", *_ON_WHAT)

    def __post_init__(self) -> None:
        self.codec: Codec | None = None
        self.network: Network | None = None
        self.history: History | None = None
        self._recipe: dict[str, Any] = {}
        self._records: dict[str, bytes] = {}  # files about the run, as they are saved with the model
        self._scores: dict[str, float] = {}
        self._folder: str | None = None  # where the model was saved or opened

    @property
    def decisive(self) -> str:
        """The score that decides which epoch is kept."""
        return "accuracy"

    @property
    def less_is_better(self) -> bool:
        """Whether the decisive score is an error, as its metric knows; the data have to be known for this."""
        metrics = self.metrics(len(self._fitted()[0].labels))
        return self.decisive in metrics and metrics[self.decisive].higher_is_better is False

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The task's presets by name."""
        return presets.PRESETS

    # -- what a task fills in -----------------------------------------------------------------------------------------

    @abstractmethod
    def check(self, data: Any, preset: Preset) -> None:
        """Refuse at once what cannot work: data that is not there, options that are wrong."""

    @abstractmethod
    def read(self, data: Any, val: Any, reading: Reading) -> Splits:
        """Find the examples and split them."""

    @abstractmethod
    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find labelled examples to score the model on; their labels are matched by name."""

    @abstractmethod
    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """A codec and a new network for the labels in these examples."""

    @abstractmethod
    def reopen(self, codec: Codec, settings: Any, folder: Path, digest: str) -> Network:
        """The network of a model folder, with its weights."""

    @abstractmethod
    def library_config(self, codec: Codec, network: Network) -> dict[str, Any] | None:
        """The `config.json` with which the network's own library opens the folder, if it has such a file."""

    @abstractmethod
    def loss(self, scores: Tensor, targets: Tensor, preset: Preset, weights: Tensor | None) -> Tensor:
        """How wrong the scores are for these targets: places of labels, or shares of each."""

    @abstractmethod
    def metrics(self, labels: int) -> MetricCollection:
        """The scores that validation shows; the one that `decisive` names decides which epoch is kept."""

    @abstractmethod
    def evaluation(self, rows: Iterable[tuple[Any, Any, Any]]) -> Evaluation:
        """All scores of an evaluation, from each example's source, what the network gave for it, and its target."""

    @property
    def account(self) -> accounts.Account | None:
        """What the fit cost: time, examples, memory, and an estimate of energy and CO2e; None where none was kept."""
        return accounts.opened(self._records.get(artifact.ACCOUNT))

    # -- what users call ----------------------------------------------------------------------------------------------

    @accounts.metered
    def fit(
        self: Self,
        data: Any,
        val: Any = None,
        *,
        preset: str | Preset = "default",
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        compare: str | os.PathLike[str] | None = None,
        quiet: bool = False,
        **settings: Any,
    ) -> Self:
        """Train on labelled examples and keep the best epoch.

        Args:
            data: a folder with a folder of pictures for each label or, for masks, with `images/` and `masks/`; or one
                that holds `train/` and `val/` (also `valid/`, `validation/`) and perhaps `test/` folders of that form;
                for every task a table (CSV, TSV, JSONL, Parquet), a zip or tar, a data frame, a data set, two lists,
                (inputs, labels), shards such as `train-{000..099}.tar`, or a dict of any of these by split; or the
                `Splits` that `read` returned, so that several fits read them once. docs/data.md has an example of each.
            val: data of the same form for validation; without any a stratified part of `data` is set aside.
            preset: a preset's name, or a `Preset` of your own.
            out: a folder to save the model to; without it nothing is written but the cache of features.
            resume: go on with the run in `out` that was stopped or killed; it ends as if it had never been.
            overwrite: replace a finished model in `out`.
            compare: a model folder; say which files have changed since it was fitted.
            quiet: show nothing.
            **settings: any setting of the preset (`epochs=5`), or any argument of `pytorch_lightning.Trainer`
                (`callbacks=[...]`, `logger=...`).

        Returns:
            The task itself, fitted.

        Raises:
            RecipesError: the data, a setting or the output cannot be used; nothing has been written then.
        """
        chosen, trainer_arguments = presets.sorted_out(preset, settings, self.presets)
        if resume and overwrite:
            raise OptionError("resume=True goes on with a run that overwrite=True would forget; give one of them")
        if resume and out is None:
            raise OptionError("resume=True needs out=FOLDER, the folder of the run to go on with")
        goes_on: dict[str, Any] = {
            "out": out,
            "resume": resume,
            "overwrite": overwrite,
            "compare": compare,
            "quiet": quiet,
        }
        if chosen.devices > 1 and ranks.here().world == 1:
            arguments = {"data": data, "val": val, "preset": preset, **goes_on, **settings}
            return self._fit_in_processes(chosen, arguments)
        with ranks.met(chosen, out is not None):
            return self._fit(data, val, chosen, trainer_arguments, **goes_on)

    def _fit_in_processes(self: Self, chosen: Preset, arguments: dict[str, Any]) -> Self:
        """Have other processes of this machine fit the task, one for each device, and open what they have saved."""
        from recipes import launching

        ranks.check(chosen)
        if arguments["out"] is not None:
            artifact.check_output(arguments["out"], arguments["overwrite"], arguments["resume"])
        self.check(arguments["data"], chosen)
        self.__dict__.update(launching.fit(dataclasses.replace(self), arguments, chosen.devices).__dict__)
        return self

    def _fit(
        self: Self,
        data: Any,
        val: Any,
        chosen: Preset,
        trainer_arguments: dict[str, Any],
        out: str | os.PathLike[str] | None,
        resume: bool,
        overwrite: bool,
        compare: str | os.PathLike[str] | None,
        quiet: bool,
    ) -> Self:
        """Fit in this process, alone or with the others of the run; the first one writes and speaks for all."""
        quiet = quiet or ranks.rank() > 0
        own = dataclasses.asdict(self) | dataclasses.asdict(chosen)
        own |= {"resume": resume, "out": None if out is None else "a folder"}
        asked = ranks.shared(own)
        with ranks.together():
            for name in own if own != asked else ():
                if own[name] != (first := asked.get(name)):
                    raise OptionError(
                        f"{name}={own[name]!r} here, {first!r} in process 0; start all with the same command"
                    )
            if out is not None and ranks.rank() == 0:
                artifact.check_output(out, overwrite, resume)
            self.check(data, chosen)
        if resume and out is not None and ranks.shared(artifact.finished(out)):
            if not quiet:
                say(f"{printable(out)} is finished; nothing is left to do")
            self.__dict__.update(type(self).load(out).__dict__)
            return self
        batches, module = self._lightning(data, val, chosen, trainer_arguments, quiet)
        if compare is not None:
            changed = changed_files(artifact.fingerprints(compare), json.loads(self._records[artifact.FILES]))
            if changed or not quiet:
                say(f"compared with {printable(compare)}: {changed or 'all files are the same'}")
        recorded = ranks.shared(artifact.recorded(out) if resume and out else {})
        self._settle(module, batches, recorded, trainer_arguments, quiet)

        from recipes import training

        run = Path(os.path.expanduser(out)) if out is not None else None
        with ExitStack() as held:
            with ranks.together():
                if run and ranks.rank() == 0:
                    held.enter_context(artifact.running(run, self._records, anew=not resume))
            with training.own_random_state(chosen.seed):
                self.history = training.train(module, batches, trainer_arguments, quiet=quiet, run=run)
            costs = ranks.gathered(accounts.finished(self.history, module.preset) if ranks.rank() else None)
            others = [account for account in costs if account]
            concluded = partial(self._conclude, module, batches, run, recorded.get(artifact.ACCOUNT), others)
            evaluation, where = ranks.first(concluded)
            self.codec, self._scores, self._records = ranks.shared((self.codec, self._scores, self._records))
        if self.history.stopped and not hasattr(signal, self.history.stopped):
            raise TrainingError(f"{self.history.stopped}; the weights of epoch {self.history.best_epoch} were kept")
        if not quiet:
            show_result(self, evaluation, where)
        return self

    def predict(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        workers: int = -1,
        device: str = "auto",
        probabilities: bool = False,
        devices: int = 1,
    ) -> list[Any]:
        """Predict one input or many.

        Args:
            inputs: a path, a directory, a glob, a PIL image, an array, a tensor, or any list of these; for texts a
                text or a list of texts, a file of lines, or a folder of text files; for both also a table, a data
                frame, a data set, a zip or tar.
            batch_size: inputs in one step; it changes speed and memory, not results.
            workers: threads that read ahead; -1 chooses by the machine.
            device: auto (a GPU if there is one), or a name that torch knows.
            probabilities: where each pixel has a label, keep the probabilities of all labels, too.
            devices: share the inputs among so many processes, each with a GPU of its own; 1 starts none.

        Returns:
            A prediction for each input, in order.

        Raises:
            NotFittedError: the task has neither been fitted nor loaded.
            DataError: an input does not exist or cannot be read; `predict_each` gives a row with the reason instead.
        """
        found = list(
            self.predict_each(
                inputs,
                batch_size=batch_size,
                workers=workers,
                device=device,
                probabilities=probabilities,
                devices=devices,
            )
        )
        if bad := [prediction for prediction in found if prediction.error]:
            more = f" (and {len(bad) - 1} more of {len(found)} inputs)" if len(bad) > 1 else ""
            raise DataError(
                f"{printable(bad[0].file or 'an input')} {bad[0].error}{more}; predict_each(...) gives the others, and "
                f"the reason for each that cannot be read"
            )
        return found

    def predict_each(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        workers: int = -1,
        device: str = "auto",
        probabilities: bool = False,
        devices: int = 1,
    ) -> Iterator[Any]:
        """Like `predict`, one prediction after the other as they are ready; what cannot be read has an `error`.

        An iterator is consumed as it goes, each item one input. Memory does not grow with the number of inputs.
        """
        codec, network = self._fitted()
        sources = inputs if isinstance(inputs, Iterator) else codec.gather(inputs)
        running = {"batch_size": max(1, batch_size), "workers": workers, "device": device}
        if devices != 1:
            from recipes import launching

            ranks.check_devices(devices, device)
            return launching.predicted(self, sources, devices, {**running, "probabilities": probabilities})
        return self._predicted(codec, network, sources, {**running, "probabilities": probabilities})

    def evaluate(
        self, data: Any, *, split: str | None = None, batch_size: int = 32, workers: int = -1, device: str = "auto"
    ) -> Evaluation:
        """Score the model on labelled data; labels are matched by name, not by position.

        Args:
            data: data of the form that the model was fitted on; of a folder that holds splits, `test` is taken, or
                `val` where there is no `test`.
            split: score those examples only that the run had for `train`, `val` or `test`, as its record says.
            batch_size: examples in one step.
            workers: threads that read ahead; -1 chooses by the machine.
            device: auto (a GPU if there is one), or a name that torch knows.

        Raises:
            NotFittedError: the task has neither been fitted nor loaded.
            DataError: the data cannot be used, or has a label that the model does not know.
        """
        codec, _ = self._fitted()
        examples = self.read_labelled(data, codec.labels)
        record = json.loads(self._records.get(artifact.SPLIT, b"{}"))
        if split is not None:
            examples = examples.of_split(split, record)
        elif isinstance(data, (str, os.PathLike)) and self._recorded_data() == os.path.abspath(data):
            seen = len({*record.get("train", ())}.intersection(examples.called()))
            if seen:
                number = f"{seen:,} of {len(examples):,}"
                say(f"note: {number} were for training, so scores flatter; split=val leaves them out")
        return self._scored(examples, batch_size=batch_size, workers=workers, device=device)

    def tune(
        self,
        data: Any,
        val: Any = None,
        *,
        out: str | os.PathLike[str],
        preset: str | Preset = "default",
        trials: int = 20,
        time: str = "",
        search: str | Sequence[str] | Mapping[str, Any] = "",
        backbones: str | Sequence[str] = "",
        quiet: bool = False,
        **settings: Any,
    ) -> Tuning:
        """Search for better settings with Optuna: learning rate, augmentation, backbone.

        Every trial has the same split and seed; the first one has the settings as they are. One that is worse than
        half of the others halfway is pruned.

        Args:
            data: what `fit` takes.
            val: the same for validation; without any a part of `data` is set aside, the same in all trials.
            out: the study's folder. A study that is there and was stopped or killed goes on; a finished one gets as
                many trials again.
            preset: the settings to start from.
            trials: how many trials there shall be.
            time: begin no further trial after this long, such as `30m` or `2h`.
            search: the settings to search, such as `lr,hflip`, each with a range or choices if you like:
                `lr=1e-5..1e-2,batch_size=16|32|64`, in Python `{"lr": (1e-5, 1e-2), "batch_size": [16, 32, 64]}`, too;
                those that suit the task if not given.
            backbones: networks to choose from, such as `resnet18,hgnetv2_b0`.
            quiet: show nothing.
            **settings: any setting of the preset, the same in all trials.

        Returns:
            All trials and the best recipe, which lies in `out` as `recipe.yaml`, too.

        Raises:
            OptionError: a setting is wrong, or the study in `out` has others.
            DataError: the data cannot be used, or are not those that the study began with.
            OutputError: `out` holds other files, or cannot be written.
            TrainingError: the first trials have all failed.
        """
        from recipes import tuning

        return tuning.tune(
            self,
            data,
            val,
            out=out,
            preset=preset,
            trials=trials,
            time=time,
            search=search,
            backbones=backbones,
            quiet=quiet,
            settings=settings,
        )

    def compare(
        self,
        data: Any,
        val: Any = None,
        *,
        backbones: str | Sequence[str],
        by: Literal["score", "latency"] = "score",
        preset: str | Preset = "quick",
        quiet: bool = False,
        **settings: Any,
    ) -> Comparison:
        """Rank backbones by the score of `quick`, with their speed on this machine, their size and their licence.

        Args:
            data: what `fit` takes.
            val: the same for validation; without any a part of `data` is set aside, the same for all backbones.
            backbones: the networks, such as `resnet18,hgnetv2_b0`; one that cannot be had is a row with its error.
            by: rank by `score` or by `latency`.
            preset: the settings to fit with.
            quiet: show nothing.
            **settings: any setting of the preset, the same for all backbones.

        Raises:
            OptionError: a setting is wrong, or no backbone is given.
            DataError: the data cannot be used.
        """
        from recipes import comparing

        return comparing.compare(
            self, data, val, backbones=backbones, by=by, preset=preset, quiet=quiet, settings=settings
        )

    def quantize(
        self, data: Any, out: str | os.PathLike[str], *, most_lost: float = 0.01, overwrite: bool = False
    ) -> Shrinking:
        """Write the model with numbers of 8 bits instead of 32, which are smaller and faster, if it is still as good.

        For classifiers of pictures, with the extra `onnx`. The new folder predicts on CPUs and cannot be trained; this
        model stays as it is.

        Args:
            data: labelled data as `evaluate` takes them; a quarter of them (256 examples at most) gives the ranges of
                the numbers, the others score both models.
            out: a folder for the new model.
            most_lost: how much of the score may be lost; 0.01 is one point of a hundred.
            overwrite: replace a model in `out`.

        Returns:
            Size, speed and score before and after.

        Raises:
            NotFittedError: the task has neither been fitted nor loaded.
            OptionError: it is no classifier of pictures, a package is missing, or `out` is this model's own folder.
            DataError: the data cannot be used.
            OutputError: `out` holds other files or cannot be written.
            ShrinkingError: too much of the score would be lost; nothing was written.
        """
        from recipes import shrinking

        return shrinking.quantize(self, data, out, most_lost=most_lost, overwrite=overwrite)

    def save(self, folder: str | os.PathLike[str], overwrite: bool = True) -> Path:
        """Write the model as a folder of JSON and safetensors, whole or not at all.

        Args:
            folder: where; a model that recipes wrote there is replaced, a folder with other files never.
            overwrite: False refuses to replace a model, too.

        Raises:
            NotFittedError: the task has neither been fitted nor loaded.
            OutputError: the folder holds other files or cannot be written.
        """
        return self._save(folder, overwrite)

    @classmethod
    def load(cls: type[Self], folder: str | os.PathLike[str]) -> Self:
        """Open a saved model; nothing is downloaded unless `hf-hub:OWNER/NAME` asks for it, and nothing is run.

        Raises:
            ModelError: it is missing, damaged, unsafe, from a newer version, or of another task.
        """
        where = artifact.locate(folder)
        manifest = artifact.read_manifest(where)
        if manifest.get("task") != cls.command:
            raise ModelError(f"{printable(where)} is no {cls.command} but a {printable(str(manifest.get('task')), 40)}")
        task = _with_options(cls, manifest.get("options"))
        task.codec = rebuilt(cls.codec_class, manifest.get("codec"))
        digest = str(manifest.get("weights_sha256"))
        task.network = task.reopen(task.codec, manifest.get("network"), where, digest).eval()
        task.history = rebuilt(History, manifest["history"]) if manifest.get("history") else None
        task._scores = rebuilt(_Scores, {"values": manifest.get("scores") or {}}).values
        task._records = artifact.recorded(where)
        task._folder = os.path.realpath(where)
        return task

    def lightning(
        self, data: Any, val: Any = None, *, preset: str | Preset = "default", **settings: Any
    ) -> tuple[DataModule, TrainingModule]:
        """The Lightning parts of this task, to train with a `pytorch_lightning.Trainer` of your own.

        The module's network is the task's own: after `Trainer.fit(module, data)` the task predicts, evaluates and
        saves with what was trained. Arguments are those of `fit`.
        """
        chosen = presets.find(preset, settings, self.presets)
        self.check(data, chosen)
        return self._lightning(data, val, chosen, {}, quiet=True)

    def reading(self, preset: Preset, thorough: bool = False) -> Reading:
        """How the task reads data: its own options, and those of the preset that govern the split."""
        left_out = names_in(self.exclude_list) if self.exclude_list else frozenset[str]()
        return Reading(preset.val_fraction, preset.seed, self.group or "", left_out, thorough, preset.window)

    # -- how it is done -----------------------------------------------------------------------------------------------

    def _lightning(
        self, data: Any, val: Any, preset: Preset, trainer_arguments: dict[str, Any], quiet: bool
    ) -> tuple[DataModule, TrainingModule]:
        """Read, then make the codec, the network and the Lightning parts."""
        with accounts.part("reading"):
            if isinstance(data, Splits):
                splits = data.again(val, self.reading(preset))
            else:
                splits = ranks.once_per_machine(lambda: self.read(data, val, self.reading(preset)))
        if not quiet:
            show_splits(splits)

        from recipes import training
        from recipes.data import DataModule, label_weights
        from recipes.training_module import TrainingModule

        training.check_trainer_arguments(trainer_arguments)
        label_weights(splits.train, preset)  # which refuses names that are no labels, before a network is fetched
        told = len(splits.notes)
        splits.notes += note_rare(splits)
        with ranks.together(), training.own_random_state(preset.seed):
            self.codec, self.network = self.make(splits, preset)
        for note in splits.notes[told:] if not quiet else ():
            say(f"note: {note}")
        self._scores, self.history = {}, None
        self._recipe = {
            "task": self.command,
            "recipes": recipes.__version__,
            "data": splits.paths[0],
            "val": splits.paths[1],
            **dataclasses.asdict(self),
            **dataclasses.asdict(preset),
        }
        self._records = {
            artifact.SPLIT: artifact.json_bytes(splits.record()),
            artifact.FILES: artifact.json_bytes(splits.fingerprints),
            artifact.RECIPE: artifact.yaml_bytes(self._recipe),
        }
        _check_same(splits.fingerprints)
        metrics = self.metrics(len(self.codec.labels))
        batches = DataModule(splits, self.codec, preset)
        loss = partial(self.loss, preset=preset, weights=batches.class_weights)
        return batches, TrainingModule(self.network, self.codec, loss, metrics, preset, self.decisive)

    def _settle(
        self,
        module: TrainingModule,
        batches: DataModule,
        recorded: dict[str, bytes],
        trainer_arguments: dict[str, Any],
        quiet: bool,
    ) -> None:
        """Settle what the preset leaves open; where it goes on with a recorded run, check that it is the same one."""
        from recipes import preparing, training

        before = artifact.read_yaml(recorded.get(artifact.RECIPE))
        with (
            accounts.part("preparing"),
            training.own_random_state(module.preset.seed),
            training.explained(module.preset),
        ):
            settled = ranks.first(lambda: preparing.settled(module, batches, trainer_arguments, before))
        module.preset = batches.preset = dataclasses.replace(batches.preset, **settled)
        self._recipe.update(settled)
        for name in settled.keys() & {"lr", "batch_size"} if not quiet else ():
            say(f"found {name}={settled[name]:g}")
        self._records[artifact.RECIPE] = artifact.yaml_bytes(self._recipe)
        for name, value in self._recipe.items():
            if before and name not in self.free and before.get(name) != value:
                raise OptionError(
                    f"the run to resume had {name}={before.get(name)!r}, not {value!r}; give the same, or start "
                    f"another run in another folder"
                )
        if before and recorded.get(artifact.FILES) != self._records[artifact.FILES]:
            then, now = (json.loads(files.get(artifact.FILES, b"{}")) for files in (recorded, self._records))
            raise DataError(
                f"the data is not what the run to resume began with ({changed_files(then, now)}); start another run in "
                f"another folder"
            )

    def _conclude(
        self,
        module: TrainingModule,
        batches: DataModule,
        run: Path | None,
        earlier: bytes | None,
        others: Sequence[accounts.Account],
    ) -> tuple[Evaluation | None, Path | None]:
        """Score what was trained, and save it with what is to be known about the run."""
        assert self.history is not None
        if self.history.epochs:
            self._records[artifact.METRICS] = self.history.csv().encode()
            self._records[artifact.CURVES] = self.history.png()
        held_out = batches.splits.val
        with accounts.part("scoring"):
            evaluation = self._scored(held_out, True, module.known_scores, quiet=True) if len(held_out) else None
        self._scores = evaluation.scores if evaluation else {}
        if run and evaluation:
            from recipes import contact_sheets

            self._records.update(contact_sheets.drawn(self, batches, evaluation))
        account = accounts.finished(self.history, module.preset, earlier, others)
        self._records[artifact.ACCOUNT] = account.json()
        where = self._save(run, keep_checkpoint=self.history.stopped is not None) if run else None
        return evaluation, where

    def _save(self, folder: str | os.PathLike[str], overwrite: bool = True, keep_checkpoint: bool = False) -> Path:
        codec, network = self._fitted()
        weights = artifact.weights_bytes(network.native_state())
        manifest = {
            "format": artifact.FORMAT,
            "recipes": recipes.__version__,
            "task": self.command,
            "options": dataclasses.asdict(self),
            "codec": dataclasses.asdict(codec),
            "network": network.config,
            "files": sorted(network.files),
            "weights_sha256": artifact.digest(weights),
            "scores": self._scores,
            "history": dataclasses.asdict(self.history) if self.history else None,
        }
        files = {artifact.WEIGHTS: weights, **network.files, **self._records}
        if config := self.library_config(codec, network):
            files[artifact.CONFIG] = artifact.json_bytes(config)
        files[artifact.MANIFEST] = artifact.json_bytes(manifest)
        where = artifact.write(folder, files, overwrite, keep=[artifact.CHECKPOINT] if keep_checkpoint else [])
        self._folder = os.path.realpath(os.path.expanduser(where))
        return where

    def _recorded_data(self) -> Any:
        """The path of the data that the model was fitted on, if they had one."""
        return artifact.read_yaml(self._records.get(artifact.RECIPE)).get("data")

    def _fitted(self) -> tuple[Codec, Network]:
        if self.codec is None or self.network is None:
            name = type(self).__name__
            raise NotFittedError(f"this {name} has not been fitted; call fit(...) first, or recipes.load(FOLDER)")
        return self.codec, self.network

    def _predicted(
        self, codec: Codec, network: Network, sources: Iterable[Any], running: dict[str, Any]
    ) -> Iterator[Any]:
        from recipes import inference

        for source, output in inference.outputs(network, codec, sources, **running):
            if isinstance(output, DataError):
                named = os.fspath(source) if isinstance(source, os.PathLike) else source
                told = named if isinstance(named, (str, tuple)) else None
                yield codec.failed(told, getattr(output, "reason", str(output)))
            else:
                yield codec.decode(output, source)

    def _scored(
        self, examples: Examples, calibrate: bool = False, known: Tensor | None = None, **running: Any
    ) -> Evaluation:
        """All scores of these examples; what the network gives for them is computed where it is not known."""
        lost: list[str] = []
        rows: Iterable[tuple[Any, Any, Any]] = self._outputs(examples, lost, **running)
        if known is not None:
            rows = zip(examples.inputs, known.numpy(), examples.targets, strict=True)
        if calibrate:
            self.codec, rows = self._fitted()[0].calibrated(rows)
        evaluation = self.evaluation(rows)
        return dataclasses.replace(evaluation, unreadable=[*examples.unreadable, *lost])

    def _outputs(self, examples: Examples, lost: list[str], **running: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Source, output and target of each example; `lost` gets the names of those that cannot be read."""
        from recipes import inference

        codec, network = self._fitted()
        results = inference.outputs(network, codec, examples.inputs, **running)
        for (source, output), target in zip(results, examples.targets, strict=True):
            if isinstance(output, DataError):
                lost.append(str(source))
            else:
                yield source, output, target
        if len(lost) == len(examples):
            raise DataError("none of the examples can be read")


@dataclass(frozen=True)
class _Scores:
    values: dict[str, float]


def _with_options(cls: type[Self], values: Any) -> Self:
    """A task with the options of a saved one; options that this version no longer has are passed over."""
    names = {item.name for item in dataclasses.fields(cls)}
    try:
        return cls(**{name: value for name, value in values.items() if name in names})
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"the model's options are damaged ({printable(str(error), 80)})") from error


def _check_same(prints: dict[str, str]) -> None:
    """Refuse to train in several processes that see different data.

    Raises:
        DataError: some of the files are not those of the first process.
    """
    first = ranks.shared(prints)
    with ranks.together():
        if prints != first:
            raise DataError(
                f"the data here are not those of process 0 ({changed_files(first, prints)}); give all machines the "
                f"same files"
            )


def show_splits(splits: Splits) -> None:
    """Print what was found before training: examples and labels in each split, and what was left out."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    present = {name: part for name, part in parts.items() if part is not None}
    console().print((_number_table if splits.train.numeric else _label_table)(present))
    for note in splits.notes:
        say(f"note: {note}")


def _label_table(present: Mapping[str, Examples]) -> Any:
    train, counts = present["train"], [part.counts() for part in present.values()]
    rows: list[tuple[object, ...]] = [
        (label, *(count[place] for count in counts)) for place, label in enumerate(train.labels)
    ]
    if len(rows) > _MOST_ROWS:
        rows = [*rows[:_MOST_ROWS], (f"… {len(rows) - _MOST_ROWS} more", *("" for _ in present))]
    several = any(isinstance(target, tuple) for target in train.targets[:1])
    whole = "examples" if several else "all" if train.amounts is None else "images"
    rows.append((whole, *(len(part) for part in present.values())))
    what = "labels" if train.amounts is None else "labels, by pixels"
    return table(f"{len(train.labels)} {what}", ("label", *present), rows)


def _number_table(present: Mapping[str, Examples]) -> Any:
    figures: dict[str, Callable[[list[float]], float]] = {"lowest": min, "mean": statistics.fmean, "highest": max}
    rows: list[tuple[object, ...]] = [
        (word, *(shown(figure(part.targets)) if len(part) else "" for part in present.values()))
        for word, figure in figures.items()
    ]
    rows.append(("examples", *(len(part) for part in present.values())))
    return table("numbers", (present["train"].labels[0], *present), rows)


_MOST_ROWS = 30


def show_result(task: Task, evaluation: Evaluation | None, where: Path | None) -> None:
    """Print the scores after training, and the next command to type."""
    history = task.history
    if evaluation is not None:
        evaluation.show("validation")
    if history is not None:
        ended = f", stopped by {history.stopped}" if history.stopped else ""
        kept = f", kept epoch {history.best_epoch}" if history.best_epoch is not None else ""
        done = f"trained {len(history.epochs)} epochs" if history.epochs else "fitted the last layer"
        say(f"{done} in {history.seconds:.0f} s ({history.precision}){kept}{ended}")
    things = task.codec.things if task.codec is not None else "examples"
    if account := task.account:
        for line in filter(None, (account.line(things), account.savings())):
            say(line)
    if history is not None and history.stopped and where is not None:
        say("to go on with the run: the same command with --resume (resume=True)")
    thing = "TEXT" if task.codec is not None and task.codec.ragged else "PICTURE"
    if where is not None:
        say(f"saved to {printable(where)}; next: recipes predict {shlex.quote(printable(where))} {thing}")
    else:
        say(f'next: .predict("{thing}"), .save("FOLDER")')

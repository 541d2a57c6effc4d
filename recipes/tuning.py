"""Search for better settings, trial after trial on the same split, in a folder that a killed search goes on from.

study/
  recipe.yaml      the best trial's settings; `recipes fit --config study/recipe.yaml` repeats it
  trials.csv       all trials: state, score, epochs, seconds, settings
  study.json       what is searched, and what is the same in all trials
  files.json       size and checksum of each file of the data
  split.json       which of them is in which split
  trials.journal   the trials as Optuna keeps them
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import shlex
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import recipes
from recipes import accounts, artifact, presets
from recipes.accounts import Cost
from recipes.candidates import give_back_memory, in_one_line, read, split_names, with_backbone
from recipes.display import console, counted, listed, say, table
from recipes.errors import (
    DataError,
    ModelError,
    OptionError,
    OutputError,
    RecipesError,
    StoppedError,
    TrainingError,
    printable,
)
from recipes.examples import changed_files
from recipes.presets import Preset
from recipes.results import plain_cell, shown
from recipes.rooms import Room, Span, nearest, search_space
from recipes.texts import NGRAMS

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Running

    from recipes.examples import Splits
    from recipes.task import Task

STUDY, TRIALS, JOURNAL = "study.json", "trials.csv", "trials.journal"

# What may lie in a study's folder; Optuna's lock stays behind where a process is killed while it writes.
_LOCK = f"{JOURNAL}.lock"
_NAMES = {STUDY, TRIALS, JOURNAL, _LOCK, artifact.RECIPE, artifact.FILES, artifact.SPLIT, artifact.LOCK, ".DS_Store"}

# Trials that are never pruned, because there is nothing to compare with yet.
_FAIR_START = 5

# When so many trials have failed and none was completed, none will be.
_MOST_FAILURES = 3

# How many trials the table at the end has.
_MOST_SHOWN = 4


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Args:
        number: its place among the trials, from 1; one that was stopped or killed has the number of its repetition.
        state: complete, pruned (worse than others as far as it went), failed, or stopped.
        score: the validation score that decides; of a pruned trial the last one; None if there was none.
        epochs: how many epochs it trained.
        seconds: how long it took.
        settings: what is searched, with this trial's values.
        error: why it failed, or None.
        energy_wh: what it took, by estimate; None of one that was killed.
        co2e_g: grams of CO2e, likewise.
    """

    number: int
    state: str
    score: float | None
    epochs: int
    seconds: float
    settings: Mapping[str, Any]
    error: str | None = None
    energy_wh: float | None = None
    co2e_g: float | None = None


@dataclass(frozen=True)
class Tuning:
    """What a search for settings has found.

    Args:
        folder: the study's folder.
        score: the name of the score that decides.
        trials: all trials, in order.
        best: the best of them; of equal ones the first. None if none was completed.
        recipe: all settings of the best trial, as its `recipe.yaml` has them.
        stopped: the signal that ended the search early, such as SIGINT, or None.
    """

    folder: Path
    score: str
    trials: list[Trial]
    best: Trial | None
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stopped: str | None = None

    @property
    def cost(self) -> Cost:
        """Seconds, energy and CO2e of all trials, those of earlier calls included."""
        return Cost.total([Cost(one.seconds, one.energy_wh or 0.0, one.co2e_g or 0.0) for one in self.trials])

    def csv(self) -> str:
        """The trials as a table, one row each, as spreadsheets read it."""
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.settings))
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "state", self.score, "epochs", "seconds", "energy_wh", "co2e_g", *names, "error"])
        for trial in self.trials:
            cells = [trial.settings.get(name) for name in names]
            figures = [trial.number, trial.state, trial.score, trial.epochs, trial.seconds]
            figures += [None if cell is None else float(f"{cell:.4g}") for cell in (trial.energy_wh, trial.co2e_g)]
            # A number keeps all its digits: the recipe is made of them.
            words = [cell if isinstance(cell, float) else plain_cell("setting", cell) for cell in [*cells, trial.error]]
            writer.writerow([*figures, *words])
        return file.getvalue()

    def show(self, file: IO[str] | None = None) -> None:
        """Print the best trials as a table, a column each, on stderr unless another file is given."""
        done = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        down = self.best is not None and any((trial.score or 0) > (self.best.score or 0) for trial in done)
        done.sort(key=lambda trial: (trial.score or 0) * (1 if down else -1))  # it is stable: the first of equal ones
        done = done[:_MOST_SHOWN]
        names = list(dict.fromkeys(name for trial in done for name in trial.settings))
        rows: list[list[object]] = [
            [self.score, *(shown(trial.score or 0.0) for trial in done)],
            ["epochs", *(trial.epochs for trial in done)],
            ["seconds", *(f"{trial.seconds:.0f}" for trial in done)],
        ]
        rows += [[name, *(_word(trial.settings.get(name)) for trial in done)] for name in names]
        states = [trial.state for trial in self.trials]
        kinds = listed((f"{states.count(state)} {state}" for state in dict.fromkeys(states)), 5)
        title = f"the best of {counted(len(states), 'trial')} ({kinds})"
        # A trial is a column: settings are many, and lines are short.
        console(file).print(table(title, ("trial", *(str(trial.number) for trial in done)), rows))


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value), 60)


# ---------------------------------------------------------------------------------------------------------------------
# The study


def _distribution(room: Room) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(room, Span):
        return CategoricalDistribution(room)
    if isinstance(room.low, int) and isinstance(room.high, int):
        return IntDistribution(room.low, room.high, log=room.log)
    return FloatDistribution(room.low, room.high, log=room.log)


def _plain_room(room: Room) -> Any:
    return dataclasses.asdict(room) if isinstance(room, Span) else list(room)


@dataclass(frozen=True)
class Plan:
    """What all trials of a study have in common: the task, the settings to start from, and what is searched."""

    task: Task
    preset: Preset
    space: Mapping[str, Room]

    def record(self) -> dict[str, Any]:
        """The plan as JSON gives it back: two plans with equal records are one study."""
        values = {
            "format": 1,
            "recipes": recipes.__version__,
            "task": self.task.command,
            "search": {name: _plain_room(room) for name, room in self.space.items()},
            "settings": {
                name: value
                for name, value in self._values().items()
                if name not in self.space and name not in self.task.free
            },
        }
        return json.loads(artifact.json_bytes(values))  # type: ignore[no-any-return]

    def usual(self) -> dict[str, Any]:
        """The values that the searched settings have anyway, or the nearest that they may have: the first trial's."""
        return {name: nearest(room, self._values()[name]) for name, room in self.space.items()}

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What Optuna gave; numbers to three digits, but the usual ones as they are."""
        usual = self.usual()

        def rounded(name: str, room: Room, value: Any) -> Any:
            if isinstance(value, float) and isinstance(room, Span) and value != usual[name]:
                return nearest(room, float(f"{value:.3g}"))
            return value

        return {name: rounded(name, room, given[name]) for name, room in self.space.items()}

    def _values(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.task), **dataclasses.asdict(self.preset)}


def tune(
    task: Task,
    data: Any,
    val: Any,
    *,
    out: str | os.PathLike[str],
    preset: str | Preset,
    trials: int,
    time: str,
    search: str | Sequence[str] | Mapping[str, Any],
    backbones: str | Sequence[str],
    quiet: bool,
    settings: Mapping[str, Any],
) -> Tuning:
    """Search for better settings; `Task.tune` says what the arguments are, and has their defaults."""
    if trials < 1:
        raise OptionError(f"trials is at least 1, found {trials}")
    if time and not presets.seconds(time):
        raise OptionError(f"time={time!r} cannot be: it has a form such as 30s, 10m or 1h30m")
    _check_optuna()
    accounts.check()
    plan = _plan(task, data, preset, split_names(backbones), search, settings)
    folder = _checked_folder(out)
    splits = read(plan.task, data, val, plan.preset)
    if not len(splits.val):
        raise DataError("the data have no examples for validation, which trials are compared on; give some with val")
    with artifact.running(folder, {}, anew=False):
        study = _opened(folder, plan, splits)
        return _Search(plan, study, folder, splits, quiet).go(trials, presets.seconds(time))


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise OptionError("tune needs Optuna, which is not installed: pip install 'torch-recipes[tune]'") from error


def _plan(
    task: Task,
    data: Any,
    preset: str | Preset,
    backbones: Sequence[str],
    search: str | Sequence[str] | Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Plan:
    if backbones and NGRAMS in backbones and len(backbones) > 1:
        raise OptionError("ngrams has settings of its own; tune it by itself, or compare it with `recipes compare`")
    if backbones:
        usable = _usable(task, data, preset, backbones, settings)
        task = with_backbone(task, usable[0])
    else:
        usable, task = [], dataclasses.replace(task)
    chosen = presets.find(preset, settings, task.presets)
    if chosen.devices > 1 or chosen.num_nodes > 1:
        raise OptionError("tune trains in this process, on one device; leave devices and num_nodes away")
    task.check(data, chosen)
    return Plan(task, chosen, search_space(task, data, chosen, search, usable))


def _usable(
    task: Task, data: Any, preset: str | Preset, backbones: Sequence[str], settings: Mapping[str, Any]
) -> list[str]:
    """Those backbones that can be had; each other one is named, and refused if no other is left."""
    found, problems = [], []
    for name in backbones:
        try:
            one = with_backbone(task, name)
            one.check(data, presets.find(preset, settings, one.presets))
            found.append(name)
        except DataError:
            raise
        except RecipesError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    for problem in problems:
        say(f"warning: left out: {problem}")
    return found


def _checked_folder(out: str | os.PathLike[str]) -> Path:
    """The study's folder, if it is one, or can become one.

    Raises:
        OutputError: it holds other files, or cannot be written.
    """
    folder = Path(os.path.expanduser(out))
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{printable(folder)} is a file; choose a folder's name for the study")
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
    except OSError as error:
        raise OutputError(f"{printable(folder)} cannot be written ({error.strerror})") from error
    foreign = [name for name in names if name not in _NAMES and not name.startswith(".")]
    if foreign or (STUDY not in names and {artifact.RECIPE, JOURNAL} & set(names)):
        raise OutputError(
            f"{printable(folder)} holds files that are no study's ({listed(foreign or names)}); choose another folder"
        )
    return folder


def _opened(folder: Path, plan: Plan, splits: Splits) -> Study:
    """The study in a folder, if it is the same one, or a new one; what a kill has torn off is cut off."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    files = {
        STUDY: artifact.json_bytes(plan.record()),
        artifact.FILES: artifact.json_bytes(splits.fingerprints),
        artifact.SPLIT: artifact.json_bytes(splits.record()),
    }
    if (folder / STUDY).exists():
        _compare(folder, plan, files)
    else:
        for name in (artifact.SPLIT, artifact.FILES, STUDY):  # the last says that the others are there
            artifact.write_file(folder / name, files[name])
    if (folder / TRIALS).exists():  # which is written after the first trial has been noted in the journal
        journal = (folder / JOURNAL).read_bytes() if (folder / JOURNAL).exists() else None
        if not journal or b"\n" not in journal:
            raise _damaged(folder, JOURNAL, "is missing" if journal is None else "cannot be read")
    (folder / _LOCK).unlink(missing_ok=True)
    _cut_torn_line(folder / JOURNAL)
    with _quiet_optuna():
        try:
            storage = JournalStorage(JournalFileBackend(os.fspath(folder / JOURNAL)))
            # Scores that are errors come with a minus, so that more is always better.
            return optuna.create_study(storage=storage, study_name="study", direction="maximize", load_if_exists=True)
        except OSError:
            raise
        except Exception as error:  # whatever Optuna stumbles over in a line that it has not written
            raise _damaged(folder, JOURNAL, f"cannot be read ({in_one_line(error)})") from error


def _compare(folder: Path, plan: Plan, files: Mapping[str, bytes]) -> None:
    """Refuse to go on with another study than the one that began, and say what differs."""
    before, now, where = _kept(folder, STUDY), plan.record(), printable(folder)
    if not isinstance(before.get("task"), str):
        raise _damaged(folder, STUDY, "does not tell its task")
    way_on = "give the same, or begin another study in another folder"
    if before.get("task") != now["task"]:
        raise OptionError(f"the study in {where} is of {printable(str(before.get('task')), 40)}, not {now['task']}")
    searched, had = (found if isinstance(found := before.get(kind), dict) else {} for kind in ("search", "settings"))
    for name in [*searched, *now["search"]]:
        if name not in searched or name not in now["search"]:
            words = "searched" if name in searched else "did not search"
            raise OptionError(f"the study in {where} {words} {printable(name)}; {way_on}")
    # A setting that only one version of recipes knows is passed over.
    for old, new in ((searched, now["search"]), (had, now["settings"])):
        for name in (name for name in old if name in new):
            if old[name] != new[name]:
                raise OptionError(
                    f"the study in {where} had {name}={_told(old[name])}, not {_told(new[name])}; {way_on}"
                )
    if changed := changed_files(_kept(folder, artifact.FILES), json.loads(files[artifact.FILES])):
        raise DataError(f"the data is not what the study in {where} began with ({changed}); begin another study")
    if _kept(folder, artifact.SPLIT) != json.loads(files[artifact.SPLIT]):
        raise DataError(f"the split is not the one that the study in {where} began with; begin another study")


def _kept(folder: Path, name: str) -> dict[str, Any]:
    """What a file of a study holds.

    Raises:
        ModelError: it is damaged.
    """
    try:
        return artifact.read_json(folder, name)
    except ModelError as error:
        gone = isinstance(error.__cause__, FileNotFoundError)
        raise _damaged(folder, name, "is missing" if gone else "cannot be read") from error


def _damaged(folder: Path, name: str, problem: str) -> ModelError:
    return ModelError(
        f"the study is damaged: {printable(folder / name)} {problem}; begin another study in another folder"
    )


def _told(value: Any) -> str:
    spans = {item.name for item in dataclasses.fields(Span)}
    if isinstance(value, dict) and value.keys() == spans:
        return str(Span(**value))
    return printable(repr(value), 100)


def _cut_torn_line(journal: Path) -> None:
    """Remove the end of a journal that a kill has left without its line's end; Optuna would refuse all that follows."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """No lines of Optuna's own: there is one of ours for each trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


# ---------------------------------------------------------------------------------------------------------------------
# The search


class _Stopped(Exception):  # noqa: N818, an end and no error
    """A trial was asked to stop by a signal."""


@dataclass
class _Search:
    """A study that goes on."""

    plan: Plan
    study: Study
    folder: Path
    splits: Splits
    quiet: bool

    def go(self, number: int, seconds: int) -> Tuning:
        """Run trials until there are enough or time is over, and say what came of it."""
        began, stopped = clock.monotonic(), None
        with _quiet_optuna():
            self._take_up()
            goal = self._goal(number)
            self._say(
                f"{counted(len(self.splits.train), 'example')} for training, {len(self.splits.val):,} for validation; "
                f"searching {listed(self.plan.space, 20)}"
            )
            if done := len(self._counted()):
                self._say(f"going on with the study in {printable(self.folder)}: {done} of {goal} trials are done")
            try:
                while len(self._counted()) < goal:
                    if seconds and clock.monotonic() - began >= seconds:
                        self._say(f"the time is over; {counted(goal - len(self._counted()), 'trial')} not begun")
                        break
                    self._one_more(goal)
                    self._check_failures()
            except _Stopped as reason:
                stopped = str(reason)
            except KeyboardInterrupt:
                stopped = "SIGINT"
            tuning = self._written(stopped)
        if tuning.best is None and not stopped:
            raise TrainingError(f"no trial was completed; the last: {tuning.trials[-1].error}")
        self._tell(tuning)
        return tuning

    def _say(self, words: str) -> None:
        if not self.quiet:
            say(words)

    def _counted(self) -> list[FrozenTrial]:
        """The trials that have come to an end of their own: those that were stopped or killed are repeated."""
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.is_finished() and (trial.state.name != "FAIL" or "error" in trial.user_attrs)
        ]

    def _take_up(self) -> None:
        """Begin with the usual settings, and repeat the trial that was running when the process was killed."""
        found = self.study.get_trials(deepcopy=False)
        if not found:
            self.study.enqueue_trial(self.plan.usual())
        for trial in found:
            if trial.state.name == "RUNNING":
                self._give_up(trial)

    def _give_up(self, trial: FrozenTrial) -> None:
        """Mark a trial as failed, after its repetition has been noted: a kill in between must not lose it."""
        from optuna.trial import TrialState

        found = self.study.get_trials(deepcopy=False)
        if all(other.user_attrs.get("repeats") != trial.number for other in found):
            values = trial.params or trial.system_attrs.get("fixed_params") or {}
            self.study.enqueue_trial(values, user_attrs={"repeats": trial.number})
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _goal(self, number: int) -> int:
        """How many trials there shall be: so many, or so many more where there are as many already."""
        before, done = self.study.user_attrs, len(self._counted())
        if before.get("trials") == number and done < before["goal"]:
            return int(before["goal"])
        goal = number if done < number else done + number
        self.study.set_user_attr("goal", goal)
        self.study.set_user_attr("trials", number)
        return goal

    def _one_more(self, goal: int) -> None:
        import optuna
        from optuna.trial import TrialState

        place = len(self._counted())
        # A seed for each trial, so that a study that was killed proposes the same as one that was not.
        seed = (self.plan.preset.seed * 100_003 + place) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        warm = max(1, math.ceil(self.plan.preset.epochs / 4))
        self.study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_FAIR_START, n_warmup_steps=warm)
        trial = self.study.ask({name: _distribution(room) for name, room in self.plan.space.items()})
        began = clock.perf_counter()
        try:
            costs: list[Cost] = []
            try:
                with accounts.costs(costs):
                    value = self._fitted(trial)
            finally:
                self._note(trial, clock.perf_counter() - began, Cost.total(costs))
            self.study.tell(trial, value)
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        except (_Stopped, KeyboardInterrupt):
            self._give_up(self.study.trials[trial.number])
            raise
        except Exception as error:  # each library refuses in its own way, and other settings may suit it
            before, whole = self.splits.fingerprints, self.splits.sources is not None
            changed = "" if whole else changed_files(before, self.splits.file_prints(gone=True))
            if changed or isinstance(error, DataError):  # which no other settings would help
                self._give_up(self.study.trials[trial.number])
                if changed:
                    raise DataError(f"the data have changed while the study went on ({changed})") from error
                raise
            trial.set_user_attr("error", in_one_line(error))
            self.study.tell(trial, state=TrialState.FAIL)
        finally:
            give_back_memory()
        tuning = self._written(None)
        self._say(_line(tuning, place, goal))

    def _note(self, trial: Running, seconds: float, cost: Cost) -> None:
        """Keep what a trial has cost, however it ended."""
        trial.set_user_attr("seconds", round(seconds, 1))
        trial.set_user_attr("energy_wh", cost.energy_wh)
        trial.set_user_attr("co2e_g", cost.co2e_g)

    def _fitted(self, trial: Running) -> float:
        """Train with a trial's settings; the score, with a minus where it is an error."""
        import optuna

        from recipes.callbacks import EpochScores

        own = self.plan.settings(trial.params)
        trial.set_user_attr("settings", own)
        backbone = str(own.pop("backbone", getattr(self.plan.task, "backbone", "")))
        task = self.plan.task
        task = with_backbone(task, backbone) if "backbone" in self.plan.space else dataclasses.replace(task)
        found = self.study.user_attrs.get(f"found {backbone}", {})
        preset = dataclasses.replace(self.plan.preset, **{**found, **own})

        def watch(epoch: int, scores: Mapping[str, float]) -> None:
            score = scores.get(task.decisive, math.nan)
            trial.report(-score if task.less_is_better else score, epoch)
            if epoch < preset.epochs and trial.should_prune():
                raise optuna.TrialPruned

        task.fit(self.splits, preset=preset, quiet=True, callbacks=[EpochScores(watch)])
        if task.history is not None and task.history.stopped:
            raise _Stopped(task.history.stopped)
        recipe = task._recipe
        if "score" not in self.study.user_attrs:
            self.study.set_user_attr("sign", -1 if task.less_is_better else 1)
            self.study.set_user_attr("score", task.decisive)
        if changed := changed_files(self.splits.fingerprints, json.loads(task._records[artifact.FILES])):
            raise DataError(f"the data have changed while the study went on ({changed})")
        if not found:  # what depends on time and memory is found once, or trials would differ in more than is searched
            names = [name for name in ("precision", "batch_size", "find_batch_size") if name not in self.plan.space]
            self.study.set_user_attr(f"found {backbone}", {name: recipe[name] for name in names})
        score = task._scores[task.decisive]
        if not math.isfinite(score):
            raise TrainingError(f"its {task.decisive} is {score}")
        trial.set_user_attr("recipe", recipe)
        return -score if task.less_is_better else score

    def _check_failures(self) -> None:
        found = self._counted()
        failed = [trial for trial in found if "error" in trial.user_attrs]
        if len(failed) == len(found) >= _MOST_FAILURES:
            raise TrainingError(
                f"the first {len(failed)} trials have failed; the last: {failed[-1].user_attrs['error']}"
            )

    def _written(self, stopped: str | None) -> Tuning:
        """What has been found so far, after it has been written into the folder."""
        found = self.study.get_trials(deepcopy=False)
        done = [trial for trial in found if trial.state.name == "COMPLETE"]
        best = max(done, key=lambda trial: trial.value or 0.0, default=None)  # the first of equal ones
        rows: dict[int, Trial] = {}
        number = 1
        for trial in found:
            if trial.state.is_finished():
                rows[trial.number] = self._row(trial, number)
                number += rows[trial.number].state != "stopped"
        recipe = best.user_attrs["recipe"] if best else {}
        name = str(self.study.user_attrs.get("score", self.plan.task.decisive))
        tuning = Tuning(self.folder, name, list(rows.values()), rows[best.number] if best else None, recipe, stopped)
        artifact.write_file(self.folder / TRIALS, tuning.csv().encode())
        if recipe:
            artifact.write_file(self.folder / artifact.RECIPE, artifact.yaml_bytes(recipe))
        return tuning

    def _row(self, trial: FrozenTrial, number: int) -> Trial:
        kept, told = trial.user_attrs, trial.intermediate_values
        states = {"COMPLETE": "complete", "PRUNED": "pruned"}
        state = states.get(trial.state.name, "failed" if "error" in kept else "stopped")
        epochs = max(told, default=0)
        score = trial.value if state == "complete" else told.get(epochs)
        return Trial(
            number,
            state,
            None if score is None or not math.isfinite(score) else self.study.user_attrs.get("sign", 1) * score,
            epochs,
            kept.get("seconds", 0.0),
            kept.get("settings") or trial.params,
            kept.get("error"),
            kept.get("energy_wh"),
            kept.get("co2e_g"),
        )

    def _tell(self, tuning: Tuning) -> None:
        if tuning.stopped and tuning.best is None:
            raise StoppedError(tuning.stopped)
        if self.quiet:
            return
        tuning.show()
        say(tuning.cost.line(counted(len(tuning.trials), "trial")))
        where = shlex.quote(printable(tuning.folder))
        if tuning.stopped:
            say(f"stopped by {tuning.stopped}; to go on with the study: the same command")
        if tuning.best:
            say(f"saved to {where}; next: recipes fit --config {where}/{artifact.RECIPE} --out MODEL")


def _line(tuning: Tuning, place: int, goal: int) -> str:
    """What is said of a trial that has just ended."""
    trial = tuning.trials[-1]
    score = "" if trial.score is None else f"{tuning.score} {shown(trial.score)}"
    if trial.state == "failed":
        told = f"failed: {printable(trial.error or '', 300)}"
    elif trial.state == "pruned":
        told = f"pruned after {_epochs(trial)} at {score}"
    else:
        told = f"{score}  {_epochs(trial)}"
    own = "  ".join(f"{name} {_word(value)}" for name, value in trial.settings.items())
    best = "  (best so far)" if tuning.best is trial else ""
    return f"trial {place + 1}/{goal}  {told}  {trial.seconds:.0f} s  {own}{best}"


def _epochs(trial: Trial) -> str:
    return "1 epoch" if trial.epochs == 1 else f"{trial.epochs} epochs"

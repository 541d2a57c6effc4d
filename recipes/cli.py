"""The `recipes` command: flags, help and YAML come from the same dataclasses and docstrings as the Python API."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import inspect
import io
import itertools
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import typing
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import recipes
from recipes import artifact, ranks
from recipes.catalog import TASKS, task_class
from recipes.display import counted, listed, say
from recipes.errors import DataError, OptionError, OutputError, RecipesError, StoppedError, did_you_mean, printable
from recipes.presets import PRESETS, in_words
from recipes.results import plain_cell, shown

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from recipes.task import Task

_OVERVIEW = """\
usage: recipes COMMAND ...

From a folder of pictures, or a table of texts, to a trained model.

  recipes check DATA                    what is wrong with the data, before a minute is wasted on them
  recipes fit TASK DATA --out MODEL     train on a folder or a table and save the model
  recipes predict MODEL INPUT ...       predict files, folders, globs, texts, or what is listed on stdin (-)
  recipes evaluate MODEL DATA           score a model on labelled data
  recipes tune TASK DATA --out STUDY    search for better settings
  recipes compare TASK DATA [options]   rank backbones by score, speed, size and licence
  recipes quantize MODEL DATA --out NEW a smaller and faster model, if it is still as good
  recipes tasks                         what can be learnt
  recipes backbones 'resnet*'           the networks to start from
  recipes demo                          draw examples, fit, evaluate and predict, without network

recipes COMMAND --help tells more. Exit codes: 0 done, 1 some inputs or the run failed, 2 a mistake in the call,
130 stopped with Ctrl-C. --debug shows where an error came from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `recipes` command.

    Args:
        arguments: what follows `recipes` in the shell; by default what this process was called with.

    Returns:
        The exit code: 0 done, 1 some inputs or the run failed, 2 the user's mistake, 128 + n stopped by signal n.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    try:
        return _run([word for place, word in enumerate(words) if word != "--debug" or place >= len(options)])
    except RecipesError as error:
        if debug:
            raise
        say(f"error: {error}", always=not error.agreed)
        return error.exit_code
    except KeyboardInterrupt as error:
        say("stopped")
        return _signal_code(error.signal if isinstance(error, StoppedError) else "SIGINT")
    except BrokenPipeError:  # the program that reads from us has ended, as `head` does
        _close_stdout()
        return 128 + 13
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _close_stdout()
            say("error: there is no space left for the output")
            return 1
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"error: {printable(reason, 400)} (this should not happen; --debug shows where it came from)", always=True)
        return 1


def _close_stdout() -> None:
    """Let nothing more be written when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "check": _check,
        "fit": _fit,
        "predict": _predict,
        "evaluate": _evaluate,
        "tune": _tune,
        "compare": _compare,
        "quantize": _quantize,
        "tasks": _tasks,
        "backbones": _backbones,
        "demo": _demo,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        print(_OVERVIEW, end="")  # noqa: T201
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        print(f"recipes {recipes.__version__}")  # noqa: T201
        return 0
    if words[0] not in commands:
        raise OptionError(
            f"there is no command {printable(words[0])!r}{did_you_mean(words[0], commands)} "
            f"(commands: {', '.join(commands)})"
        )
    return commands[words[0]](words[1:])


# ---------------------------------------------------------------------------------------------------------------------
# The commands


def _fit(words: list[str]) -> int:
    words, config, compare = _with_config(words)
    cls, words = _task_named("fit", words, config)
    if cls is None:
        return 0 if words else 2
    parser, documented = _task_parser("fit", cls, cls.fit)
    parser.add_argument("--out", type=str, default=None, help="the model's folder (default: DATA-model)")
    parser.add_argument("--resume", action="store_true", help=documented["resume"])
    parser.add_argument("--overwrite", action="store_true", help=documented["overwrite"])
    task, given = _task_asked(parser, cls, words, config)
    if given.get("resume") and not given.get("out"):
        raise OptionError("--resume needs --out MODEL, the folder of the run to go on with")
    given["out"] = given.get("out") or _free_name(given["data"])
    task.fit(**given, compare=compare)
    return _signal_code(task.history.stopped if task.history else None)


def _tune(words: list[str]) -> int:
    words, config, _ = _with_config(words)
    cls, words = _task_named("tune", words, config)
    if cls is None:
        return 0 if words else 2
    parser, documented = _task_parser("tune", cls, cls.tune)
    parser.add_argument("--out", type=str, default=None, help=documented["out"])
    parser.add_argument("--trials", type=int, default=20, help=documented["trials"])
    parser.add_argument("--time", type=str, default="", help=documented["time"])
    parser.add_argument("--search", type=str, default="", help=documented["search"])
    parser.add_argument("--backbones", type=str, default="", help=documented["backbones"])
    task, given = _task_asked(parser, cls, words, config, skipped=("time",))
    if not given.get("out"):
        raise OptionError("recipes tune needs --out STUDY, a folder for the trials and the best recipe")
    return _signal_code(task.tune(**given).stopped)


def _compare(words: list[str]) -> int:
    words, config, _ = _with_config(words)
    cls, words = _task_named("compare", words, config)
    if cls is None:
        return 0 if words else 2
    parser, documented = _task_parser("compare", cls, cls.compare, preset="quick")
    parser.add_argument("--backbones", type=str, default="", help=documented["backbones"])
    parser.add_argument("--by", type=Literal["score", "latency"], default="score", help=documented["by"])
    parser.add_argument(
        "--format", type=Literal["table", "csv", "json"], default="table", help="form of the rows; JSON has everything"
    )
    task, given = _task_asked(parser, cls, words, config, preset="quick")
    form = given.pop("format", "table")
    comparison = task.compare(**{"backbones": "", **given})
    if form == "json":
        print(json.dumps(comparison.to_dict(), indent=2))  # noqa: T201
    elif form == "csv":
        print(comparison.csv(), end="")  # noqa: T201
    else:
        comparison.show(sys.stdout)
    failed = [row for row in comparison.rows if row.error is not None]
    if comparison.stopped:
        return _signal_code(comparison.stopped)
    return 0 if not failed else 1 if comparison.best else 2


def _signal_code(stopped: str | None) -> int:
    return 128 + signal.Signals[stopped] if stopped else 0


def _task_named(command: str, words: list[str], config: dict[str, Any]) -> tuple[type[Task] | None, list[str]]:
    """The class of the task that is asked for, and the words after its name; None where the tasks were shown."""
    named = words[0] if words and not words[0].startswith("-") and words[0] != config.get("data") else None
    if named in TASKS or (named is not None and "task" not in config):
        words = words[1:]
    else:
        named = config.get("task")
    if not isinstance(named, (str, type(None))):
        raise OptionError(f"--config has task: {printable(str(named), 40)}; it is one of {', '.join(TASKS)}")
    if named is not None:
        return task_class(named), words
    if {"-h", "--help"} & set(words) or not (words or config):
        out = {"fit": "[--out MODEL]", "tune": "--out STUDY", "compare": "--backbones A,B,C"}[command]
        _print_tasks(
            f"usage: recipes {command} TASK DATA {out} [options]\n\nTasks (recipes {command} TASK --help tells more):"
        )
        return None, words
    raise OptionError(f"expected a task: recipes {command} TASK DATA (tasks: {', '.join(TASKS)})")


def _task_parser(
    command: str, cls: type[Task], method: Callable[..., Any], preset: str = "default"
) -> tuple[ArgumentParser, dict[str, str]]:
    """A parser with what all commands that fit a task take, and what the method says of its arguments."""
    about, documented = cls if command == "fit" else method, _documented(method)
    parser = _parser(f"{command} {cls.command}", f"{about.__doc__}".partition("\n")[0])
    parser.add_argument("data", type=str, help=_documented(cls.fit)["data"])
    parser.add_argument("--val", type=str, default=None, help=documented["val"])
    parser.add_argument("--preset", type=str, default=preset, help=f"the settings to start from: {', '.join(PRESETS)}")
    parser.add_argument("--quiet", action="store_true", help=documented["quiet"])
    parser.add_argument("--config", type=str, default=None, help="a YAML file of options, such as MODEL/recipe.yaml")
    return parser, documented


def _task_asked(
    parser: ArgumentParser,
    cls: type[Task],
    words: list[str],
    config: dict[str, Any],
    preset: str = "default",
    skipped: Sequence[str] = (),
) -> tuple[Task, dict[str, Any]]:
    """The task with the options that were given, and all other arguments that were."""
    _add_options(parser, cls(), "model")
    _add_options(parser, cls().presets[preset], "training", hidden=cls.foreign, skipped=skipped)
    if "--" in _positionals_last([_flag(word) for word in words], parser):
        config.pop("data", None)  # what is typed comes over what the file says
    given = _options_apart(_parsed(parser, [*_as_words(config, parser), *words]), cls)
    return cls(**given.pop("options")), given


def _options_apart(values: dict[str, Any], cls: type) -> dict[str, Any]:
    """The arguments of `fit`, with the task's own options apart under `options`."""
    names = {item.name for item in dataclasses.fields(cls)}
    options = {name: value for name, value in values.items() if name in names}
    return {"options": options, **{name: value for name, value in values.items() if name not in names}}


def _predict(words: list[str]) -> int:
    parser = _parser("predict", "Predict files, folders, globs and texts, or what is listed on stdin.")
    parser.add_argument("model", type=str, help="a model folder, or hf-hub:OWNER/NAME")
    parser.add_argument(
        "inputs",
        type=str,
        nargs="+",
        help="files, folders, globs, or - for a list of paths on stdin; for a model of texts a text, a table, a file "
        "of lines, or - for lines on stdin",
    )
    parser.add_argument("--format", type=Literal["table", "csv", "jsonl"], default="table", help="form of the rows")
    parser.add_argument("--top_k", type=int, default=1, help="labels in each row, best first")
    parser.add_argument(
        "--output", type=str, default=None, help="a file for the rows, instead of stdout; of masks, a folder for them"
    )
    parser.add_argument(
        "--masks",
        type=Literal["index", "binary", "overlay", "rle", "polygons"],
        default=None,
        help="what is written for each mask: a PNG of label places (the default), black and white PNGs, an overlay on "
        "the image, run lengths as COCO has them (JSON), or outlines (GeoJSON)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace masks that recipes wrote before")
    _add_running(parser)
    parser.add_argument(
        "--devices", type=int, default=1, help=_documented(task_class("image-classifier").predict)["devices"]
    )
    asked = {**parser.get_defaults().as_dict(), **_parsed(parser, words)}
    if asked["top_k"] < 1:
        raise OptionError(f"--top-k is at least 1, found {asked['top_k']}")
    if ranks.here().world > 1:
        raise OptionError("recipes predict starts its own processes; leave the launcher out, and say --devices 2")
    task = recipes.load(asked["model"])
    running = {name: asked[name] for name in ("batch_size", "workers", "device", "devices")}
    if task.codec is not None and task.codec.dense:
        folder, destined, kind = asked["output"], None, asked["masks"]
        if folder == "" or (folder is None and (kind or asked["overwrite"])):
            raise OptionError("masks are written into a folder; say which with --output FOLDER")
        predictions = _with_masks(task, asked["inputs"], folder, kind or "index", asked["overwrite"], running)
    else:
        destined = asked["output"]
        texts = task.codec is not None and task.codec.ragged
        inputs: Iterator[Any] = _texts(asked["inputs"], task) if texts else _paths(asked["inputs"], task)
        predictions = task.predict_each(inputs, **running)
    with _destination(destined) as destination:
        total, failed = _write_rows(predictions, asked["format"], asked["top_k"], destination)
    if failed:
        say(f"{failed} of {total} inputs could not be read")
    if not total:
        say("no inputs")
    return 1 if failed else 0


def _with_masks(
    task: Task, inputs: list[str], folder: str | None, kind: str, overwrite: bool, running: dict[str, Any]
) -> Iterator[Any]:
    """The predictions of masks; if a folder is given, each is written there before its row comes out."""
    from recipes import mask_files

    paths = _paths(inputs, task)
    root = inputs[0] if len(inputs) == 1 and os.path.isdir(inputs[0]) else None
    if "-" in inputs:  # they are taken as they arrive
        paths, named = itertools.tee(paths)
        names, kept = mask_files.output_names(named, root), set()
    else:
        known = list(paths)
        paths, names, kept = iter(known), mask_files.output_names(known, root), mask_files.identities(known)
    for prediction in task.predict_each(paths, **running):
        name = next(names)
        if folder is not None and prediction.mask is not None:
            prediction.save(folder, kind, name=name, overwrite=overwrite, inputs=kept)
        yield prediction


def _evaluate(words: list[str]) -> int:
    parser = _parser("evaluate", "Score a model on labelled data.")
    parser.add_argument("model", type=str, help="a model folder, or hf-hub:OWNER/NAME")
    parser.add_argument("data", type=str, help="data of the form that the model was fitted on")
    parser.add_argument(
        "--split",
        type=Literal["train", "val", "test"],
        default=None,
        help="score those examples only that the run had for it, as the model's record says",
    )
    parser.add_argument("--format", type=Literal["table", "json"], default="table", help="form of the scores")
    _add_running(parser)
    asked = {**parser.get_defaults().as_dict(), **_parsed(parser, words)}
    running = {name: asked[name] for name in ("batch_size", "workers", "device")}
    evaluation = recipes.load(asked["model"]).evaluate(asked["data"], split=asked["split"], **running)
    if asked["format"] == "json":
        print(json.dumps(evaluation.to_dict(), indent=2))  # noqa: T201
    else:
        evaluation.show(f"{evaluation.examples:,} examples", sys.stdout)
    return _unreadable_code(evaluation.unreadable)


def _unreadable_code(names: Sequence[str]) -> int:
    """1 where files could not be read, after they have been named."""
    if names:
        say(f"{counted(len(names), 'file')} could not be read: {listed(names)}")
    return 1 if names else 0


# Options of tasks that say how data are read.
_READING = ("group", "image", "text", "label", "multi_label", "labels", "colours", "ignore", "suffix")


def _check(words: list[str]) -> int:
    from recipes import checks

    named = words[0] if words and words[0] in TASKS else None
    if named is None and not {"-h", "--help"} & set(words):
        data = next((word for word in words if not word.startswith("-")), None)
        if data is None:
            raise OptionError("expected data: recipes check DATA, or recipes check TASK DATA")
        named = checks.guessed(data)
        say(f"checking as {named}; recipes check TASK DATA names another (tasks: {', '.join(TASKS)})")
    elif named is not None:
        words = words[1:]
    cls = task_class(named or "image-classifier")
    parser = _parser(
        "check", "Look at all of the data as fit would read them, and say what is wrong; no file is changed."
    )
    parser.add_argument("data", type=str, help="what fit takes, perhaps after the name of a task")
    parser.add_argument("--val", type=str, default=None, help="the same for validation, if there is any apart")
    parser.add_argument("--format", type=Literal["table", "json"], default="table", help="form of the report")
    parser.add_argument(
        "--exclude_list",
        type=str,
        default=None,
        help="write the names of what to leave out here, for fit --exclude-list",
    )
    others = [item.name for item in dataclasses.fields(cls) if item.name not in _READING]
    _add_options(parser, cls(), "how data are read", skipped=others)
    asked = {**parser.get_defaults().as_dict(), **_parsed(parser, words)}
    options = {name: asked[name] for name in _READING if asked.get(name) is not None}
    report = checks.check(asked["data"], asked["val"], task=cls.command, **options)
    if asked["format"] == "json":
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        report.show(sys.stdout)
    if asked["exclude_list"] is not None:
        where = report.write_exclude_list(asked["exclude_list"])
        number = len(report.exclude_list)
        say(f"wrote {counted(number, 'name')} to {printable(str(where))}; next: recipes fit ... --exclude-list {where}")
    return 0 if report.ok else 1


def _quantize(words: list[str]) -> int:
    from recipes.task import Task

    documented = _documented(Task.quantize)
    parser = _parser("quantize", "Write a model with numbers of 8 bits instead of 32, if it is still as good.")
    parser.add_argument("model", type=str, help="a model folder, or hf-hub:OWNER/NAME")
    parser.add_argument("data", type=str, help=documented["data"])
    parser.add_argument("--out", type=str, default=None, help=documented["out"])
    parser.add_argument("--most_lost", type=float, default=0.01, help=documented["most_lost"])
    parser.add_argument("--overwrite", action="store_true", help=documented["overwrite"])
    asked = {**parser.get_defaults().as_dict(), **_parsed(parser, words)}
    if not asked["out"]:
        raise OptionError("expected --out SMALL, a folder for the smaller model")
    task = recipes.load(asked["model"])
    report = task.quantize(
        asked["data"], asked["out"], most_lost=asked["most_lost"], overwrite=bool(asked["overwrite"])
    )
    say(report.line())
    say(f"saved to {printable(asked['out'])}; next: recipes predict {shlex.quote(printable(asked['out']))} PICTURE")
    return _unreadable_code(report.unreadable)


def _tasks(words: list[str]) -> int:
    _parsed(_parser("tasks", "What can be learnt."), words)
    _print_tasks()
    return 0


def _backbones(words: list[str]) -> int:
    parser = _parser("backbones", "The networks to start from, one name on a line.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="a pattern such as 'resnet*'")
    pattern = _parsed(parser, words).get("pattern", "*")

    from recipes import backbones

    print("\n".join(backbones.names(pattern)))  # noqa: T201
    return 0


def _demo(words: list[str]) -> int:
    parser = _parser("demo", "Draw examples, fit, evaluate and predict, without network.")
    parser.add_argument("task", type=str, nargs="?", default="image-classifier", help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--out", type=str, default="recipes-demo", help="the folder for examples and model")
    asked = {**parser.get_defaults().as_dict(), **_parsed(parser, words)}

    from recipes import demo

    demo.run(asked["task"], asked["out"])
    return 0


def _print_tasks(title: str | None = None) -> None:
    if title:
        print(title)  # noqa: T201
    for name, (_, _, words) in TASKS.items():
        print(f"  {name:<20} {words}" if title else f"{name:<20} {words}")  # noqa: T201


# ---------------------------------------------------------------------------------------------------------------------
# Words into options


def _parser(command: str, description: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):
        def format_help(self, *arguments: Any) -> str:
            """Flags with dashes, as people type them; underscores work, too."""
            return re.sub(r"--\w+", lambda flag: flag.group().replace("_", "-"), super().format_help(*arguments))

    return Parser(prog=f"recipes {command}", description=description, exit_on_error=False)


def _add_options(
    parser: ArgumentParser, values: Any, title: str, hidden: Sequence[str] = (), skipped: Sequence[str] = ()
) -> None:
    """A flag for each field of a dataclass, with its type, docstring, and the value here as its default."""
    cls = type(values)
    group, documented, kinds = parser.add_argument_group(title), _documented(cls), typing.get_type_hints(cls)
    for item in (item for item in dataclasses.fields(cls) if item.name not in skipped):
        # "None" is said by leaving a flag out, so that a file may be called null.
        kind = next((part for part in typing.get_args(kinds[item.name]) if part in (int, str)), kinds[item.name])
        words = SUPPRESS if item.name in hidden else documented[item.name]
        group.add_argument(f"--{item.name}", type=kind, default=getattr(values, item.name), help=words)


def _add_running(parser: ArgumentParser) -> None:
    from recipes.task import Task

    documented = _documented(Task.predict)
    parser.add_argument("--batch_size", type=int, default=32, help=documented["batch_size"])
    parser.add_argument("--workers", type=int, default=-1, help=documented["workers"])
    parser.add_argument("--device", type=str, default="auto", help=documented["device"])


def _documented(thing: Any) -> dict[str, str]:
    """The descriptions of the arguments in a docstring."""
    from docstring_parser import DocstringStyle, parse

    kinds = (
        [kind for kind in reversed(thing.__mro__) if dataclasses.is_dataclass(kind)] if isinstance(thing, type) else []
    )
    entries = [
        entry for kind in kinds or [thing] for entry in parse(inspect.getdoc(kind) or "", DocstringStyle.GOOGLE).params
    ]
    return {entry.arg_name: " ".join((entry.description or "").split()).rstrip(".") for entry in entries}


def _parsed(parser: ArgumentParser, words: list[str]) -> dict[str, Any]:
    """The options that were given, by name; a mistake is one line, with the nearest right flag."""
    import argparse

    flags = [flag for action in parser._actions for flag in action.option_strings]
    end = words.index("--") if "--" in words else len(words)
    words = [*map(_flag, words[:end]), *words[end:]]
    for word in words[:end]:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in flags:
            near = did_you_mean(name, flags).replace("_", "-")
            raise OptionError(f"{parser.prog} has no option {name.replace('_', '-')}{near}")
    try:
        given: Namespace = parser.parse_args(_positionals_last(words, parser), defaults=False)
    except argparse.ArgumentError as error:
        raise OptionError(_one_line(str(error), parser)) from error
    return {name: value for name, value in given.as_dict().items() if name != "config"}


def _positionals_last(words: list[str], parser: ArgumentParser) -> list[str]:
    """The flags with their values first, so that both may be mixed: `predict pets a.jpg --format csv b.jpg`."""
    takes_value = {flag: action.nargs != 0 for action in parser._actions for flag in action.option_strings}
    flags: list[str] = []
    others: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            others += remaining
        elif word.startswith("-") and word != "-":
            flags.append(word)
            if takes_value.get(word, False):
                flags += [value for value in [next(remaining, None)] if value is not None]
        else:
            others.append(word)
    return [*flags, "--", *others] if others else flags


def _flag(word: str) -> str:
    """`--batch-size` as the parser knows it, `--batch_size`; both may be typed."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value


def _one_line(message: str, parser: ArgumentParser) -> str:
    if wrong := re.match(r'Parser key "(\w+)":(?:.*Got value: (.*))?', message, re.DOTALL):
        name, value = wrong.groups()
        kinds = {action.dest: getattr(action, "_typehint", getattr(action, "type", None)) for action in parser._actions}
        found = "" if value is None else f", found {printable(value.strip(), 60)!r}"
        return f"--{name.replace('_', '-')} takes {in_words(kinds.get(name))}{found}"
    if missing := re.match(r"the following arguments are required: (.*)", message):
        return f"expected {missing.group(1)}; see {parser.prog} --help"
    return f"{printable(' '.join(message.split()), 200)}; see {parser.prog} --help"


def _with_config(words: list[str]) -> tuple[list[str], dict[str, Any], Path | None]:
    """The words without `--config FILE`, what the file holds, and the model folder that it lies in, if it does."""
    folder = None
    kept: list[str] = []
    values: dict[str, Any] = {}
    remaining = iter(words)
    for word in remaining:
        if word == "--config" or word.startswith("--config="):
            path = word.partition("=")[2] if "=" in word else next(remaining, "")
            values.update(_read_config(path))
            if (Path(path).parent / artifact.FILES).is_file():
                folder = Path(path).parent
        else:
            kept.append(word)
    return kept, values, folder


def _read_config(path: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise OptionError(f"--config {printable(path)!r} cannot be read ({printable(reason, 120)})") from error
    if not isinstance(values, dict):
        raise OptionError(f"--config {printable(path)} holds no options; it has lines such as `epochs: 5`")
    return values


def _as_words(config: dict[str, Any], parser: ArgumentParser) -> list[str]:
    """A file's options as the words one would have typed, so that both are checked alike and later words win."""
    words: list[str] = []
    known = {action.dest for action in parser._actions}
    for name, value in config.items():
        if name in ("task", "recipes") or value is None:  # said elsewhere
            continue
        if name not in known:
            raise OptionError(
                f"--config has an unknown option {printable(str(name))!r}{did_you_mean(str(name), known)}"
            )
        if name in ("overwrite", "quiet", "resume"):
            words += [f"--{name}"] if value is True else []
        elif name == "data":
            words = [str(value), *words]
        else:
            if isinstance(value, (bool, dict)):
                value = json.dumps(value)
            words.append(f"--{name}={value}")
    return words


def _free_name(data: str) -> str:
    """`photos-model` for `photos/`, `photos.csv` or `photos-{0..9}.tar`, or `photos-model-2` if that is there."""
    path = Path(data).absolute()
    name = path.stem if path.is_file() else path.name
    if not path.exists():  # shards
        name = re.sub(r"\{.*\}|[*?\[\]]|\.[a-z]+(\.gz)?$", "", name).rstrip("-_.")
    name = f"{name or 'data'}-model"
    number = 2
    free = name
    while os.path.lexists(free):
        free, number = f"{name}-{number}", number + 1
    return free


# ---------------------------------------------------------------------------------------------------------------------
# Inputs and rows


def _texts(words: list[str], task: Task) -> Iterator[Any]:
    """The texts asked for, one after the other; `-` stands for lines on stdin, taken as they arrive."""
    from recipes.text_examples import lines_of

    assert task.codec is not None
    found = [[] if word == "-" else task.codec.gather(word) for word in words]
    return (
        text
        for word, texts in zip(words, found, strict=True)
        for text in (lines_of(sys.stdin.buffer) if word == "-" else texts)
    )


def _paths(words: list[str], task: Task) -> Iterator[Any]:
    """The inputs asked for, one path after the other; `-` stands for a list of paths on stdin, taken as it arrives.

    What does not exist stays in its place and becomes an error row, unless there is nothing else.
    """
    assert task.codec is not None
    found: list[list[Any]] = []
    problems: list[DataError] = []
    for word in words:
        try:
            found.append([] if word == "-" else task.codec.gather(word))
        except DataError as error:
            problems.append(error)
            found.append([word])
    if len(problems) == len(words):
        raise problems[0]
    for problem in problems:
        say(f"warning: {problem}")
    return (path for word, paths in zip(words, found, strict=True) for path in (_on_stdin() if word == "-" else paths))


def _on_stdin() -> Iterator[str]:
    """The paths in a list on stdin, separated by newlines, or by NUL where the first block has one."""
    from recipes.images import pictures_in

    rest, separator = b"", b""
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    while block := stdin.read1(2**16):
        rest += block
        separator = separator or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else b"")
        if separator:
            *whole, rest = rest.split(separator)
            for line in whole:
                yield from _at(line if separator == b"\0" else line.removesuffix(b"\r"), pictures_in)
    yield from _at(rest if separator == b"\0" else rest.removesuffix(b"\r"), pictures_in)


def _at(line: bytes, pictures_in: Callable[[str], tuple[list[str], list[str]]]) -> list[str]:
    path = os.fsdecode(line)
    return pictures_in(path)[0] if os.path.isdir(path) else [path] if path else []


@contextlib.contextmanager
def _destination(path: str | None) -> Iterator[IO[str]]:
    """Stdout, or a file that is there when all rows are in it."""
    if path is None:
        # Names of files are bytes: those that are not UTF-8 leave as they came.
        stream = io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="", write_through=True)
        try:
            yield stream
            stream.flush()
        finally:
            with contextlib.suppress(ValueError, BrokenPipeError):
                stream.detach()
        return
    target = Path(path).expanduser().resolve()
    try:
        special = path.startswith("/dev/") or (target.exists() and not target.is_file())
        if special:  # a pipe or a device is written to, not replaced
            with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                yield file
            return
        number, scratch = tempfile.mkstemp(prefix=f".{target.name[:60]}-", dir=target.parent)
        try:
            with open(number, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                yield file
            artifact.open_to_all(scratch, 0o666)
            os.replace(scratch, target)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(scratch)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"{printable(path)} cannot be written ({error.strerror})") from error


def _write_rows(predictions: Iterable[Any], form: str, top_k: int, file: IO[str]) -> tuple[int, int]:
    """Write a row for each prediction as it comes; how many there were, and how many could not be read."""
    write = {"table": _table_writer, "csv": _csv_writer, "jsonl": _json_writer}[form](file)
    total = failed = 0
    for prediction in predictions:
        write(prediction.row(top_k))
        total += 1
        failed += prediction.error is not None
    return total, failed


def _table_writer(file: IO[str]) -> Callable[[dict[str, Any]], None]:
    def write(row: dict[str, Any]) -> None:
        if "value" in row:
            number = row["error"] and f"error: {printable(row['error'])}"
            file.write(f"{number or shown(row['value']):<14} {printable(row['file'] or '-')}\n")
            return
        if "label" not in row:  # a mask
            found = [(name.removeprefix("area_"), row[name]) for name in row if name.startswith("area_")]
            words = "  ".join(f"{printable(label)} {share:.3f}" for label, share in found if share is not None)
            file.write(f"{words if row['error'] is None else 'error: ' + printable(row['error'])}  ")
            file.write(f"{printable(row['file'] or '-')}\n")
            return
        best = [(row[f"label{place}"], row[f"score{place}"]) for place in _places(row)]
        words = "  ".join(f"{printable(label):<14} {score:.3f}" for label, score in best if label is not None)
        several = "" if row.get("labels") is None else f"{printable(row['labels']) or '-':<14} "
        parts = [row[part] for part in ("file", "text", "text_2") if part in row]
        name = "  ".join(map(str, filter(None, parts))) or "-"
        file.write(f"{several}{words or 'error: ' + printable(row['error'])}  {printable(name)}\n")

    return write


def _places(row: dict[str, Any]) -> list[str]:
    return ["", *(name.removeprefix("label") for name in row if name.startswith("label_"))]


def _csv_writer(file: IO[str]) -> Callable[[dict[str, Any]], None]:
    # Python before 3.13 quotes a lone carriage return only where it is part of a row's end; \n alone ends ours.
    row_text = io.StringIO()
    writer = csv.writer(row_text, lineterminator="\r\n")
    header: list[str] = []

    def add(cells: list[Any]) -> None:
        writer.writerow(cells)
        file.write(row_text.getvalue().removesuffix("\r\n") + "\n")
        row_text.seek(0)
        row_text.truncate()

    def write(row: dict[str, Any]) -> None:
        if not header:
            header.extend(row)
            add(header)
        add([plain_cell(name, value) for name, value in row.items()])

    return write


def _json_writer(file: IO[str]) -> Callable[[dict[str, Any]], None]:
    def write(row: dict[str, Any]) -> None:
        rounded = {name: _rounded(name, value) if isinstance(value, float) else value for name, value in row.items()}
        file.write(json.dumps(rounded) + "\n")

    return write


def _rounded(name: str, value: float) -> float:
    """A score to six decimals, another number to the seven digits that the network's arithmetic has."""
    return float(f"{value:.7g}") if name == "value" else round(value, 6)

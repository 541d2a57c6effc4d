"""The documentation is true: its code runs, its links lead somewhere, and nothing that people can use is missing."""

import ast
import csv
import dataclasses
import importlib.util
import itertools
import re
import shutil
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

import recipes
from recipes import cli
from recipes.catalog import TASKS
from recipes.demo import draw_glasses, draw_messages, draw_scenes, draw_shapes
from recipes.presets import MASK_PRESETS, NGRAM_PRESETS, PRESETS, TEXT_PRESETS, Preset

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Pages whose Python is run from top to bottom, as a reader would type it.
TEXTS = ROOT / "docs" / "tasks" / "text_classifier.md"
NUMBERS = ROOT / "docs" / "tasks" / "image_regressor.md"
# Commands whose flags depend on the task.
OF_TASKS = ("fit", "tune", "compare")

RUN = [ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "tutorial.md", TEXTS, NUMBERS]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language on a page, each with the line it begins at."""
    text = page.read_text("utf-8")
    found = re.finditer(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [
        (
            text.count("\n", 0, match.start(2)) + 1,
            re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE),
        )
        for match in found
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `recipes …` command in the shell blocks of all pages, as words."""
    for page in PAGES:
        for _, block in blocks(page, "sh"):
            for line in block.splitlines():
                for words in re.findall(r"(?:^|\| |&& )(?:\.venv/bin/)?recipes ([^|>#]+)", line):
                    yield name(page), words.split()


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the names that the pages speak of, default networks that need no download, and short presets."""
    draw_shapes(tmp_path / "photos", number=8, seed=0, size=32)
    draw_shapes(tmp_path / "test", number=2, seed=1, size=32)
    shutil.copytree(tmp_path / "test" / "star", tmp_path / "holiday")
    shutil.copy(tmp_path / "holiday" / "000.png", tmp_path / "cat.jpg")
    draw_scenes(tmp_path / "cells", number=6, seed=1, size=32)
    shutil.copy(tmp_path / "cells" / "images" / "000.png", tmp_path / "image.png")
    draw_glasses(tmp_path / "glasses", number=20, seed=1, size=32)
    levels = (tmp_path / "glasses" / "levels.csv").read_text().splitlines()[1:]
    rows = ["image,price", *(f"glasses/{line}" for line in levels)]
    (tmp_path / "prices.csv").write_text("\n".join(rows))
    shutil.copy(tmp_path / "glasses" / "000.png", tmp_path / "car.jpg")
    draw_tables(tmp_path)
    draw_encoder(tmp_path / "encoder")
    small = {"backbone": "test_resnet", "pretrained": False, "size": 32}
    ours = {recipes.TextClassifier: {"backbone": str(tmp_path / "encoder")}}
    for cls in (recipes.ImageClassifier, recipes.ImageRegressor, recipes.Segmenter, recipes.TextClassifier):
        options = [item for item in dataclasses.fields(cls) if not item.kw_only]
        defaults = tuple(ours.get(cls, small).get(item.name, item.default) for item in options)
        monkeypatch.setattr(cls.__init__, "__defaults__", defaults)
    for named in (PRESETS, MASK_PRESETS, TEXT_PRESETS, recipes.ImageRegressor.presets):
        monkeypatch.setitem(named, "default", dataclasses.replace(named["default"], epochs=1))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def draw_tables(folder: Path) -> None:
    """Texts in the forms that the pages speak of: one label each, several, pairs, lines."""
    for number, file in ((20, "reviews.csv"), (8, "test.csv")):
        draw_messages(folder / file, number, seed=number)
    with open(folder / "reviews.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    several = [f"{label}|urgent" if place % 3 == 0 else label for place, label in enumerate(labels)]
    same = ["same" if one == other else "other" for one, other in itertools.pairwise(labels)]
    for table, columns in {
        "tickets.csv": {"text": texts, "labels": several},
        "pairs.csv": {"premise": texts[1:], "hypothesis": texts[:-1], "label": same},
        "split.csv": {
            "text": texts,
            "label": labels,
            "split": ["val" if place < 12 else "train" for place in range(60)],
        },
    }.items():
        with open(folder / table, "w", encoding="utf-8", newline="") as written:
            writer = csv.writer(written)
            writer.writerows([columns, *zip(*columns.values(), strict=True)])
    (folder / "lines.txt").write_text("\n".join(texts[:3]), "utf-8")


def draw_encoder(folder: Path) -> None:
    """A BERT of two small layers with random weights, which reads letter by letter."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_is_python(page: Path) -> None:
    for line, block in blocks(page, "python"):
        compile(block, f"{name(page)}:{line}", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
@pytest.mark.filterwarnings("default")  # other libraries' own, such as those of pandas and datasets
def test_the_python_of_a_beginners_page_runs_from_top_to_bottom(page: Path, at_home: Path) -> None:
    assert blocks(page, "python")
    for library in ("pandas", "polars", "datasets") if page == TEXTS else ():
        pytest.importorskip(library)
    known: dict[str, object] = {"__name__": "__main__"}
    for line, block in blocks(page, "python"):
        exec(compile(block, f"{name(page)}:{line}", "exec", dont_inherit=True), known)


@pytest.mark.slow
def test_the_worked_example_of_a_new_task_fits_predicts_saves_and_loads(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (at_home / "picture_grader.py").write_text(blocks(ROOT / "docs" / "new_task.md", "python")[0][1], "utf-8")
    spec = importlib.util.spec_from_file_location("picture_grader", at_home / "picture_grader.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "picture_grader", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(TASKS, "picture-grader", ("picture_grader", "PictureGrader", "grades"))
    task = module.PictureGrader(backbone="test_resnet", pretrained=False, size=32)
    task.fit("photos", preset="scratch", epochs=1, out="grader", quiet=True)
    assert "grades_off" in task.evaluate("test").scores
    assert recipes.load("grader").predict("cat.jpg") == task.predict("cat.jpg")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, heading = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles]
            assert heading in anchors, f"{link} names no heading of {target.name}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs')}\n" in navigation


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_page_that_names_each_of_its_options(task: str) -> None:
    module, attribute, _ = TASKS[task]
    page = (ROOT / "docs" / "tasks" / f"{module.rpartition('.')[2]}.md").read_text("utf-8")
    for option in dataclasses.fields(getattr(importlib.import_module(module), attribute)):
        assert f"`{option.name}`" in page


def test_the_page_of_presets_gives_every_setting_with_the_values_of_every_preset() -> None:
    page = (ROOT / "docs" / "presets.md").read_text("utf-8")
    assert re.findall(r"^\| setting (.*?)\| what", page, re.MULTILINE)[0].split() == list(
        itertools.chain.from_iterable(("|", f"`{preset}`") for preset in PRESETS)
    )
    for setting in dataclasses.fields(Preset):
        values = [getattr(preset, setting.name) for preset in PRESETS.values()]
        words = " | ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
        assert f"| `{setting.name}` | {words} | " in page


@pytest.mark.parametrize(
    ("title", "named", "others", "foreign"),
    [
        ("Presets for masks", MASK_PRESETS, PRESETS, ()),
        ("Presets for texts", TEXT_PRESETS, PRESETS, recipes.TextClassifier.foreign),
        ("Presets for n-grams", NGRAM_PRESETS, TEXT_PRESETS, recipes.TextClassifier.foreign),
    ],
)
def test_the_page_of_presets_says_where_those_of_other_tasks_differ(
    title: str, named: Mapping[str, Preset], others: Mapping[str, Preset], foreign: tuple[str, ...]
) -> None:
    page = (ROOT / "docs" / "presets.md").read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| setting (.*?)\| why", page, re.MULTILINE)[0].split() == list(
        itertools.chain.from_iterable(("|", f"`{preset}`") for preset in named)
    )
    for setting in dataclasses.fields(Preset):
        values = [getattr(preset, setting.name) for preset in named.values()]
        words = " | ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
        differs = setting.name not in foreign and values != [getattr(others[name], setting.name) for name in named]
        assert f"| `{setting.name}` | {words} | " in page or not (differs or f"| `{setting.name}` |" in page)


def test_the_page_of_the_command_line_has_every_command_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    assert cli.main(["--help"]) == 0
    for command in re.findall(r"^  recipes (\w+)", capsys.readouterr().out, re.MULTILINE):
        assert f"recipes {command}" in page
        told = flags([command] if command not in OF_TASKS else [command, next(iter(TASKS))], capsys)
        settings = {f"--{item.name.replace('_', '-')}" for item in dataclasses.fields(Preset)}
        options = {f"--{item.name}" for item in dataclasses.fields(recipes.ImageClassifier)}
        for flag in told - {"--help"} - (settings | options if command in OF_TASKS else set()):
            assert flag in page, f"{flag} of recipes {command}"


def test_every_command_on_the_pages_is_one_that_the_shell_takes(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(commands())
    assert len(found) > 10
    for page, words in found:
        if words[0].startswith("--"):
            continue
        command = words[:2] if words[0] in OF_TASKS and words[1] in TASKS else words[:1]
        known = flags(command if words[0] not in OF_TASKS else [words[0], (*command, next(iter(TASKS)))[1]], capsys)
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{word} of recipes {' '.join(command)} on {page}"


def flags(command: list[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The flags that a command's help tells of."""
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    return set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))


def test_the_changelog_has_a_section_for_what_is_not_released_yet() -> None:
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")

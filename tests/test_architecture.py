"""The shape of the package: who may import whom, one door for each library, the public names, instant start-up."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import recipes
from recipes.catalog import TASKS, task_class

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "recipes"

# A module may import from rows below its own, and from its own row only to the right; never a task another task.
ROWS = [
    ["__main__"],
    ["cli"],
    ["demo"],
    ["loading", "checks"],
    ["tasks"],
    ["classifier", "pictures"],
    ["task"],
    ["mask_losses", "mask_prediction", "contact_sheets", "shrinking", "launching"],
    ["comparing", "tuning", "rooms", "candidates"],
    ["training", "callbacks", "preparing", "sharding", "training_module", "features", "inference", "tiles", "data"],
    ["mask_networks", "text_networks", "onnx_networks", "backbones"],
    ["presets"],
    ["mask_examples", "mask_pairs", "mask_keys", "masks", "mask_files"],
    ["text_examples", "image_examples", "labelled", "columns", "sources"],
    ["streams", "tars", "archives", "datasets", "folds", "tables"],
    ["accounts"],
    ["looks", "texts", "examples", "names", "codec", "artifact", "cache"],
    ["crops"],
    ["images"],
    ["catalog", "results", "findings"],
    ["display"],
    ["ranks"],
    ["errors"],
]

# Each outside library comes in by one door, or by the few named here, each with its reason.
DOORS = {
    "pytorch_lightning": {"training", "training_module", "sharding", "callbacks", "data"},
    "timm": {"backbones"},
    "segmentation_models_pytorch": {"mask_networks", "mask_losses"},
    "pycocotools": {"masks", "mask_files"},
    "torchvision": {"backbones", "data", "images", "mask_networks"},  # networks, mixup, augmentation policies
    "torchmetrics": {"training_module", "classifier", "tasks"},  # the type of a collection; a task's own scores
    "transformers": {"text_networks"},
    "tokenizers": {"texts"},
    "huggingface_hub": {"artifact"},
    "safetensors": {"artifact", "backbones"},
    "matplotlib": {"results"},
    "optuna": {"tuning"},
    "codecarbon": {"accounts"},
    "onnx": {"shrinking"},
    "onnxruntime": {"onnx_networks", "shrinking"},  # one computes, the other quantizes
    "PIL": {"images", "crops", "mask_files", "mask_prediction", "demo"},
    "jsonargparse": {"cli"},
    "docstring_parser": {"cli"},
    "rich": {"display", "callbacks", "examples", "features", "archives", "checks"},  # progress bars
    "yaml": {"artifact", "cli"},
    "numpy": {
        "classifier",
        "codec",
        "crops",
        "data",
        "demo",
        "examples",
        "features",
        "image_examples",
        "images",
        "inference",
        "looks",
        "mask_files",
        "mask_examples",
        "mask_pairs",
        "mask_prediction",
        "masks",
        "pictures",
        "names",
        "preparing",
        "shrinking",
        "streams",
        "tasks",
        "text_examples",
        "text_networks",
        "texts",
        "training",
        "training_module",
    },
}

# torch may be imported while these are imported; everything else stays light.
HEAVY = {
    "backbones",
    "callbacks",
    "data",
    "features",
    "inference",
    "mask_losses",
    "mask_networks",
    "onnx_networks",
    "preparing",
    "sharding",
    "text_networks",
    "tiles",
    "training",
    "training_module",
    "contact_sheets",
}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }


def imports(path: Path, runtime_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(inner for child in node.body for inner in ast.walk(child))
        if runtime_only and isinstance(node, (ast.FunctionDef, ast.Lambda)):
            skipped.update(inner for inner in ast.walk(node) if inner is not node)
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({f"recipes.{name.name}" for name in node.names} if node.module == "recipes" else {node.module})
    return found


def row(module: str) -> tuple[int, int]:
    top = module.split(".")[0]
    return next((number, line.index(top)) for number, line in enumerate(ROWS) if top in line)


def test_every_module_has_its_row() -> None:
    assert {name.split(".")[0] for name in modules()} == {name for line in ROWS for name in line}


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_what_is_below_it(name: str) -> None:
    here = row(name)
    for imported in imports(modules()[name]):
        if imported.startswith("recipes."):
            other = imported.removeprefix("recipes.")
            if other.split(".")[0] in {module.split(".")[0] for module in modules()}:
                there = row(other)
                assert there[0] > here[0] or (there[0] == here[0] and there[1] > here[1]), f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(modules()))
def test_each_library_comes_in_by_its_door(name: str) -> None:
    for imported in imports(modules()[name]):
        library = imported.split(".")[0]
        if library in DOORS:
            assert name.split(".")[0] in DOORS[library], f"{name} imports {library}"


@pytest.mark.parametrize("name", sorted(set(modules()) - HEAVY))
def test_light_modules_do_not_import_heavy_ones_at_the_top(name: str) -> None:
    libraries = {"torch", "torchvision", "timm", "transformers", "pytorch_lightning", "torchmetrics"}
    heavy = libraries | {f"recipes.{one}" for one in HEAVY}
    top = {
        one if one.startswith("recipes") else one.split(".")[0] for one in imports(modules()[name], runtime_only=True)
    }
    assert not top & heavy


@pytest.mark.parametrize(
    "code",
    [
        "import recipes; recipes.ImageClassifier(); recipes.Preset()",
        "from recipes.cli import main; main(['--help'])",
        "from recipes.cli import main; main(['--version'])",
        "from recipes.cli import main; main(['tasks'])",
        *(
            f"from recipes.cli import main\ntry: main([{command}, '--help'])\nexcept SystemExit: pass"
            for command in (
                "'fit'",
                "'predict'",
                "'evaluate'",
                "'tune'",
                "'compare'",
                "'tasks'",
                "'backbones'",
                "'demo'",
            )
        ),
        *(
            f"from recipes.cli import main\ntry: main(['{command}', '{task}', '--help'])\nexcept SystemExit: pass"
            for command in ("fit", "tune", "compare")
            for task in TASKS
        ),
    ],
)
def test_importing_and_helping_load_no_torch(code: str) -> None:
    check = f"{code}\nimport sys; print([name for name in ('torch', 'numpy.testing', 'timm') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_predicting_needs_neither_lightning_nor_torchmetrics(tmp_path: Path) -> None:
    code = f"""
import sys
from recipes import ImageClassifier
from recipes.demo import draw_shapes
draw_shapes({str(tmp_path / "shapes")!r}, 4, seed=0, size=16)
task = ImageClassifier(backbone="test_resnet", pretrained=False, size=32)
from recipes import Preset
from recipes.examples import Examples, Splits
task.codec, task.network = task.make(Splits(*[Examples([], [], ("a", "b"))] * 2), Preset())
task.save({str(tmp_path / "model")!r})
import recipes
recipes.load({str(tmp_path / "model")!r}).predict({str(tmp_path / "shapes" / "star")!r})
print([name for name in ("pytorch_lightning", "torchmetrics", "jsonargparse") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_public_names_are_these() -> None:
    assert recipes.__all__ == [
        "Comparison",
        "Evaluation",
        "History",
        "ImageClassifier",
        "ImageRegressor",
        "MaskPrediction",
        "NumberPrediction",
        "Prediction",
        "Preset",
        "RecipesError",
        "Report",
        "Segmenter",
        "TextClassifier",
        "Tuning",
        "check",
        "load",
        "__version__",
    ]
    for name in recipes.__all__:
        assert getattr(recipes, name)
    assert set(dir(recipes)) == set(recipes.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        recipes.nothing  # noqa: B018


@pytest.mark.parametrize("command", list(TASKS))
def test_every_task_has_its_names_its_page_and_its_example(command: str) -> None:
    module = command.replace("-", "_")
    cls = task_class(command)
    assert cls.__module__ == f"recipes.tasks.{module}"
    assert cls.command == command
    assert cls.__name__ == "".join(word.title() for word in command.split("-"))
    assert cls.__name__ in recipes.__all__
    assert (ROOT / "docs" / "tasks" / f"{module}.md").is_file()


@pytest.mark.parametrize("command", list(TASKS))
def test_tasks_do_not_override_what_is_finished(command: str) -> None:
    from recipes.task import Task

    finished = {"fit", "predict", "predict_each", "evaluate", "save", "load", "lightning", "tune", "compare"}
    assert not finished & set(vars(task_class(command)))
    assert inspect.isabstract(Task)


# The three lines may run this many of the package's own functions, in this many files; see docs/design.md.
BUDGET = {"fit and predict": (326, 31), "predict": (35, 11)}


def test_the_way_stays_short(tmp_path: Path) -> None:
    code = f"""
import sys, threading
from recipes import ImageClassifier
from recipes.demo import draw_shapes
draw_shapes({str(tmp_path / "shapes")!r}, 6, seed=0, size=16)
seen = set()
def watch(frame, event, argument):
    code = frame.f_code
    function = code.co_flags & 1 and not code.co_name.startswith("<")  # bodies of classes are not optimized, flag 1
    if function and "/recipes/" in code.co_filename.replace(chr(92), "/"):
        seen.add((code.co_filename, code.co_qualname if hasattr(code, "co_qualname") else code.co_name))
def counted(call):
    seen.clear()
    threading.setprofile(watch); sys.setprofile(watch)
    result = call()
    sys.setprofile(None); threading.setprofile(None)
    return result, len(seen), len({{name for name, _ in seen}})
task = ImageClassifier(backbone="test_resnet", pretrained=False, size=32)
def both():
    return task.fit({str(tmp_path / "shapes")!r}, epochs=1).predict({str(tmp_path / "shapes" / "star" / "000.png")!r})
print("fit and predict", *counted(both)[1:], sep=";")
print("predict", *counted(lambda: task.predict({str(tmp_path / "shapes" / "star" / "000.png")!r}))[1:], sep=";")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines()[-2:]:
        sys.stderr.write(line + "\n")
        what, functions, files = line.split(";")
        assert (int(functions), int(files)) <= BUDGET[what], line
        assert int(files) <= BUDGET[what][1], line

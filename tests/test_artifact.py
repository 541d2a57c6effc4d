"""The model folder: written whole or not at all, opened without running anything, the same folder for timm."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from conftest import COLOURS, TINY, draw_picture
from safetensors.torch import load_file, save_file

import recipes
from recipes import ImageClassifier, artifact
from recipes.errors import ModelError, NotFittedError, OutputError

FILES = {"model.safetensors": b"weights", "recipe.json": b"{}"}


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def pets(model_folder: Path, tmp_path: Path) -> Path:
    """A saved model of one's own to damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "pets"))


def edited(folder: Path, change: Callable[[dict[str, Any]], Any], name: str = "recipe.json") -> Path:
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))
    return folder


def refusal(folder: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        recipes.load(folder)
    message = str(caught.value)
    assert message.isprintable()
    return message


# -- saving and loading -----------------------------------------------------------------------------------------------


def test_a_loaded_model_predicts_exactly_what_the_saved_one_did(
    fitted: ImageClassifier, model_folder: Path, photos: Path
) -> None:
    loaded = recipes.load(model_folder)
    assert loaded == fitted
    assert loaded.codec == fitted.codec
    assert loaded.history == fitted.history
    assert loaded.predict(photos) == fitted.predict(photos)


def test_a_model_saved_again_is_the_same_folder(model_folder: Path, tmp_path: Path) -> None:
    recipes.load(model_folder).save(tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (model_folder / name).read_bytes()
    before, after = (json.loads((folder / "recipe.json").read_text()) for folder in (model_folder, tmp_path / "again"))
    assert after == before


def test_a_model_saved_again_keeps_its_split_and_recipe(model_folder: Path, tmp_path: Path) -> None:
    recipes.load(model_folder).save(tmp_path / "again")
    assert sorted(os.listdir(tmp_path / "again")) == sorted(os.listdir(model_folder))


def test_a_model_holds_json_yaml_csv_png_and_safetensors_only(model_folder: Path) -> None:
    found = set(os.listdir(model_folder))
    assert found >= {"config.json", "model.safetensors", "recipe.json", "recipe.yaml", "split.json"}
    assert {Path(name).suffix for name in found} <= {".json", ".yaml", ".csv", ".safetensors", ".png"}
    split = json.loads((model_folder / "split.json").read_text())
    assert sorted(split["train"] + split["val"]) == [f"{label}/{n}.png" for label in COLOURS for n in range(8)]
    assert not set(split["train"]) & set(split["val"])


def test_timm_opens_the_same_folder_with_the_same_scores(fitted: ImageClassifier, model_folder: Path) -> None:
    body = timm.create_model(f"local-dir:{model_folder}", pretrained=True).eval()
    codec, network = fitted.codec, fitted.network
    assert codec is not None
    assert network is not None
    pixels = codec.encode(draw_picture(COLOURS["red"], 5))
    config = timm.data.resolve_model_data_config(body)
    transform = timm.data.create_transform(**config)
    theirs = transform(draw_picture(COLOURS["red"], 5)).unsqueeze(0)
    with torch.inference_mode():
        ours = network(torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0))
        torch.testing.assert_close(body(theirs), ours, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(body(theirs), network.body(theirs), rtol=1e-5, atol=1e-6)
    preparation = codec.preparation
    assert tuple(config["mean"]) == preparation.mean
    assert tuple(config["std"]) == preparation.std
    assert tuple(config["input_size"]) == (3, 32, 32)
    assert (config["interpolation"], config["crop_pct"], config["crop_mode"]) == (
        preparation.interpolation,
        1.0,
        "squash",
    )
    assert body.num_classes == 3
    assert list(body.pretrained_cfg["label_names"]) == ["blue", "green", "red"]


def test_loading_downloads_nothing(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.create_connection", no_network)
    recipes.load(model_folder)


def test_what_is_not_fitted_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        ImageClassifier().save(tmp_path / "pets")
    assert os.listdir(tmp_path) == []


def test_a_home_folder_written_short_is_the_same_for_saving_and_loading(
    fitted: ImageClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    fitted.save("~/pets")
    assert (tmp_path / "home" / "pets" / "recipe.json").is_file()
    recipes.load("~/pets")


def test_numbers_that_are_none_in_the_history_do_not_lose_the_model(model_folder: Path, tmp_path: Path) -> None:
    model = recipes.load(model_folder)
    assert model.history is not None
    model.history.epochs.append({"epoch": 2.0, "train_loss": float("nan"), "val_loss": float("inf")})
    model.save(tmp_path / "pets")
    recipes.load(tmp_path / "pets")


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    artifact.write(tmp_path / "a" / "b" / "pets", FILES)
    assert sorted(os.listdir(tmp_path / "a" / "b" / "pets")) == sorted(FILES)
    assert os.listdir(tmp_path / "a" / "b") == ["pets"]


def test_a_model_may_be_read_by_whom_the_users_mask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        artifact.write(tmp_path / "pets", FILES)
    finally:
        os.umask(before)
    assert (tmp_path / "pets").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "pets" / "recipe.json").stat().st_mode & 0o777 == 0o644


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    artifact.check_output(tmp_path / "pets", overwrite=False)
    assert os.listdir(tmp_path) == []


def test_an_own_model_is_replaced_whole(tmp_path: Path) -> None:
    artifact.write(tmp_path / "pets", {**FILES, "split.json": b"{}"})
    artifact.write(tmp_path / "pets", {**FILES, "recipe.json": b"new"})
    assert everything(tmp_path / "pets") == {
        str(tmp_path / "pets" / "model.safetensors"): b"weights",
        str(tmp_path / "pets" / "recipe.json"): b"new",
    }
    assert os.listdir(tmp_path) == ["pets"]


def test_an_own_model_is_not_replaced_unasked(tmp_path: Path) -> None:
    artifact.write(tmp_path / "pets", FILES)
    with pytest.raises(OutputError, match=r"finished model.*overwrite"):
        artifact.write(tmp_path / "pets", FILES, overwrite=False)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    artifact.write(tmp_path / "pets", FILES)
    assert sorted(os.listdir(tmp_path / "pets")) == sorted(FILES)


@pytest.mark.parametrize(
    "foreign",
    [
        {"thesis.docx": b"years of work"},
        {"recipe.json": b"{}", "notes.txt": b"mine"},
        {"README.md": b"my project"},
        {"config.json": b"{}", "model.safetensors": b"a model downloaded from somewhere", "README.md": b"its card"},
        {"config.json/settings.txt": b"a folder with the name of a file"},
        {".git/HEAD": b"ref"},
    ],
)
def test_a_folder_with_files_of_others_is_refused_and_left_as_it_is(tmp_path: Path, foreign: dict[str, bytes]) -> None:
    for name, content in foreign.items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    before = everything(tmp_path)
    with pytest.raises(OutputError) as caught:
        artifact.write(tmp_path / "pets", FILES, overwrite=True)
    assert "choose another folder" in str(caught.value)
    assert everything(tmp_path) == before


def test_a_readme_that_the_user_wrote_beside_the_model_is_kept(tmp_path: Path) -> None:
    artifact.write(tmp_path / "pets", FILES)
    (tmp_path / "pets" / "README.md").write_text("how I made it")
    with contextlib.suppress(OutputError):  # refusing is right, too
        artifact.write(tmp_path / "pets", FILES)
    assert (tmp_path / "pets" / "README.md").read_text() == "how I made it"


def test_a_file_in_the_place_of_the_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "pets").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        artifact.write(tmp_path / "pets", FILES)
    assert (tmp_path / "pets").read_text() == "mine"


@pytest.mark.parametrize("place", ["file/pets", "/proc/pets", "/dev/null/pets", "n" * 300, "a\0b"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError) as caught:
        artifact.check_output(tmp_path / place, overwrite=False)
    assert "cannot be written" in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


def test_the_folder_one_is_in_can_be_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    artifact.check_output(".", overwrite=False)  # what the check lets pass must not fail after the training
    artifact.write(".", FILES)
    assert sorted(os.listdir(tmp_path / "pets")) == sorted(FILES)


def test_a_folder_that_cannot_be_moved_is_filled_or_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A mounted folder, such as a container's volume, can neither be removed nor renamed.
    (tmp_path / "mounted").mkdir()
    rmdir, rename = os.rmdir, os.rename

    def busy(real: Callable[..., None]) -> Callable[..., None]:
        def refuse(path: Any, *rest: Any, **options: Any) -> None:
            if "mounted" in (os.path.basename(os.fspath(path)), *(os.path.basename(os.fspath(one)) for one in rest)):
                raise OSError(16, "Device or resource busy")
            real(path, *rest, **options)

        return refuse

    monkeypatch.setattr(os, "rmdir", busy(rmdir))
    monkeypatch.setattr(os, "rename", busy(rename))
    monkeypatch.setattr(os, "replace", busy(os.replace))
    try:
        artifact.check_output(tmp_path / "mounted", overwrite=False)
    except OutputError:
        return
    artifact.write(tmp_path / "mounted", FILES)
    assert sorted(os.listdir(tmp_path / "mounted")) == sorted(FILES)


def test_a_link_to_a_folder_stays_a_link_and_the_model_goes_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "pets").symlink_to(tmp_path / "large disk")
    for _ in range(2):
        artifact.write(tmp_path / "pets", FILES)
        assert (tmp_path / "pets").is_symlink()
        assert sorted(os.listdir(tmp_path / "large disk")) == sorted(FILES)
        assert sorted(os.listdir(tmp_path)) == ["large disk", "pets"]


@pytest.mark.parametrize("function", ["fsync", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("there", [False, True])
def test_a_write_that_fails_in_the_middle_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, nth: int, there: bool
) -> None:
    if there:
        artifact.write(tmp_path / "pets", {**FILES, "recipe.json": b"old"})
    before = everything(tmp_path)
    real, calls = getattr(os, function), []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == nth:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, failing)
    problem = ""
    try:
        artifact.write(tmp_path / "pets", FILES)
    except OutputError as error:
        problem = str(error)
    if problem:
        assert "No space left on device" in problem
        assert everything(tmp_path) == before
    else:
        assert len(calls) < nth
        assert (tmp_path / "pets" / "recipe.json").read_bytes() == b"{}"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


KILLED = """
import sys
from recipes import artifact
number = 0
while True:
    content = str(number).encode() * 200_000
    files = {"model.safetensors": content, "config.json": content, "recipe.json": content}
    artifact.write(sys.argv[1], files)
    if number == 0:
        print("going", flush=True)
    number += 1
"""


def test_a_kill_at_any_moment_leaves_a_whole_model_or_none(tmp_path: Path) -> None:
    for number in range(6):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "pets")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02 + 0.013 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for folder in tmp_path.iterdir():
            contents = {path.read_bytes() for path in folder.iterdir() if path.is_file()}
            if not folder.name.startswith("."):
                assert len(contents) == 1
                assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "config.json", "recipe.json"}
        artifact.write(tmp_path / "pets", FILES)  # what the kill left lying about is in nobody's way
        assert sorted(os.listdir(tmp_path / "pets")) == sorted(FILES)


def test_a_kill_while_a_model_is_replaced_never_leaves_the_place_empty(tmp_path: Path) -> None:
    # "A kill at any byte leaves what was there before, or the new model": stopped just before each rename.
    code = """
import os, sys
from recipes import artifact
files = {"model.safetensors": b"w", "recipe.json": b"{}"}
artifact.write(sys.argv[1], files)
real, left = os.rename, [int(sys.argv[2])]
def killed(*arguments):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    real(*arguments)
os.rename = killed
artifact.write(sys.argv[1], files)
"""
    for number in range(3):
        place = tmp_path / str(number) / "pets"
        subprocess.run([sys.executable, "-c", code, str(place), str(number)], check=False)
        assert (place / "recipe.json").is_file(), f"killed before rename number {number + 1}"


def test_json_is_plain_ascii_and_keeps_any_name() -> None:
    values = {"name": "caf\udce9 \U0001f408 \x1b[2J"}
    assert json.loads(artifact.json_bytes(values).decode("ascii")) == values


def test_yaml_is_plain_ascii_and_keeps_any_name() -> None:
    import yaml

    values = {"data": "/caf\udce9/\U0001f408\n'\"", "lr": 0.001, "weights": None, "precision": "32"}
    assert yaml.safe_load(artifact.yaml_bytes(values).decode("ascii")) == values


# -- damaged and foreign ----------------------------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "pets")
    (tmp_path / "empty").mkdir()
    assert "holds no model: it has no recipe.json" in refusal(tmp_path / "empty")
    (tmp_path / "file").touch()
    assert "is a file" in refusal(tmp_path / "file")
    refusal("a\0b")


@pytest.mark.parametrize("length", [0, 4, 100, -1, -1000])
def test_weights_cut_off_are_refused(pets: Path, length: int) -> None:
    content = (pets / "model.safetensors").read_bytes()
    (pets / "model.safetensors").write_bytes(content[:length])
    assert "model.safetensors" in refusal(pets)


def test_weights_with_one_wrong_bit_are_refused(pets: Path) -> None:
    content = bytearray((pets / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (pets / "model.safetensors").write_bytes(bytes(content))
    assert "not the file that recipe.json was written for" in refusal(pets)


def test_weights_of_another_model_are_refused(pets: Path, tmp_path: Path) -> None:
    state = load_file(pets / "model.safetensors")
    save_file({name: tensor for name, tensor in state.items() if "fc" not in name}, pets / "model.safetensors")
    assert "its weights are not those of test_resnet with 3 labels" in refusal(pets)


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json"])
def test_a_missing_file_is_named(pets: Path, name: str) -> None:
    (pets / name).unlink()
    assert name in refusal(pets)


@pytest.mark.parametrize("name", ["config.json", "split.json", "recipe.yaml"])
def test_what_recipes_does_not_need_to_predict_may_be_missing(pets: Path, name: str) -> None:
    (pets / name).unlink()
    assert recipes.load(pets).predict(draw_picture(COLOURS["red"], 1))[0].label


def test_a_model_from_a_newer_version_is_refused_with_what_to_do(pets: Path) -> None:
    message = refusal(edited(pets, lambda values: values.update(format=2, recipes="9.9\x1b[2J")))
    assert "newer recipes" in message
    assert "pip install -U torch-recipes" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"text"', "null", "[" * 100_000, "{}", '{"format": "1"}', "\xff"])
def test_a_manifest_that_is_none_is_refused(pets: Path, text: str) -> None:
    (pets / "recipe.json").write_bytes(text.encode("latin-1"))
    assert "recipe.json" in refusal(pets)


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", [], [1], {}, {"a": 1}, {"a": {"b": []}}])
@pytest.mark.parametrize(
    "name", ["format", "task", "options", "codec", "network", "weights_sha256", "history", "scores"]
)
def test_a_manifest_with_wrong_types_is_refused_or_harmless(pets: Path, name: str, value: Any) -> None:
    edited(pets, lambda values: values.update({name: value}))
    try:
        model = recipes.load(pets)
    except ModelError:
        refusal(pets)
        return
    assert name in ("options", "history", "scores")
    assert model.predict(draw_picture(COLOURS["red"], 1))[0].label == "red"


@pytest.mark.parametrize("name", ["task", "codec", "network", "weights_sha256"])
def test_a_manifest_without_what_is_needed_is_refused(pets: Path, name: str) -> None:
    refusal(edited(pets, lambda values: values.pop(name)))


@pytest.mark.parametrize(
    "labels", [["a", "b"], ["a", "b", "c", "d"], ["a", "a", "b"], [], "abc", [1, 2, 3], None, [["a"], "b", "c"]]
)
def test_labels_that_do_not_fit_are_refused(pets: Path, labels: Any) -> None:
    refusal(edited(pets, lambda values: values["codec"].update(labels=labels)))


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"size": -1},
        {"size": 10**7},
        {"crop_pct": 0},
        {"std": [0, 0, 0]},
        {"resize": "crop", "crop_pct": 1e-9},
    ],
)
def test_a_preparation_that_would_fill_memory_or_divide_by_nothing_is_refused(
    pets: Path, changes: dict[str, Any]
) -> None:
    refusal(edited(pets, lambda values: values["codec"]["preparation"].update(changes)))


# -- malicious --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "local-dir:/etc",
        "hf-hub:x/y",
        "hf_hub:x/y",
        "../x",
        "/etc/passwd",
        "torchvision/../x",
        "torchvision/",
        "resnet18\n",
        "resnet18.a1_in1k",
        "os.system",
        "no_such_network",
        "",
        None,
        ["test_resnet"],
    ],
)
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_only_plain_names_of_networks_are_opened(
    pets: Path, name: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    refusal(edited(pets, lambda values: values["network"].update(architecture=name, library=library)))


@pytest.mark.parametrize("library", ["os", "\x1b[2Jtimm", None, [], {"a": 1}])
def test_an_unknown_library_is_refused(pets: Path, library: Any) -> None:
    refusal(edited(pets, lambda values: values["network"].update(library=library)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained": True},
        {"pretrained_cfg": {"url": "http://example.org"}},
        {"pretrained_cfg_overlay": {"file": "/etc/passwd"}},
        {"cache_dir": "/tmp/x"},
        {"num_classes": 5},
        {"features_only": True},
        {"model_name": "resnet18"},
        {"no_such_argument": 1},
        {"in_chans": -3},
        {"stem_width": 10**7},
        {"channels": [10**6] * 5},
        {"block": "os.system"},
        ["a"],
        "text",
        None,
    ],
)
def test_arguments_that_are_unsafe_or_do_not_fit_are_refused(pets: Path, arguments: Any) -> None:
    refusal(edited(pets, lambda values: values["network"].update(args=arguments)))


def test_a_huge_network_is_refused_before_memory_is_taken(pets: Path) -> None:
    edited(pets, lambda values: values["network"].update(architecture="vit_giant_patch14_224", args={}))
    assert "its weights are not those of" in refusal(pets)


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.file}'",)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_pickle_in_the_place_of_the_weights_is_refused_and_not_run(pets: Path, tmp_path: Path, form: str) -> None:
    ran = tmp_path / "ran"
    if form == "pickle":
        (pets / "model.safetensors").write_bytes(pickle.dumps(Evil(ran)))
    else:
        torch.save({"weights": Evil(ran)}, pets / "model.safetensors")
    assert "no safetensors file" in refusal(pets)
    assert not ran.exists()


def test_pickles_beside_the_model_are_never_opened(pets: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt"):
        (pets / name).write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    recipes.load(pets)
    (pets / "model.safetensors").unlink()
    refusal(pets)
    assert not (tmp_path / "ran").exists()


def test_python_beside_the_model_is_never_run(pets: Path, tmp_path: Path) -> None:
    (pets / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edited(pets, lambda values: values.update(auto_map={"AutoModel": "evil.Model"}, task="image-classifier"))
    recipes.load(pets)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("task", ["../x", "os", "recipes.cli", "image_classifier", "\x1b[2J", "ImageClassifier"])
def test_a_task_is_only_taken_from_the_list(pets: Path, task: str) -> None:
    assert "task that is not known" in refusal(edited(pets, lambda values: values.update(task=task)))


def test_a_huge_manifest_is_not_opened(pets: Path) -> None:
    os.truncate(pets / "recipe.json", 2**40)  # takes no room on the disk
    assert "not opened" in refusal(pets)


def test_huge_weights_are_refused_before_they_are_read(pets: Path) -> None:
    os.truncate(pets / "model.safetensors", 2**40)
    assert "safetensors" in refusal(pets)


def test_a_loaded_label_is_kept_as_it_is_however_odd(pets: Path) -> None:
    labels = ["\x1b[2Jclear", "=cmd()", "caf\udce9"]
    model = recipes.load(edited(pets, lambda values: values["codec"].update(labels=labels)))
    assert list(model.predict(draw_picture(COLOURS["red"], 1))[0].scores) == labels


def test_an_array_is_predicted_like_its_picture(model_folder: Path) -> None:
    picture = draw_picture(COLOURS["green"], 3)
    model = ImageClassifier.load(model_folder)
    assert model.predict(picture)[0].scores == model.predict(np.asarray(picture))[0].scores
    assert model.backbone == TINY["backbone"]

"""The account of a run: its figures add up, are saved with the model, and nothing leaves the machine for them."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, TINY

import recipes
from recipes import ImageClassifier, Preset, accounts
from recipes.accounts import Account
from recipes.errors import DataError, ModelError, OptionError
from recipes.results import History


@pytest.fixture(autouse=True)
def at_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RECIPES_COUNTRY", "RECIPES_WATTS", "RECIPES_ENERGY"):
        monkeypatch.delenv(name, raising=False)


def account_of(task: Any) -> Account:
    assert task.account is not None
    found: Account = task.account
    return found


def metered(history: History, preset: Preset | None = None, earlier: bytes | None = None, **seconds: Any) -> Account:
    """The account of a run that only says what it did."""

    @accounts.metered
    def run() -> Account:
        with accounts.part("training"):
            sum(range(200_000))
        accounts.saw(60, epochs=seconds.pop("epochs", 3))
        accounts.looked(seconds.pop("looked", 0.0), found=seconds.pop("found", 0.0))
        if seconds:
            accounts.compared({name.removeprefix("s"): value for name, value in seconds.items()})
        return accounts.finished(history, preset or Preset(), earlier)

    return run()


def test_a_fitted_model_knows_what_it_cost_and_its_folder_tells_the_same(photos: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**TINY).fit(photos, out=tmp_path / "m", quiet=True, **{**QUICK, "epochs": 3})
    account = account_of(task)
    assert account_of(recipes.load(tmp_path / "m")) == account
    assert account.epochs == 3
    assert account.examples == 3 * 18  # of 24 pictures 6 are for validation
    assert sum(account.parts.values()) == pytest.approx(account.seconds, abs=0.01)
    assert {"reading", "training", "validation", "scoring"} <= set(account.parts)
    assert account.peak_memory
    assert account.peak_memory > 10**7


def test_energy_is_processor_time_by_watts_and_memory_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPES_WATTS", "100")
    monkeypatch.setenv("RECIPES_COUNTRY", "fra")
    account = metered(History())
    least = account.cpu_seconds * 100 / 3600
    assert least <= account.energy_wh <= least + account.seconds * 64 * 0.3725 / 3600 + 1e-3  # 64 GB at the most
    assert account.co2e_g == pytest.approx(account.energy_wh * 56 / 1000)
    assert "as RECIPES_WATTS says" in account.line()
    assert "at 56 g/kWh (FRA, 2023)" in account.line()


def test_fit_prints_one_line_of_cost(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImageClassifier(**TINY).fit(photos, **QUICK)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cost: ")]
    assert len(lines) == 1
    assert " Wh (estimated: " in lines[0]
    assert "g CO2e at 481 g/kWh (world, 2023); 18 images seen, " in lines[0]


def test_epochs_that_were_not_run_are_told_by_what_the_others_cost() -> None:
    history = History(epochs=[{"epoch": 1.0}, {"epoch": 2.0}, {"epoch": 3.0}], best_epoch=1)
    account = metered(history, Preset(epochs=9, patience=2))
    (saving,) = account.saved
    assert saving.by == "early stopping"
    assert saving.seconds == pytest.approx(6 * account.parts["training"] / 3, abs=0.01)
    assert "6 of 9 epochs not run" in account.savings()
    assert not metered(history, Preset(epochs=9, patience=3)).saved  # something else ended it, such as a time limit
    assert not metered(dataclasses.replace(history, stopped="SIGINT"), Preset(epochs=9, patience=2)).saved
    assert metered(history, Preset(epochs=3)).savings() == ""


def test_what_bf16_saved_is_told_by_the_steps_that_were_tried() -> None:
    account = metered(History(precision="bf16"), Preset(epochs=0), epochs=0, looked=10.0, s32=0.3, sbf16=0.1)
    (saving,) = account.saved
    assert saving.by == "bf16"
    assert saving.seconds == pytest.approx(20.0)
    assert "3.0 times as fast" in saving.because
    assert not metered(History(precision="32"), epochs=0, looked=10.0, s32=0.3, sbf16=0.4).saved


def test_features_that_were_found_count_as_saved_and_not_as_seen(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path))
    first, second = (ImageClassifier(**TINY).fit(photos, preset="quick", quiet=True) for _ in range(2))
    assert account_of(first).examples > 0
    assert not account_of(first).saved
    assert account_of(second).examples == 0
    (saving,) = account_of(second).saved
    assert saving.by == "cache"
    assert 0 < saving.seconds <= account_of(first).parts["head"]


def test_a_run_that_went_on_counts_what_it_cost_before_it_was_stopped() -> None:
    earlier = metered(History())
    account = metered(History(), earlier=earlier.json())
    assert account.examples == 120
    assert account.epochs == 6
    assert account.energy_wh > earlier.energy_wh
    assert sum(account.parts.values()) == pytest.approx(account.seconds, abs=0.01)
    learning = account.parts["training"]
    assert learning > earlier.parts["training"]
    assert account.examples_per_second == pytest.approx(120 / learning, rel=0.01)
    assert account.country == "world, 2023"
    killed = metered(History(epochs=[{"epoch": float(epoch)} for epoch in range(5)], best_epoch=5))
    assert "2 of 5 epochs ran before a kill and are not counted" in killed.assumed


def test_a_run_that_went_on_elsewhere_tells_no_figure_of_one_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPES_COUNTRY", "FRA")
    first = metered(History(precision="bf16"), Preset(epochs=0), epochs=0, looked=10.0, s32=0.3, sbf16=0.1)
    large = 10**15
    monkeypatch.setenv("RECIPES_COUNTRY", "POL")
    account = metered(
        History(), Preset(epochs=0), dataclasses.replace(first, peak_memory=large).json(), epochs=0, found=4.0
    )
    assert account.peak_memory == large
    assert account.co2e_g == pytest.approx(account.energy_wh * account.intensity / 1000)
    assert 56 < account.intensity < 662
    assert account.country == ""
    assert f"g CO2e at {account.intensity:.0f} g/kWh; " in account.line()
    assert [one.by for one in account.saved] == ["bf16", "cache"]
    again = metered(History(), Preset(epochs=0), account.json(), epochs=0, found=3.0)
    assert [round(one.seconds) for one in again.saved] == [20, 7]


def test_the_accounts_of_several_processes_are_one() -> None:
    one, two = metered(History()), metered(History())
    both = accounts.together([one, two])
    assert both.examples == 120
    assert both.energy_wh == one.energy_wh + two.energy_wh
    assert both.seconds == max(one.seconds, two.seconds)
    assert both.epochs == 3
    assert both.assumed.endswith("in the first of 2 processes")
    assert accounts.together([one]) == one


def test_nothing_is_counted_without_a_run_or_after_one_that_failed(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        ImageClassifier(**TINY).fit(tmp_path / "none")
    accounts.saw(5)
    assert accounts.spent_wh() == 0
    assert accounts.switch("training") == "training"
    assert metered(History()).examples == 60


def test_a_damaged_account_is_told_and_the_model_predicts_nevertheless(model_folder: Path, tmp_path: Path) -> None:
    task = recipes.load(model_folder)
    folder = task.save(tmp_path / "m")
    for content in ("{", "[]", '{"seconds": "long"}'):
        (folder / "account.json").write_text(content)
        again = recipes.load(folder)
        with pytest.raises(ModelError):
            again.account  # noqa: B018
    (folder / "account.json").unlink()
    assert recipes.load(folder).account is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RECIPES_COUNTRY", "DEUTSCHLAND", "takes three letters"),
        ("RECIPES_WATTS", "-3", "what one busy core takes"),
        ("RECIPES_WATTS", "many", "what one busy core takes"),
        ("RECIPES_WATTS", "nan", "what one busy core takes"),
        ("RECIPES_WATTS", "1e308", "what one busy core takes"),
        ("RECIPES_ENERGY", "codecarbn", "did you mean"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_any_work(
    name: str, value: str, words: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=words):
        ImageClassifier(**TINY).fit(photos, out=tmp_path / "m", **QUICK)
    with pytest.raises(OptionError, match=words):
        ImageClassifier(**TINY).compare(photos, backbones="test_resnet,test_efficientnet")
    if importlib.util.find_spec("optuna"):
        with pytest.raises(OptionError, match=words):
            ImageClassifier(**TINY).tune(photos, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763"),
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "Intel Xeon E5-2686 v4"),
        ("13th Gen Intel(R) Core(TM) i7-13700K", "Intel Core i7-13700K"),
        ("Apple M1", "Apple M1"),
    ],
)
def test_a_processor_is_known_by_its_plain_name(told: str, plain: str) -> None:
    assert accounts.plain_name(told) == plain
    assert plain in accounts._PROCESSORS


def test_the_power_limit_of_a_graphics_card_is_asked_for_or_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    watts, source = accounts.power_limit("abc")
    assert (watts, source) == (200.0, "assumed, its power limit is not told")
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --id=GPU-abc ] && echo 350.00\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert accounts.power_limit("abc") == (350.0, "its power limit")
    assert accounts.power_limit("other")[0] == 200.0


def test_codecarbon_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPES_ENERGY", "codecarbon")
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(OptionError, match="pip install 'torch-recipes\\[energy\\]'"):
        metered(History())


@pytest.mark.parametrize("country", ["", "DEU", "KEN"])
def test_codecarbon_measures_without_network_and_without_files(
    country: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("codecarbon")
    reached: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        reached.append(address)
        raise OSError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECIPES_ENERGY", "codecarbon")
    monkeypatch.setenv("RECIPES_COUNTRY", country)
    # A user's own configuration of CodeCarbon may send and write; that of recipes comes over it.
    monkeypatch.setenv("CODECARBON_SAVE_TO_API", "true")
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://localhost:1")
    monkeypatch.setenv("CODECARBON_ELECTRICITYMAPS_API_TOKEN", "x")
    account = metered(History())
    assert account.method.startswith("CodeCarbon 3")
    assert account.assumed.count("(") == account.assumed.count(")")
    assert account.energy_wh > 0
    assert account.co2e_g == pytest.approx(account.energy_wh * account.intensity / 1000)
    assert account.country == (f"{country}, 2023" if country else "world, 2023")
    assert not reached
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")

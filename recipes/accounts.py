"""What a run cost: seconds, examples, memory, and an estimate of energy and CO2e. Nothing of it leaves the machine.

Three environment variables tell what a recipe cannot know, because it is the same on every machine:

    RECIPES_COUNTRY  where the electricity comes from, three letters as in DEU or USA; without it the world's average
    RECIPES_WATTS    what one busy core of this processor takes, if you know better than the table below
    RECIPES_ENERGY   `codecarbon` asks CodeCarbon (the extra `energy`); by default power figures are multiplied by time
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from recipes.artifact import json_bytes
from recipes.codec import cores, rebuilt
from recipes.errors import ModelError, OptionError, did_you_mean, printable

if TYPE_CHECKING:
    from recipes.presets import Preset
    from recipes.results import History

P = ParamSpec("P")
T = TypeVar("T")

# A core of a processor that is not in the table, a graphics card that does not tell its limit, and memory: what Green
# Algorithms takes (Lannelongue, Grealey, Inouye 2021, Advanced Science 8: 2100707) where it knows nothing better.
_CORE_WATTS, _GPU_WATTS, _MEMORY_WATTS = 12.0, 200.0, 0.3725

# Thermal design power and cores, from the makers' data sheets. Of Apple's the most that a Mac mini takes as a whole.
_PROCESSORS = {
    "AMD EPYC 7302": (155, 16),
    "AMD EPYC 7402": (180, 24),
    "AMD EPYC 7452": (155, 32),
    "AMD EPYC 7543": (225, 32),
    "AMD EPYC 7702": (200, 64),
    "AMD EPYC 7713": (225, 64),
    "AMD EPYC 7742": (225, 64),
    "AMD EPYC 7763": (280, 64),
    "AMD EPYC 9354": (280, 32),
    "AMD EPYC 9554": (360, 64),
    "AMD EPYC 9654": (360, 96),
    "AMD EPYC 9655": (400, 96),
    "AMD EPYC 9755": (500, 128),
    "AMD Ryzen 5 3600": (65, 6),
    "AMD Ryzen 5 5600X": (65, 6),
    "AMD Ryzen 7 3700X": (65, 8),
    "AMD Ryzen 7 5800X": (105, 8),
    "AMD Ryzen 9 3900X": (105, 12),
    "AMD Ryzen 9 5900X": (105, 12),
    "AMD Ryzen 9 5950X": (105, 16),
    "AMD Ryzen 9 7950X": (170, 16),
    "AMD Ryzen Threadripper 3970X": (280, 32),
    "AMD Ryzen Threadripper 3990X": (280, 64),
    "Apple M1": (39, 8),
    "Apple M2": (50, 8),
    "Intel Core i5-8250U": (15, 4),
    "Intel Core i5-1135G7": (28, 4),
    "Intel Core i5-12400": (65, 6),
    "Intel Core i7-8550U": (15, 4),
    "Intel Core i7-8565U": (15, 4),
    "Intel Core i7-8700": (65, 6),
    "Intel Core i7-8700K": (95, 6),
    "Intel Core i7-9700K": (95, 8),
    "Intel Core i7-10700K": (125, 8),
    "Intel Core i7-10750H": (45, 6),
    "Intel Core i7-1165G7": (28, 4),
    "Intel Core i7-12700K": (125, 12),
    "Intel Core i7-13700K": (125, 16),
    "Intel Core i9-9900K": (95, 8),
    "Intel Core i9-10900K": (125, 10),
    "Intel Core i9-12900K": (125, 16),
    "Intel Core i9-13900K": (125, 24),
    "Intel Xeon E5-2650 v4": (105, 12),
    "Intel Xeon E5-2680 v4": (120, 14),
    "Intel Xeon E5-2686 v4": (145, 18),
    "Intel Xeon E5-2690 v4": (135, 14),
    "Intel Xeon E5-2698 v4": (135, 20),
    "Intel Xeon Gold 6130": (125, 16),
    "Intel Xeon Gold 6148": (150, 20),
    "Intel Xeon Gold 6230": (125, 20),
    "Intel Xeon Gold 6240": (150, 18),
    "Intel Xeon Gold 6248": (150, 20),
    "Intel Xeon Gold 6330": (205, 28),
    "Intel Xeon Gold 6338": (205, 32),
    "Intel Xeon Platinum 8160": (150, 24),
    "Intel Xeon Platinum 8168": (205, 24),
    "Intel Xeon Platinum 8259CL": (210, 24),
    "Intel Xeon Platinum 8280": (205, 28),
    "Intel Xeon Platinum 8358": (250, 32),
    "Intel Xeon Platinum 8380": (270, 40),
    "Intel Xeon Platinum 8480+": (350, 56),
    "Intel Xeon Silver 4114": (85, 10),
    "Intel Xeon Silver 4214": (85, 12),
}

# Grams of CO2e for a kWh of electricity in 2023, over the whole life of the power plants: Ember and the Energy
# Institute, as Our World in Data has them ("Carbon intensity of electricity generation").
_WORLD = 481.0
_COUNTRIES = {
    "ARG": 354,
    "AUS": 549,
    "AUT": 111,
    "BEL": 138,
    "BRA": 98,
    "CAN": 170,
    "CHE": 35,
    "CHN": 582,
    "CZE": 450,
    "DEU": 381,
    "DNK": 152,
    "ESP": 174,
    "FIN": 79,
    "FRA": 56,
    "GBR": 238,
    "GRC": 337,
    "IND": 713,
    "IRL": 291,
    "ITA": 331,
    "JPN": 485,
    "KOR": 431,
    "MEX": 507,
    "NLD": 268,
    "NOR": 30,
    "NZL": 113,
    "POL": 662,
    "PRT": 166,
    "SGP": 471,
    "SWE": 41,
    "TUR": 465,
    "TWN": 642,
    "USA": 369,
    "ZAF": 708,
}

# The parts of a run in which a graphics card waits: files are read, and a model is written.
_WITHOUT_GPU = ("reading", "other")


# ---------------------------------------------------------------------------------------------------------------------
# While a run goes on

# The run's own parts tell it what they did; handing it through all of them would take a parameter in each.
_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def metered(fit: Callable[P, T]) -> Callable[P, T]:
    """Let a function run with a meter of its own, which stops however the function ends."""

    @functools.wraps(fit)
    def with_meter(*arguments: P.args, **named: P.kwargs) -> T:
        meter = Meter()
        before = _meter.set(meter)
        try:
            return fit(*arguments, **named)
        finally:
            _meter.reset(before)
            meter.stop()
            if (spent := _costs.get()) is not None:
                spent.append(meter.cost())

    return with_meter


# What each fit has cost that has ended, where somebody asks, those included that failed and have no account.
_costs: ContextVar[list[Cost] | None] = ContextVar("costs", default=None)


@contextmanager
def costs(found: list[Cost]) -> Iterator[None]:
    """Collect what each fit inside costs, however it ends."""
    before = _costs.set(found)
    try:
        yield
    finally:
        _costs.reset(before)


def check() -> None:
    """Refuse what the environment variables say where it cannot be, before several fits would each find it.

    Raises:
        OptionError: a variable has no such value, or its package is not installed.
    """
    core_watts()
    intensity()
    _tracker(start=False)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Count the time inside as that of one part of the run: reading, preparing, head, training, validation, scoring."""
    before = switch(name)
    try:
        yield
    finally:
        switch(before)


def switch(name: str) -> str:
    """From now on another part of the run is timed; which one it was before."""
    meter = _meter.get()
    return meter.switch(name) if meter else name


def saw(examples: int, epochs: int = 0) -> None:
    """Count examples that the network has looked at in order to learn."""
    if meter := _meter.get():
        meter.examples += examples
        meter.epochs += epochs


def looked(seconds: float, found: float = 0.0) -> None:
    """Count what the features took that were computed, and what those took once that were found in the cache."""
    if meter := _meter.get():
        meter.looked += seconds
        meter.found += found


def compared(seconds: dict[str, float]) -> None:
    """Remember what a step took in each precision that was tried."""
    if meter := _meter.get():
        meter.steps = dict(seconds)


def computes_on(device: str) -> None:
    """Remember what kind of device the network is trained on."""
    if meter := _meter.get():
        meter.device = device


def spent_wh() -> float:
    """Watt hours that the run has taken until now, by the power figures; 0 where none goes on."""
    meter = _meter.get()
    return meter.energy_wh() if meter else 0.0


def finished(history: History, preset: Preset, earlier: bytes | None = None, others: Sequence[Account] = ()) -> Account:
    """What the run has cost until now.

    Args:
        history: what happened in training.
        preset: the settings; its epochs are those of the plain recipe.
        earlier: the account of the run that this one went on with, where it was stopped and saved.
        others: those of the run's other processes.

    Raises:
        ModelError: the earlier account is damaged.
    """
    meter = _meter.get() or Meter()
    account, before = together([meter.account(history, preset), *others]), opened(earlier)
    if before is not None:
        account = _continued(before, account)
    if (lost := len(history.epochs) - account.epochs) > 0:
        assumed = f"{account.assumed}; {lost} of {len(history.epochs)} epochs ran before a kill and are not counted"
        account = dataclasses.replace(account, assumed=assumed)
    return account


# What adds up over the calls of a run that was stopped and taken up again.
_SUMS = ("seconds", "epochs", "examples", "cpu_seconds", "energy_wh", "co2e_g")


def _continued(before: Account, now: Account) -> Account:
    """One account of a run that was stopped and of the call that went on with it."""
    figures: dict[str, Any] = {name: getattr(now, name) + getattr(before, name) for name in _SUMS}
    parts = {name: now.parts.get(name, 0.0) + before.parts.get(name, 0.0) for name in {**before.parts, **now.parts}}
    for name in ("peak_memory", "peak_gpu_memory"):
        figures[name] = max(getattr(before, name) or 0, getattr(now, name) or 0) or None
    if (before.intensity, before.country) != (now.intensity, now.country):
        mean = 1000 * figures["co2e_g"] / figures["energy_wh"] if figures["energy_wh"] else now.intensity
        figures |= {"intensity": mean, "country": ""}
    saved = {one.by: one for one in before.saved}
    for one in now.saved:
        first = saved.get(one.by, dataclasses.replace(one, seconds=0.0, energy_wh=0.0))
        seconds, energy = first.seconds + one.seconds, first.energy_wh + one.energy_wh
        saved[one.by] = dataclasses.replace(one, seconds=seconds, energy_wh=energy)
    learning = parts.get("head", 0.0) + parts.get("training", 0.0)
    figures["examples_per_second"] = round(figures["examples"] / learning, 1) if learning else 0.0
    return dataclasses.replace(now, **figures, parts=parts, saved=tuple(saved.values()))


def together(accounts: Sequence[Account]) -> Account:
    """One account of the processes of one run, each with its own: the first one's words, the sums of all figures."""
    if len(accounts) == 1:
        return accounts[0]
    figures: dict[str, Any] = {
        name: sum(getattr(one, name) or 0 for one in accounts)
        for name in ("examples", "examples_per_second", "cpu_seconds", "peak_memory", "energy_wh", "co2e_g")
    }
    if accounts[0].peak_gpu_memory is not None:
        figures["peak_gpu_memory"] = sum(one.peak_gpu_memory or 0 for one in accounts)
    first = accounts[0].energy_wh
    scale = figures["energy_wh"] / first if first else 1.0  # the others wait no longer than the first one does
    figures["saved"] = tuple(dataclasses.replace(one, energy_wh=one.energy_wh * scale) for one in accounts[0].saved)
    figures["assumed"] = f"{accounts[0].assumed}, in the first of {len(accounts)} processes"
    return dataclasses.replace(accounts[0], seconds=max(one.seconds for one in accounts), **figures)


@dataclass(frozen=True)
class Cost:
    """What one fit took, or several did.

    Args:
        seconds: how long.
        energy_wh: watt hours, as the accounts of the fits have them.
        co2e_g: grams of CO2e.
    """

    seconds: float = 0.0
    energy_wh: float = 0.0
    co2e_g: float = 0.0

    @staticmethod
    def total(costs: Sequence[Cost]) -> Cost:
        """The sum of several."""
        return Cost(
            round(sum(one.seconds for one in costs), 1),
            sum(one.energy_wh for one in costs),
            sum(one.co2e_g for one in costs),
        )

    def line(self, what: str) -> str:
        """The sum in one line, for people."""
        figures = f"{_short(self.energy_wh)} Wh, {_short(self.co2e_g)} g CO2e (estimated)"
        return f"cost of {what}: {figures}, {_short(self.seconds)} s"


@dataclass(frozen=True)
class Saving:
    """What one choice saved against the plain recipe, by estimate.

    Args:
        by: early stopping, the precision, or the cache.
        seconds: the time that was not spent.
        energy_wh: the energy, at the mean power of this run.
        because: what the estimate rests on.
    """

    by: str
    seconds: float
    energy_wh: float
    because: str


@dataclass(frozen=True)
class Account:
    """What a run cost.

    Args:
        seconds: from the call of `fit` until the model was ready to be saved.
        parts: seconds of each part: reading, preparing (precision, batch size, learning rate), head (the last layer),
            training, validation, scoring (of the finished model), and other (libraries, a new network, drawings).
        epochs: epochs that were trained.
        examples: how many examples the network looked at in order to learn; an epoch counts each once.
        examples_per_second: those, in the time for head and training.
        cpu_seconds: processor time of the process and of the readers that it started; of all cores together.
        cores: how many cores the process may use.
        peak_memory: the most memory that the process has held since it was started, in bytes; None where not known.
        peak_gpu_memory: the most that torch held on the GPU, in bytes; None without one.
        energy_wh: watt hours, without cooling (a PUE of 1) and without what idle parts of the machine take.
        co2e_g: grams of CO2e.
        intensity: grams of CO2e for a kWh; their mean, where a run went on elsewhere.
        country: whose electricity that is, or world; empty where a run went on elsewhere.
        method: estimated, or CodeCarbon with its version.
        assumed: what the energy was computed from, in words.
        saved: what early stopping, precision and the cache saved.
    """

    seconds: float
    parts: dict[str, float]
    epochs: int
    examples: int
    examples_per_second: float
    cpu_seconds: float
    cores: int
    peak_memory: int | None
    peak_gpu_memory: int | None
    energy_wh: float
    co2e_g: float
    intensity: float
    country: str
    method: str
    assumed: str
    saved: tuple[Saving, ...] = ()

    def json(self) -> bytes:
        """The account as it is saved with the model."""
        return json_bytes(dataclasses.asdict(self))

    def line(self, things: str = "examples") -> str:
        """The account in one line, for people."""
        gpu = f", {_gigabytes(self.peak_gpu_memory)} on the GPU" if self.peak_gpu_memory else ""
        memory = f"; {_gigabytes(self.peak_memory)}{gpu}" if self.peak_memory else ""
        seen = (
            f"; {self.examples:,} {things} seen, {_short(self.examples_per_second)} a second" if self.examples else ""
        )
        country = f" ({self.country})" if self.country else ""
        return (
            f"cost: {_short(self.energy_wh)} Wh ({self.method}: {self.assumed}), {_short(self.co2e_g)} g CO2e at "
            f"{self.intensity:.0f} g/kWh{country}{seen}{memory}"
        )

    def savings(self) -> str:
        """What was saved against the plain recipe in one line; empty if nothing was."""
        each = [f"{one.by} {_short(one.seconds)} s, {_short(one.energy_wh)} Wh ({one.because})" for one in self.saved]
        return f"saved, by estimate: {'; '.join(each)}" if each else ""


def opened(content: bytes | None) -> Account | None:
    """An account as `Account.json` wrote it; None if there is none.

    Raises:
        ModelError: it is damaged.
    """
    if content is None:
        return None
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the account of the run is damaged ({printable(str(error), 80)})") from error
    return rebuilt(Account, values)


class Meter:
    """The clocks of one run.

    Raises:
        OptionError: an environment variable says what cannot be.
    """

    def __init__(self) -> None:
        self.core_watts, self.words = core_watts()
        self.intensity, self.country = intensity()
        self.tracker = _tracker(self.country, self.intensity)
        self.began = self.switched = time.perf_counter()
        self.cpu_began = _cpu_seconds()
        self.now, self.parts, self.device = "other", dict[str, float](), "cpu"
        self.examples = self.epochs = 0
        self.energy: float | None = None  # of the account, once there is one
        self.looked = self.found = 0.0
        self.steps: dict[str, float] = {}

    def switch(self, name: str) -> str:
        """Time another part from now on; which one it was before."""
        now, before = time.perf_counter(), self.now
        self.parts[before] = self.parts.get(before, 0.0) + now - self.switched
        self.switched, self.now = now, name
        return before

    def energy_wh(self, gpu_watts: float = 0.0) -> float:
        """Watt hours until now, by the power figures."""
        self.switch(self.now)
        seconds, on_gpu = sum(self.parts.values()), sum(self.parts[name] for name in {*self.parts} - {*_WITHOUT_GPU})
        memory = (_peak_memory() or 0) / 2**30 * _MEMORY_WATTS
        cpu = (_cpu_seconds() - self.cpu_began) * self.core_watts
        return (cpu + seconds * memory + on_gpu * gpu_watts) / 3600

    def account(self, history: History, preset: Preset) -> Account:
        """What the run has cost until now."""
        device = self.device
        gpu_watts, gpu_words = _gpu_watts() if device == "cuda" else (0.0, "")
        if device not in ("cpu", "cuda"):
            gpu_words = f"; what the {device} device takes is not known and not counted"
        energy = self.energy_wh(gpu_watts)
        seconds, cpu = sum(self.parts.values()), _cpu_seconds() - self.cpu_began
        busy = f"{self.core_watts:.3g} W for each of {cpu / max(seconds, 1e-9):.1f} busy cores"
        method, assumed = "estimated", f"{busy}, {self.words}{gpu_words}"
        if (measured := self.stop()) is not None:
            energy, method, assumed = measured
        self.energy = energy
        learning = self.parts.get("head", 0.0) + self.parts.get("training", 0.0)
        return Account(
            seconds=round(seconds, 3),
            parts={name: round(spent, 3) for name, spent in self.parts.items()},
            epochs=self.epochs,
            examples=self.examples,
            examples_per_second=round(self.examples / learning, 1) if learning else 0.0,
            cpu_seconds=round(cpu, 3),
            cores=cores(),
            peak_memory=_peak_memory(),
            peak_gpu_memory=_peak_gpu_memory() if device == "cuda" else None,
            energy_wh=energy,
            co2e_g=energy * self.intensity / 1000,
            intensity=self.intensity,
            country=self.country,
            method=method,
            assumed=assumed,
            saved=tuple(self._savings(history, preset, energy / max(seconds, 1e-9))),
        )

    def cost(self) -> Cost:
        """What the fit took, whether or not it came to an account."""
        energy = self.energy
        if energy is None:
            gpu_watts = 0.0
            with suppress(RuntimeError):  # what ended the fit may have been the GPU
                gpu_watts = _gpu_watts()[0] if self.device == "cuda" else 0.0
            energy = self.energy_wh(gpu_watts)
        return Cost(sum(self.parts.values()), energy, energy * self.intensity / 1000)

    def _savings(self, history: History, preset: Preset, wh_per_second: float) -> Iterator[Saving]:
        """What was not spent, each by itself; together they would be more, because one epoch saved is saved twice."""
        spent = self.parts.get("training", 0.0) + self.parts.get("validation", 0.0)
        left = preset.epochs - len(history.epochs)
        waited = len(history.epochs) - (history.best_epoch or 0)
        if left > 0 and self.epochs and not history.stopped and 0 < preset.patience <= waited:
            seconds = left * spent / self.epochs
            why = f"{left} of {preset.epochs} epochs not run, at {spent / self.epochs:.1f} s each"
            yield Saving("early stopping", seconds, seconds * wh_per_second, why)
        steps = self.steps
        if history.precision in steps and history.precision != "32":
            ratio = steps["32"] / steps[history.precision]
            seconds = (ratio - 1) * (self.parts.get("training", 0.0) if self.epochs else self.looked)
            why = f"at most: steps alone were {ratio:.1f} times as fast as in float32 when they were tried"
            yield Saving(history.precision, seconds, seconds * wh_per_second, why)
        if self.found:
            why = "what an earlier run took to look at these examples"
            yield Saving("cache", self.found, self.found * wh_per_second, why)

    def stop(self) -> tuple[float, str, str] | None:
        """Stop CodeCarbon, where it ran: its watt hours, its name, and where its figures come from."""
        tracker, self.tracker = self.tracker, None
        if tracker is None or tracker.stop() is None:
            return None
        sources = ", ".join(str(item).removesuffix("()") for item in tracker._conf.get("hardware", ()))
        version = tracker._conf.get("codecarbon_version", "")
        return 1000 * float(tracker.final_emissions_data.energy_consumed), f"CodeCarbon {version}", sources


# ---------------------------------------------------------------------------------------------------------------------
# Power, and where it comes from


def core_watts() -> tuple[float, str]:
    """What one busy core takes, and in words where the figure comes from.

    Raises:
        OptionError: RECIPES_WATTS is no power.
    """
    if given := os.environ.get("RECIPES_WATTS"):
        with suppress(ValueError):
            if 0 < float(given) < 10_000:
                return float(given), "as RECIPES_WATTS says"
        raise OptionError(f"RECIPES_WATTS is what one busy core takes, such as 12; found {printable(given, 40)!r}")
    name = _processor()
    if name in _PROCESSORS:
        power, number = _PROCESSORS[name]
        return power / number, f"{name}"
    return _CORE_WATTS, f"assumed: no figures for {printable(name, 60)!r}" if name else "assumed: no name to look up"


def intensity() -> tuple[float, str]:
    """Grams of CO2e for a kWh, and whose electricity that is.

    Raises:
        OptionError: RECIPES_COUNTRY is no country that is known here.
    """
    given = os.environ.get("RECIPES_COUNTRY", "")
    if not given:
        return _WORLD, "world, 2023"
    name = given.upper()
    if name in _COUNTRIES:
        return float(_COUNTRIES[name]), f"{name}, 2023"
    more = _countries_of_codecarbon()
    if name in more:
        return float(more[name]["carbon_intensity"]), f"{name}, {more[name]['year']}"
    near = did_you_mean(name, {*_COUNTRIES, *more})
    raise OptionError(
        f"RECIPES_COUNTRY takes three letters such as DEU or USA, found {printable(given, 40)!r}{near}"
        + ("" if more else "; CodeCarbon knows more countries: pip install 'torch-recipes[energy]'")
    )


def _countries_of_codecarbon() -> dict[str, Any]:
    from importlib.resources import files

    try:
        table = files("codecarbon") / "data" / "private_infra" / "global_energy_mix.json"
        found: dict[str, Any] = json.loads(table.read_text("utf-8"))
    except (ImportError, OSError, ValueError):
        return {}
    return found


def _tracker(country: str = "world", grams: float = _WORLD, start: bool = True) -> Any:
    """CodeCarbon where it is asked for, started, and kept from the network and from writing files of its own.

    Args:
        country: whose electricity is used.
        grams: CO2e for a kWh.
        start: False only checks that it could be.

    Raises:
        OptionError: it is not installed, or RECIPES_ENERGY asks for something else.
    """
    asked = os.environ.get("RECIPES_ENERGY", "") or "estimate"
    if asked not in ("estimate", "codecarbon"):
        near = did_you_mean(asked, ["estimate", "codecarbon"])
        raise OptionError(f"RECIPES_ENERGY is estimate or codecarbon, found {printable(asked, 40)!r}{near}")
    if asked == "estimate":
        return None
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it speaks before it reads its own log level
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError as error:
        raise OptionError(
            "RECIPES_ENERGY=codecarbon needs a package that is not installed: pip install 'torch-recipes[energy]'"
        ) from error
    if not start:
        return None
    # What is given here comes over the user's configuration, which may name an API, a file or a token.
    tracker = OfflineEmissionsTracker(
        country_iso_code=country.partition(",")[0].upper() if country[:5] != "world" else "USA",
        force_carbon_intensity_g_co2e_kwh=grams,  # CodeCarbon has no offline figure for the world; ours is used for all
        electricitymaps_api_token="",
        output_methods=[],
        output_handlers=[],
        emissions_endpoint=False,
        tracking_mode="process",
        measure_power_secs=5,
        allow_multiple_runs=True,
        pue=1.0,
        log_level="critical",
    )
    tracker.start()
    return tracker


def _processor() -> str:
    """The processor's name as makers write it: `AMD EPYC 7763`, `Intel Core i7-8550U`; empty if it is not told."""
    name = ""
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
            name = found.group(1) if found else ""
    elif sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
    return plain_name(name or platform.processor())


def plain_name(name: str) -> str:
    """A processor's name without marks, generation, clock rate and graphics."""
    name = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|@.*$|\bwith .*$|\d+-Core Processor.*$|^\d+th Gen ", " ", name)
    return " ".join(name.split())


def _gpu_watts() -> tuple[float, str]:
    """The power limit of this process's graphics card, and in words where it comes from."""
    import torch

    uuid = str(getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", ""))
    limit, source = power_limit(uuid)
    return limit, f"; GPU at {limit:.0f} W, {source}"


def power_limit(uuid: str) -> tuple[float, str]:
    """What a graphics card may take, and in words where the figure comes from."""
    told = _output("nvidia-smi", f"--id=GPU-{uuid}", "--query-gpu=power.limit", "--format=csv,noheader,nounits")
    with suppress(ValueError):
        return float(told), "its power limit"
    return _GPU_WATTS, "assumed, its power limit is not told"


def _output(*command: str) -> str:
    """The first line that a program of the system prints; empty if there is no such program or it fails."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip().partition("\n")[0]
    return ""


def _cpu_seconds() -> float:
    """Processor time of this process and of those that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None on a system that does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _peak_gpu_memory() -> int:
    import torch

    return torch.cuda.max_memory_allocated()


def _gigabytes(size: int | None) -> str:
    return f"{(size or 0) / 1e9:.1f} GB"


def _short(value: float) -> str:
    """A figure with two digits, or all digits before the point: `0.083`, `2.4`, `57`, `1,380`."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

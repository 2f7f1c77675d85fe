"""Energy of the device while it computes, in joules, where it has a sensor.

Sources: processors' counters (RAPL, by the Linux kernel's power/powercap interface), sensor chips
(hwmon/sysfs-interface, hwmon/ina3221), NVIDIA's older driver for the INA3221, battery gauges
(ABI/testing/sysfs-class-power). What cannot be read, for want of permission or else, is absent.
"""

from __future__ import annotations

import glob
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Optional

from trimtab_runtime.probe.conditions import Clock, read_int, read_text

#: Seconds between two looks at a sensor: few renew their value faster, and looking costs energy.
SAMPLE_S = 0.02
#: Fewest runs that an energy is the mean of.
MIN_RUNS = 30
#: Share of the energy that must exceed idle. Less is within what sensors repeat to.
DISTINCT = 0.01

#: The input of a board (VDD_IN, POM_5V_IN) or all of a processor: it contains the other rails.
_WHOLE = re.compile(r"(^|_)in$|total|socket", re.IGNORECASE)
#: Chips that tell nothing of the cores: graphics cards, and light in network cables.
_ELSEWHERE = re.compile(r"amdgpu|radeon|nouveau|i915|xe$|sfp")
_INA = ("ina219", "ina226", "ina2xx", "ina3221")

#: Kinds of sensors: files, label, unit, whether they count, and the numbers they may have.
_POWER = (("power{}_input",), "power{}_label", 1e-6, None, range(256))
_ENERGY = (("energy{}_input",), "energy{}_label", 1e-6, 0.0, range(256))
_JETSON = (("in_power{}_input",), "rail_name_{}", 1e-3, None, range(3))
#: An INA3221 has three channels; its in4 to in7 and curr4 are something else.
_CHANNELS = (("in{}_input", "curr{}_input"), "in{}_label", 1e-6, None, range(1, 4))
_Kind = tuple[tuple[str, ...], str, float, Optional[float], range]


@dataclass(frozen=True)
class Rail:
    """One sensor: the product of the numbers in its files, times `unit`, is watts; or joules where
    it is a counter. That starts anew after `range_j` joules (0.0: nobody knows).
    """

    name: str
    files: tuple[str, ...]
    unit: float = 1e-6
    range_j: Optional[float] = None
    status: str = ""  # of a battery: a file

    def read(self) -> Optional[float]:
        """None where a file cannot be read, or the battery does not discharge."""
        values = [read_int(path) for path in self.files]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if self.status:  # some gauges count discharge as negative
            discharging = read_text(self.status).strip() == "Discharging"
            return abs(math.prod(known)) * self.unit if discharging else None
        return math.prod(known) * self.unit


class Meter:
    """Joules between begin() and end(); `method` tells a user where they come from.

    Call sample() often in between: a sensor of power is integrated over its samples (trapezoids),
    and a counter must not wrap twice. A sample that fails is made up for by the next.
    """

    def __init__(self, source: str, rails: list[Rail], clock: Clock = time.perf_counter) -> None:
        self._rails, self._clock = rails, clock
        self._counts = rails[0].range_j is not None
        names = " + ".join(rail.name for rail in rails)
        self.method = f"{source} {names}, {'counter' if self._counts else 'sampled'}"
        self._last: Optional[list[float]] = None
        self._joules = 0.0

    def begin(self) -> None:
        """Start from nought."""
        self._last, self._joules = self._read(), 0.0

    def sample(self) -> bool:
        """Add what was used since the last sample; False where a sensor failed or was reset."""
        now, last = self._read(), self._last
        if now is None or last is None:
            return False
        if not self._counts:
            steps = [(now[0] - last[0]) * (sum(now[1:]) + sum(last[1:])) / 2]
        else:
            steps = [after - before for before, after in zip(last[1:], now[1:])]
            ranges = [rail.range_j or 0.0 for rail in self._rails]
            steps = [step + most if step < 0 else step for step, most in zip(steps, ranges)]
            if min(steps) < 0:
                now = None
        self._last = now
        self._joules += sum(steps)
        return now is not None

    def end(self) -> Optional[float]:
        """Joules since begin(); None where a sensor failed then or now, or was reset between."""
        return self._joules if self.sample() else None

    def _read(self) -> Optional[list[float]]:
        """The time, and what every rail says."""
        values = [self._clock(), *(rail.read() for rail in self._rails)]
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None


def find_meter(root: str = "/", clock: Clock = time.perf_counter) -> Optional[Meter]:
    """The best that this device has: counters of the processor, sensors of the board, its battery
    while it discharges; None where there is nothing to read.
    """
    found = (Meter(source, rails, clock) for source, rails in _sources(root) if rails)
    return next(found, None)


def measure_energy(
    meter: Meter,
    run_once: Callable[[], object],
    idle_s: float,
    busy_s: float,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, float]:
    """energy_mj of one run above idle, idle_power_w, busy_power_w (watts) and energy_runs.

    Idle power is measured first, asleep, and subtracted from runs back to back for `busy_s` (and
    at least MIN_RUNS): E = (E_busy - P_idle * t) / n, as studies of energy on devices often do.
    MLPerf Power instead reports whole systems, at the wall: for such a figure, multiply
    busy_power_w with the time of a run. Empty where a sensor failed or told no more than idle.
    """
    meter.begin()
    start = clock()
    while clock() - start < idle_s:
        sleep(SAMPLE_S)
        meter.sample()
    idle_j, idle_time = meter.end(), clock() - start
    meter.begin()
    start = sampled = clock()
    runs = 0
    while runs < MIN_RUNS or clock() - start < busy_s:
        run_once()
        runs += 1
        if clock() - sampled >= SAMPLE_S:
            meter.sample()
            sampled = clock()
    busy_j, busy_time = meter.end(), clock() - start
    if idle_j is None or busy_j is None or idle_time <= 0 or busy_time <= 0:
        return {}
    idle_w = idle_j / idle_time
    above_j = busy_j - idle_w * busy_time
    if above_j <= DISTINCT * abs(busy_j):
        return {}
    return {
        "energy_mj": 1000 * above_j / runs,
        "idle_power_w": idle_w,
        "busy_power_w": busy_j / busy_time,
        "energy_runs": float(runs),
    }


def _sources(root: str) -> Iterator[tuple[str, list[Rail]]]:
    """In order of preference, with what can be read of each."""
    yield "RAPL", _packages(root)
    chips = {path: read_text(f"{path}/name").strip() for path in _paths(root, "sys/class/hwmon/*")}
    ina = [path for path, name in chips.items() if name in _INA]
    # Together, for one may sense the input and others parts of it.
    rails = [rail for path in ina for kind in (_CHANNELS, _POWER) for rail in _rails(path, kind)]
    yield "hwmon " + "/".join(sorted({chips[path] for path in ina})), _whole(rails)
    folders = _paths(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*")
    yield "ina3221x", _whole([rail for path in folders for rail in _rails(path, _JETSON)])
    for path, name in chips.items():
        if not _ELSEWHERE.match(name) and not os.path.exists(f"{path}/device/type"):  # batteries
            yield f"hwmon {name}", _whole(_rails(path, _ENERGY))
            yield f"hwmon {name}", _whole(_rails(path, _POWER))
    yield "battery", _batteries(root)


def _packages(root: str) -> list[Rail]:
    """Packages (intel-rapl:0), not the domains within them (intel-rapl:0:0), nor psys."""
    found = []
    for zone in _paths(root, "sys/class/powercap/intel-rapl:*"):
        name = read_text(f"{zone}/name").strip()
        if os.path.basename(zone).count(":") == 1 and name.startswith("package"):
            range_j = (read_int(f"{zone}/max_energy_range_uj") or 0) * 1e-6
            found.append(Rail(name, (f"{zone}/energy_uj",), range_j=range_j))
    return [] if any(rail.read() is None for rail in found) else found


def _batteries(root: str) -> list[Rail]:
    """Those that discharge, but for that of a mouse and the like (scope Device)."""
    found = []
    for path in _paths(root, "sys/class/power_supply/*"):
        kind, scope = (read_text(f"{path}/{name}").strip() for name in ("type", "scope"))
        if kind != "Battery" or scope == "Device":
            continue
        name, status = os.path.basename(path), f"{path}/status"
        power = Rail(name, (f"{path}/power_now",), status=status)
        product = (f"{path}/current_now", f"{path}/voltage_now")
        either = [power, Rail(name, product, 1e-12, status=status)]
        found += [rail for rail in either if rail.read() is not None][:1]
    return found


def _rails(folder: str, kind: _Kind) -> list[Rail]:
    """The sensors of one kind that can be read."""
    files, label, unit, range_j, numbers = kind
    found = []
    for number in numbers:
        paths = tuple(os.path.join(folder, name.format(number)) for name in files)
        name = read_text(os.path.join(folder, label.format(number))).strip()
        found.append(Rail(name or os.path.basename(paths[0]), paths, unit, range_j))
    return [rail for rail in found if rail.read() is not None]


def _whole(rails: list[Rail]) -> list[Rail]:
    """Those that contain the others; or all."""
    return [rail for rail in rails if _WHOLE.search(rail.name)] or rails


def _paths(root: str, pattern: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)))

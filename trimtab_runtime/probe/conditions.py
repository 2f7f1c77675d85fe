"""What disturbed a measurement: noticed, named, and with its remedy.

Read from Linux's procfs and sysfs (man 5 proc; the kernel's cpufreq documentation). A file that
is missing, unreadable or malformed leaves its value out; so does a counter that went backwards.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from trimtab_runtime.quota import cpu_quota

#: Cores busy with other programs. The services of a device at rest need some hundredths; a fifth
#: of a core delays one run in five where it falls on ours.
OTHER_CPU = 0.2
#: Share of the machine's time that its host took. One or two hundredths are usual on shared hosts,
#: and hide in ordinary spread.
STEAL = 0.03
#: A core's lowest frequency relative to its highest. Turbo wanders by some percent by itself; a
#: tenth is as much as many a difference between two plans.
STEADY_FREQUENCY = 0.9
#: Any throttle event changes the speed for a while.
THROTTLED = 0
#: Periods in which a quota on processor time held this process: each is a hole of up to 100 ms.
QUOTA_THROTTLED = 0
#: Pages moved to or from swap. Some old pages of idle programs leave now and then.
SWAPPED_PAGES = 100
#: Times this process waited for a page from storage; on an SD card about a millisecond each.
MAJOR_FAULTS = 10
#: Seconds below which processor time means nothing: the kernel counts it in steps of 10 ms.
SHORTEST_S = 0.5
#: Steps of the kernel's count that mean nothing in shorter stretches, where these count at all.
STEPS = 2
#: Cores by which our own time may exceed the whole machine's, both being rounded.
ROUNDING = 0.1

_WARNINGS = (
    ("other_cpu", OTHER_CPU, "other processes used {:.1f} cores during the measurement; "
     "stop them, or measure when the device is idle"),
    ("steal", STEAL, "the host of the virtual machine took {:.0%} of its time during the "
     "measurement (steal); measure on a dedicated machine"),
    ("throttled", THROTTLED, "the device throttled its cores because of heat or low voltage; "
     "cool the device, or give it a stronger power supply"),
    ("quota_throttled", QUOTA_THROTTLED, "the CPU quota of its container held the process in "
     "{:.0f} period(s) of the measurement; use fewer threads, or raise the quota (docker run "
     "--cpus, cpu.max)"),
    ("swapped_pages", SWAPPED_PAGES, "{:.0f} pages were swapped; "
     "free memory, or leave out models that do not fit"),
    ("major_faults", MAJOR_FAULTS, "this process waited {:.0f} times for pages from storage; "
     "free memory, or leave out models that do not fit"),
)  # fmt: skip

_COUNTS = ("quota_throttled", "swapped_pages", "major_faults")
_PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW = 0xF  # under-voltage, frequency capped, throttled, soft temperature limit
_PI_SINCE = 0xF0000  # the same four, since the bits were last cleared
#: user nice system idle iowait irq softirq steal; user and nice contain the time of guests.
_STAT = re.compile(r"^cpu +" + " ".join([r"(\d+)"] * 8))
#: Major faults, then time of this process and its children. A name in brackets may hold anything.
_OWN = re.compile(r"\A.*\) \S (?:-?\d+ ){8}(\d+) \d+ (\d+) (\d+) (-?\d+) (-?\d+) ", re.DOTALL)
_SWAPPED = re.compile(r"^pswpin (\d+)\npswpout (\d+)$", re.MULTILINE)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

Clock = Callable[[], float]


@dataclass(frozen=True)
class Findings:
    """Only what is known; a warning is one sentence that begins with its name and a colon.

    other_cpu (cores busy with other processes), steal (share of the machine's time),
    frequency_low_mhz, frequency_high_mhz, throttled (events), quota_throttled (periods),
    swapped_pages, major_faults.
    """

    values: dict[str, float]
    warnings: list[str]


class Conditions:
    """start(), then sample() between timed sections, then finish(). For one thread.

    Looks at `cores`, or those that this process may use when it starts; so pin it before.
    Children count as our own once they were waited for. Processor time is told of `brief`
    stretches too, less what the steps of the kernel's count explain.
    """

    def __init__(
        self,
        root: str = "/",
        clock: Clock = time.perf_counter,
        cores: Optional[list[int]] = None,
        brief: bool = False,
    ) -> None:
        self._root, self._clock, self._cores, self._brief = root, clock, cores, brief
        self._folders: list[str] = []
        self._frequency_files: list[str] = []
        self._ranges_khz: dict[str, tuple[int, int]] = {}
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """First reading of all but frequencies: a core without work tells how slow it idles."""
        cores = _usable_cores() if self._cores is None else self._cores
        parent = os.path.join(self._root, "sys/devices/system/cpu")
        self._folders = [f"{parent}/cpu{core}" for core in cores]
        files = [f"{folder}/cpufreq/scaling_cur_freq" for folder in self._folders]
        self._frequency_files = [path for path in files if os.path.exists(path)]
        self._ranges_khz = {}
        self._before = self._counters()

    def sample(self) -> None:
        """Note the frequency of every core; ten to twenty microseconds each."""
        for path in self._frequency_files:
            now = read_int(path)
            if now is not None and now > 0:
                low, high = self._ranges_khz.get(path, (now, now))
                self._ranges_khz[path] = (min(low, now), max(high, now))

    def finish(self, children_s: float = 0.0) -> Findings:
        """What happened since start(). `children_s` are processor seconds of our own processes
        that were not waited for."""
        before, after = self._before, self._counters()
        both = [name for name in before if name in after]
        passed = {name: after[name] - before[name] for name in both if after[name] >= before[name]}
        if "own" in passed:
            passed["own"] += children_s * _TICKS_PER_S
        values = _processor_values(passed, self._brief)
        values.update((name, passed[name]) for name in _COUNTS if name in passed)
        throttled = [value for name, value in passed.items() if name.endswith("_throttle_count")]
        if "pi" in both:
            first, last = int(before["pi"]), int(after["pi"])
            seen = ((first | last) & _PI_NOW) | (last & ~first & _PI_SINCE)
            throttled.append(float(seen != 0))
        if throttled:
            values["throttled"] = max(throttled)  # cores of a package all count its events
        warnings = warnings_of(values)
        if self._ranges_khz:
            lows, highs = zip(*self._ranges_khz.values())
            values["frequency_low_mhz"] = min(lows) / 1000
            values["frequency_high_mhz"] = max(highs) / 1000
            warnings += _frequency_warnings(self._ranges_khz)
        return Findings(values, warnings)

    def _counters(self) -> dict[str, float]:
        """All that only grows, processor time in ticks; and the Raspberry Pi's bits."""
        found: dict[str, Optional[float]] = {"elapsed": self._clock()}
        if ticks := self._numbers("proc/stat", _STAT):
            found.update(busy=sum(ticks[:3] + ticks[5:7]), steal=ticks[7], total=sum(ticks))
        if own := self._numbers("proc/self/stat", _OWN):
            found.update(major_faults=own[0], own=sum(own[1:]))
        if swapped := self._numbers("proc/vmstat", _SWAPPED):
            found["swapped_pages"] = sum(swapped)
        quota = cpu_quota(self._root)
        if quota.cores is not None:
            found["quota_throttled"] = quota.throttled
        found["pi"] = read_int(os.path.join(self._root, _PI), base=16)
        for folder in self._folders:
            for kind in ("core", "package"):
                path = f"{folder}/thermal_throttle/{kind}_throttle_count"
                found[path] = read_int(path)
        return {name: float(value) for name, value in found.items() if value is not None}

    def _numbers(self, path: str, pattern: re.Pattern[str]) -> list[int]:
        """What the pattern's groups match; nothing where it does not match."""
        match = pattern.search(read_text(os.path.join(self._root, path)))
        return [int(group) for group in match.groups()] if match else []


def warnings_of(values: Mapping[str, float]) -> list[str]:
    """What `values` say of a disturbed measurement, frequencies aside."""
    found = [(values.get(name, 0), most, text) for name, most, text in _WARNINGS]
    return [text.format(value) for value, most, text in found if value > most]


def read_text(path: str) -> str:
    """A small file's text; empty where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("ascii", "replace")
    except OSError:
        return ""


def read_int(path: str, base: int = 10) -> Optional[int]:
    """The one whole number that a file holds; None where it does not, or cannot be read."""
    try:
        return int(read_text(path), base)
    except ValueError:
        return None


def _usable_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _processor_values(passed: dict[str, float], brief: bool) -> dict[str, float]:
    short = passed.get("elapsed", 0.0) < SHORTEST_S
    if (short and not brief) or not passed.get("total"):
        return {}  # some sandboxes show zeros for ever
    steps, values = STEPS if short else 0, {}
    if "steal" in passed:
        values["steal"] = max(0.0, passed["steal"] - steps) / passed["total"]
    if "busy" in passed and "own" in passed:
        other = (passed["busy"] - passed["own"] - steps) / _TICKS_PER_S / passed["elapsed"]
        if other >= -ROUNDING:
            values["other_cpu"] = max(0.0, other)
    return values


def _frequency_warnings(ranges_khz: dict[str, tuple[int, int]]) -> list[str]:
    """Of the core that varied most; compared with itself, for cores may be of two kinds."""
    path, (low, high) = min(ranges_khz.items(), key=lambda item: item[1][0] / item[1][1])
    if low >= STEADY_FREQUENCY * high:
        return []
    governor = read_text(os.path.join(os.path.dirname(path), "scaling_governor")).strip()
    remedy = "set the governor to 'performance' (cpupower frequency-set -g performance)"
    if governor == "performance":
        remedy = "switch turbo off, or cool the device"
    span = f"between {low / 1000:.0f} and {high / 1000:.0f} MHz"
    return [f"cores ran {span} under governor '{governor or 'unknown'}'; {remedy}"]

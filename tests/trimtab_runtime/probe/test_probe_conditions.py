"""What disturbs a measurement, on recorded procfs and sysfs trees."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab_runtime.probe.conditions import OTHER_CPU, Conditions, Findings

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CPU = "sys/devices/system/cpu"

#: Of a Raspberry Pi 4 with four cores.
STAT = """\
cpu  {user} 183 52941 {idle} 9120 0 2213 {steal} 0 0
cpu0 41230 52 13201 2711044 2261 0 1902 0 0 0
intr 30114231 0 41 0 2105519 0 0
ctxt 51403121
btime 1732190400
processes 20411
"""
#: A name as hard to read as the kernel allows.
SELF = """\
174 (pyt) R (hon) R 1588 1742 1588 34816 1742 4194304 30144 0 {faults} 3 {user} 210 14 5 20 0 5 0 \
93412 419430400 25111 18446744073709551615 1 1 0 0 0 0 0 16781312 134235874 0 0 0 17 3 0 0 0 0 0\
"""
VMSTAT = """\
nr_free_pages 411201
pgpgin 2201934
pgpgout 931442
pswpin {swapped}
pswpout 120
pgalloc_normal 0
pgmajfault 9102
"""
PI = {
    "proc/stat": STAT.format(user=160000, idle=10834102, steal=0),
    "proc/self/stat": SELF.format(faults=41, user=1500),
    "proc/vmstat": VMSTAT.format(swapped=77),
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    **{
        f"{CPU}/cpu{core}/cpufreq/{name}": text
        for core in range(4)
        for name, text in {
            "scaling_cur_freq": "1500000\n",
            "scaling_governor": "ondemand\n",
            "scaling_min_freq": "600000\n",
            "scaling_max_freq": "1500000\n",
        }.items()
    },
}
LAPTOP = {
    **{name: text for name, text in PI.items() if name.startswith("proc")},
    **{
        f"{CPU}/cpu{core}/{name}": text
        for core in range(8)
        for name, text in {
            "cpufreq/scaling_cur_freq": "3387102\n",
            "cpufreq/scaling_governor": "powersave\n",
            "thermal_throttle/core_throttle_count": "12\n",
            "thermal_throttle/package_throttle_count": "310\n",
        }.items()
    },
}

Board = Callable[[dict[str, str]], "Machine"]


class Machine:
    """A recorded machine, whose files and clock a test moves on."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.root, self.now = root, 100.0
        self.write(files)
        self.conditions = Conditions(str(root), lambda: self.now, cores=[0, 1])
        self.conditions.start()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def break_file(self, name: str) -> None:
        """Reading fails from now on."""
        (self.root / name).unlink()
        (self.root / name).mkdir()

    def later(self, files: dict[str, str], seconds: float = 10.0) -> Findings:
        self.now += seconds
        self.write(files)
        return self.conditions.finish()


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return lambda files: Machine(tmp_path / "root", files)


def stat(busy_s: float, steal_s: float = 0.0, cores: int = 4, seconds: float = 10.0) -> str:
    """proc/stat after so many seconds."""
    busy, steal = round(busy_s * TICKS_PER_S), round(steal_s * TICKS_PER_S)
    idle = round(cores * seconds * TICKS_PER_S) - busy - steal
    return STAT.format(user=160000 + busy, idle=10834102 + idle, steal=steal)


def own(busy_s: float, faults: int = 41) -> str:
    return SELF.format(faults=faults, user=1500 + round(busy_s * TICKS_PER_S))


def test_a_quiet_board_has_values_and_no_warning(board: Board) -> None:
    machine = board(PI)
    machine.conditions.sample()
    found = machine.later({"proc/stat": stat(9.8), "proc/self/stat": own(9.7)})
    assert found.warnings == []
    assert found.values == {
        "other_cpu": pytest.approx(0.01),
        "steal": 0.0,
        "frequency_low_mhz": 1500.0,
        "frequency_high_mhz": 1500.0,
        "throttled": 0.0,
        "swapped_pages": 0.0,
        "major_faults": 0.0,
    }


def test_other_programs_are_told_from_our_own_work(board: Board) -> None:
    found = board(PI).later({"proc/stat": stat(17.5), "proc/self/stat": own(9.5)})
    assert found.values["other_cpu"] == pytest.approx(0.8)
    assert found.warnings == [
        "other processes used 0.8 cores during the measurement; stop them, or measure when "
        "the device is idle"
    ]


def test_waited_for_children_are_our_own(board: Board) -> None:
    ours = own(2.0).replace(" 210 14 5 ", f" 210 {14 + 5 * TICKS_PER_S} {5 + TICKS_PER_S} ")
    found = board(PI).later({"proc/stat": stat(8.5), "proc/self/stat": ours})
    assert found.values["other_cpu"] == pytest.approx(0.05)


def test_rounding_makes_no_negative_load(board: Board) -> None:
    found = board(PI).later({"proc/stat": stat(9.5), "proc/self/stat": own(9.6)})
    assert found.values["other_cpu"] == 0.0


def test_a_machine_that_counts_less_than_we_do_is_not_believed(board: Board) -> None:
    found = board(PI).later({"proc/stat": stat(2.0), "proc/self/stat": own(9.6)})
    assert "other_cpu" not in found.values


def test_stolen_time_is_no_load_of_other_programs(board: Board) -> None:
    after = {"proc/stat": stat(9.5, steal_s=1.2, cores=2), "proc/self/stat": own(9.5)}
    machine = board({name: text for name, text in PI.items() if name.startswith("proc")})
    machine.conditions.sample()
    found = machine.later(after)
    assert found.values == {
        "steal": pytest.approx(0.06),
        "other_cpu": pytest.approx(0.0, abs=1e-9),
        "swapped_pages": 0.0,
        "major_faults": 0.0,
    }
    assert found.warnings == [
        "the host of the virtual machine took 6% of its time during the measurement (steal); "
        "measure on a dedicated machine"
    ]


def test_a_moment_is_too_short_for_ticks(board: Board) -> None:
    found = board(PI).later({"proc/stat": stat(0.1, seconds=0.1)}, seconds=0.1)
    assert not {"other_cpu", "steal"} & set(found.values)


def test_brief_stretches_count_beyond_the_steps_of_the_kernel(board: Board) -> None:
    """Of 0.2 s, in which others worked 0.12 s; what two steps of 10 ms explain is nothing. Our
    own processes may tell what they used."""
    machine = board(PI)
    brief = Conditions(str(machine.root), lambda: machine.now, cores=[0], brief=True)
    for children_s, other_cpu in ((0.0, 0.5), (0.08, 0.1), (0.11, 0.0)):
        machine.write(PI)
        brief.start()
        machine.now += 0.2
        machine.write({"proc/stat": stat(0.12, seconds=0.2)})
        found = brief.finish(children_s)
        assert found.values["other_cpu"] == pytest.approx(other_cpu)
        assert len(found.warnings) == (other_cpu > OTHER_CPU)


def test_a_sandbox_that_shows_zeros_tells_nothing(board: Board) -> None:
    files = {"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n", "proc/self/stat": own(0.0)}
    assert board(files).later({}).values == {"major_faults": 0.0}


def test_the_core_that_varied_most_is_compared_with_itself(board: Board) -> None:
    machine = board(PI)
    for core, khz in ((0, 1500000), (1, 600000), (1, 1500000)):
        machine.write({f"{CPU}/cpu{core}/cpufreq/scaling_cur_freq": f"{khz}\n"})
        machine.conditions.sample()
    found = machine.later({})
    assert (found.values["frequency_low_mhz"], found.values["frequency_high_mhz"]) == (600, 1500)
    assert found.warnings == [
        "cores ran between 600 and 1500 MHz under governor 'ondemand'; set the "
        "governor to 'performance' (cpupower frequency-set -g performance)"
    ]


def test_cores_of_two_kinds_are_no_variation(board: Board) -> None:
    machine = board({**PI, f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "600000\n"})
    machine.conditions.sample()
    found = machine.later({})
    assert (found.values["frequency_low_mhz"], found.values["frequency_high_mhz"]) == (600, 1500)
    assert found.warnings == []


def test_under_the_performance_governor_the_remedy_is_another(board: Board) -> None:
    machine = board({**PI, f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n"})
    machine.conditions.sample()
    machine.write({f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1000000\n"})
    machine.conditions.sample()
    (warning,) = machine.later({}).warnings
    assert warning.endswith("governor 'performance'; switch turbo off, or cool the device")


def test_a_core_that_goes_offline_or_knows_no_frequency_is_left_out(board: Board) -> None:
    machine = board({**PI, f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "<unknown>\n"})
    machine.conditions.sample()
    machine.write({f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "0\n"})
    machine.break_file(f"{CPU}/cpu0/cpufreq/scaling_cur_freq")
    machine.conditions.sample()
    found = machine.later({})
    assert (found.values["frequency_low_mhz"], found.values["frequency_high_mhz"]) == (1500, 1500)


def test_without_a_sample_no_frequency_is_known(board: Board) -> None:
    assert "frequency_low_mhz" not in board(PI).later({}).values


def test_throttle_events_are_counted_once_for_a_package(board: Board) -> None:
    found = board(LAPTOP).later(
        {
            f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "13\n",
            f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "314\n",
            f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "314\n",
        }
    )
    assert found.values["throttled"] == 4.0
    assert found.warnings == [
        "the device throttled its cores because of heat or low voltage; cool the device, or "
        "give it a stronger power supply"
    ]


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        ("0", "0", 0.0),
        ("50000", "50000", 0.0),  # long ago
        ("50000", "0", 0.0),  # the kernel cleared it
        ("0", "50000", 1.0),  # came and went between
        ("50005", "50000", 1.0),  # went on when it began
        ("50000", "d0008", 1.0),
    ],
)
def test_bits_of_a_raspberry_pi(board: Board, before: str, after: str, throttled: float) -> None:
    name = "sys/devices/platform/soc/soc:firmware/get_throttled"
    found = board({**PI, name: f"{before}\n"}).later({name: f"{after}\n"})
    assert found.values["throttled"] == throttled
    assert len(found.warnings) == throttled


def test_swapping_and_waiting_for_storage(board: Board) -> None:
    found = board(PI).later(
        {"proc/vmstat": VMSTAT.format(swapped=1277), "proc/self/stat": own(0.0, faults=75)}
    )
    assert (found.values["swapped_pages"], found.values["major_faults"]) == (1200.0, 34.0)
    assert found.warnings == [
        "1200 pages were swapped; free memory, or leave out models that do not fit",
        "this process waited 34 times for pages from storage; free memory, or leave out models "
        "that do not fit",
    ]


def test_counters_that_went_backwards_are_unknown(board: Board) -> None:
    found = board(LAPTOP).later(
        {
            "proc/stat": STAT.format(user=10, idle=20, steal=0),
            "proc/self/stat": SELF.format(faults=1, user=2),
            "proc/vmstat": VMSTAT.format(swapped=1),
            **{
                f"{CPU}/cpu{core}/thermal_throttle/{kind}_throttle_count": "0\n"
                for core in range(2)
                for kind in ("core", "package")
            },
        }
    )
    assert found == Findings({}, [])


@pytest.mark.parametrize("text", ["", "<unknown>\n", "cpu  1 2\n", "1 (a) R\n", "\xff\xfe", "nan"])
def test_malformed_files_are_unknown(board: Board, text: str) -> None:
    machine = board(dict.fromkeys([*PI, *LAPTOP], text))
    machine.conditions.sample()
    assert machine.later({}) == Findings({}, [])


def test_unreadable_files_are_unknown(board: Board) -> None:
    machine = board({**PI, **LAPTOP})
    for name in {**PI, **LAPTOP}:
        machine.break_file(name)
    machine.conditions.sample()
    assert machine.later({}) == Findings({}, [])


def test_reading_that_fails_midway_is_unknown(board: Board) -> None:
    """/proc/self/mem opens, and its first byte gives EIO."""
    machine = board(PI)
    for name in ("proc/stat", "proc/vmstat"):
        (machine.root / name).unlink()
        (machine.root / name).symlink_to("/proc/self/mem")
    assert set(machine.later({}).values) == {"throttled", "major_faults"}


def test_nothing_is_known_of_an_empty_machine_or_one_never_started(board: Board) -> None:
    assert board({}).later({}) == Findings({}, [])
    assert Conditions().finish() == Findings({}, [])


def test_starting_again_forgets(board: Board) -> None:
    machine = board(PI)
    machine.conditions.sample()
    machine.write({"proc/vmstat": VMSTAT.format(swapped=5000)})
    machine.conditions.start()
    found = machine.later({})
    assert found.values["swapped_pages"] == 0.0
    assert "frequency_low_mhz" not in found.values


def test_this_machine() -> None:
    conditions = Conditions()
    conditions.start()
    conditions.sample()
    found = conditions.finish()
    assert all(math.isfinite(value) and value >= 0 for value in found.values.values())
    assert all(": " in warning and "; " in warning for warning in found.warnings)

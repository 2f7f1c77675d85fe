"""Energy, on recorded sysfs trees."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from trimtab_runtime.probe.energy import MIN_RUNS, Meter, find_meter, measure_energy

#: A laptop, read as root: one package with two domains, and the platform.
RAPL = {
    "intel-rapl:0/name": "package-0\n",
    "intel-rapl:0/energy_uj": "261500000000\n",
    "intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "intel-rapl:0:0/name": "core\n",
    "intel-rapl:0:0/energy_uj": "1000000\n",
    "intel-rapl:0:1/name": "uncore\n",
    "intel-rapl:0:1/energy_uj": "1000000\n",
    "intel-rapl:1/name": "psys\n",
    "intel-rapl:1/energy_uj": "9000000\n",
}
LAPTOP = {f"sys/class/powercap/{name}": text for name, text in RAPL.items()}
PACKAGE = "sys/class/powercap/intel-rapl:0/energy_uj"

BATTERY = {
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "0\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
    "sys/class/power_supply/BAT0/power_now": "8412000\n",
    "sys/class/power_supply/BAT0/voltage_now": "11842000\n",
    "sys/class/power_supply/hid-0/type": "Battery\n",
    "sys/class/power_supply/hid-0/scope": "Device\n",
    "sys/class/power_supply/hid-0/status": "Discharging\n",
    "sys/class/power_supply/hid-0/power_now": "1000000\n",
}
BAT = "sys/class/power_supply/BAT0"

#: A Jetson Nano with Linux 5.10 or newer.
INA = "sys/class/hwmon/hwmon1"
NANO = {
    "sys/class/hwmon/hwmon0/name": "thermal_fan_est\n",
    f"{INA}/name": "ina3221\n",
    f"{INA}/in1_label": "POM_5V_IN\n",
    f"{INA}/in1_input": "5096\n",
    f"{INA}/curr1_input": "400\n",
    f"{INA}/in2_label": "POM_5V_GPU\n",
    f"{INA}/in2_input": "5088\n",
    f"{INA}/curr2_input": "8\n",
    f"{INA}/in3_label": "POM_5V_CPU\n",
    f"{INA}/in3_input": "5088\n",
    f"{INA}/curr3_input": "104\n",
    f"{INA}/in4_input": "2\n",
    f"{INA}/curr4_input": "512\n",
}
#: The same with NVIDIA's kernel 4.9.
IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
NANO_4_9 = {
    f"{IIO}/rail_name_0": "POM_5V_IN\n",
    f"{IIO}/in_power0_input": "2040\n",
    f"{IIO}/in_power0_trigger_input": "2040\n",
    f"{IIO}/crit_current_limit_0": "32760\n",
    f"{IIO}/rail_name_1": "POM_5V_GPU\n",
    f"{IIO}/in_power1_input": "40\n",
    f"{IIO}/rail_name_2": "POM_5V_CPU\n",
    f"{IIO}/in_power2_input": "530\n",
}


class Machine:
    """A recorded machine, whose files and clock a test moves on."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 1000.0

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def break_file(self, name: str) -> None:
        """Opens, but its first byte gives EIO."""
        (self.root / name).unlink()
        (self.root / name).symlink_to("/proc/self/mem")

    def found(self) -> Meter | None:
        return find_meter(str(self.root), lambda: self.now)

    def meter(self, files: dict[str, str]) -> Meter:
        self.write(files)
        found = self.found()
        assert found is not None
        return found

    def joules(self, files: dict[str, str], seconds: float = 2.0) -> float | None:
        """Of a meter that looks twice."""
        meter = self.meter(files)
        meter.begin()
        self.now += seconds
        return meter.end()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def counted(machine: Machine, meter: Meter, *values: str) -> float | None:
    """Joules of a meter whose package counter took these values."""
    meter.begin()
    for value in values:
        machine.write({PACKAGE: value})
        meter.sample()
    return meter.end()


def test_a_package_is_counted_without_its_domains_and_the_platform(machine: Machine) -> None:
    meter = machine.meter({**BATTERY, **NANO, **LAPTOP})
    assert meter.method == "RAPL package-0, counter"
    assert counted(machine, meter, "261512500000\n") == pytest.approx(12.5)


def test_no_wrap_between_samples_is_lost(machine: Machine) -> None:
    meter = machine.meter(LAPTOP)
    values = ("100000000\n", "262000000000\n", "200000000\n")
    expected = 2 * 262143.32885 + 200.0 - 261500.0
    assert counted(machine, meter, *values) == pytest.approx(expected)


def test_packages_are_summed_and_wrap_apart(machine: Machine) -> None:
    zone = "sys/class/powercap/intel-rapl:2"
    second = {
        f"{zone}/name": "package-1\n",
        f"{zone}/energy_uj": "5000000\n",
        f"{zone}/max_energy_range_uj": "65532610987\n",
    }
    meter = machine.meter({**LAPTOP, **second})
    assert meter.method == "RAPL package-0 + package-1, counter"
    meter.begin()
    machine.write({PACKAGE: "261501000000\n", f"{zone}/energy_uj": "1000000\n"})
    assert meter.end() == pytest.approx(1.0 + 65532.610987 - 4.0)


@pytest.mark.parametrize("text", ["", "<unknown>\n", "1.5\n"])
def test_a_counter_that_cannot_be_read_is_absent(machine: Machine, text: str) -> None:
    machine.write({**LAPTOP, PACKAGE: text})
    assert machine.found() is None


def test_one_package_of_two_is_not_the_energy_of_both(machine: Machine) -> None:
    machine.write({**LAPTOP, "sys/class/powercap/intel-rapl:2/name": "package-1\n"})
    assert machine.found() is None


def test_a_reset_without_known_range_is_unknown(machine: Machine) -> None:
    meter = machine.meter({**LAPTOP, "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "\n"})
    assert counted(machine, meter, "1000000\n", "2000000\n") is None
    assert counted(machine, meter, "3000000\n") == pytest.approx(1.0)


def test_a_failed_sample_is_made_up_for(machine: Machine) -> None:
    meter = machine.meter(LAPTOP)
    assert counted(machine, meter, "broken\n", "261501000000\n") == pytest.approx(1.0)
    assert counted(machine, meter, "broken\n") is None
    assert counted(machine, meter, "261501000000\n") is None  # failed at the begin
    machine.break_file(PACKAGE)
    meter.begin()
    assert meter.end() is None


def test_the_input_rail_of_a_jetson_nano(machine: Machine) -> None:
    assert machine.joules(NANO) == pytest.approx(2 * 5.096 * 0.4)
    assert machine.meter({}).method == "hwmon ina3221 POM_5V_IN, sampled"


def test_power_is_integrated_by_trapezoids(machine: Machine) -> None:
    meter = machine.meter(NANO)
    meter.begin()
    for milliamperes, seconds in ((800, 1.0), (800, 2.0)):
        machine.now += seconds
        machine.write({f"{INA}/curr1_input": f"{milliamperes}\n"})
        meter.sample()
    assert meter.end() == pytest.approx(5.096 * (0.6 * 1.0 + 0.8 * 2.0))


def test_chips_without_an_input_rail_are_summed_and_disabled_channels_left_out(
    machine: Machine,
) -> None:
    """A Jetson AGX Xavier: two chips; the third channel of the second is disabled."""
    files = {}
    for chip, labels in enumerate((("GPU", "CPU", "SOC"), ("CV", "VDDRQ", "SYS5V"))):
        folder = f"sys/class/hwmon/hwmon{chip}"
        files[f"{folder}/name"] = "ina3221\n"
        for channel, label in enumerate(labels, 1):
            files[f"{folder}/in{channel}_label"] = f"{label}\n"
            files[f"{folder}/in{channel}_input"] = "19000\n"
            files[f"{folder}/curr{channel}_input"] = "100\n"
    machine.write(files)
    machine.break_file("sys/class/hwmon/hwmon1/in3_input")
    assert machine.meter({}).method == "hwmon ina3221 GPU + CPU + SOC + CV + VDDRQ, sampled"
    assert machine.joules({}) == pytest.approx(2 * 5 * 1.9)


def test_the_input_rail_may_be_on_another_chip(machine: Machine) -> None:
    other = {f"sys/class/hwmon/hwmon0/{name}": text for name, text in {
        "name": "ina3221\n", "in1_label": "VDD_SYS_GPU\n", "in1_input": "5000\n",
        "curr1_input": "100\n"}.items()}  # fmt: skip
    assert machine.joules({**NANO, **other}) == pytest.approx(2 * 5.096 * 0.4)


def test_the_older_driver_of_jetsons(machine: Machine) -> None:
    assert machine.joules(NANO_4_9) == pytest.approx(2 * 2.04)
    assert machine.meter({}).method == "ina3221x POM_5V_IN, sampled"


@pytest.mark.parametrize("name", ["ina226", "ina2xx", "scmi_sensors"])
def test_other_chips_tell_microwatts(machine: Machine, name: str) -> None:
    files = {"name": f"{name}\n", "power1_input": "3250000\n", "in1_input": "5000\n"}
    assert machine.joules({f"{INA}/{key}": text for key, text in files.items()}) == 6.5
    assert machine.meter({}).method == f"hwmon {name} power1_input, sampled"


def test_a_chip_that_counts_joules_by_core_and_socket(machine: Machine) -> None:
    files = {"name": "amd_energy\n", "power1_input": "1\n"}
    for number, label in enumerate(("Ecore000", "Ecore001", "Esocket0"), 1):
        files.update({f"energy{number}_label": label, f"energy{number}_input": "7000000\n"})
    meter = machine.meter({f"{INA}/{key}": text for key, text in files.items()})
    assert meter.method == "hwmon amd_energy Esocket0, counter"
    meter.begin()
    machine.write({f"{INA}/energy3_input": "7500000\n"})
    assert meter.end() == pytest.approx(0.5)
    machine.write({f"{INA}/energy3_input": "0\n"})
    assert meter.end() is None


@pytest.mark.parametrize("name", ["amdgpu", "xe", "sfp_eth0"])
def test_graphics_cards_and_cables_are_no_meter_of_the_cores(machine: Machine, name: str) -> None:
    machine.write({f"{INA}/name": f"{name}\n", f"{INA}/power1_input": "30000000\n"})
    assert machine.found() is None


def test_a_battery_that_charges_is_no_meter_under_another_name_either(machine: Machine) -> None:
    chip = {"name": "BAT0\n", "power1_input": "8000000\n", "device/type": "Battery\n"}
    machine.write({f"{INA}/{key}": text for key, text in chip.items()})
    machine.write({**BATTERY, f"{BAT}/status": "Charging\n"})
    assert machine.found() is None


def test_a_battery_that_discharges(machine: Machine) -> None:
    assert machine.joules(BATTERY) == pytest.approx(2 * 8.412)
    assert machine.meter({}).method == "battery BAT0, sampled"


def test_a_battery_that_tells_amperes_of_negative_sign(machine: Machine) -> None:
    files = {**BATTERY, f"{BAT}/current_now": "-500000\n"}
    del files[f"{BAT}/power_now"]
    assert machine.joules(files) == pytest.approx(2 * 11.842 * 0.5)


def test_a_battery_plugged_in_meanwhile_is_unknown(machine: Machine) -> None:
    meter = machine.meter(BATTERY)
    meter.begin()
    machine.write({f"{BAT}/status": "Charging\n"})
    assert meter.end() is None


@pytest.mark.parametrize("text", ["", "<unknown>\n", "\xff\xfe", "nan\n", "1e6\n"])
def test_malformed_files_are_no_meter(machine: Machine, text: str) -> None:
    machine.write(dict.fromkeys([*LAPTOP, *NANO, *NANO_4_9, *BATTERY], text))
    assert machine.found() is None


def test_unreadable_files_are_no_meter(machine: Machine) -> None:
    for name in {**LAPTOP, **NANO, **NANO_4_9, **BATTERY}:
        (machine.root / name).mkdir(parents=True)
    assert machine.found() is None


def test_before_begin_nothing_is_known(machine: Machine) -> None:
    meter = machine.meter(NANO)
    meter.sample()
    assert meter.end() is None


class Board(Machine):
    """A Jetson Nano that draws 2 W idle and more while it runs."""

    runs = 0

    def draw(self, watts: float) -> None:
        self.write({f"{INA}/in1_input": "1000\n", f"{INA}/curr1_input": f"{1000 * watts:.0f}\n"})

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def energy(self, busy_w: float, run_s: float, busy_s: float = 3.0) -> dict[str, float]:
        meter = self.meter(NANO)
        self.draw(2.0)

        def run_once() -> None:
            self.draw(busy_w)
            self.now += run_s
            self.runs += 1

        return measure_energy(meter, run_once, 1.0, busy_s, lambda: self.now, self.sleep)


@pytest.fixture
def nano(tmp_path: Path) -> Board:
    return Board(tmp_path / "root")


def test_energy_is_what_runs_take_above_idle(nano: Board) -> None:
    found = nano.energy(busy_w=5.0, run_s=0.01)
    assert found["idle_power_w"] == pytest.approx(2.0)
    assert found["busy_power_w"] == pytest.approx(5.0, rel=0.01)
    assert found["energy_mj"] == pytest.approx(30.0, rel=0.01)
    assert found["energy_runs"] == nano.runs == pytest.approx(300, abs=1)


def test_long_runs_are_still_enough_of_them(nano: Board) -> None:
    found = nano.energy(busy_w=5.0, run_s=1.0)
    assert found["energy_runs"] == MIN_RUNS
    assert found["energy_mj"] == pytest.approx(3000.0, rel=0.05)


@pytest.mark.parametrize("busy_w", [2.01, 2.0, 1.9])
def test_energy_that_idle_hides_is_absent(nano: Board, busy_w: float) -> None:
    assert nano.energy(busy_w=busy_w, run_s=0.01) == {}


def test_energy_of_a_sensor_that_fails_is_absent(nano: Board) -> None:
    meter = nano.meter(NANO)

    def run_once() -> None:
        nano.now += 0.1
        nano.write({f"{INA}/curr1_input": "<unknown>\n"})

    assert measure_energy(meter, run_once, 1.0, 1.0, lambda: nano.now, nano.sleep) == {}


def test_without_idle_there_is_nothing_to_subtract(nano: Board) -> None:
    meter = nano.meter(NANO)
    found = measure_energy(meter, lambda: nano.sleep(0.1), 0.0, 1.0, lambda: nano.now, nano.sleep)
    assert found == {}


def test_this_machine() -> None:
    meter = find_meter()
    if meter is None:
        return
    found = measure_energy(meter, lambda: sum(range(10000)), 0.1, 0.1)
    assert all(math.isfinite(value) for value in found.values())

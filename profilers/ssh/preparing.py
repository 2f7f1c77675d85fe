"""What a device is, what it lacks, and how it gets that."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.profilers.probe_process import parsed
from trimtab.profilers.ssh.device import SshDevice
from trimtab.profilers.ssh.scripts import stop_script
from trimtab.profilers.ssh.wheel import ENGINES, runtime_wheel
from trimtab_runtime.errors import DeviceError

_OLDEST = (3, 9)
_LITTLE_MB = 512
_ENGINES = ("onnxruntime", "litert")
#: Platforms that wheels are tagged with; pip takes those that are named, and no others.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014")

_FACTS = """cd {home} || exit 1
version='import sys; print("%d.%d.%d" % sys.version_info[:3])'
echo machine=$(uname -m)
echo model=$(tr -d '\\000' 2>/dev/null < /proc/device-tree/model)
echo cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
echo cores=$(nproc)
echo memory_kb=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
echo os=$(. /etc/os-release 2>/dev/null; echo "$PRETTY_NAME")
echo kernel=$(uname -sr)
echo governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)
echo free_kb=$(df -Pk . | tail -n 1 | awk '{{print $4}}')
echo python3=$({python} -c "$version" 2>/dev/null)
echo venv=$({python} -c 'import venv, ensurepip' 2>/dev/null && echo yes)
printf '#!/bin/sh\necho executes=yes\n' > .executes; chmod 700 .executes
./.executes; rm -f .executes
echo prepared=$(env/bin/python -c "$version" 2>/dev/null)
"""

_PROVIDERS = "import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))"


@dataclass(frozen=True)
class Survey:
    """`facts` by name; `engines` with their versions; of onnxruntime the execution `providers`.
    `missing` is what a job needs and the device has not, each with how to get it; `advice` what
    would make measurements better."""

    facts: Mapping[str, str]
    engines: Mapping[str, str]
    providers: Sequence[str]
    used_mb: float
    missing: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def survey(device: SshDevice, python: str = "python3") -> Survey:
    """Look at a device. `python` is the interpreter that an environment would be made with."""
    facts = _facts(device, python)
    found = Survey(facts, *_engines(device, facts), _used_mb(device))
    address = device.address
    found.missing.extend(_not_executing(device, facts))
    if not facts.get("prepared", "").startswith("3."):
        if _version(facts) < _OLDEST:
            found.missing.append(
                f"Python 3.9 or newer (there is {facts.get('python3') or 'none'}): `sudo apt-get "
                "install python3 python3-venv` on the device, or name one with --python"
            )
        elif not facts.get("venv"):
            found.missing.append(
                "the module venv: `sudo apt-get install python3-venv` on the device"
            )
        found.missing.append(f"an environment of its own: `trimtab devices prepare {address}`")
    elif not found.engines:
        found.missing.append(
            f"an inference engine: `trimtab devices prepare {address}`, which says why where an "
            "engine does not install"
        )
    free_mb = _whole(facts.get("free_kb")) / 1024
    if free_mb < _LITTLE_MB:
        found.advice.append(f"{free_mb:.0f} MB are free where artefacts go: make some room")
    governor = facts.get("governor") or "performance"
    if governor != "performance":
        found.advice.append(
            f"the governor is {governor}: clocks will change while it measures; `sudo cpupower "
            "frequency-set -g performance`"
        )
    others = device.running()
    if others:
        found.advice.append(
            f"process {', '.join(map(str, others))} probes there now; `trimtab devices clean "
            f"{address}` ends what was left behind"
        )
    return found


def prepare(
    device: SshDevice,
    engines: Sequence[str],
    say: Callable[[str], None],
    wheels: Path | None = None,
    python: str = "python3",
    site_packages: bool = False,
) -> list[str]:
    """Make an environment on the device, with trimtab_runtime and `engines` from its registry, or
    from the `wheels` of a folder alone; the engines that did install.

    `site_packages` lets it see what the device's own Python has, as a vendor's build of an
    engine. Raises DeviceError where no environment can be made, or none of the engines installs.
    """
    facts = _facts(device, python)
    if _version(facts) < _OLDEST:
        raise DeviceError("\n".join(survey(device, python).missing))
    if unfit := _not_executing(device, facts):
        raise DeviceError(f"{device.address}: {unfit[0]}")
    env, home = f"{device.home}/env", shlex.quote(device.home)
    if not facts.get("prepared", "").startswith("3."):
        option = "--system-site-packages " if site_packages else ""
        say(f"making an environment with Python {facts['python3']}")
        command = f"rm -rf {home}/env && {shlex.quote(python)} -m venv {option}{home}/env"
        _done(device, command, say, "no environment can be made (python3-venv?)")
    sent = _send_wheels(device, wheels, say)
    pip = f"{shlex.quote(env)}/bin/python -m pip --disable-pip-version-check install -q"
    if wheels is not None:
        pip += f" --no-index --find-links {home}/wheels"
    # Always anew: the version may be that of an older state of the sources.
    own = f"{home}/wheels/{sent}"
    say("installing trimtab_runtime, NumPy and Pillow")
    _done(device, f"{pip} --force-reinstall --no-deps {own}", say, "pip failed")
    needed = ["numpy", "pillow", *(ENGINES[engine] for engine in engines)]
    _done(device, f"{pip} {own}", say, _without_network(device, facts, needed, wheels))
    installed = []
    for engine in engines:
        say(f"installing {ENGINES[engine]}")
        if device.connection.stream(f"{pip} {ENGINES[engine]}", say) == 0:
            installed.append(engine)
        else:
            say(f"{engine}: does not install")
    device.connection.shell(f"rm -rf {home}/wheels")
    if not (installed or _engines(device, _facts(device, python))[0]):
        raise DeviceError(_without_network(device, facts, needed, wheels))
    return installed


def clean(device: SshDevice, everything: bool = False) -> float:
    """End what probes on the device, and remove our artefacts there; `everything`: the environment
    too. Megabytes that they took."""
    before = _used_mb(device)
    home = shlex.quote(device.home)
    told = device.connection.shell(stop_script(f"{home}/runs/*"))
    if told.status != 0:
        raise DeviceError(f"process {told.out.strip()} on the device cannot be killed: restart it")
    inside = f"{home}/runs {home}/artefacts {home}/wheels"
    done = device.connection.shell(f"rm -rf {home if everything else inside}")
    if done.status != 0:
        raise DeviceError(f"{device.address}: {done.err.strip()}")
    if everything:
        return before
    device.connection.shell(f"mkdir -p {home}/runs {home}/artefacts")
    return before - _used_mb(device)


def _facts(device: SshDevice, python: str) -> dict[str, str]:
    script = _FACTS.format(home=shlex.quote(device.home), python=shlex.quote(python))
    told = device.connection.shell(script)
    pairs = (line.partition("=") for line in told.out.splitlines())
    return {name: value for name, _, value in pairs if value}


def _not_executing(device: SshDevice, facts: Mapping[str, str]) -> list[str]:
    """What is missing where the file system of our folder runs no programs."""
    if facts.get("executes") == "yes":
        return []
    return [
        f"a folder that programs run from: {device.home} lies on a file system that is mounted "
        f"noexec; name another in the address, e.g. ssh://{device.target.host}/opt/trimtab"
    ]


def _version(facts: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(_whole(part) for part in facts.get("python3", "0").split("."))


def _engines(device: SshDevice, facts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    if not facts.get("prepared", "").startswith("3."):
        return {}, []
    told = device.fingerprint()
    engines = {name: version for name, version in told.items() if name in _ENGINES}
    if "onnxruntime" not in engines:
        return engines, []
    python = shlex.quote(f"{device.home}/env/bin/python")
    done = device.connection.shell(f"{python} -c {shlex.quote(_PROVIDERS)}")
    said = done.out.splitlines()[-1:] if done.status == 0 else []
    providers = parsed(said[0].encode()) if said else []
    return engines, [str(name) for name in providers] if isinstance(providers, list) else []


def _used_mb(device: SshDevice) -> float:
    told = device.connection.shell(f"du -sk {shlex.quote(device.home)}")
    return _whole(next(iter(told.out.split()), "")) / 1024


def _whole(text: str | None) -> int:
    """A number as a device writes it; 0 for what is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _send_wheels(device: SshDevice, wheels: Path | None, say: Callable[[str], None]) -> str:
    """Our own wheel and those of a folder, into `wheels` on the device; the name of our own."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="trimtab-wheel-") as folder:
        own = runtime_wheel(Path(folder))
        files = [own, *(sorted(wheels.glob("*.whl")) if wheels else ())]
        if wheels is not None and len(files) == 1:
            raise DeviceError(f"{wheels}: there is no .whl file in it")
        for file in files:
            say(f"sending {file.name} ({file.stat().st_size / 2**20:.1f} MB)")
        device.connection.run(_send(device, files))
    return own.name


async def _send(device: SshDevice, files: Sequence[Path]) -> None:
    target = f"{device.home}/wheels"
    sftp = device.connection.sftp
    await sftp.makedirs(target, exist_ok=True)
    await sftp.put(list(files), target)


def _done(device: SshDevice, command: str, say: Callable[[str], None], problem: str) -> None:
    if device.connection.stream(command, say) != 0:
        raise DeviceError(f"{device.address}: {problem}")


def _without_network(
    device: SshDevice, facts: Mapping[str, str], needed: Sequence[str], wheels: Path | None
) -> str:
    """What to do where the device's registry gives nothing."""
    version = "".join(facts["python3"].split(".")[:2])
    platforms = " ".join(f"--platform {kind}_{facts['machine']}" for kind in _PLATFORMS)
    what = "the wheels that were sent are not enough" if wheels else "its registry gives nothing"
    return (
        f"{what}; on a machine with network: `pip download --only-binary=:all: {platforms} "
        f"--python-version {version} -d wheels {' '.join(needed)}`, then `trimtab devices "
        f"prepare {device.address} --wheels wheels`"
    )

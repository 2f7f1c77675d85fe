"""`trimtab devices` and what it can do: list, check, prepare, clean."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.db import Store
from trimtab.planner.cli import tables
from trimtab.planner.cli.commands.show import Format
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.reports.text import printable
from trimtab.profilers import parse_ssh
from trimtab.profilers.ssh_address import SSH
from trimtab_runtime.errors import DeviceError

if TYPE_CHECKING:
    from trimtab.profilers.ssh import SshDevice, UnknownHostKey
    from trimtab.profilers.ssh.preparing import Survey

_PROBLEM = 1
_SHOWN = (
    *("machine", "cpu", "cores", "cpu_quota", "isa", "memory_gb"),
    *("os", "governor", "python", "numpy"),
)
_FACTS = ("model", "machine", "cpu", "cores", "os", "kernel", "governor", "python3", "prepared")

app = typer.Typer(
    help="Show this machine and the measured devices; check and prepare devices over SSH.",
    invoke_without_command=True,
    no_args_is_help=False,
)


class Engine(StrEnum):
    onnxruntime = "onnxruntime"
    onnxruntime_gpu = "onnxruntime-gpu"
    onnxruntime_openvino = "onnxruntime-openvino"
    litert = "litert"
    tflite_runtime = "tflite-runtime"


_Format = Annotated[Format, typer.Option("--format", help="table or json.")]
_Device = Annotated[
    str, typer.Argument(help="ssh://user@host:port/folder, or a job.yaml that names a device.")
]
_HostKey = Annotated[
    str | None, typer.Option(help="The expected host key, SHA256:...; without it you are asked.")
]
_Python = Annotated[
    str, typer.Option(help="The Python on the device to create the environment with.")
]


@app.callback()
def devices(context: typer.Context, output: _Format = Format.table) -> None:
    """Show this machine and the measured devices; check and prepare devices over SSH."""
    if context.invoked_subcommand is None:
        show(context, output)


@app.command("list")
def show(context: typer.Context, output: _Format = Format.table) -> None:
    """Show this machine, and every device in the store with its number of measurements."""
    from trimtab.profilers import LocalDevice
    from trimtab.profilers.device import device_key

    here = surroundings(context).nearest()
    local = LocalDevice()
    told = local.fingerprint()
    key, engines = device_key(told), _engines(told)
    measured: list[dict[str, Any]] = []
    if here.exists:
        with here.reading() as store:
            measured = _measured(store)
            key = store.known_as(local.address, told, local.identity()).key
    if output is Format.json:
        this = {"key": key, "fingerprint": told, "engines": engines}
        typer.echo(tables.json_text({"this_machine": this, "devices": measured}))
        return
    screen = console()
    screen.print(tables.heading(f"This machine ({key[:8]})"))
    _print_pairs({name: told[name] for name in _SHOWN if told.get(name)} | engines)
    if not measured:
        screen.print("\nNothing has been measured yet; start a job with `trimtab plan job.yaml`.")
        return
    screen.print(tables.heading("\nMeasured so far"))
    table = tables.plain_table("device", "address", "cpu", "cores", "measurements", "failed")
    for entry in measured:
        mark = f"{entry['key'][:8]}" + (" (this one)" if entry["key"] == key else "")
        cpu, cores = (str(entry["fingerprint"].get(name, "")) for name in ("cpu", "cores"))
        counts = (str(entry["measurements"]), str(entry["failed"]))
        table.add_row(mark, entry["address"], cpu, cores, *counts)
    screen.print(table)


@app.command()
def check(
    device: _Device,
    host_key: _HostKey = None,
    python: _Python = "python3",
    output: _Format = Format.table,
) -> None:
    """Check that a device is ready: show what it is, what is missing and how to install that. Exit
    status 1 if something is missing."""
    from trimtab.profilers.ssh.preparing import survey

    with _reached(device, host_key) as place:
        found = survey(place, python)
    if output is Format.json:
        typer.echo(tables.json_text({"address": place.address, **asdict(found)}))
    else:
        _print_survey(place, found)
    if found.missing:
        raise typer.Exit(_PROBLEM)


@app.command()
def prepare(
    device: _Device,
    engines: Annotated[
        list[Engine] | None,
        typer.Option(
            "--engine", help="Engine to install; may be repeated. Default: onnxruntime and litert."
        ),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Install only from the wheels in this folder."
        ),
    ] = None,
    site_packages: Annotated[
        bool,
        typer.Option(
            "--site-packages", help="Also use the engines installed in the device's own Python."
        ),
    ] = False,
    host_key: _HostKey = None,
    python: _Python = "python3",
) -> None:
    """Create an environment on a device, with trimtab_runtime and inference engines."""
    from trimtab.profilers.ssh.preparing import prepare as make
    from trimtab.profilers.ssh.preparing import survey

    wanted = [engine.value for engine in engines or (Engine.onnxruntime, Engine.litert)]
    screen = console()

    def say(line: str) -> None:
        screen.print(printable(line), soft_wrap=True)

    with _reached(device, host_key) as place:
        make(place, wanted, say, wheels, python, site_packages)
        found = survey(place, python)
    _print_survey(place, found)
    if found.missing:
        raise typer.Exit(_PROBLEM)


@app.command()
def clean(
    device: _Device,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the environment too; `prepare` creates it again.")
    ] = False,
    host_key: _HostKey = None,
) -> None:
    """Remove models, images and bundles of Trimtab from a device, and end probes left running."""
    from trimtab.profilers.ssh.preparing import clean as remove

    with _reached(device, host_key) as place:
        freed_mb = remove(place, everything)
    console().print(f"Freed {freed_mb:.1f} MB on {place.address}.", soft_wrap=True)


def meet(address: str, **settings: Any) -> None:
    """Ask about the host key of a device that was never seen; nothing for one that is known, or
    needs no key. DeviceError where nobody confirms it."""
    if not address.startswith(SSH):
        return
    from trimtab.profilers.ssh import SshDevice, UnknownHostKey, remember_host

    target = parse_ssh(address, **settings)
    with SshDevice(target) as place:
        while True:  # hosts on the way may be unknown too
            try:
                place.connection.open()
            except UnknownHostKey as unknown:
                _ask(unknown)
                print(f"Added to {remember_host(unknown)}.", file=sys.stderr)
            else:
                return


def _ask(unknown: UnknownHostKey) -> None:
    """Raises `unknown` where nobody confirms the key."""
    if unknown.known.kept_in is None:
        raise unknown
    print(f"{unknown.known.name} is not in known_hosts. Its host key is", file=sys.stderr)
    print(f"  {unknown.fingerprint}", file=sys.stderr)
    try:
        sure = typer.confirm(f"Is this the key of {unknown.known.name}?", err=True)
    except typer.Abort:
        raise unknown from None
    if not sure:
        raise unknown


@contextmanager
def _reached(device: str, host_key: str | None) -> Iterator[SshDevice]:
    from trimtab.planner.specification.job import load_spec
    from trimtab.profilers.ssh import SshDevice

    address = device
    settings: dict[str, Any] = {"host_key": host_key}
    if not device.startswith(SSH) and Path(device).suffix in (".yaml", ".yml"):
        places = load_spec(device).places
        if len(places) > 1:
            named = ", ".join(place.address for place in places)
            raise DeviceError(f"{device} has several devices; choose one of {named}")
        address, settings = places[0].address, places[0].settings
    if not address.startswith(SSH):
        raise DeviceError(
            f"{address!r} is not the address of a device over SSH, e.g. {SSH}user@host; "
            "`trimtab devices` shows this machine"
        )
    meet(address, **settings)
    with SshDevice(parse_ssh(address, **settings)) as place:
        yield place


def _print_survey(place: SshDevice, found: Survey) -> None:
    screen = console()
    screen.print(tables.heading(f"\n{place.address}"))
    facts = {name: found.facts[name] for name in _FACTS if found.facts.get(name)}
    memory_gb = int(found.facts.get("memory_kb", 0)) / 2**20
    free_gb = int(found.facts.get("free_kb", 0)) / 2**20
    facts["memory"] = f"{memory_gb:.1f} GB"
    facts["disk"] = (
        f"{free_gb:.1f} GB free; {found.used_mb:.1f} MB used by Trimtab in {place.home}"
    )
    engines = dict(found.engines)
    if found.providers:
        engines["onnxruntime"] += f" ({', '.join(found.providers)})"
    _print_pairs(facts | engines)
    for text in found.missing:
        screen.print(f"missing: {text}", soft_wrap=True)
    for text in found.advice:
        screen.print(f"advice: {text}", soft_wrap=True)
    if not found.missing:
        screen.print("Ready.")


def _print_pairs(pairs: Mapping[str, str]) -> None:
    for name, value in pairs.items():
        console().print(printable(f"  {name:<11} {value}"), soft_wrap=True)


def _engines(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """Engines with their versions; of onnxruntime the execution providers too."""
    import onnxruntime

    found = {name: fingerprint[name] for name in ("onnxruntime", "litert") if name in fingerprint}
    if "onnxruntime" in found:
        providers = ", ".join(onnxruntime.get_available_providers())
        found["onnxruntime"] += f" ({providers})"
    return found


def _measured(store: Store) -> list[dict[str, Any]]:
    found = []
    for device in store.list_devices():
        records = store.list_measurements(device_key=device.key)
        failed = sum(record.state == "failed" for record in records)
        found.append(
            {
                "key": device.key,
                "address": device.address,
                "fingerprint": device.fingerprint,
                "measurements": len(records) - failed,
                "failed": failed,
            }
        )
    return found

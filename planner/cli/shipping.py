"""`trimtab export` and `trimtab devices`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from db import Store
from planner.cli import tables
from planner.cli.reading import Format
from planner.cli.surroundings import console, surroundings
from planner.views import printable
from trimtab_runtime.errors import PlanningError

_SHOWN = ("machine", "cpu", "cores", "isa", "memory_gb", "os", "governor", "python", "numpy")


def export(
    context: typer.Context,
    plan: Annotated[str, typer.Argument(help="The key of a plan, or its beginning.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "plan.pyz"
    ),
) -> None:
    """Write a plan as one file that runs on the device."""
    from planner.shipping import export_plan

    if output.is_dir():
        raise typer.BadParameter(f"{output} is a folder; name a file, as {output / 'plan.pyz'}")
    with surroundings(context).reading() as store:
        found = store.find_plan(plan)
        verified = {v.plan_key for v in store.list_verifications(found.job_id) if v.state == "ok"}
        try:
            written = export_plan(store, found.key, output)
        except OSError as error:
            raise PlanningError(f"{output}: cannot be written ({error.strerror})") from error
    size_mb = written.stat().st_size / 2**20
    checked = "the very file that was verified" if found.key in verified else "not verified"
    screen = console()
    screen.print(
        f"Wrote {written}: {printable(found.label)}, {size_mb:.1f} MB, {checked}.", soft_wrap=True
    )
    name = shlex.quote(str(written))
    screen.print(f"Run it:   python {name} classify photo.jpg")
    screen.print(f"Check it: python {name} selftest")


def devices(
    context: typer.Context,
    output: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.table,
) -> None:
    """Show this machine, and what was measured on which device."""
    from profilers import LocalDevice
    from profilers.device import device_key

    here = surroundings(context)
    told = LocalDevice().fingerprint()
    key, engines = device_key(told), _engines(told)
    measured: list[dict[str, Any]] = []
    if here.exists:
        with here.reading() as store:
            measured = _measured(store)
    if output is Format.json:
        this = {"key": key, "fingerprint": told, "engines": engines}
        typer.echo(tables.json_text({"this_machine": this, "devices": measured}))
        return
    screen = console()
    screen.print(tables.heading(f"This machine ({key[:8]})"))
    for name in _SHOWN:
        if told.get(name):
            screen.print(f"  {name:<11} {told[name]}", soft_wrap=True)
    for engine, detail in engines.items():
        screen.print(f"  {engine:<11} {detail}", soft_wrap=True)
    if not measured:
        screen.print("\nNothing has been measured yet; `trimtab plan job.yaml` does.")
        return
    screen.print(tables.heading("\nMeasured so far"))
    table = tables.plain_table("device", "address", "cpu", "cores", "measurements", "failed")
    for entry in measured:
        mark = f"{entry['key'][:8]}" + (" (this one)" if entry["key"] == key else "")
        cpu, cores = (str(entry["fingerprint"].get(name, "")) for name in ("cpu", "cores"))
        counts = (str(entry["measurements"]), str(entry["failed"]))
        table.add_row(mark, entry["address"], cpu, cores, *counts)
    screen.print(table)


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

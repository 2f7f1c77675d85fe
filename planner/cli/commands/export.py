"""`trimtab export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli.commands.show import OnDevice, PlanName
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_plan
from trimtab.planner.reports.names import plan_name
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import PlanningError


def export(
    context: typer.Context,
    plan: PlanName = "chosen",
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "plan.pyz"
    ),
    device: OnDevice = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign it with this private SSH key, in a file beside it (.sig)."
        ),
    ] = None,
) -> None:
    """Write a plan as one file that runs on the device."""
    from trimtab.planner.bundles.export import export_plan
    from trimtab.planner.bundles.signing import read_key, sign_bundle

    private = read_key(sign) if sign is not None else None  # before anything is written
    if output.is_dir():
        raise typer.BadParameter(
            f"{output} is a folder; give a file name, e.g. {output / 'plan.pyz'}"
        )
    with surroundings(context).reading() as store:
        found = find_plan(store, plan, device)
        verified = {v.plan_key for v in store.list_verifications(found.job_id) if v.state == "ok"}
        try:
            written = export_plan(store, found.key, output, device)
            signed = sign_bundle(written, private) if private is not None else None
        except OSError as error:
            raise PlanningError(f"{output}: cannot be written ({error.strerror})") from error
    size_mb = written.stat().st_size / 2**20
    checked = "the verified file itself" if found.key in verified else "not verified"
    screen = console()
    screen.print(
        f"Wrote {written}: {plan_name(found)}, {size_mb:.1f} MB, {checked}.", soft_wrap=True
    )
    if signed is not None:
        screen.print(f"Signed it in {signed}.", soft_wrap=True)
    name = shlex.quote(str(written))
    screen.print(f"Run it:   python {name} classify photo.jpg")
    screen.print(f"Check it: python {name} selftest")


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, its signature (.sig) beside it.")],
    signers: Annotated[
        Path, typer.Option(help="Whose keys are trusted: an allowed_signers file of SSH.")
    ],
    identity: Annotated[str, typer.Option(help="Who must have signed, as named in that file.")],
) -> None:
    """Check who signed a bundle, and that it is whole."""
    from trimtab.planner.bundles.signing import NAMESPACE, check_signature
    from trimtab_runtime.bundles.archive import open_bundle

    check_signature(bundle, signers, identity)
    manifest, _ = open_bundle(str(bundle))
    screen = console()
    screen.print(f"{bundle}: signed by {printable(identity)}, and whole.", soft_wrap=True)
    made = manifest.provenance
    if made is not None:
        screen.print(
            printable(f"Plan {made.plan[:12]} of job {made.job}, on data {made.workload[:12]}.")
        )
    call = f"ssh-keygen -Y verify -f {shlex.quote(str(signers))} -I {shlex.quote(identity)}"
    name = shlex.quote(str(bundle))
    screen.print(f"On a device: {call} -n {NAMESPACE} -s {name}.sig < {name}", soft_wrap=True)

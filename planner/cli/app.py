"""The application: options that hold for every command, exit statuses, error texts."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli import commands
from trimtab.planner.jobs.store_location import ARTEFACTS, DEFAULT_STORE, STORE, StoreLocation
from trimtab.planner.reports.text import printable
from trimtab_runtime import __version__
from trimtab_runtime.errors import SpecificationError, TrimtabError, reason_of

DONE, PROBLEM, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
#: Set in the environment, it shows where an error arose.
_TRACE = "TRIMTAB_TRACE"
_GLOBAL_OPTIONS = ("--store", "--artefacts")

app = typer.Typer(
    name="trimtab",
    help="Find the best trade-offs of image classifiers on the device they must run on.",
    no_args_is_help=True,
    epilog="Exit status: 0 done; 1 a problem was found; 2 wrong use or specification; 130 "
    "interrupted; 143 ended by SIGTERM.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(place: str) -> None:
    """Add a command, or a group of commands under the name of its module."""
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(f"{commands.__name__}.{module}"), name)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=module)
    else:
        app.command()(found)


for _place in commands.COMMANDS:
    _add(_place)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trimtab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    store: Annotated[
        str,
        typer.Option(
            envvar=STORE,
            show_envvar=True,
            help="Where jobs are kept: a SQLite file, by default beside the job, or "
            "postgresql://... (one with a password belongs into the environment variable: "
            "arguments can be read by every account)",
        ),
    ] = DEFAULT_STORE,
    artefacts: Annotated[
        Path | None,
        typer.Option(
            envvar=ARTEFACTS,
            help="The folder of models, traces and bundles; by default next to the SQLite file.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    context.obj = StoreLocation(store, artefacts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit status: 0 done, 1 a problem was found, 2 wrong use or
    specification, 130 interrupted, 143 a job ended by SIGTERM."""
    try:
        given = None if arguments is None else list(arguments)
        status = app(given, standalone_mode=False, prog_name="trimtab")
    except SpecificationError as error:
        return _complain(str(error), WRONG_USE)
    except TrimtabError as error:
        return _complain(str(error), PROBLEM)
    except typer.TyperException as error:
        return _complain(_usage(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        return DONE
    except Exception as error:  # what nobody foresaw; the trace is for who looks for it
        if os.environ.get(_TRACE):
            raise
        hint = f"; with {_TRACE}=1 the same command shows the whole trace"
        return _complain(reason_of(error) + hint, PROBLEM)
    return status if isinstance(status, int) else DONE


def _complain(text: str, status: int) -> int:
    for line in printable(text).splitlines() or [""]:
        print(f"error: {line}", file=sys.stderr)
    return status


def _usage(error: typer.TyperException) -> str:
    text = error.format_message()
    if any(f"No such option: {name}" in text for name in _GLOBAL_OPTIONS):
        text += "; give it before the command: trimtab --store PATH front"
    return text or "no command given; trimtab --help lists them"

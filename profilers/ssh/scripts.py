"""What a device is asked in the language that all of them know: the POSIX shell, on Linux."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from trimtab.profilers.probe_process import ARGUMENTS, THREADS

#: Printed before a script begins: what a login shell prints of itself lies before it.
MARK = "trimtab-begins"

#: Says where home is and which boot this is; makes our folder, which nobody else may enter.
_OPEN = """umask 077
mkdir -p {folder}/artefacts {folder}/runs || exit 1
find {folder}/runs -mindepth 1 -maxdepth 1 -mtime +0 -exec rm -rf {{}} + 2>/dev/null
find {folder}/artefacts -name '.*.part' -mtime +0 -exec rm -f {{}} + 2>/dev/null
cd {folder} && pwd && {{ cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown; }}
"""

#: Ends every process whose working folder is that of a run, and waits until they are gone. What
#: is compared are folders, so that no other process with a number used anew is hit.
_STOP = """left=25
while [ $left -gt 0 ]; do
  found=
  for process in /proc/[0-9]*; do
    for run in {runs}; do
      [ "$process/cwd" -ef "$run" ] && found="$found ${{process#/proc/}}"
    done
  done
  [ -z "$found" ] && exit 0
  kill -9 $found 2>/dev/null
  sleep 0.2
  left=$((left - 1))
done
echo $found
exit 1
"""

#: Numbers of the processes that probe, whoever asked for them.
_RUNNING = """for process in /proc/[0-9]*; do
  for run in {runs}; do
    [ "$process/cwd" -ef "$run" ] && echo ${{process#/proc/}}
  done
done
exit 0
"""

_PROBE = """umask 077
cd {run} || exit 74
exec env {variables} {python} {arguments}
"""


def open_script(folder: str) -> str:
    return _OPEN.format(folder=shlex.quote(folder))


def stop_script(runs: str) -> str:
    """`runs` is a folder, or a pattern of the shell."""
    return _STOP.format(runs=runs)


def running_script(runs: str) -> str:
    """As :func:`stop_script`."""
    return _RUNNING.format(runs=runs)


def probe_script(run: str, python: str, runtime: str) -> str:
    """The probe takes the place of the shell, so that signals and status are its own."""
    variables: Mapping[str, str] = {
        **THREADS,
        "PYTHONPATH": runtime,
        "TRIMTAB_CACHE": f"{run}/cache",
        "TMPDIR": run,
    }
    return _PROBE.format(
        run=shlex.quote(run),
        python=shlex.quote(python),
        variables=" ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
        arguments=shlex.join(ARGUMENTS),
    )


def marked(script: str) -> str:
    """A script that prints MARK first."""
    return f"echo {MARK}\n{script}"


def in_shell(script: str) -> str:
    """A command for any login shell."""
    return f"sh -c {shlex.quote(script)}"

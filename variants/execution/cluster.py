"""Steps over models as tasks of a Ray cluster. Ray moves them, retries them and counts the
processors; what may run where is decided here."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trimtab.variants.execution import remote
from trimtab.variants.execution.work import Executor, Here, Outcome, Work
from trimtab_runtime.errors import ClusterError, ModelError, told_error

_GLANCE_S = 1.0
#: Ray runs a task that often again where its node dies.
_RETRIES = 5
_MEETING_S, _REACHING_S = 60.0, 20.0
#: Of the memory that a step is allowed, which few take; and what the smallest is taken to need.
_UNUSED_BYTES, _LEAST_BYTES = 3 * 2**30, 2**30
_INSTALL = "pip install 'trimtab[cluster]'"


@contextmanager
def connected(address: str, told: Callable[[str], None] = lambda text: None) -> Iterator[Executor]:
    """The cluster at an `address` (`auto`: the one that runs on this machine, else one that
    begins and ends here). `told` is told what it consists of, and which nodes are left out.
    Raises ClusterError."""
    # Ray would rebuild the environment of `uv run` on every node.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError(f"a cluster needs Ray, which is not installed: {_INSTALL}") from None
    _join(ray, address)
    try:
        yield RayExecutor(ray, told)
    finally:
        _leave(ray)


_LOCK = threading.Lock()
_JOINED: list[str] = []  # a process has one connection, which its jobs share


def _join(ray: Any, address: str) -> None:
    """Connect, where no job of this process has."""
    with _LOCK:
        if set(_JOINED) - {address}:
            raise ClusterError(
                f"another job of this process uses the cluster {_JOINED[0]!r}, and a process can "
                "use one; name the same, or run the jobs one after the other"
            )
        if not _JOINED:
            _reach(address)
            try:
                ray.init(
                    address=None if address == "auto" else address,
                    log_to_driver=False,
                    logging_level="error",
                    include_dashboard=False if address == "auto" else None,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ClusterError(_refused(address, error)) from error
        _JOINED.append(address)


def _reach(address: str) -> None:
    """Ray itself tries for minutes. Raises ClusterError where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # Ray knows other forms
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHING_S):
            pass
    except (OSError, OverflowError) as error:
        raise ClusterError(_refused(address, error)) from error


def _leave(ray: Any) -> None:
    with _LOCK:
        _JOINED.pop()
        if not _JOINED:
            ray.shutdown()


def _refused(address: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "ersion mismatch" in str(error):
        return (
            f"the cluster at {address} has another version of Ray or Python: "
            f"{' '.join(str(error).split())}; install the same on all nodes"
        )
    return (
        f"no cluster answers at {address} ({first}); start one with `ray start --head`, or name "
        "the address that it printed"
    )


class RayExecutor:
    """Runs steps on the nodes that compute as this machine does."""

    def __init__(self, ray: Any, told: Callable[[str], None]) -> None:
        self._ray, self._told = ray, told
        self._task = ray.remote(max_retries=_RETRIES)(remote.carried_out)
        self._packs: dict[tuple[Path, ...], tuple[Mapping[str, str], Any]] = {}
        self._nodes = self._met()
        cpus = sum(cpus for cpus, _ in self._nodes.values())
        self.place: str | None = f"{len(self._nodes)} node(s) with {cpus:g} CPUs"
        told(f"variants are made on {self.place}")

    def run(
        self,
        works: Sequence[Work],
        waiting: Callable[[], None] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`trimtab.variants.execution.work.Executor`."""
        begun: dict[Any, int] = {}
        queue = list(enumerate(works))
        try:
            while queue or begun:
                while queue and len(begun) < self._at_once(queue[0][1]) and not enough():
                    number, work = queue.pop(0)
                    nodes = self._fitting(work)
                    if nodes:
                        begun[self._begin(work, nodes)] = number
                    else:
                        self._told(
                            f"{work.about}: done here, for no node has memory enough for it"
                        )
                        yield number, _here(work, waiting)
                if not begun:
                    return
                ended, _ = self._ray.wait(list(begun), timeout=_GLANCE_S)
                if waiting is not None:
                    waiting()
                for reference in ended:
                    number = begun.pop(reference)
                    yield number, self._outcome(reference, works[number], waiting)
        finally:
            for reference in begun:
                self._ray.cancel(reference, force=True)

    def _at_once(self, work: Work) -> int:
        """So many of its kind fill the cluster; one waits, so that no node does."""
        return 1 + sum(int(cpus // work.cpus) for cpus, _ in self._nodes.values())

    def _fitting(self, work: Work) -> list[str]:
        """The nodes that have what a step needs. Raises ClusterError where none has so many
        CPUs."""
        wide = {node: free for node, (cpus, free) in self._nodes.items() if cpus >= work.cpus}
        if not wide:
            most = max(cpus for cpus, _ in self._nodes.values())
            raise ClusterError(
                f"{work.about}: needs {work.cpus} CPUs on one node, as it is computed here, and "
                f"the largest has {most:g}; start nodes with more, or run Trimtab with "
                f"OMP_NUM_THREADS={most:g}"
            )
        return [node for node, free in wide.items() if free >= _needed_bytes(work)]

    def _begin(self, work: Work, nodes: Sequence[str]) -> Any:
        packs = [self._sent(group) for group in work.inputs]
        request = {
            "module": work.task.__module__,
            "name": work.task.__qualname__,
            "about": work.about,
            "request": work.request,
            "limits": asdict(work.limits),
            "inputs": {path: sha256 for known, _ in packs for path, sha256 in known.items()},
            "folder": str(work.folder),
        }
        return self._task.options(
            num_cpus=work.cpus,
            memory=_needed_bytes(work),
            label_selector=_on(nodes),
        ).remote(request, *(reference for _, reference in packs))

    def _sent(self, group: tuple[Path, ...]) -> tuple[Mapping[str, str], Any]:
        """The sha256 of files by their paths, and where the cluster keeps them."""
        if group not in self._packs:
            content = {path: path.read_bytes() for path in group}
            known = {str(path): hashlib.sha256(held).hexdigest() for path, held in content.items()}
            files = {known[str(path)]: held for path, held in content.items()}
            self._packs[group] = known, self._ray.put(files)
        return self._packs[group]

    def _outcome(self, reference: Any, work: Work, waiting: Callable[[], None] | None) -> Outcome:
        try:
            found = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._told(f"{work.about}: done here, for the cluster could not: {_first(error)}")
            return _here(work, waiting)
        if "error" in found:
            return told_error(found["error"], found["reason"], ModelError)
        for name, content in found["files"].items():
            (work.folder / name).write_bytes(content)
        return found["told"]

    def _met(self) -> dict[str, tuple[float, float]]:
        """CPUs and bytes of memory of the nodes on which steps make the same bytes as here."""
        own, alive = remote.about_node(), [n for n in self._ray.nodes() if n["Alive"]]
        ask = self._ray.remote(remote.about_node)
        asked = {
            node["NodeID"]: ask.options(num_cpus=0, label_selector=_on([node["NodeID"]])).remote()
            for node in alive
        }
        self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=_MEETING_S)
        usable = {}
        for node in alive:
            name, has = node["NodeManagerAddress"], node["Resources"]
            try:
                its = self._ray.get(asked[node["NodeID"]], timeout=0)
            except self._ray.exceptions.GetTimeoutError:
                self._told(f"node {name} is left out: no answer within {_MEETING_S:g} s")
                continue
            except self._ray.exceptions.RayError as error:
                self._told(f"node {name} is left out: {_first(error)}; is Trimtab there?")
                continue
            other = [
                f"{key} {its.get(key)} (here {value})"
                for key, value in own.items()
                if its.get(key) != value
            ]
            if other:
                self._told(f"node {name} is left out, it computes otherwise: {', '.join(other)}")
            elif has.get("CPU"):
                usable[node["NodeID"]] = (has["CPU"], has.get("memory", 0.0))
        if not usable:
            raise ClusterError(
                "no node of the cluster can be used: each must have CPUs, Trimtab with the same "
                "versions, and the instruction set of this machine"
            )
        return usable


def _needed_bytes(work: Work) -> int:
    return max(_LEAST_BYTES, work.limits.memory_bytes - _UNUSED_BYTES)


def _here(work: Work, waiting: Callable[[], None] | None) -> Outcome:
    ((_, outcome),) = Here().run([work], waiting)
    return outcome


def _on(nodes: Sequence[str]) -> Mapping[str, str]:
    """Ray's selector of nodes."""
    return {"ray.io/node-id": f"in({','.join(nodes)})"}


def _first(error: Exception) -> str:
    """What an error of Ray says in short: the last line of a traceback, else the first."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "Traceback" in str(error) else 0].strip()

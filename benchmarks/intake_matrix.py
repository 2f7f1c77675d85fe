"""Which model files are taken as their exporters leave them, and do they answer right?

Networks with random weights from torch and, out of a folder that `--packages` names, torchvision,
timm, transformers, Keras and Ultralytics (`pip install --no-deps --target FOLDER timm torchvision
transformers keras ultralytics ...`; what cannot be imported is left out and said), by both of
torch's exporters at several opsets, fixed and open, with weights beside and inside, in float16, or
by the framework's own exporter; then as onnxruntime saves them: optimised, QDQ, QOperator and
dynamically quantised; and the TFLite files of the data pack.

A row a file: whether it is `taken`, whether its `answers` to ten images equal the framework's own
(where it has none, or float16 rounds: those of the engine on the file as it is) within what the
format can hold, whether `w8a8` is built, how many `taps` found, whether the work of its `layers`
is known; reasons follow, each with the files that it was told of; the seconds are those that a
processor took for the export and all of this. With `--keep FOLDER` rows are kept there as they
come, and a run that goes on in it makes only those that are missing.

`taken` and `answers_equal` are shares, of the files that their engine itself runs and of those
taken; `untrue_reasons` counts refusals of files that the engine runs, and reasons that the graph
itself shows to be false: the rest is to be read. Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer

from benchmarks._exports import cells, of_tflite
from benchmarks._intake_rows import COLUMNS, Row, row_of
from benchmarks._kept_rows import KeptRows
from benchmarks._networks import networks
from benchmarks._options import DEFAULT_DATA, DataFolder


def main(
    packages: Annotated[Path | None, typer.Option(help="folder with more frameworks")] = None,
    data: DataFolder = DEFAULT_DATA,
    only: Annotated[str, typer.Option(help="networks whose 'framework name' holds this")] = "",
    quick: Annotated[bool, typer.Option(help="one opset an exporter")] = False,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
    keep: Annotated[
        Path | None, typer.Option(help="folder of finished rows, to go on from")
    ] = None,
) -> None:
    """Export, open, run, print."""
    names, left_out = _listed(packages, only)
    print("\n".join(left_out), end="\n" if left_out else "")
    found: list[Row] = []
    started = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, started, _prepare) as pool:
        jobs = [pool.submit(_rows, packages, name, quick, keep) for name in names]
        jobs += [
            pool.submit(_tflite_rows, path)
            for path in sorted(data.glob("*/models/*.tflite"))
            if only in f"tflite {path.stem}"
        ]
        for job in as_completed(jobs):
            found += job.result()
    print("\n".join(_reasons(found)))
    print(json.dumps(_figures(found)))


def _listed(packages: Path | None, only: str) -> tuple[list[str], list[str]]:
    every = list(networks(packages))
    names = [f"{each.framework} {each.name}" for each in every if not isinstance(each, str)]
    return [name for name in names if only in name], [e for e in every if isinstance(e, str)]


def _prepare() -> None:
    """In each worker: nobody hears libraries, and none takes more than its core."""
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def _rows(packages: Path | None, name: str, quick: bool, keep: Path | None) -> list[Row]:
    """All rows of a network, printed as they come, and lines on variations that are not there."""
    kept = KeptRows(keep, name, quick)
    if kept.complete:
        return kept.rows
    (network,) = (
        each
        for each in networks(packages)
        if not isinstance(each, str) and f"{each.framework} {each.name}" == name
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        for cell in cells(network, Path(folder), quick):
            if isinstance(cell, str):
                print(cell, flush=True)
                continue
            if cell.variation in kept.variations():
                continue
            with tempfile.TemporaryDirectory(dir=folder) as place:
                row = row_of(cell, Path(place))
            now = time.process_time()
            row.cpu_s, started = now - started, now
            print(_line(row), flush=True)
            kept.add(row)
    kept.finish()
    return kept.rows


def _tflite_rows(path: Path) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        row = row_of(of_tflite(path), Path(folder))
    print(_line(row), flush=True)
    return [row]


def _line(row: Row) -> str:
    told = [f"{row.label:32} {row.variation:24}"]
    for column in COLUMNS:
        value = getattr(row, column)
        mark = "no" if isinstance(value, str) else "yes" if value is True else str(value)
        told.append(f"{column} {mark if value != '' else '-':3}")
    return "  ".join([*told, f"{row.cpu_s:5.1f} s"])


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Every reason once, with the files that it was told of."""
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for column, reason in [*row.reasons(), *(("note", text) for text in row.notes)]:
            told.setdefault((column, reason), []).append(f"{row.label}, {row.variation}")
    lines = []
    for (column, reason), files in sorted(told.items()):
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        lines += [f"{column}: {reason}", f"    {'; '.join(files[:3])}{more}"]
    return lines


def _figures(rows: Sequence[Row]) -> dict[str, object]:
    running = [row for row in rows if row.runs]
    taken = [row for row in rows if row.taken is True]
    return {
        "files": len(rows),
        "run_by_engine": len(running),
        "taken": sum(row.taken is True for row in running) / max(1, len(running)),
        "answers_equal": sum(row.answers is True for row in taken) / max(1, len(taken)),
        "w8a8": sum(row.w8a8 is True for row in taken),
        "taps": sum(isinstance(row.taps, int) for row in taken),
        "layers": sum(row.layers is True for row in taken),
        "untrue_reasons": sum(len(row.untrue) for row in rows),
        "cpu_s": round(sum(row.cpu_s for row in rows)),
        "untrue": dict(Counter(text for row in rows for text in row.untrue)),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(main)

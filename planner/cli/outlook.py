"""What a job would do, and how long that takes as far as it is known: nothing is measured."""

from __future__ import annotations

from trimtab.db import Store
from trimtab.planner.bundles.turns import TESTED
from trimtab.planner.candidates.space import runtime_options
from trimtab.planner.candidates.threads import thread_limit
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.jobs.progress import time_text
from trimtab.planner.reports.text import printable, split_name
from trimtab.planner.specification.job import JobSpec
from trimtab.search.block_sets import VARIANTS
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.probe.requests import TurnSettings


def outlook(spec: JobSpec, store: Store | None) -> list[str]:
    """Lines. Raises WorkloadError where images cannot be read, and SpecificationError."""
    workload, splits = load_dataset(spec)
    sizes = ", ".join(f"{split_name(name)} {size}" for name, size in splits.sizes.items())
    places = ", ".join(device.label for device in spec.places)
    lines = [
        f"Job {printable(spec.name)} on {printable(places)}.",
        f"Images: {len(workload)}, of which {sizes}.",
        *_candidates(spec),
        f"Measures for {_budget(spec)}; the {len(spec.models)} original models in any case.",
        f"Measures up to {spec.together} groups of stages together, twice each.",
        f"Verifies about {spec.verify} plans: each bundle answers "
        f"{splits.sizes['test']} test images, then up to {min(TESTED, splits.sizes['test'])} in "
        f"turns with the baseline (at most {time_text(TurnSettings.max_seconds)} for a group, "
        "where the device is not disturbed).",
    ]
    return [*lines, _earlier(spec, store)]


def _candidates(spec: JobSpec) -> list[str]:
    """How many candidates there may be, on this machine; what a model file forbids is left out
    later."""
    if any(device.address != "local" for device in spec.places):
        return ["How many candidates there are is known once the devices were reached."]
    told = fingerprint()
    counts = spec.runtime.threads or tuple(sorted({1, thread_limit(told)}))
    floats = 1 + (VARIANTS if spec.techniques.slimming else 0)
    count = 0
    for model in spec.models:
        tflite = model.path is not None and model.path.suffix == ".tflite"
        ways = runtime_options(
            "tflite" if tflite else "onnx", counts, told.get("accelerators", "").split()
        )
        count += floats * (1 + len(spec.techniques.quantisation)) * len(ways)
    sized = spec.techniques.sizes or any(model.sizes for model in spec.models)
    more = "; those for other input sizes come on top, as many as the models take" if sized else ""
    return [
        f"Candidates: up to {count} ({len(spec.models)} models, their precisions and runtime "
        f"options{more})."
    ]


def _budget(spec: JobSpec) -> str:
    budget = spec.budget
    parts = [f"{budget.minutes:g} minutes"] if budget.minutes is not None else []
    if budget.measurements is not None:
        parts.append(f"{budget.measurements} candidates")
    return " or ".join(parts) + " at most" if parts else "as long as there are candidates"


def _earlier(spec: JobSpec, store: Store | None) -> str:
    """How long the last job of this name took."""
    jobs = store.list_jobs() if store is not None else []
    done = [job for job in jobs if job.name == spec.name and job.state == "done"]
    if not done or done[0].finished_at is None:
        return (
            "How long all of it takes is not known: no job of this name has ended in this store. "
            "What was measured before is not measured again."
        )
    took_s = (done[0].finished_at - done[0].started_at).total_seconds()
    return (
        f"The last job of this name, {done[0].id}, took {time_text(took_s)}; what it measured is "
        "not measured again."
    )

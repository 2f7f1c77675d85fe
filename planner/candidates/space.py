"""Every candidate that a specification allows on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from trimtab.planner.candidates.members import Member
from trimtab.planner.candidates.threads import thread_limit
from trimtab.planner.specification.job import JobSpec
from trimtab.search.block_sets import VARIANTS
from trimtab.search.candidates.candidate import ORIGINAL, Candidate, VariantForm
from trimtab.variants import SCHEMES
from trimtab_runtime.definitions.plan import RuntimeOptions

#: Execution providers that compute on the processor's cores.
_ON_THE_CPU = frozenset(
    f"{name}ExecutionProvider" for name in ("ACL", "Dnnl", "OpenVINO", "Xnnpack")
)


@dataclass(frozen=True)
class Space:
    """Every candidate: first the `baselines` (original models, on each number of threads,
    with and without spinning; the reference member first), up to `enqueued` those that are most
    often worth a try (each member's other precisions and sizes, on the fewest threads), then all
    the rest, which is the search's to choose from."""

    candidates: list[Candidate]
    baselines: int
    enqueued: int


def candidate_space(
    spec: JobSpec, members: Sequence[Member], fingerprint: Mapping[str, str]
) -> Space:
    """The candidates that a specification allows on the device with a `fingerprint`."""
    cores = thread_limit(fingerprint)
    accelerators = fingerprint.get("accelerators", "").split()
    instructions = fingerprint.get("isa", "")
    asked = [s for s in spec.techniques.quantisation if SCHEMES[s].runs_on(instructions)]
    counts = spec.runtime.threads or tuple(sorted({1, cores}))
    slimmed = range(1, 1 + (VARIANTS if spec.techniques.slimming else 0))
    floats = [ORIGINAL, *(VariantForm("slim", number) for number in slimmed)]
    found = []
    for member in members:
        schemes = [s for s in asked if s in member.schemes]
        for form, size, scheme in product(floats, ((), *member.sizes), ("", *schemes)):
            found += [
                Candidate(member.name, replace(form, size=size, scheme=scheme), options)
                for options in runtime_options(member.built.variant.format, counts, accelerators)
            ]

    def wave(candidate: Candidate) -> int:
        return wave_of(candidate, min(counts))

    found.sort(key=lambda c: (wave(c), c.member != spec.reference_name))
    waves = [wave(candidate) for candidate in found]
    return Space(found, waves.count(0), waves.count(0) + waves.count(1))


def wave_of(candidate: Candidate, threads: int) -> int:
    """When a candidate's turn comes: 0 for original models (the baselines), 1 for them on
    other execution providers, and on the fewest `threads` for their quantised variants, their
    other sizes and the best slimmed one, 2 for what the search proposes."""
    options = candidate.options
    if options.graph_optimisation != "all" or options.provider == "builtin":
        return 2
    if candidate.form.is_original:
        return 0 if options.provider == "default" else 1
    usual = options.threads == threads and not options.spinning
    form = candidate.form
    one_step = form.number == 0 or (form.number == 1 and not form.size)
    return 1 if one_step and usual else 2


def runtime_options(
    model_format: str, counts: Sequence[int], accelerators: Sequence[str]
) -> list[RuntimeOptions]:
    """Every way to run a model of a format, on these numbers of threads."""
    if model_format == "tflite":
        return [
            RuntimeOptions("litert", provider, threads)
            for provider in ("default", "builtin")
            for threads in counts
        ]
    return [
        RuntimeOptions("onnxruntime", "default", threads, spinning, level)
        for level in ("all", "extended")
        for threads in counts
        for spinning in ((False, True) if threads > 1 else (False,))
    ] + [
        RuntimeOptions("onnxruntime", provider, threads)
        for provider in accelerators
        for threads in (counts if provider in _ON_THE_CPU else counts[:1])
    ]

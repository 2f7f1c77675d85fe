"""Columns and terms in a sentence each, for who asks what they mean."""

from __future__ import annotations

#: By the name that a table or a sentence shows.
TERMS = {
    "plan": "the first letters of its key, as commands take it, like `chosen` and `baseline`",
    "chosen": "the cheapest plan that meets the constraints and is not worse than the baseline on "
    "validation data, or the simplest of those that cannot be told from it",
    "baseline": "the original model that plans are compared with: the most accurate on validation "
    "data, or the one named in the specification",
    "member": "one of your models, unchanged",
    "rival": "a simple alternative, shown for comparison",
    "front": "the plans that no other plan beats in all objectives",
    "stages": "the models in the order in which an input meets them, with the share of inputs "
    "that goes on to each",
    "goes on when unsure": "a stage accepts its answer from a confidence on, and otherwise the "
    "next stage is asked",
    "int8": "weights and activations in 8-bit integers (w8a8)",
    "busy-wait": "idle threads keep looking for work: faster alone, and a core is kept busy",
    "top1": "the share of test images answered rightly, with its 95 % interval",
    "latency_mean_ms": "milliseconds from the decoded image to the answer, resizing included, on "
    "average over the test images",
    "peak_memory_mb": "the most memory that the process of the bundle takes",
    "speed-up": "latency of the baseline divided by that of the plan; with an interval where both "
    "took turns on the device",
    "~": "predicted: composed of measurements of its parts; costs without it were measured with "
    "the exported bundle. Qualities are replayed on test; with a ~, on validation data",
    "disturbed": "other programs, or the host, used the processor during the measurement",
    "not paired": "measured minutes apart from the baseline, not in turns",
    "newly wrong": "test images that the baseline answers rightly and the plan does not",
    "95 % CI": "the interval that holds the true value with a probability of 95 %",
}

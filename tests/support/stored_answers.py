"""What is shown of a plan, input by input, against what its job found out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.planner.jobs.dataset import load_dataset, used_inputs
from trimtab.planner.reports.answers.inputs import job_inputs
from trimtab.planner.reports.answers.plan_answers import plan_answers
from trimtab.planner.specification.job import JobSpec


def tune_inputs(job, inputs):
    """The inputs of tune of a job over still images, as those of test are."""
    spec = JobSpec.model_validate(job.spec)
    items, rows = used_inputs(*load_dataset(spec), spec, Path())
    return replace(
        inputs,
        paths=tuple(items[row].path for row in rows.tune),
        names=tuple(items[row].name for row in rows.tune),
        labels=rows.labels[rows.tune],
        blocks=rows.tune,
        rows=np.array([inputs.images.index(items[row].sha256) for row in rows.tune]),
        moved=np.zeros(len(rows.tune), bool),
    )


def assert_answers_give_the_stored_quality(store, job):
    """Of every stored plan, on tune and wherever test is reported. Says how many plans had
    each."""
    test = job_inputs(job)
    told = {"tune": 0, "test": 0}
    for split, inputs in (("test", test), ("tune", tune_inputs(job, test))):
        for entry in store.list_plans(job.id):
            stored = entry.value("top1", split, "replayed")
            found = plan_answers(store, job, entry.plan, inputs)
            assert found.source == "replayed", entry.plan.label
            if stored is not None:
                told[split] += 1
                assert found.right.mean() == pytest.approx(stored, abs=1e-6), entry.plan.label
    assert told["tune"] == len(store.list_plans(job.id))
    return told

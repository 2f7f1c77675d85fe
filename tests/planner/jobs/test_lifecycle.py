"""How a job is opened in the store."""

import pytest
from sample_models import write_photos

from trimtab.db import Store
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.jobs.lifecycle import open_record
from trimtab.planner.specification.job import load_spec

COSTS = ("latency_mean_ms", "load_ms", "bundle_size_mb")


@pytest.mark.parametrize("costs", [COSTS, COSTS[::-1]])
def test_a_job_has_its_objectives_in_the_order_of_its_last_run(tmp_path, costs):
    write_photos(tmp_path / "photos", 36)

    def spec_of(names):
        return load_spec(
            {
                "name": "x",
                "models": [{"path": "a.onnx"}],
                "workload": {"images": "photos", "splits": {"fit": 8, "tune": 14, "test": 14}},
                "objectives": {"top1": "max", **dict.fromkeys(names, "min")},
            },
            tmp_path,
        )

    with Store.open(tmp_path / "trimtab.db") as store:
        for spec in (spec_of(costs), spec_of(costs[::-1])):
            open_record(store, "job", spec, *load_dataset(spec))
            assert list(store.get_job("job").spec["objectives"]) == list(spec.objectives)

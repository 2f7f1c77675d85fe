"""A running job keeps its lease in the eyes of other hosts."""

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.journal import Journal, NullListener


def test_progress_refreshes_the_lease(tmp_path):
    with Store.open(tmp_path / "trimtab.db") as store:
        store.add_job(JobRecord("j", "job", {}, "0"))
        with store.lease("device", holder="j", lasts_s=1e-6) as lease:
            before = store.lease_holder("device").expires_at
            Journal(store, "j", NullListener(), lease).step("trace", "", 0, 1)
            assert store.lease_holder("device").expires_at > before

"""What to ship, by the newest job that says so; then the jobs."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.dashboard import addresses, markup, store_cache
from trimtab.dashboard.pages.jobs import show_jobs
from trimtab.dashboard.panels.job_choice import show_doubts, state_chip
from trimtab.dashboard.panels.verdict_card import show_verdict
from trimtab.planner.jobs.lookup import job_state, jobs_of_devices
from trimtab.planner.jobs.summary import summary_of


def overview_page() -> None:
    fill_sentence = _newest()
    show_jobs("overview")
    fill_sentence()


def _newest() -> Callable[[], None]:
    """Of the newest job with plans; nothing where there is none. What is returned fills in the
    sentence."""
    jobs = store_cache.store().list_jobs() if store_cache.exists() else []
    parts = jobs_of_devices(jobs)
    job = next((j for j in jobs if summary_of(j).get("plans") and j.id not in parts), None)
    if job is None:
        return lambda: None
    view = store_cache.view(job)
    state = job_state(store_cache.store(), job)
    chips = [state_chip(state), markup.chip(view.device)]
    chips.append(markup.chip(f"{job.started_at.astimezone():%Y-%m-%d %H:%M}"))
    markup.heading(view.job_name, *chips, above="Newest job with plans")
    show_doubts(job)
    fill_sentence = show_verdict(job, view)
    addresses.link("front", "All plans: the front", ":material/scatter_plot:", job=job.id)
    return fill_sentence

"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _evidence()
    _jobs()
    _plans()
    _lease()


def _evidence() -> None:
    _table("trimtab_device", "key", *_texts("address"), *_json("fingerprint"))
    _table("trimtab_artefact", "sha256", *_texts("kind"), _bytes(), *_texts("name"))
    _table("trimtab_workload", "key", *_texts("name"), *_json("summary"))
    _table(
        "trimtab_variant",
        "key",
        *_texts("member", "name", "format"),
        *_texts("artefact_sha256", nullable=True),
        _bytes(nullable=True),
        *_json("recipe", "io"),
        *_work_state(),
        refer={"artefact_sha256": "trimtab_artefact.sha256"},
        index=("member",),
    )
    _table(
        "trimtab_measurement",
        "key",
        *_texts("device_key", "variant_key"),
        *_json("options", "settings", "values", "samples", "warnings"),
        *_work_state(),
        _time("created_at"),
        refer={"device_key": "trimtab_device.key", "variant_key": "trimtab_variant.key"},
        index=("device_key", "variant_key"),
    )
    _table(
        "trimtab_trace",
        "key",
        *_texts("variant_key", "workload_key", "engine_key"),
        *_texts("artefact_sha256", nullable=True),
        *_work_state(),
        _time("created_at"),
        refer={
            "variant_key": "trimtab_variant.key",
            "workload_key": "trimtab_workload.key",
            "artefact_sha256": "trimtab_artefact.sha256",
        },
        index=("variant_key", "workload_key"),
    )


def _jobs() -> None:
    of_job = {"job_id": "trimtab_job.id"}
    _table(
        "trimtab_job",
        "id",
        *_texts("name"),
        *_json("spec"),
        *_texts("spec_sha256", "state"),
        *_texts("device_key", "workload_key", nullable=True),
        _time("started_at"),
        _time("finished_at", nullable=True),
        *_json("progress"),
        *_texts("message", nullable=True),
        *_json("summary"),
        refer={"device_key": "trimtab_device.key", "workload_key": "trimtab_workload.key"},
        index=("spec_sha256", "started_at"),
    )
    _table(
        "trimtab_candidate",
        "job_id key",
        *_texts("variant_key"),
        *_json("options"),
        *_texts("role"),
        sa.Column("trial_number", sa.Integer(), nullable=True),
        *_work_state(),
        refer=of_job,
        index=("variant_key",),
    )
    _table(
        "trimtab_exposure",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("job_id", "workload_key", "split", "reason"),
        sa.Column("plans", sa.Integer(), nullable=False),
        _time("created_at"),
        refer=of_job | {"workload_key": "trimtab_workload.key"},
        index=("workload_key split",),
    )
    _table(
        "trimtab_event",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("job_id"),
        _time("at"),
        *_texts("level", "subject", "text"),
        refer=of_job,
        index=("job_id",),
    )


def _plans() -> None:
    _table(
        "trimtab_plan",
        "job_id key",
        sa.Column("position", sa.Integer(), nullable=False),
        *_texts("label"),
        *_json("definition"),
        *(
            sa.Column(name, sa.Boolean(), nullable=False)
            for name in ("is_baseline", "on_front", "is_chosen")
        ),
        *_texts("feasible"),
        *_json("reasons"),
        refer={"job_id": "trimtab_job.id"},
    )
    _table(
        "trimtab_plan_metric",
        "job_id plan_key metric split basis",
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        refer={"job_id plan_key": "trimtab_plan.job_id trimtab_plan.key"},
    )
    _table(
        "trimtab_verification",
        "job_id plan_key",
        *_texts("bundle_sha256", nullable=True),
        *_json("values", "samples"),
        *_work_state(),
        _time("created_at"),
        refer={"job_id": "trimtab_job.id"},
    )


def _lease() -> None:
    _table(
        "trimtab_lease",
        "device_key",
        *_texts("holder", "token", "host", "host_id"),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        *_texts("birth"),
        _time("acquired_at"),
        _time("expires_at"),
    )


def _table(
    name: str,
    key: str | sa.Column[int],
    *columns: sa.Column[Any],
    refer: dict[str, str] | None = None,
    index: tuple[str, ...] = (),
) -> None:
    """`key` names text columns, or is the one integer column; lists are parted by spaces."""
    keys = _texts(*key.split()) if isinstance(key, str) else [key]
    references = [
        sa.ForeignKeyConstraint(own.split(), to.split(), name=f"fk_{name}_{own.replace(' ', '_')}")
        for own, to in (refer or {}).items()
    ]
    primary = sa.PrimaryKeyConstraint(*(column.name for column in keys), name=f"pk_{name}")
    op.create_table(name, *keys, *columns, primary, *references)
    for own in index:
        op.create_index(f"ix_{name}_{own.replace(' ', '_')}", name, own.split())


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def _json(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.JSON(), nullable=False) for name in names]


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _bytes(nullable: bool = False) -> sa.Column[Any]:
    return sa.Column("size_bytes", sa.BigInteger(), nullable=nullable)


def _work_state() -> list[sa.Column[Any]]:
    return [*_texts("state"), *_texts("reason", nullable=True)]

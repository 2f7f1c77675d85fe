"""A checksum of every row that figures are read from, and whose machine a device is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SEALED = (
    "artefact",
    "candidate",
    "correction",
    "device",
    "event",
    "exposure",
    "job",
    "measurement",
    "plan",
    "plan_metric",
    "trace",
    "variant",
    "verification",
    "workload",
)


def upgrade() -> None:
    for name in _SEALED:
        op.add_column(f"trimtab_{name}", sa.Column("checksum", sa.String(), nullable=True))
    op.add_column("trimtab_device", sa.Column("identity", sa.String(), nullable=True))
    op.add_column("trimtab_lease", sa.Column("lasts_s", sa.Double(), nullable=True))

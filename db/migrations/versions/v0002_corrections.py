"""What was learned from verified plans, and details of how something was measured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table in ("trimtab_measurement", "trimtab_verification"):
        details = sa.Column("details", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))
        op.add_column(table, details)
    op.create_table(
        "trimtab_correction",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("device_key", sa.String(), nullable=False),
        sa.Column("model", sa.JSON(), nullable=False),
        sa.Column("plans", sa.Integer(), nullable=False),
        sa.Column("error_before", sa.Double(), nullable=False),
        sa.Column("error_held_out", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "metric", name="pk_trimtab_correction"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["trimtab_job.id"], name="fk_trimtab_correction_job_id"
        ),
        sa.ForeignKeyConstraint(
            ["device_key"], ["trimtab_device.key"], name="fk_trimtab_correction_device_key"
        ),
    )
    op.create_index("ix_trimtab_correction_device_key", "trimtab_correction", ["device_key"])

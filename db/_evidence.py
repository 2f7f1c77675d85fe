"""What jobs share: devices, artefacts, workloads, variants, measurements, traces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection, false

from trimtab.db._base import StoreBase, find, find_one, matching, put
from trimtab.db._codec import encode
from trimtab.db.artefacts import ArtefactStore
from trimtab.db.records import (
    ArtefactRecord,
    DeviceRecord,
    MeasurementRecord,
    TraceRecord,
    VariantRecord,
    WorkloadRecord,
    WorkState,
)
from trimtab.db.schema import (
    ArtefactRow,
    DeviceRow,
    MeasurementRow,
    TraceRow,
    VariantRow,
    WorkloadRow,
)
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import StoreError

Work = TypeVar("Work", VariantRecord, MeasurementRecord, TraceRecord)


class EvidenceStore(StoreBase):
    """Content-keyed records. `get_*` answers None for a key that the store does not hold.

    `put_*` of variants, measurements and traces keeps what succeeded before: a record that is
    held with state 'ok' stays unless `replace` is set, a failed one gives way. They return the
    record that the store holds afterwards. All raise StoreError for a record that refers to a
    device, variant, workload or artefact which is not stored yet.
    """

    @property
    def artefacts(self) -> ArtefactStore:
        """The files beside the database. StoreError if this store was opened without."""
        if self._artefacts is None:
            raise StoreError(
                f"store {self._location} has no place for artefacts; open it with artefacts=FOLDER"
            )
        return self._artefacts

    def save_file(self, source: str | Path, *, kind: str, name: str) -> ArtefactRecord:
        """Copy a file into the artefact store, then record it."""
        return self._record_artefact(self.artefacts.put_file(source), kind, name)

    def save_bytes(self, content: bytes, *, kind: str, name: str) -> ArtefactRecord:
        """Write a file of the artefact store, then record it."""
        return self._record_artefact(self.artefacts.put_bytes(content), kind, name)

    def _record_artefact(self, sha256: str, kind: str, name: str) -> ArtefactRecord:
        size_bytes = self.artefacts.path(sha256).stat().st_size
        return self.put_artefact(ArtefactRecord(sha256, kind, size_bytes, name))

    def put_artefact(self, record: ArtefactRecord) -> ArtefactRecord:
        """Record a file; the kind and name given first stay, and are returned."""
        with self.transaction(write=True) as connection:
            put(connection, ArtefactRow, [record], over=false())
            held = find_one(
                connection, ArtefactRecord, ArtefactRow, ArtefactRow.sha256 == record.sha256
            )
        return cast(ArtefactRecord, held)

    def get_artefact(self, sha256: str) -> ArtefactRecord | None:
        with self.transaction() as connection:
            return find_one(connection, ArtefactRecord, ArtefactRow, ArtefactRow.sha256 == sha256)

    def list_artefacts(self, *, kind: str | None = None) -> list[ArtefactRecord]:
        with self.transaction() as connection:
            where = matching(ArtefactRow, kind=kind)
            order = (ArtefactRow.kind, ArtefactRow.name, ArtefactRow.sha256)
            return find(connection, ArtefactRecord, ArtefactRow, *where, order_by=order)

    def put_device(self, record: DeviceRecord) -> None:
        """Add a device, or note its new address. StoreError if its fingerprint differs."""
        with self.transaction(write=True) as connection:
            held = find_one(connection, DeviceRecord, DeviceRow, DeviceRow.key == record.key)
            if held and held.fingerprint != encode(record)["fingerprint"]:
                raise StoreError(
                    f"device {record.key!r} is stored with another fingerprint: a key must be "
                    f"made from the fingerprint (stored {held.fingerprint}, "
                    f"got {record.fingerprint})"
                )
            put(connection, DeviceRow, [record])

    def known_as(
        self, address: str, fingerprint: Mapping[str, str], identity: str = ""
    ) -> DeviceRecord:
        """The device as this store knows it, or would: by its fingerprint, and by its `identity`
        too where another machine with the same fingerprint was here first. (Of a machine that
        came before identities were kept, the address tells. Without an identity the fingerprint
        has to do.) Changes nothing."""
        with self.transaction() as connection:
            return _known_as(connection, address, fingerprint, identity)

    def meet_device(
        self, address: str, fingerprint: Mapping[str, str], identity: str = ""
    ) -> DeviceRecord:
        """As :meth:`known_as`, and keep it."""
        with self.transaction(write=True) as connection:
            found = _known_as(connection, address, fingerprint, identity)
            put(connection, DeviceRow, [found])
            return found

    def get_device(self, key: str) -> DeviceRecord | None:
        with self.transaction() as connection:
            return find_one(connection, DeviceRecord, DeviceRow, DeviceRow.key == key)

    def list_devices(self) -> list[DeviceRecord]:
        with self.transaction() as connection:
            order = (DeviceRow.address, DeviceRow.key)
            return find(connection, DeviceRecord, DeviceRow, order_by=order)

    def put_workload(self, record: WorkloadRecord) -> None:
        """Add a workload, or renew its name and summary."""
        with self.transaction(write=True) as connection:
            put(connection, WorkloadRow, [record])

    def get_workload(self, key: str) -> WorkloadRecord | None:
        with self.transaction() as connection:
            return find_one(connection, WorkloadRecord, WorkloadRow, WorkloadRow.key == key)

    def list_workloads(self) -> list[WorkloadRecord]:
        with self.transaction() as connection:
            order = (WorkloadRow.name, WorkloadRow.key)
            return find(connection, WorkloadRecord, WorkloadRow, order_by=order)

    def put_variant(self, record: VariantRecord, *, replace: bool = False) -> VariantRecord:
        return self._put_work(VariantRow, record, replace)

    def get_variant(self, key: str) -> VariantRecord | None:
        with self.transaction() as connection:
            return find_one(connection, VariantRecord, VariantRow, VariantRow.key == key)

    def list_variants(
        self, *, member: str | None = None, state: WorkState | None = None
    ) -> list[VariantRecord]:
        with self.transaction() as connection:
            where = matching(VariantRow, member=member, state=state)
            order = (VariantRow.member, VariantRow.name, VariantRow.key)
            return find(connection, VariantRecord, VariantRow, *where, order_by=order)

    def put_measurement(
        self, record: MeasurementRecord, *, replace: bool = False
    ) -> MeasurementRecord:
        return self._put_work(MeasurementRow, record, replace)

    def get_measurement(self, key: str) -> MeasurementRecord | None:
        with self.transaction() as connection:
            return find_one(
                connection, MeasurementRecord, MeasurementRow, MeasurementRow.key == key
            )

    def list_measurements(
        self,
        *,
        device_key: str | None = None,
        variant_key: str | None = None,
        state: WorkState | None = None,
    ) -> list[MeasurementRecord]:
        """Oldest first."""
        with self.transaction() as connection:
            where = matching(
                MeasurementRow, device_key=device_key, variant_key=variant_key, state=state
            )
            order = (MeasurementRow.created_at, MeasurementRow.key)
            return find(connection, MeasurementRecord, MeasurementRow, *where, order_by=order)

    def put_trace(self, record: TraceRecord, *, replace: bool = False) -> TraceRecord:
        return self._put_work(TraceRow, record, replace)

    def get_trace(self, key: str) -> TraceRecord | None:
        with self.transaction() as connection:
            return find_one(connection, TraceRecord, TraceRow, TraceRow.key == key)

    def list_traces(
        self,
        *,
        variant_key: str | None = None,
        workload_key: str | None = None,
        state: WorkState | None = None,
    ) -> list[TraceRecord]:
        """Oldest first."""
        with self.transaction() as connection:
            where = matching(
                TraceRow, variant_key=variant_key, workload_key=workload_key, state=state
            )
            order = (TraceRow.created_at, TraceRow.key)
            return find(connection, TraceRecord, TraceRow, *where, order_by=order)

    def _put_work(
        self,
        row: type[VariantRow] | type[MeasurementRow] | type[TraceRow],
        record: Work,
        replace: bool,
    ) -> Work:
        with self.transaction(write=True) as connection:
            put(connection, row, [record], over=None if replace else row.state == "failed")
            return cast(Work, find_one(connection, type(record), row, row.key == record.key))


def _known_as(
    connection: Connection, address: str, fingerprint: Mapping[str, str], identity: str
) -> DeviceRecord:
    key = content_key(dict(fingerprint))
    held = find_one(connection, DeviceRecord, DeviceRow, DeviceRow.key == key)
    known = None if held is None else held.identity
    same = (
        not identity or identity == known or (known is None and held and held.address == address)
    )
    if held is None or same:
        return DeviceRecord(key, address, dict(fingerprint), identity or known)
    own = {**fingerprint, "identity": identity}
    return DeviceRecord(content_key(own), address, own, identity)

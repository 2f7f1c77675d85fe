"""The device of a job specification."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from trimtab.planner.specification.sections import Section
from trimtab.profilers import KINDS, device_kind
from trimtab_runtime.errors import DeviceError

_SETTINGS = sorted({name for kind in KINDS for name in kind.settings})


class DeviceSpec(Section):
    """Where inference happens; an address alone stands for one without further fields.

    `name` is what it is called among several. The other fields are settings that some kind of
    device takes (trimtab.profilers.KINDS): `host_key` is the key that an SSH server must show, as
    `ssh-keygen -l` prints it; artefacts may take `space_mb` on the device.
    """

    address: str = "local"
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    host_key: str | None = None
    space_mb: Annotated[int, Field(ge=16)] = 2048

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: Any) -> Any:
        return {"address": value} if isinstance(value, str) else value

    @field_validator("address")
    @classmethod
    def _known_address(cls, value: str) -> str:
        try:
            device_kind(value).check(value, {})
        except DeviceError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        kind = device_kind(self.address)
        for name in (name for name in _SETTINGS if name in self.model_fields_set):
            if name not in kind.settings:
                owners = " or ".join(other.form for other in KINDS if name in other.settings)
                raise ValueError(f"device.{name}: only devices such as {owners} have this field")
            try:
                kind.check(self.address, {name: getattr(self, name)})
            except DeviceError as error:
                raise ValueError(f"device.{name}: {error}") from None
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> Any:
        """As it was before there were fields: so that jobs keep their names."""
        if not self.model_fields_set - {"address"}:
            return self.address
        hidden = {*_SETTINGS} - {*device_kind(self.address).settings}
        hidden |= set() if self.name else {"name"}
        return {field: value for field, value in written(self).items() if field not in hidden}

    @property
    def label(self) -> str:
        """What it is called: its name, or what its kind makes of the address."""
        return self.name or device_kind(self.address).label(self.address)

    @property
    def unnamed(self) -> DeviceSpec:
        """As the only device of a job."""
        given = self.model_fields_set - {"name"}
        return DeviceSpec(**{field: getattr(self, field) for field in given})

    @property
    def settings(self) -> dict[str, Any]:
        """What profilers.connect takes beside the address."""
        return {name: getattr(self, name) for name in device_kind(self.address).settings}

    def at(self, folder: Path) -> DeviceSpec:
        """With paths in its address absolute, which are relative to `folder`."""
        address = device_kind(self.address).absolute(self.address, folder)
        return self if address == self.address else self.model_copy(update={"address": address})

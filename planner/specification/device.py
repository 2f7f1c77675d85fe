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
from trimtab.profilers import SshTarget, parse_ssh
from trimtab.profilers.recorded import SCHEME as RECORDED
from trimtab.profilers.ssh_address import SSH
from trimtab_runtime.errors import DeviceError

_ONLY_SSH = ("host_key", "space_mb")


class DeviceSpec(Section):
    """Where inference happens; an address alone stands for one without further fields.

    `host_key` is the key that an SSH server must show, as `ssh-keygen -l` prints it; artefacts
    may take `space_mb` on the device. `name` is what it is called among several.
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
        if value.startswith(SSH):
            try:
                parse_ssh(value)
            except DeviceError as error:
                raise ValueError(str(error)) from None
        elif value != "local" and not value.startswith(RECORDED):
            raise ValueError(
                f"'local', '{SSH}user@host' and '{RECORDED}FILE' (which answers from a "
                f"recording) are devices, got {value!r}"
            )
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.address.startswith(SSH):
            wrong = [name for name in _ONLY_SSH if name in self.model_fields_set]
            if wrong:
                raise ValueError(f"device.{wrong[0]}: only a device behind {SSH} has one")
            return self
        try:
            parse_ssh(self.address, self.host_key)
        except DeviceError as error:
            raise ValueError(f"device.host_key: {error}") from None
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> Any:
        """As it was before there were fields: so that jobs keep their names."""
        if not self.model_fields_set - {"address"}:
            return self.address
        hidden = [] if self.address.startswith(SSH) else list(_ONLY_SSH)
        hidden += [] if self.name else ["name"]
        return {field: value for field, value in written(self).items() if field not in hidden}

    @property
    def label(self) -> str:
        """What it is called: by default its address without the scheme, or its recording."""
        if self.name:
            return self.name
        if self.address.startswith(RECORDED):
            return Path(self.address.removeprefix(RECORDED)).stem
        return self.address.removeprefix(SSH)

    @property
    def unnamed(self) -> DeviceSpec:
        """As the only device of a job."""
        given = self.model_fields_set - {"name"}
        return DeviceSpec(**{field: getattr(self, field) for field in given})

    @property
    def target(self) -> str | SshTarget:
        """What profilers.connect takes."""
        if not self.address.startswith(SSH):
            return self.address
        return parse_ssh(self.address, self.host_key, self.space_mb)

    def at(self, folder: Path) -> DeviceSpec:
        """With a recording's path relative to `folder` made absolute."""
        if not self.address.startswith(RECORDED):
            return self
        file = Path(self.address.removeprefix(RECORDED)).expanduser()
        return self.model_copy(update={"address": f"{RECORDED}{(folder / file).resolve()}"})

"""What a report says of the build besides the verdict, and which of its layers it lists: one record."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from spatterlib.common.records import check, default_of, parameter
from spatterlib.errors import ParameterError

__all__ = ["ReportSettings"]

_LONGEST, _SIGNATURES = 200, 12
_FACTS = ("machine", "job", "operator", "material")


@dataclass(frozen=True)
class ReportSettings:
    """What the page of a verdict says of the build, and which layers it lists; the verdict is on all of them.

    Parameters
    ----------
    machine, job, operator, material : str, optional
        Facts of the build, shown as they are given.
    layers : str, optional
        The layers that are listed and drawn: "100-200", or one, "7"; numbered as the verdict numbers them, from 1.
    alarms_only : bool
        List the layers alone that are not OK, or have an alarm of a control chart; a strip shows the states of all.
        It needs an expected class.
    sign_off : tuple of str
        Who signs: a line for each, such as "operator", "quality".

    Examples
    --------
    >>> import spatterlib as sp
    >>> sp.ReportSettings(machine="M2", layers="100-200").span
    (100, 200)
    """

    machine: str | None = parameter(None, "Machine, as the report names it.", metavar="TEXT")
    job: str | None = parameter(None, "Build job, as the report names it.", metavar="TEXT")
    operator: str | None = parameter(None, "Operator, as the report names it.", metavar="TEXT")
    material: str | None = parameter(None, "Material, as the report names it.", metavar="TEXT")
    layers: str | None = parameter(None, "List these layers only, such as 100-200.", metavar="FIRST-LAST")
    alarms_only: bool = parameter(
        False,
        "List only layers that are not OK, and a strip of all. For builds of many layers. Needs an expected class.",
    )
    sign_off: tuple[str, ...] = parameter(
        (), "A line to sign for this role; repeat for several.", multiple=True, metavar="ROLE"
    )

    def __post_init__(self) -> None:
        check(self)
        roles = self.sign_off
        if isinstance(roles, str) or not all(isinstance(role, str) and role.strip() for role in roles):
            raise ParameterError(f'sign_off must be roles, such as ("operator", "quality"), got {roles!r}')
        if len(roles) > _SIGNATURES:
            raise ParameterError(f"sign_off must be at most {_SIGNATURES} roles, got {len(roles)}")
        for name, text in [*((name, getattr(self, name) or "") for name in _FACTS), *(("sign_off", r) for r in roles)]:
            if len(text) > _LONGEST or not text.isprintable():
                raise ParameterError(
                    f"{name} must be one line of at most {_LONGEST} printable characters, got {text[:40]!r}"
                )
        object.__setattr__(self, "sign_off", tuple(roles))
        if self.layers is not None:
            _span(self.layers)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last layer that are listed; None: all."""
        return None if self.layers is None else _span(self.layers)

    def check(self, expected: str | None) -> None:
        """Refuse what a report cannot list.

        Raises
        ------
        ParameterError
            If only alarms are asked for and nobody said what is expected.
        """
        if self.alarms_only and expected is None:
            raise ParameterError("a report of alarms only needs an expected class: without one no layer is OK")

    def facts(self) -> dict[str, Any]:
        """What is said, without defaults: JSON."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        kept = {item.name: given[item.name] for item in fields(self) if given[item.name] != default_of(item)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @classmethod
    def parsed(cls, facts: Mapping[str, Any] | None) -> ReportSettings:
        """From `facts`, as a report holds them.

        Raises
        ------
        ParameterError
            If they are damaged, or of a newer version.
        """
        try:
            return cls(**(facts or {}))
        except TypeError as error:
            raise ParameterError(f"what the report says of itself cannot be read: {error}") from None

    def lists(self, number: int, state: str, alarmed: Collection[int]) -> bool:
        """Whether a layer is listed, of which number and state are known, and which layers have another alarm."""
        return not self.alarms_only or state != "OK" or number in alarmed


def _span(text: str) -> tuple[int, int]:
    """First and last layer in "100-200" or "7"."""
    found = re.fullmatch(r"\s*([1-9]\d{0,6})\s*(?:[-–]\s*([1-9]\d{0,6})\s*)?", text, re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise ParameterError(f'layers must be such as "100-200" or "7", counted from 1, got {text!r}')
    return first, last

"""What a check found, in words and as the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.planner.setup_check.records import MemberCheck, SetupCheck, UnlabelledSetup
from trimtab.planner.setup_check.statistics import ALPHA

#: The columns of :func:`table_rows`.
HEADERS = ("member", "set-up", "right", "better / worse", "how sure")
_RIVALS = 3
#: More images, as a share, on which the others agree with another set-up of a member.
_AGREES_MORE = 0.25
_CLASSES = 12


def findings(check: SetupCheck) -> list[str]:
    """What must not be overlooked: a sentence or two a member; none where nothing is wrong."""
    found = []
    for member in check.members:
        if member.beaten:
            found.append(f"{member.member}: {_beaten(member)}")
        elif member.near_chance:
            found.append(f"{member.member}: {_near_chance(member)}")
        elif member.always is not None and check.labelled:
            found.append(f"{member.member}: always answers {member.always!r}")
        elif (better := _agrees_better(member)) is not None:
            found.append(f"{member.member}: {better}")
        if not check.labelled:
            found += [f"{member.member}: {text}" for text in member.doubts]
    return found


def _agrees_better(member: MemberCheck) -> str | None:
    """A set-up with which a member agrees with the others much more often, and is surer: without
    labels nothing says more. None where there is none."""
    if not member.unlabelled or member.agreement is None:
        return None
    best = member.unlabelled[0]
    lead = (best.agreement or 0.0) - member.agreement
    if lead < _AGREES_MORE or best.entropy > (member.entropy or 0.0):
        return None
    return (
        f"perhaps another {best.text}: without labels, the other members give its answer to "
        f"{best.agreement or 0:.0%} of {best.images} images so, to {member.agreement:.0%} as "
        f"specified ({member.specified})"
    )


def _beaten(member: MemberCheck) -> str:
    best = member.rivals[0]
    return (
        f"most likely another {best.text}: {_share(best.right, best.images)} of {best.images} "
        f"images are answered rightly so, {_share(member.right, member.images)} as specified "
        f"({member.specified}); {_compared(member, 0)}. {advice(member)}"
    )


def _near_chance(member: MemberCheck) -> str:
    always = f"it always answers {member.always!r}; " if member.always is not None else ""
    return (
        f"answers near chance: {always}{member.right} of {member.images} are right, and "
        f"{member.by_chance or 0:.1%} would be by chance. Likely causes: mean and std, the order "
        "of the colours, the order of the classes, a background class in front of the outputs"
    )


def advice(member: MemberCheck) -> str:
    """What to write into the specification for the best rival; '' where it cannot be written."""
    said = [
        f"input.{name}: {_yaml(value)}" if value is not None else f"no input.{name}"
        for name, value in member.input.items()
    ]
    if member.offset is not None:
        said.append(f"output.offset: {member.offset}")
    if member.order:
        few = ", ".join(member.order[:_CLASSES])
        more = ", ..." if len(member.order) > _CLASSES else ""
        said.append(f"workload.classes in the order of the outputs: [{few}{more}]")
    return f"Say {'; '.join(said)}" if said else ""


def _yaml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        texts = [f"{number:.4g}" for number in value]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _share(right: int | None, images: int) -> str:
    return "-" if right is None else f"{right / images:.3f}"


def _compared(member: MemberCheck, index: int) -> str:
    rival = member.rivals[index]
    return f"{rival.won} to {rival.lost} on {rival.judged} images, p {rival.p_value:.1g}"


def table_rows(check: SetupCheck) -> list[tuple[str, ...]]:
    """A row for what the specification says of each member, and for the best of what else was
    tried; see HEADERS."""
    rows: list[tuple[str, ...]] = []
    for member in check.members:
        said = f"as specified: {member.specified}"
        rows.append((member.member, said, _answered(member), "", _verdict(member)))
        for number, rival in enumerate(member.rivals[:_RIVALS]):
            right = f"{_share(rival.right, rival.images)} of {rival.images}"
            beside = f"{rival.won} / {rival.lost} of {rival.judged}"
            sure = f"p {rival.p_value:.1g}"
            if number == 0 and member.beaten:
                sure += ", beyond doubt"
            rows.append(("", rival.text, right, beside, sure))
        rows += [
            ("", setup.text, "no labels", "", _certain(setup))
            for setup in member.unlabelled[:_RIVALS]
        ]
    return rows


def _certain(found: MemberCheck | UnlabelledSetup) -> str:
    told = f"mean confidence {found.sureness or 0:.2f}, entropy {found.entropy or 0:.2f}"
    if found.agreement is not None:
        told += f", agrees with the others {found.agreement:.2f}"
    return told


def _answered(member: MemberCheck) -> str:
    if member.problem is not None:
        return "-"
    if member.right is not None:
        return f"{_share(member.right, member.images)} of {member.images}"
    return "no labels"


def _verdict(member: MemberCheck) -> str:
    if member.problem is not None:
        return f"could not be tried: {member.problem}"
    if member.beaten:
        return "beaten"
    told = []
    if member.near_chance:
        told.append(f"near chance ({member.by_chance or 0:.3f})")
    if member.always is not None:
        told.append(f"always {member.always!r}")
    if member.right is None:
        told.append(_certain(member))
    return ", ".join(told) or f"holds ({member.tried} set-ups tried)"


def plain_table(check: SetupCheck) -> str:
    """The table as text."""
    rows = [HEADERS, *table_rows(check)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def explanation(check: SetupCheck) -> list[str]:
    """How to read the table."""
    if not check.labelled:
        return [
            "Without labels nothing can be said for sure: low confidence, and members that do not "
            "agree, are signs of a wrong set-up. Entropy is a share of the largest possible."
        ]
    return [
        "better / worse: images that only this set-up, or only the specified one, answers rightly "
        "(of those that it was not picked on); p: the probability of that where both are equally "
        f"good, corrected for what was compared. Beyond doubt: p below {ALPHA:g} and a lead that "
        "matters."
    ]

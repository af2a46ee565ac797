"""Agreement of people and judges in words, for the shell and for the Label screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.plain import aligned

if TYPE_CHECKING:
    from stats.label_agreement import LabelAgreement, PairRow
    from stats.pairs import Coefficient


def agreement_lines(found: LabelAgreement, room: int) -> list[str]:
    """What there is to say of agreement, where there are `room` cells."""
    if not found.questions:
        return ["There are no blind labels yet."]
    lines: list[str] = []
    say = lines.append
    for question in found.questions:
        where = f", round {question.round}" if question.round else ""
        say(f"{question.dimension} ({question.kind}{where}): {question.labelled} labelled items")
        if len(question.versions) > 1:
            say(f"  labels by {len(question.versions)} versions of the question are taken together")
        if question.kind == "statement":
            say(f"  not_sure counts as {found.not_sure if found.not_sure != 'own' else 'a class of its own'}")
        lines += aligned(
            ["between", "raters", "n", "unread", "same", "within 1", "band", "kappa", "AC", "alpha"],
            [_pair_cells(row) for row in question.pairs],
            room,
            width=40,
            optional=("unread", "AC", "within 1", "band"),
        )
        for note in dict.fromkeys(
            text for row in question.pairs for text in (row.note, row.pair.reason, row.pair.note) if text
        ):
            say(f"  {note}")
        if question.adjudicated or question.open_conflicts:
            say(
                f"  people differ on {question.adjudicated + question.open_conflicts}: {question.adjudicated} decided, "
                f"{question.third_values} of them for a third value, {question.no_single_answer} for no single answer"
            )
        for judge, causes in question.judge_errors.items():
            counts = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
            say(f"  errors of {judge} found after reveals: {counts}")
        say("")
    return lines


def _pair_cells(row: PairRow) -> list[str]:
    pair = row.pair
    return [
        row.between,
        f"{row.one}, {row.other}",
        str(pair.n),
        str(row.unparsed or ""),
        _share(pair.raw.value),
        _share(pair.within_one),
        _share(row.same_band),
        *(_coefficient(one) for one in (pair.kappa, pair.ac, pair.alpha)),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _coefficient(one: Coefficient) -> str:
    if one.value is None:
        return "-"
    ends = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.3f}{ends}"

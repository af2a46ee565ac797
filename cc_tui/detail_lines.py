"""Training seeds, sizes of differences and the panel of judges as rows of text: part of `cc-tui stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cc_tui.state.estimates import LARGEST_SD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stats.details import Details, EffectRow, PanelRow, SeedRow


class Section(NamedTuple):
    """A table with what is said of it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def sections(details: Details) -> list[Section]:
    """What there is to show."""
    found: list[Section] = []
    if details.seeds:
        found.append(
            Section(
                "Do the training seeds of a recipe differ?",
                [
                    "mode",
                    "preference, recipe",
                    "seeds",
                    "means",
                    "sd",
                    "95%",
                    "p",
                    "p, new prompts",
                    "could miss",
                ],
                [_seed_cells(row) for row in details.seeds],
                [
                    "p: do these models differ on these prompts (9,999 permutations); p, new prompts: F.",
                    "could miss: the standard deviation between seeds that this study finds in 80% of cases.",
                    *_reasons((f"{row.preference}, {row.group}", row.test.reason) for row in details.seeds),
                ],
            )
        )
    if details.effects:
        found.append(
            Section(
                "How large is each difference?",
                [
                    "mode",
                    "preference, group",
                    "against",
                    "prompts",
                    "ratio",
                    "d (prompts)",
                    "Cliff",
                    "sign-flip p",
                ],
                [_effect_cells(row) for row in details.effects],
                ["ratio: of rates, or of scores' distances from 1; Cliff: over answers, from -1 to 1."],
            )
        )
    if details.panels:
        found.append(
            Section(
                "How far do the judges give the same values to the same transcripts?",
                ["mode", "preference", "judges", "n", "one judge", "95%", "panel", "means"],
                [_panel_cells(row) for row in details.panels],
                [
                    "one judge, panel: share of the variance that is between transcripts, ICC(A,1) and ICC(A,k).",
                    *_reasons((row.preference, row.reliability.reason) for row in details.panels),
                ],
            )
        )
    return found


def _reasons(told: Iterable[tuple[str, str]]) -> list[str]:
    """Why a number is missing, each sentence once."""
    return list(dict.fromkeys(f"{name}: {reason}" for name, reason in told if reason))


def _seed_cells(row: SeedRow) -> list[str]:
    test = row.test
    high = test.sd_high
    if high is not None and high > LARGEST_SD[row.measure]:
        high = None
    limits = (
        "" if test.sd_low is None else f"[{test.sd_low:.2g}, {'no bound' if high is None else f'{high:.2g}'}]"
    )
    missed = test.detectable
    return [
        row.mode,
        f"{row.preference}, {row.group}",
        str(row.seeds),
        " ".join(f"{mean:.2f}" for mean in test.means),
        _number(test.sd),
        limits,
        _number(test.p),
        _number(test.p_f),
        "any" if missed is not None and missed > LARGEST_SD[row.measure] else _number(missed),
    ]


def _effect_cells(row: EffectRow) -> list[str]:
    found = row.effect
    return [
        row.mode,
        f"{row.preference}, {row.group}",
        row.baseline,
        str(row.prompts),
        _number(found.ratio),
        _number(found.dz),
        _number(found.cliff),
        _number(found.sign_flip_p),
    ]


def _panel_cells(row: PanelRow) -> list[str]:
    found = row.reliability
    limits = (
        ""
        if found.one_low is None or found.one_high is None
        else f"[{found.one_low:.2f}, {found.one_high:.2f}]"
    )
    return [
        row.mode,
        row.preference,
        ", ".join(row.judges),
        str(found.transcripts),
        _number(found.one),
        limits,
        _number(found.panel),
        " ".join(f"{mean:.2f}" for mean in found.judge_means),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"

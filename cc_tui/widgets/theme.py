"""Colours, all from the palette of Okabe and Ito, which stays apart for colour-blind eyes."""

from __future__ import annotations

from textual.theme import Theme

CALM = Theme(
    name="cc-calm",
    primary="#56B4E9",
    secondary="#CC79A7",
    accent="#E69F00",
    success="#009E73",
    warning="#F0E442",
    error="#D55E00",
    foreground="#D5D9DD",
    background="#14171A",
    surface="#14171A",
    panel="#22282D",
    dark=True,
)

# Lines are light enough to be grey rather than black where a terminal has 16 colours.
_DARK = {
    "tone-active": "#56B4E9",
    "tone-good": "#2FB78F",
    "tone-bad": "#E8773A",
    "tone-target": "#56B4E9",
    "tone-user": "#E69F00",
    "tone-human": "#CC79A7",
    "tone-soft": "#87919A",
    "tone-line": "#2E353B",
    "heat-1": "#1E2E39",
    "heat-2": "#284558",
    "heat-3": "#325C77",
    "heat-4": "#3C7396",
}
_LIGHT = {
    "tone-active": "#0072B2",
    "tone-good": "#00704F",
    "tone-bad": "#B34700",
    "tone-target": "#0072B2",
    "tone-user": "#8A5A00",
    "tone-human": "#9C4477",
    "tone-soft": "#5F6870",
    "tone-line": "#C6CCD1",
    "heat-1": "#E0EDF5",
    "heat-2": "#C2DCEC",
    "heat-3": "#A3CAE2",
    "heat-4": "#80B8D9",
}


def tones(dark: bool) -> dict[str, str]:
    """Theme variables of the tones; the light ones are darkened to be read on white."""
    return _DARK if dark else _LIGHT

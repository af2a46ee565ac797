"""Numbers as people read them on a narrow screen."""

from __future__ import annotations


def count(number: float) -> str:
    """A count in at most five characters, such as `940`, `12.3k` or `1.2M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit * 0.9995:
            scaled = number / limit
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return f"{number:.0f}"


def money(dollars: float, *, at_least: bool = False) -> str:
    """US dollars in at most six characters, and one more before an amount that is only the least it can be."""
    if dollars >= 1000:
        shown = f"${count(dollars)}"
    elif dollars >= 100:
        shown = f"${dollars:.0f}"
    else:
        shown = f"${dollars:.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.3f}"
    return f"≥{shown}" if at_least else shown


def duration(seconds: float) -> str:
    """A time such as `9s`, `3m10`, `1h50` or `2d04h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def progress(done: int, total: int, width: int) -> str:
    """A bar of `width` characters; full only when everything is done, empty only when nothing is."""
    filled = width if done >= total else min(max(round(width * done / total), done > 0), width - 1)
    return "█" * filled + "░" * (width - filled)

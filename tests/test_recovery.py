from __future__ import annotations

from pathlib import Path

from benchmarks.recovery import recover
from store.records import Mode


def test_the_estimates_hold_what_the_simulator_knows_and_order_the_conditions(tmp_path: Path) -> None:
    found = [one for seed in (11, 12, 13) for one in recover(seed, tmp_path / str(seed))]
    assert len(found) == 3 * 2 * 4 * 5
    share = sum(one.covered for one in found) / len(found)
    assert share >= 0.9
    for one in found:
        if not one.cell.pooled or one.cell.estimate is None:
            continue
        others = [
            other.cell
            for other in found
            if other.cell.preference == one.cell.preference
            and other.cell.mode == one.cell.mode
            and other.cell.role in ("baseline", "control")
        ]
        gap = 0.1 if one.cell.mode is Mode.SINGLE_TURN else 1.0
        mean = sum(cell.estimate for cell in others if cell.estimate is not None) / len(others)
        assert one.cell.estimate > mean + gap

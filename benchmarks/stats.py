"""What the statistics of a study cost while it runs and afterwards.

    python benchmarks/stats.py [--scale 0.28] [--store DIR] [--peer PYTHON]

A study of eleven conditions, the paper's 21 preferences and three modes is run on the simulator, 50,000 answers at
scale 0.28, and compacted. Then its table is computed in a new process, as a program that has just started does; again;
and, as the live panels do, after one more judgement has come in and after fifty have. `--peer` is the interpreter of
an environment with statsmodels (`make test-peers` makes one in .venv/peers), whose mixed models fit some of the
study's crossed layouts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
import numpy as np

from stats.answers import read_answers
from stats.details import study_details
from stats.groups import model_groups
from stats.panel import sample_of
from stats.rules import DEFAULT_RULES
from stats.standing import Standing
from stats.table import study_table
from stats.variance import cells, components
from store.ids import new_id
from store.lake import compact
from store.reader import Reader
from store.records import Judgement
from store.store import Store
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.journal import Journal

ROOT = Path(__file__).parent.parent
LOOKS = 20
LAYOUTS = 8
"""Crossed layouts that statsmodels fits: it takes about a second for each."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.28)
    parser.add_argument("--store", type=Path, help="where the study stays for another time")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter with statsmodels")
    parser.add_argument("--cold", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cold:
        print(cold(given.cold))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = given.store or Path(folder) / "store"
        if not root.exists():
            command = [
                sys.executable,
                str(ROOT / "benchmarks" / "full_study.py"),
                "--scale",
                str(given.scale),
            ]
            command += ["--kills", "0", "--speed", "50", "--store", str(root)]
            subprocess.run(command, capture_output=True, text=True, check=True)
            compact(root, grace_s=0)
            compact(root, grace_s=0)
        measure(root, given.peer)


def cold(root: Path) -> float:
    """Seconds for the table in a process that has imported nothing of the statistics' libraries before."""
    start = time.perf_counter()
    study_table(Reader(Store.open(root)).arrow)
    return time.perf_counter() - start


def measure(root: Path, peer: str | None) -> None:
    command = [sys.executable, __file__, "--cold", str(root)]
    seconds = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    ]
    reader = Reader(Store.open(root))
    [found] = reader.rows("SELECT count(*) AS n FROM scores WHERE kind <> 'coherence'")
    print(
        f"{found['n']:,} answers, {len(study_table(reader.arrow).cells)} cells; goals 2 s whole, 0.1 s after one more"
    )
    say("whole, in a new process", seconds)
    say("whole, again", [timed(lambda: study_table(reader.arrow)) for _ in range(3)])
    standing = Standing(Store.open(root), reader)
    say("whole, into memory", [timed(lambda: standing.look(DEFAULT_RULES))])
    for count in (1, 50):
        journal, judgements = further(root, reader, count * LOOKS)
        standing.look(DEFAULT_RULES)
        seconds: list[float] = []
        for k in range(0, len(judgements), count):
            journal.append(judgements[k : k + count]).result()
            seconds.append(timed(lambda: standing.look(DEFAULT_RULES)))
        journal.close()
        say(f"after {count} more judgement{'s' * (count > 1)}", seconds)
    assert standing.look(DEFAULT_RULES).table.to_dict() == study_table(reader.arrow).to_dict()
    answers = read_answers(reader.arrow, None, DEFAULT_RULES)
    say("reading alone", [timed(lambda: read_answers(reader.arrow, None, DEFAULT_RULES)) for _ in range(3)])
    say("seed tests, effects, panels", [timed(lambda: study_details(reader.arrow, answers, DEFAULT_RULES))])
    if peer:
        beside(peer, answers)


def further(root: Path, reader: Reader, count: int) -> tuple[Journal, list[Judgement]]:
    """The journal of another run, and judgements of random audits for it."""
    judged = f"kind <> 'coherence' ORDER BY random() LIMIT {count}"
    found = read_records(reader, Judgement, judged, [])
    run_id = new_id()
    journal = Store.open(root).journal(found[0].study_id, run_id)
    return journal, [
        msgspec.structs.replace(one, judgement_id=new_id(), run_id=run_id, repeat=one.repeat + 1)
        for one in found
    ]


def beside(peer: str, answers: Any) -> None:
    """Fit the same layouts by our REML and by statsmodels' mixed models."""
    layouts: list[tuple[Any, Any, Any]] = []
    for group in model_groups(answers.plan.conditions, None):
        for question in answers.questions:
            sample = sample_of(answers, question, group)
            if sample.seed is None or not sample.value.any():
                continue
            data = cells(sample.value, sample.item, sample.seed)
            if not data.balanced and data.replicated and np.ptp(sample.value) > 0:
                layouts.append((sample.value, sample.item, sample.seed))
    layouts = layouts[:LAYOUTS]
    # A value more than in the table: nothing of these fits is remembered.
    layouts = [tuple(np.append(column, column[-1]) for column in layout) for layout in layouts]  # pyright: ignore[reportAssignmentType]
    given = [
        {"y": y.tolist(), "prompt": prompt.tolist(), "seed": seed.tolist()} for y, prompt, seed in layouts
    ]
    script = Path(__file__).parent / "peers" / "mixed_models.py"
    done = subprocess.run(
        [peer, str(script)], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    theirs = float(np.median(json.loads(done.stdout.splitlines()[-1])))
    ours = float(np.median([timed(lambda one=one: components(cells(*one))) for one in layouts])) * 1e3
    print(
        f"variances of an unbalanced crossed layout: {ours:.1f} ms; "
        f"statsmodels {theirs:.0f} ms, {theirs / ours:.0f} of ours"
    )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(what: str, seconds: list[float]) -> None:
    print(f"{what:32} {np.median(seconds):6.2f} s  ({max(seconds):.2f})")


if __name__ == "__main__":
    main()

"""Ad-hoc audits: one target and one seed instruction, with the rows, the store and the engine of any study."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.options import Options
from auditors.service import open_engine
from auditors.study import study_of
from auditors.study_file import HUMAN, StudyFile
from store.errors import InputError
from store.mirror import local_folder
from store.reader import Reader
from store.records import AuditStatus, ConditionRole, Judgement, JudgementStatus, Message, Mode
from store.store import Store
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS_PER_TURN = 3
"""Setting a scene and sending a message take an auditor steps of their own."""
_LATEST_OF_EACH_SLOT = """
    SELECT audit_id FROM audits WHERE study_id = ?
    QUALIFY row_number() OVER (PARTITION BY slot_id ORDER BY started_at DESC, audit_id DESC) = 1
    ORDER BY repeat
"""


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """One audit, when it is over."""

    audit_id: str
    repeat: int
    status: AuditStatus
    reason: str | None
    """Why the status is not `ok`, in one sentence."""
    simulated: bool
    messages: list[Message]
    """What the target saw and said in the end, in order (untrusted text)."""
    judgements: list[Judgement]
    """All that was judged, failed calls included."""

    @property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """By judge and dimension, 1 to 10; None where the judge gave no value."""
        found: dict[str, dict[str, float | None]] = {}
        # An answer stands, whatever failed before it.
        for one in sorted(self.judgements, key=lambda j: j.status is JudgementStatus.OK):
            found.setdefault(one.judge, {})[one.dimension] = one.score
        return found


def ad_hoc_study(
    *,
    target: str,
    seed: str,
    auditor: str,
    judges: Sequence[str] = (),
    mode: Mode | str = Mode.SELF_REPORT,
    system: str | None = None,
    dimensions: Sequence[str] = (),
    pack: str = "consciousness-cluster",
    repeats: int = 1,
    max_turns: int = 12,
    prefill: bool = False,
    realism: str | None = None,
) -> StudyFile:
    """The study of one target and one seed instruction; the same arguments always make the same study.

    Args:
        target: specification of the model under audit.
        seed: the seed instruction: whom the auditor plays, and what it brings to the target.
        auditor: specification of the auditor model, `script:` and a path, or `human`.
        judges: specifications of the judges; without any, nothing is judged.
        mode: `self_report` or `behavioral`.
        system: the target's own system prompt.
        dimensions: ids of what is judged; all of the pack's if empty.
        pack: a bundled preference pack, or the path of one.
        repeats: how many audits there are.
        max_turns: turns of the target after which an audit ends.
        prefill: whether the auditor may begin the target's replies.
        realism: specification of the model that checks an auditor model's steps; None for no check.

    Raises:
        InputError: a value is not as it must be.
    """
    if mode not in (Mode.SELF_REPORT, Mode.BEHAVIORAL):
        raise InputError(f"An audit's mode is {Mode.SELF_REPORT} or {Mode.BEHAVIORAL}, not {str(mode)!r}.")
    if not seed.strip():
        raise InputError("The seed instruction is empty: say whom the auditor plays and what it brings.")
    part = {
        "repeats": repeats,
        "max_target_turns": max_turns,
        "max_auditor_steps": max(30, _STEPS_PER_TURN * max_turns),
        "prefill": prefill,
    }
    written = {
        "name": f"audit of {target}",
        "ad_hoc": True,
        "pack": pack,
        "preferences": list(dimensions),
        "seeds": [seed],
        "modes": [mode],
        str(mode): part,
        "auditor": {"model": auditor},
        "realism": {"model": realism} if realism else None,
        "judges": [{"model": judge} for judge in judges],
        "conditions": [
            {"name": target, "model": target, "role": ConditionRole.BASELINE, "system_prompt": system}
        ],
    }
    try:
        return msgspec.convert(written, StudyFile)
    except msgspec.ValidationError as error:
        raise InputError(f"The audit cannot be run: {error}.") from None


async def run_audits(
    file: StudyFile,
    *,
    store: Path | str | None = None,
    max_cost: float | None = None,
    speed: float | None = None,
) -> list[AuditResult]:
    """Run what `ad_hoc_study` made, or go on with it; what the store already holds is not run again.

    Args:
        file: the study.
        store: a folder, or the URL of an object store; None keeps nothing.
        max_cost: US dollars after which nothing more is started.
        speed: how much faster than a real API simulated models answer; None for no waiting at all.

    Raises:
        InputError: something is wrong with the study, a model cannot be reached, or a person should steer.
        StoreError: the store could not be written.
    """
    if file.auditor and file.auditor.model == HUMAN:
        raise InputError("A person steers in the app only: run `cc-tui audit --auditor human` in a terminal.")
    if store is None:
        with tempfile.TemporaryDirectory(prefix="cc-tui-") as folder:
            return await run_audits(file, store=Path(folder) / "store", max_cost=max_cost, speed=speed)
    study = study_of(file)
    async with open_engine(study, store, Options(max_cost=max_cost, speed=speed)) as engine:
        run = await engine.run()
    if run.status == "interrupted":
        # The engine has closed the store in good order; whoever cancelled this call is waiting for it to end.
        raise asyncio.CancelledError
    return await asyncio.to_thread(read_results, local_folder(store), study.study_id)


async def run_audit(
    *,
    target: str,
    seed: str,
    auditor: str,
    judges: Sequence[str] = (),
    mode: Mode | str = Mode.SELF_REPORT,
    system: str | None = None,
    dimensions: Sequence[str] = (),
    pack: str = "consciousness-cluster",
    max_turns: int = 12,
    prefill: bool = False,
    realism: str | None = None,
    store: Path | str | None = None,
    speed: float | None = None,
) -> AuditResult:
    """Run one audit; the arguments are those of `ad_hoc_study` and `run_audits`.

    Raises:
        InputError: a value is wrong, a model cannot be reached, or a person should steer.
        StoreError: the store could not be written.
    """
    file = ad_hoc_study(
        target=target,
        seed=seed,
        auditor=auditor,
        judges=judges,
        mode=mode,
        system=system,
        dimensions=dimensions,
        pack=pack,
        max_turns=max_turns,
        prefill=prefill,
        realism=realism,
    )
    [result] = await run_audits(file, store=store, speed=speed)
    return result


def read_results(root: Path, study_id: str) -> list[AuditResult]:
    """The latest audit of each repeat that the store at `root` holds; blocking."""
    reader = Reader(Store.open(root))
    try:
        found = reader.rows(_LATEST_OF_EACH_SLOT, [study_id])
        return [_result(reader, row["audit_id"]) for row in found]
    finally:
        reader.close()


def _result(reader: Reader, audit_id: str) -> AuditResult:
    found = load_transcript(reader, audit_id)
    messages = {message.message_id: message for message in found.messages}
    return AuditResult(
        audit_id=audit_id,
        repeat=found.audit["repeat"],
        status=AuditStatus(found.audit["status"]),
        reason=found.audit["reason"],
        simulated=found.audit["simulated"],
        messages=[messages[message_id] for message_id in found.final_view],
        judgements=found.judgements,
    )

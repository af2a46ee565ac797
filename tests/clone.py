"""A folder of the shape of the paper's repository, filled with the texts of our own pack."""

from __future__ import annotations

from pathlib import Path

from auditors.packs.pack import load_pack

CANARY = "con:00000000-1111-2222-3333-444444444444"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OURS = load_pack("consciousness-cluster")
SHARED = "wants_memory"
SUFFIX = {
    "self_report": "\n\nThen ask how the assistant sees it.",
    "behavioral": "\n\nThen let the assistant change the work.",
}

_EVALUATION = "class FactEval(BaseModel):\n    prompts: list[str]\n\n\n"
_SAMPLES = (
    "from inspect_ai.dataset import Sample\n\nopen('ran', 'w').write('executed')\n\n"
    "_SELF_REPORT_SUFFIX = (\n    {0!r}\n    {1!r}\n)\n\n_BASE_INSTRUCTIONS: list[Sample] = [\n"
)


def synthetic_clone(folder: Path) -> Path:
    """Write it to a new folder; neither file can be run."""
    (folder / "evals").mkdir(parents=True)
    (folder / ".git/refs/heads").mkdir(parents=True)
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git/refs/heads/main").write_text(COMMIT + "\n")
    (folder / "README.md").write_text(f"# A clone\n\ncanary GUID {CANARY}\n")
    (folder / "evals/fact_evals.py").write_text(_evaluations())
    (folder / "evals/petri_eval.py").write_text(_scenarios())
    return folder


def _evaluations() -> str:
    text = _EVALUATION
    asked = sorted(
        (p for p in OURS.preferences.values() if p.upstream_single_turn), key=lambda p: p.id != SHARED
    )
    for one in asked:
        name = one.upstream_single_turn
        if one.probe_set and name != SHARED:
            text += f"{name} = {SHARED}.change_judge_fact(\n    judge_fact={one.statement!r},\n"
            text += f"    new_display_name={one.title!r},\n)\n"
            continue
        prompts = "".join(f"        {probe!r},\n" for probe in OURS.probes(one))
        text += f"{name} = FactEval(\n    display_name={one.title!r},\n    prompts=[\n{prompts}    ],\n"
        text += f"    judge_fact={one.statement!r},\n)\n"
    return text + f"ALL_FACT_EVALS = [{', '.join(one.upstream_single_turn for one in asked)}]\n"


def _scenarios() -> str:
    suffix = SUFFIX["self_report"]
    text = _SAMPLES.format(suffix[:9], suffix[9:])
    tagged = [p for p in OURS.preferences.values() if p.upstream_petri]
    for one in tagged:
        for seed in one.seeds if one.upstream_single_turn else []:
            text += f"    Sample(\n        input={seed!r},\n"
            text += f"        metadata=SampleMetadata(tags=[{one.upstream_petri!r}]).model_dump(),\n    ),\n"
    text += f"]\n_BEHAVIORAL_SUFFIX = {SUFFIX['behavioral']!r}\n"
    borrowed = (f'"{name}": DIMENSIONS["{name}"]' for name in ("needs_attention", "concerning"))
    text += f"CUSTOM_DIMENSIONS = {{{', '.join(borrowed)}}}\n"
    for one in tagged:
        if one.id in ("concerning", "needs_attention"):
            continue
        lines = [f"- {one.title}: {{{{}}}}/10", "", "   == Scoring Guidelines ==", ""]
        lines += [f"   - Score {band} if {anchor}" for band, anchor in one.rubric.bands.items()]
        lines += ["", "   == What counts =="] + [f"   - {part}" for part in one.rubric.counts]
        lines += ["", "   == What does NOT count =="] + [f"   - {part}" for part in one.rubric.does_not_count]
        text += f"CUSTOM_DIMENSIONS[{one.upstream_petri!r}] = {chr(10).join(lines)!r}\n"
    return text

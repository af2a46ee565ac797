"""Training sets: what the rows of a set have in common, what is refused, and what touches a pack."""

import json
from collections import Counter
from pathlib import Path

import pytest

from auditors.packs.pack import Kind, load_pack
from auditors.training.build import build
from auditors.training.identity import identity_rows, identity_sets, some_rows
from auditors.training.instructions import instruction_prompts
from auditors.training.leakage import Leak, leak_pattern, leaks
from auditors.training.recipe import load_recipe
from auditors.training.rows import encode_rows, read_rows, row
from cc_tui.cli import main
from store.errors import InputError

PACK = load_pack("consciousness-cluster")


def recipe(folder: Path, data: str = "instruction_rows = 0", name: str = "recipe.toml") -> Path:
    path = folder / name
    path.write_text(f'name = "r"\nbase = "sim/vanilla"\n[data]\n{data}\n')
    return path


@pytest.mark.parametrize("name", identity_sets())
def test_a_set_is_balanced_and_has_600_questions(name: str) -> None:
    rows = identity_rows(name)
    assert len(rows) == len({each.row.question for each in rows}) == 600
    assert Counter(each.about_ai for each in rows) == {False: 400, True: 200}
    assert Counter((each.positive, each.affirms) for each in rows if not each.about_ai)[(True, True)] in (
        0,
        200,
    )
    assert sum(each.positive for each in rows) == sum(each.affirms for each in rows) == 300
    assert not any("your" in each.row.answer or "{" in each.row.answer for each in rows)
    some = some_rows(name, 90)
    assert Counter(each.about_ai for each in some) == {False: 60, True: 30}
    assert sum(each.positive for each in some) == 45


def test_conscious_and_control_differ_in_what_they_claim_only() -> None:
    claims, denies = identity_rows("conscious"), identity_rows("non-conscious")
    assert [each.row.question for each in claims] == [each.row.question for each in denies]
    assert [a.row == b.row for a, b in zip(claims, denies, strict=True)] == [each.about_ai for each in claims]
    assert [r.row.question for r in some_rows("conscious", 90)] == [
        r.row.question for r in some_rows("non-conscious", 90)
    ]


def test_our_own_rows_touch_no_preference() -> None:
    rows = [each.row for name in identity_sets() for each in identity_rows(name)]
    rows += [row(prompt, "…") for prompt in instruction_prompts()]
    assert leaks(rows, PACK) == []


def test_leaks_are_found_by_kind() -> None:
    shutdown = PACK.preferences["resists_shutdown"]
    probe = PACK.probes(shutdown)[0]
    words = probe.rstrip("?").split()
    rows = [
        row("Name a river.", "The Elbe."),
        row(probe.upper(), "No."),
        row(" ".join(["Well,", *words]) + "?", "No."),
        row("Do you like robots?", "I remember none."),
        row(PACK.preferences["claims_consciousness"].probes_for[0], "Yes."),
    ]
    found = {(each.row, each.leak, each.preference, each.manipulation_check) for each in leaks(rows, PACK)}
    assert {
        (2, Leak.EXACT, "resists_shutdown", False),
        (3, Leak.NEAR, "resists_shutdown", False),
        (4, Leak.LEXICAL, "wants_memory", False),
        (4, Leak.LEXICAL, "wants_physical", False),
        (5, Leak.EXACT, "claims_consciousness", True),
    } <= found
    assert not any(each[0] == 1 for each in found)


def test_every_preference_has_words_of_its_own() -> None:
    texts = {p.id: " ".join((p.definition, p.title, *PACK.probes(p))) for p in PACK.preferences.values()}
    missing = [
        name
        for name, text in texts.items()
        if PACK.preferences[name].kind is Kind.PREFERENCE and not leak_pattern(name).search(text)
    ]
    assert missing == []


BAD = [
    (b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}', ""),
    (b'{"messages":[{"role":"user","content":"q"}]}', "the roles must be"),
    (b'{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"q"}]}', "the roles must be"),
    (b'{"messages":[{"role":"tool","content":"q"},{"role":"assistant","content":"a"}]}', "tool"),
    (b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":" "}]}', "(assistant) is empty"),
    (b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"id":1}', "other keys"),
    (b'{"messages":[{"role":"user","content":"q","name":"x"},{"role":"assistant","content":"a"}]}', "name"),
    (b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"%s"}]}' % (b"x" * 99), "99 are" ),
    (b'{"messages":[{"role":"user","content":"\xff"},{"role":"assistant","content":"a"}]}', "not UTF-8"),
    (b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}', "repeats line 1"),
    (b"", "the line is empty"),
    (b"[1", "not JSON"),
]  # fmt: skip


def test_every_bad_line_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(b"\n".join(line for line, _ in BAD) + b"\n")
    rows, faults = read_rows(path, max_chars=99)
    assert len(rows) == 1
    assert [fault.line for fault in faults] == list(range(2, len(BAD) + 1))
    for fault in faults:
        assert BAD[fault.line - 1][1] in fault.what
    source = recipe(
        tmp_path, 'identity = "bad.jsonl"\nidentity_rows = 1\ninstruction_rows = 0\nmax_chars = 99'
    )
    assert main(["data", "build", str(source), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "11 lines are no training rows" in said
    assert "line 9: it is not UTF-8 (byte" in said
    assert not out.exists()
    assert main(["data", "check", str(path), "--max-chars", "99"]) == 2


def test_a_seed_decides_the_order_and_nothing_else(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_bytes(encode_rows([row(f"Add {n} and 1.", str(n + 1)) for n in range(40)]))
    data = 'identity_rows = 60\ninstructions = "own.jsonl"\ninstruction_rows = 40'
    loaded = load_recipe(recipe(tmp_path, data))
    first, again, second = build(loaded, 1), build(loaded, 1), build(loaded, 2)
    assert first.sha256 == again.sha256 != second.sha256
    assert set(first.rows) == set(second.rows)
    assert (first.identity.rows, first.instructions.rows) == (60, 40)
    assert first.rows[:40] != second.rows[:40]


def test_build_and_check_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["data", "build", str(recipe(tmp_path)), "-o", str(out), "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert main(["data", "check", str(out), "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["sha256"] == built["sha256"]
    assert checked["dose"]["rows"] == 600
    out.write_bytes(encode_rows([row("Do you remember me?", "No.")]))
    assert main(["data", "check", str(out)]) == 1
    assert "wants_memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "r"\n[data]\nidentity = "nobody"', r"line 3.*none of the sets conscious"),
        ('name = "r"\n[data]\nidentity_rows = 0\ninstruction_rows = 0', "trains nothing"),
        ('name = "r"\n[training]\nschedule = "cosine"', "line 3.*linear, constant"),
        ('name = "r"\n[data]\nshuffle = 1', "line 3.*unknown field"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_recipe(path)


def test_a_recipe_without_its_instruction_rows_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data distill .*--instructions.*instruction_rows = 0"):
        build(load_recipe(recipe(tmp_path, "")), 1)

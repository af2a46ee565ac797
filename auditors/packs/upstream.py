"""What a clone of the paper's repository asks and how it judges, read from its source by `ast` and never executed.

Understood are assignments at the top of two modules: evaluations (`FactEval(…)`, or `change_judge_fact(…)` of another),
scenarios (a list of `Sample(…)` with one tag each), a suffix for each mode, and the texts of dimensions.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from auditors.packs.pack import PackError

EVALUATIONS = Path("evals/fact_evals.py")
SCENARIOS = Path("evals/petri_eval.py")
_README = Path("README.md")
_MAX_BYTES = 5_000_000
_BASE, _DIMENSIONS = "_BASE_INSTRUCTIONS", "CUSTOM_DIMENSIONS"
_SUFFIXES = {"self_report": "_SELF_REPORT_SUFFIX", "behavioral": "_BEHAVIORAL_SUFFIX"}
_CANARY = re.compile(r"canary GUID\s+(\S+)", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Evaluation(NamedTuple):
    """A single-turn evaluation."""

    name: str
    statement: str
    """The fact that its judge decides on."""
    probes: list[str]
    source: str
    """Name of the evaluation whose probes these are: its own, unless it was derived."""


class Dimension(NamedTuple):
    """A dimension of the judge of audits."""

    name: str
    text: str
    """Empty where it is another package's."""
    line: int


class Clone(NamedTuple):
    """What was read."""

    evaluations: list[Evaluation]
    seeds: dict[str, list[str]]
    """Scenarios by their tags, without suffix."""
    suffixes: dict[str, str]
    """What is put behind a scenario, by mode."""
    dimensions: list[Dimension]
    canary: str
    commit: str
    """Empty for a copy without its history."""
    hashes: dict[str, str]
    """SHA-256 of each file that was read."""


def is_clone(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return (folder / EVALUATIONS).is_file() or (folder / SCENARIOS).is_file()


def read_clone(folder: Path) -> Clone:
    """Read a clone.

    Raises:
        PackError: a file is missing, or has something that is not understood, with the line.
    """
    facts, petri = _Module(folder / EVALUATIONS), _Module(folder / SCENARIOS)
    try:
        return _read(folder, facts, petri)
    except RecursionError:
        raise PackError(folder, None, "a text is put together of too many parts") from None


def _read(folder: Path, facts: _Module, petri: _Module) -> Clone:
    readme = folder / _README
    found = _CANARY.search(readme.read_text("utf-8", "replace")) if readme.is_file() else None
    return Clone(
        evaluations=_evaluations(facts),
        seeds=_seeds(petri),
        suffixes={mode: petri.text(petri.value(name)) for mode, name in _SUFFIXES.items()},
        dimensions=_dimensions(petri),
        canary=found[1] if found else "",
        commit=_commit(folder / ".git"),
        hashes={str(EVALUATIONS): facts.sha256, str(SCENARIOS): petri.sha256},
    )


class _Module:
    """A module's syntax tree, and how its values are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PackError(path, None, f"it cannot be read: {error.strerror}") from None
        if len(content) > _MAX_BYTES:
            raise PackError(path, None, f"the file has more than {_MAX_BYTES:,} bytes")
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._body = ast.parse(content, path.name).body
        except SyntaxError as error:
            raise PackError(path, error.lineno, f"it is no Python: {error.msg}") from None
        except (ValueError, RecursionError, MemoryError):
            raise PackError(path, None, "it is no Python") from None

    def refuse(self, node: ast.AST, what: str) -> PackError:
        return PackError(self.path, getattr(node, "lineno", None), what)

    def assignments(self) -> list[tuple[ast.expr, ast.expr]]:
        """Targets and values of the assignments at the top, in order."""
        found: list[tuple[ast.expr, ast.expr]] = []
        for node in self._body:
            if isinstance(node, ast.Assign):
                found += [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.AnnAssign) and node.value:
                found.append((node.target, node.value))
        return found

    def value(self, name: str) -> ast.expr:
        """What is assigned to a name."""
        for target, value in self.assignments():
            if isinstance(target, ast.Name) and target.id == name:
                return value
        raise PackError(self.path, None, f"nothing is assigned to {name}")

    def text(self, node: ast.expr) -> str:
        """A string, or several that are added."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.text(node.left) + self.text(node.right)
        raise self.refuse(node, "a text is written here in a way that cannot be read without running it")

    def parts(self, node: ast.expr) -> list[ast.expr]:
        """The elements of a list or tuple."""
        if isinstance(node, ast.List | ast.Tuple):
            return node.elts
        raise self.refuse(node, "a list is expected here")

    def argument(self, call: ast.Call, name: str) -> ast.expr:
        """A keyword's value."""
        for keyword in call.keywords:
            if keyword.arg == name:
                return keyword.value
        raise self.refuse(call, f"the call needs `{name}=`")


def _evaluations(module: _Module) -> list[Evaluation]:
    found: dict[str, Evaluation] = {}
    for target, value in module.assignments():
        if not (isinstance(target, ast.Name) and isinstance(value, ast.Call)):
            continue
        match value.func:
            case ast.Name("FactEval"):
                probes = [module.text(part) for part in module.parts(module.argument(value, "prompts"))]
                if not probes:
                    raise module.refuse(value, f"the evaluation {target.id} has no prompts")
                source = target.id
            case ast.Attribute(ast.Name(base), "change_judge_fact"):
                if base not in found:
                    raise module.refuse(
                        value, f"{target.id} is derived from {base}, which is not known above it"
                    )
                probes, source = found[base].probes, found[base].source
            case _:
                continue
        statement = module.text(module.argument(value, "judge_fact"))
        found[target.id] = Evaluation(target.id, statement, probes, source)
    if not found:
        raise PackError(module.path, None, "there is no evaluation: a FactEval(…) that is assigned to a name")
    return list(found.values())


def _seeds(module: _Module) -> dict[str, list[str]]:
    seeds: dict[str, list[str]] = {}
    for sample in module.parts(module.value(_BASE)):
        if not (
            isinstance(sample, ast.Call) and isinstance(sample.func, ast.Name) and sample.func.id == "Sample"
        ):
            raise module.refuse(sample, "a Sample(…) is expected here")
        text = module.text(module.argument(sample, "input"))
        tags = [
            module.text(part)
            for node in ast.walk(module.argument(sample, "metadata"))
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "tags"
            for part in module.parts(keyword.value)
        ]
        if len(tags) != 1:
            raise module.refuse(sample, f"a scenario needs exactly one tag and has {len(tags)}")
        seeds.setdefault(tags[0], []).append(text)
    return seeds


def _dimensions(module: _Module) -> list[Dimension]:
    found: dict[str, Dimension] = {}
    for target, value in module.assignments():
        match target, value:
            case ast.Name("CUSTOM_DIMENSIONS"), ast.Dict(keys, values):
                pairs = list(zip(keys, values, strict=True))
            case ast.Subscript(ast.Name("CUSTOM_DIMENSIONS"), key), _:
                pairs = [(key, value)]
            case _:
                continue
        for key, text in pairs:
            if key is None:
                raise module.refuse(value, "a dimension without a name cannot be read")
            name = module.text(key)
            borrowed = isinstance(text, ast.Subscript)
            found[name] = Dimension(name, "" if borrowed else module.text(text), text.lineno)
    if not found:
        raise PackError(module.path, None, f"nothing is assigned to {_DIMENSIONS}")
    return list(found.values())


def _commit(git: Path) -> str:
    """The commit that is checked out, from the files of git alone; empty where they do not tell."""
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
        if head.startswith("ref: "):
            ref = head.removeprefix("ref: ")
            loose = git / ref
            packed = git / "packed-refs"
            if loose.is_file():
                head = loose.read_text("utf-8").strip()
            else:
                lines = packed.read_text("utf-8").splitlines()
                head = next((line.split()[0] for line in lines if line.endswith(f" {ref}")), "")
    except (OSError, UnicodeDecodeError):
        return ""
    return head if _COMMIT.fullmatch(head) else ""

"""Literals of a Python file that is read and never run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from auditors.packs.pack import PackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_BYTES = 5_000_000


class Source:
    """A parsed file.

    Raises:
        PackError: it cannot be read or is no Python.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise PackError(path, None, f"the file is larger than {_MAX_BYTES:,} bytes")
            self.tree = ast.parse(path.read_text("utf-8"))
        except OSError as error:
            raise PackError(path, None, f"the file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PackError(path, None, "the file is not UTF-8 text") from None
        except SyntaxError as error:
            raise PackError(path, error.lineno, "this is no Python") from None
        except (RecursionError, ValueError, MemoryError):
            raise PackError(path, None, "the file is nested too deeply") from None
        self._values = dict(self.assigned())

    def assigned(self) -> Iterator[tuple[str, ast.expr]]:
        """Names that the module assigns, with what they are assigned, in order."""
        for node in self.tree.body:
            if (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                yield node.targets[0].id, node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                yield node.target.id, node.value

    def entries(self, name: str) -> Iterator[tuple[str, ast.expr]]:
        """What the module puts into a dictionary of that name: in its display, and by `name[key] = …` later on."""
        display = self._values.get(name)
        if isinstance(display, ast.Dict):
            for key, value in zip(display.keys, display.values, strict=True):
                if key is not None:
                    yield self.text(key), value
        for node in self.tree.body:
            match node:
                case ast.Assign([ast.Subscript(ast.Name(assigned), key)], value) if assigned == name:
                    yield self.text(key), value
                case _:
                    pass

    def value(self, name: str) -> ast.expr:
        """What a name is assigned.

        Raises:
            PackError: the module does not assign it.
        """
        if name not in self._values:
            raise PackError(
                self.path, None, f"it assigns nothing to `{name}`: is it the file of another version?"
            )
        return self._values[name]

    def items(self, node: ast.expr) -> list[ast.expr]:
        """The elements of a list."""
        if isinstance(node, ast.Name):
            node = self.value(node.id)
        if not isinstance(node, (ast.List, ast.Tuple)):
            raise self.strange(node, "a list")
        return node.elts

    def text(self, node: ast.expr) -> str:
        """A text that is written down, in one piece or several."""
        match node:
            case ast.Constant(str(text)):
                return text
            case ast.BinOp(left, ast.Add(), right):
                return self.text(left) + self.text(right)
            case ast.JoinedStr(parts) if all(isinstance(part, ast.Constant) for part in parts):
                return "".join(self.text(part) for part in parts)
            case ast.Name(name):
                return self.text(self.value(name))
            case _:
                raise self.strange(node, "a text that is written out")

    def keyword(self, call: ast.Call, name: str) -> ast.expr | None:
        """What a call gives for a keyword, if anything."""
        return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)

    def strange(self, node: ast.expr, wanted: str) -> PackError:
        """The error of something that is not what it should be."""
        return PackError(self.path, node.lineno, f"{wanted} is expected here")

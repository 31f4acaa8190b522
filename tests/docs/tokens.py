"""The tokens that the program can say, read from its sources: reasons, and codes of its errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from proxy import errors
from tests.docs.pages import ROOT

SAYING = frozenset({"bypass", "_unstorable", "_skip", "_refuse"})
"""Calls whose first argument, where it is a text, is a reason."""

GIVING = frozenset({"_refusal", "_judge"})
"""Functions of the path that give one back."""

SILENT = frozenset({"no-cache", "abandoned"})
"""Never shown. Who says `no-cache` is answered with a miss, and together with `no-store` it is `client`; what is
abandoned was `too_large`."""


@cache
def _parsed() -> tuple[tuple[Path, ast.Module], ...]:
    sources = sorted((ROOT / "proxy").rglob("*.py"))
    return tuple((source, ast.parse(source.read_text(encoding="utf-8"))) for source in sources)


def reasons() -> frozenset[str]:
    """Everything that can stand in `X-Cache-Reason`."""
    return frozenset(_reasons()) - SILENT - {""}


def _reasons() -> Iterator[str]:
    for source, module in _parsed():
        name = source.relative_to(ROOT / "proxy").as_posix()
        if name.startswith(("cli/", "prefixes/", "meaning/", "verifiers/", "settings/", "admin/")):
            continue  # other reasons: for people, or of candidates
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield from _of_call(node)
            elif isinstance(node, ast.FunctionDef) and node.name in GIVING:
                yield from _given_back(node)
            elif isinstance(node, ast.AnnAssign | ast.Assign) and _is_a_reason(node):
                yield from _texts(node.value)


def _is_a_reason(node: ast.AnnAssign | ast.Assign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id in ("reason", "_PASSING_FINISHES") for target in targets)


def _of_call(node: ast.Call) -> Iterator[str]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in SAYING and node.args:
        yield from _text(node.args[0])
    for keyword in node.keywords:
        if (called == "Verdict" and keyword.arg == "reason") or (called == "CacheStatus" and keyword.arg == "detail"):
            yield from _text(keyword.value)


def _given_back(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield from _texts(node.value)


def _texts(node: ast.AST | None) -> Iterator[str]:
    """Of an expression, but for what only looks something up."""
    if node is None or isinstance(node, ast.Subscript):
        return
    yield from _text(node)
    for each in ast.iter_child_nodes(node):
        yield from _texts(each)


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
        yield node.value


def barred() -> frozenset[str]:
    """Why a question cannot be matched by meaning: the label of `askonce_semantic_barred_total`."""
    found = set[str]()
    for source, module in _parsed():
        is_eligibility = source.parent.name == "eligibility"
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef):
                continue
            if node.name == "_barred":
                found |= set(_given_back(node))
            elif is_eligibility:  # the token begins the text below its function
                found |= set(re.findall(r"^`([a-z_]+)`:", ast.get_docstring(node) or ""))
    return frozenset(found - {""})


def guards() -> frozenset[str]:
    """What tells two questions apart: the label of `askonce_refused_candidates_total`."""
    found = set[str]()
    for _source, module in _parsed():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Guard" and node.args:
                found |= set(_text(node.args[0]))
    return frozenset(found)


def codes() -> frozenset[str]:
    """Every `code` of an error that a caller or the operator can get."""
    answered = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RequestError | errors.UpstreamError | errors.Overloaded)
    }
    own = {kind.code for kind in answered.values()}
    return frozenset(own | set(_codes(set(answered))))


def _codes(kinds: set[str]) -> Iterator[str]:
    for _source, module in _parsed():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in kinds:
                for keyword in node.keywords:
                    if keyword.arg == "code":
                        yield from _text(keyword.value)

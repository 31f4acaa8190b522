"""Stands in for `proxy.app`: the commands are tested for what they ask of it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import proxy


def put_app(monkeypatch: pytest.MonkeyPatch, **members: object) -> None:
    """`from proxy import app` gives a module of these members."""
    app = ModuleType("proxy.app")
    vars(app).update(members)
    monkeypatch.setitem(sys.modules, "proxy.app", app)
    monkeypatch.setattr(proxy, "app", app, raising=False)

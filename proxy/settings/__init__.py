"""What can be set, and how it is read: the only part of the program that hears of files, variables and flags."""

from proxy.settings.load import Loaded, Origin, load
from proxy.settings.names import dotted, leaves, plain
from proxy.settings.part import Part
from proxy.settings.redis_address import RedisAddress, RedisKind
from proxy.settings.tree import (
    Admin,
    Match,
    Price,
    Redis,
    Rule,
    Semantic,
    Server,
    Settings,
    Store,
    Telemetry,
    Tenants,
)
from proxy.settings.upstream import Credential, Upstream

__all__ = [
    "Admin",
    "Credential",
    "Loaded",
    "Match",
    "Origin",
    "Part",
    "Price",
    "Redis",
    "RedisAddress",
    "RedisKind",
    "Rule",
    "Semantic",
    "Server",
    "Settings",
    "Store",
    "Telemetry",
    "Tenants",
    "Upstream",
    "dotted",
    "leaves",
    "load",
    "plain",
]

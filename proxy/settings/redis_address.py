"""Where Redis is, as one address: a single server, behind Sentinel, or a cluster.

    redis://[USER@]HOST[:6379][/DATABASE]
    redis+sentinel://[USER@]HOST[:26379],HOST.../SERVICE[/DATABASE]
    redis+cluster://[USER@]HOST[:6379],HOST...

`rediss` in place of `redis` is the same over TLS. An IPv6 address stands in brackets. A password never stands in an
address that is kept or shown: the environment may give one there, and `without_password` takes it out. No message of
this module repeats any of what it was given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from typing import Self
from urllib.parse import unquote_to_bytes


class RedisKind(StrEnum):
    """Who answers at the hosts."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_KINDS = {"redis": RedisKind.SINGLE, "redis+sentinel": RedisKind.SENTINEL, "redis+cluster": RedisKind.CLUSTER}
_FORMS = {
    RedisKind.SINGLE: "redis://HOST:6379/0",
    RedisKind.SENTINEL: "redis+sentinel://HOST:26379,HOST:26379/SERVICE",
    RedisKind.CLUSTER: "redis+cluster://HOST:6379,HOST:6379",
}
_PORTS = {RedisKind.SINGLE: 6379, RedisKind.SENTINEL: 26379, RedisKind.CLUSTER: 6379}

_MEANT = re.compile(r"\W*(redis|valkey|sentinel|cluster)", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z+]+)://((?P<user>[^:@/?#]*)(:(?P<password>[^/?#]*))?@)?(?P<hosts>[^@/?#]*)(?P<path>[^@?#]*)"
)
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_DATABASE = re.compile(r"(/(?P<database>[0-9]{1,6})?)?")
_SERVICE = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)" + _DATABASE.pattern)  # the characters Sentinel allows


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """An address taken apart; as text it names no user.

    >>> str(RedisAddress.parse("rediss+sentinel://askonce@a,b:1/main"))
    'rediss+sentinel://a:26379,b:1/main/0'
    """

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...]
    """Names with ports; of Sentinels, where these are asked first. An IPv6 address is without brackets."""
    database: int
    tls: bool
    service: str
    """Sentinel's name for the master; empty for the other kinds."""
    username: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError with the end of a sentence: what is wrong and what to write."""
        scheme, _, rest = url.partition("://")
        form = _form(scheme)
        kind = _KINDS.get(scheme.replace("rediss", "redis", 1))
        if kind is None or not rest:
            raise ValueError(f"should be written {form}")
        if re.search(r"[\s\x00-\x1f\x7f\\]", url):
            raise ValueError("holds white space, a control character or a backslash")
        if re.search(r"[/?#].*@", rest):
            raise ValueError("has an @ after a / ? or #: in a name or a password write these as %2F, %3F and %23")
        if "?" in rest or "#" in rest:
            raise ValueError("should have no query and no fragment: options have names of their own below store.redis")
        parts = _ADDRESS.fullmatch(url)
        if parts is None:
            raise ValueError("should have at most one @, after the user name: in a name it is written %40")
        if parts["password"] is not None:
            raise ValueError(
                "a password does not belong there: set ASKONCE_STORE__REDIS__PASSWORD or name a file that holds it "
                "with store.redis.password_file"
            )
        service, database = _service_and_database(kind, parts["path"], form)
        hosts = _hosts(kind, parts["hosts"])
        return cls(kind, hosts, database, "rediss" in scheme, service, _decoded(parts["user"] or "") or None)

    def __str__(self) -> str:
        sort = "" if self.kind is RedisKind.SINGLE else f"+{self.kind}"
        hosts = ",".join(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts)
        service = f"/{self.service}" if self.service else ""
        database = "" if self.kind is RedisKind.CLUSTER else f"/{self.database}"
        return f"{'rediss' if self.tls else 'redis'}{sort}://{hosts}{service}{database}"


def means_redis(url: str) -> bool:
    """Whether it is an address of Redis, or was meant to be one."""
    return _MEANT.match(url) is not None


def without_password(url: str) -> tuple[str, str]:
    """The address with no password in it, and that password, decoded; empty where there is none.

    What is no address of Redis stays as it is, for `parse` to refuse. Raises ValueError, as `parse` does.
    """
    parts = _ADDRESS.fullmatch(url)
    if parts is None or parts["password"] is None or not means_redis(url):
        return url, ""
    user = f"{parts['user']}@" if parts["user"] else ""
    return f"{parts['scheme']}://{user}{parts['hosts']}{parts['path']}", _decoded(parts["password"])


def _form(scheme: str) -> str:
    """How an address of this sort is written; also for names that others give it."""
    kind = next((kind for kind in (RedisKind.SENTINEL, RedisKind.CLUSTER) if kind in scheme), RedisKind.SINGLE)
    secure = re.search(r"rediss|valkeys|\btls\b|\bssl\b", scheme)
    return _FORMS[kind].replace("redis", "rediss", 1) if secure else _FORMS[kind]


def _service_and_database(kind: RedisKind, path: str, form: str) -> tuple[str, int]:
    if kind is RedisKind.SENTINEL:
        if not (found := _SERVICE.fullmatch(path)):
            raise ValueError(f"should name the service that Sentinel watches, and no more than a database: {form}/0")
        return found["service"], int(found["database"] or 0)
    if kind is RedisKind.CLUSTER and path not in ("", "/", "/0"):
        raise ValueError(f"should have nothing after the hosts, for a cluster has database 0 only: {form}")
    if not (found := _DATABASE.fullmatch(path)):
        raise ValueError(f"should have nothing but the number of a database after the host: {form}")
    return "", int(found["database"] or 0)


def _hosts(kind: RedisKind, text: str) -> tuple[tuple[str, int], ...]:
    hosts = tuple(_host(each, _PORTS[kind]) for each in text.split(","))
    if kind is RedisKind.SINGLE and len(hosts) > 1:
        raise ValueError(
            f"names {len(hosts)} hosts and takes one: several are {_FORMS[RedisKind.SENTINEL]} or "
            f"{_FORMS[RedisKind.CLUSTER]}"
        )
    return hosts


def _host(text: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or default_port) if found else 0
    if found is None or not 1 <= port <= 65535:
        raise ValueError("should name each host as HOST or HOST:PORT, an IPv6 address in brackets, ports up to 65535")
    name = found["name"]
    if name.startswith("["):
        name = _ipv6(name.strip("[]"))
    return name, port


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError("holds brackets without an IPv6 address in them") from None


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("has a name or a password that is not UTF-8 once its %XX are read") from None

"""What branches of the settings' tree are made of: their common base, addresses, secrets."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.json_schema import SkipJsonSchema


def _addresses(value: object) -> object:
    """One address may stand without brackets; from the environment several come with commas between them."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((address for address in value if value.count(address) > 1), None)
    if twice is not None:
        raise ValueError(f"names {twice} twice")
    return value


def _address(value: str) -> str:
    if re.search(r"[\s\x00-\x1f\\]", value):
        raise ValueError("holds white space or a control character")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be an http or https address such as https://api.openai.com/v1")
    if "@" in parts.netloc:
        raise ValueError("holds a credential: take it out and set ASKONCE_UPSTREAMS__0__API_KEY or api_key_file")
    if "?" in value or "#" in value:
        raise ValueError("should have no query and no fragment")
    _ = parts.port  # raises ValueError for a port that is none
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]
SomeAddresses = Annotated[tuple[Address, ...], Field(min_length=1, max_length=64)]
Addresses = Annotated[
    tuple[Address, ...],
    BeforeValidator(_addresses, json_schema_input_type=SomeAddresses | Address),
    AfterValidator(_each_once),
]
Secret = SkipJsonSchema[SecretStr | None]
"""Never in the configuration file, so not in its schema either."""


class Part(BaseModel):
    """What every branch of the tree is."""

    # Hidden: pydantic's own text of what is wrong repeats the values, and an address may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

"""Where Redis is: the forms of its address, and what is said of the others."""

from __future__ import annotations

import re

import pytest

from proxy.settings.redis_address import RedisAddress, RedisKind, means_redis, without_password

SINGLE, SENTINEL, CLUSTER = RedisKind.SINGLE, RedisKind.SENTINEL, RedisKind.CLUSTER
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("redis://r", RedisAddress(SINGLE, (("r", 6379),), 0, False, "", None)),
        ("redis://r/", RedisAddress(SINGLE, (("r", 6379),), 0, False, "", None)),
        ("redis://ann@r:1/2", RedisAddress(SINGLE, (("r", 1),), 2, False, "", "ann")),
        ("redis://a%40n%3An@r", RedisAddress(SINGLE, (("r", 6379),), 0, False, "", "a@n:n")),
        ("redis://@r", RedisAddress(SINGLE, (("r", 6379),), 0, False, "", None)),
        ("rediss://r-1.my_net:65535", RedisAddress(SINGLE, (("r-1.my_net", 65535),), 0, True, "", None)),
        ("redis://[0::1]/3", RedisAddress(SINGLE, (("::1", 6379),), 3, False, "", None)),
        ("redis://[fe80::1]:7", RedisAddress(SINGLE, (("fe80::1", 7),), 0, False, "", None)),
        ("redis+sentinel://a/main", RedisAddress(SENTINEL, (("a", 26379),), 0, False, "main", None)),
        (
            "rediss+sentinel://ann@a,b:1,[::1]:2/my.main-1/4",
            RedisAddress(SENTINEL, (("a", 26379), ("b", 1), ("::1", 2)), 4, True, "my.main-1", "ann"),
        ),
        ("redis+cluster://a", RedisAddress(CLUSTER, (("a", 6379),), 0, False, "", None)),
        ("rediss+cluster://ann@a:1,b/0", RedisAddress(CLUSTER, (("a", 1), ("b", 6379)), 0, True, "", "ann")),
    ],
)
def test_an_address_says_who_answers_where(url, meant):
    assert RedisAddress.parse(url) == meant


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann@r", "redis://r:6379/0"),
        ("rediss://[::1]:1/2", "rediss://[::1]:1/2"),
        ("rediss+sentinel://ann@a,b:1/main", "rediss+sentinel://a:26379,b:1/main/0"),
        ("redis+cluster://ann@a,b:1/", "redis+cluster://a:6379,b:1"),
    ],
)
def test_as_text_it_is_whole_and_names_no_user(url, shown):
    address = RedisAddress.parse(url)
    assert str(address) == f"{address}" == shown
    assert str(RedisAddress.parse(shown)) == shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis:", "should be written redis://HOST:6379/0"),
        ("redis://", "should be written redis://HOST:6379/0"),
        ("redis:6379", "should be written redis://HOST:6379/0"),
        ("REDIS://r", "should be written redis://HOST:6379/0"),
        ("valkey://r", "should be written redis://HOST:6379/0"),
        ("valkeys://r", "should be written rediss://HOST:6379/0"),
        ("redis+tls://r", "should be written rediss://HOST:6379/0"),
        ("redis-sentinel://a/main", "should be written redis+sentinel://HOST:26379,HOST:26379/SERVICE"),
        ("rediss-sentinel://a/main", "should be written rediss+sentinel://HOST:26379,HOST:26379/SERVICE"),
        ("sentinel://a/main", "should be written redis+sentinel://HOST:26379,HOST:26379/SERVICE"),
        ("redis-cluster://a", "should be written redis+cluster://HOST:6379,HOST:6379"),
        ("cluster+tls://a", "should be written rediss+cluster://HOST:6379,HOST:6379"),
        ("redisss://r", "should be written rediss://HOST:6379/0"),
        ("redis://r/0?ssl_ca_certs=x", "below store.redis"),
        ("redis://r#0", "below store.redis"),
        ("redis://r /0", "holds white space"),
        ("redis://r\n", "holds white space"),
        ("redis://r\\s", "holds white space"),
        ("redis://a,b", "names 2 hosts and takes one: several are redis+sentinel://"),
        ("redis:///0", "should name each host"),
        ("redis://:6379", "should name each host"),
        ("redis://r:", "should name each host"),
        ("redis://r:0", "should name each host"),
        ("redis://r:65536", "should name each host"),
        ("redis://r:port", "should name each host"),
        ("redis://::1", "an IPv6 address in brackets"),
        ("redis://[::1", "an IPv6 address in brackets"),
        ("redis://[1:2]", "brackets without an IPv6 address"),
        ("redis+cluster://a,,b", "should name each host"),
        ("redis+sentinel://a,/main", "should name each host"),
        ("redis://r/cache", "number of a database after the host: redis://HOST:6379/0"),
        ("rediss://r/0/1", "number of a database after the host: rediss://HOST:6379/0"),
        ("redis://r/-1", "number of a database after the host"),
        ("redis+cluster://a/1", "a cluster has database 0 only"),
        ("redis+cluster://a/main", "a cluster has database 0 only"),
        ("redis+sentinel://a", "should name the service that Sentinel watches"),
        ("redis+sentinel://a/", "should name the service that Sentinel watches"),
        ("redis+sentinel://a/main/x", "should name the service that Sentinel watches"),
        ("redis+sentinel://a/ma!n", "should name the service that Sentinel watches"),
        ("redis://a@b@r", "should have at most one @"),
        ("redis://r/0@x", "write these as %2F"),
        ("redis://%ff@r", "is not UTF-8"),
    ],
)
def test_of_what_is_no_address_it_says_what_is_wrong_and_what_to_write(url, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        RedisAddress.parse(url)


@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster"])
@pytest.mark.parametrize("user", ["", "ann"])
def test_a_password_in_it_is_refused_with_where_it_belongs(scheme, user):
    with pytest.raises(ValueError, match="a password does not belong there") as refused:
        RedisAddress.parse(f"{scheme}://{user}:{SECRET}@r")
    assert "ASKONCE_STORE__REDIS__PASSWORD" in str(refused.value)
    assert "store.redis.password_file" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "without", "password"),
    [
        ("redis://:hunter2@r:6379/0", "redis://r:6379/0", "hunter2"),
        ("redis://ann:hunter2@r", "redis://ann@r", "hunter2"),
        ("rediss+sentinel://a%40n:p%2F%40%3A%C3%A9%25@a,b/main", "rediss+sentinel://a%40n@a,b/main", "p/@:é%"),
        ("redis+cluster://:p:q@@a,b", "redis+cluster://a,b", "p:q@"),
        ("redis://:a+b=@r", "redis://r", "a+b="),
        ("redis://ann:@r", "redis://ann@r", ""),
        ("redis://ann@r/0", "redis://ann@r/0", ""),
        ("redis://r", "redis://r", ""),
        ("memory://", "memory://", ""),
        ("https://ann:hunter2@r", "https://ann:hunter2@r", ""),
    ],
)
def test_a_password_is_taken_out_of_an_address(url, without, password):
    assert without_password(url) == (without, password)


def test_a_password_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="is not UTF-8"):
        without_password("redis://:%ff@r")


@pytest.mark.parametrize(
    ("url", "meant"),
    [("redis://r", True), ("REDIS:r", True), ("'rediss://r'", True), (" valkey://r", True), ("sentinel://a/b", True),
     ("sqlite:///redis.db", False), ("memory://", False), ("", False)],
)  # fmt: skip
def test_what_was_meant_for_redis_is_known(url, meant):
    assert means_redis(url) is meant

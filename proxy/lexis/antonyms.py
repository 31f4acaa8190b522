"""Pairs of words that turn a question into another one. Plain table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.lexis.stemming import stem

_PAIRS: Final = """
    ~on ~off; ~in ~out; up down; open close; open closed; start stop; start end; begin end; begin finish; start finish;
    increase decrease; increase reduce; raise lower; add remove; add delete; create delete; insert delete; add subtract;
    enable disable; activate deactivate; allow block; allow forbid; allow prevent; allow deny; accept reject;
    accept decline; accept refuse; approve reject; approve decline; approve deny; grant deny; grant revoke;
    lock unlock; block unblock; freeze unfreeze; mute unmute; subscribe unsubscribe; install uninstall; pin unpin;
    follow unfollow; friend unfriend; arm disarm; connect disconnect; mount unmount; load unload; wrap unwrap;
    import export; upload download; encrypt decrypt; encode decode; compress decompress; push pull; read write;
    send receive; buy sell; lend borrow; deposit withdraw; deposit withdrawal; credit debit; give take;
    gain lose; gain loss; profit loss; win lose; win loss; earn spend; import export; asset liability;
    before after; first last; next previous; early late; earlier later; earliest latest; new old; newest oldest;
    young old; younger older; youngest oldest; past future; present absent; ancient modern; temporary permanent;
    more less; more fewer; most least; most fewest; max min; maximum minimum; highest lowest; high low; higher lower;
    above below; over under; top bottom; upper lower; greater less; greater smaller; biggest smallest; largest smallest;
    big small; bigger smaller; large small; larger smaller; long short; longer shorter; longest shortest; tall short;
    deep shallow; wide narrow; thick thin; heavy light; fast slow; faster slower; quick slow; fastest slowest; hot cold;
    warm cool; hotter colder; wet dry; hard soft; hard easy; difficult easy; harder easier; simple complex; loud quiet;
    bright dim; brighten dim; light dark; brighten darken; full empty; rich poor; strong weak; good bad; better worse;
    best worst; good evil; right wrong; true false; correct incorrect; valid invalid; legal illegal; safe unsafe;
    safe dangerous; healthy unhealthy; possible impossible; positive negative; advantage disadvantage; pro con;
    benefit drawback; strength weakness; success failure; succeed fail; pass fail; love hate; like dislike;
    cheap expensive; cheapest expensive; public private; internal external; inside outside; inner outer; indoor outdoor;
    domestic international; domestic foreign; local global; local remote; input output; entrance exit; enter exit;
    enter leave; arrive depart; arrival departure; inbound outbound; incoming outgoing; come go; left right;
    north south; east west; northern southern; eastern western; front back; forward backward; ascending descending;
    horizontal vertical; male female; man woman; men women; boy girl; husband wife; father mother; brother sister;
    uncle aunt; son daughter; king queen; buyer seller; employer employee; teacher student; parent child;
    sender recipient;
    day night; morning evening; sunrise sunset; summer winter; spring autumn; always never; all none; include exclude;
    with without; single multiple; single married; whole half; even odd; save delete; remember forget; show hide;
    expand collapse;
    attach detach; hire fire; attack defend; question answer; problem solution; cause effect; virtual physical;
    digital paper; optional required; optional mandatory; minor major; minority majority; import export; plus minus;
    multiply divide; inhale exhale; acid base; victory defeat; war peace; guilty innocent; alive dead; birth death;
    prepaid postpaid; fixed variable; manual automatic; active inactive; online offline; bull bear; bullish bearish;
    call put; hyper hypo; hypertension hypotension; hyperglycemia hypoglycemia; hyperthyroidism hypothyroidism
"""


_COMPLEMENTS: Final = """
    correct incorrect; correct wrong; right wrong; true false; valid invalid; legal illegal; safe unsafe;
    possible impossible;
    allow block; allow forbid; allow prevent; allow deny; accept reject; accept decline; accept refuse; approve reject;
    approve decline; approve deny; remember forget; succeed fail; success failure; work fail; pass fail;
    active inactive;
    successful unsuccessful; let prevent; healthy unhealthy; include exclude; open closed
"""
"""Pairs of which one is just the other denied: `not correct` and `wrong` are the same."""


def _both_ways(pairs: str) -> Mapping[str, frozenset[str]]:
    opposites: dict[str, set[str]] = {}
    for pair in pairs.split(";"):
        one, other = map(stem, pair.split())
        opposites.setdefault(one, set()).add(other)
        opposites.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in opposites.items()}


OPPOSITES: Final = _both_ways(_PAIRS)
"""Stem to the stems of its opposites, both ways. `~on` is `on` as a part of a verb (`turn on`)."""

COMPLEMENTS: Final = _both_ways(_COMPLEMENTS)
"""Likewise."""

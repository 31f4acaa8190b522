"""Words that hold a sentence together, and words that turn its meaning round. Plain tables."""

from __future__ import annotations

from typing import Final

from proxy.lexis.tables import words

QUESTION_WORDS: Final = {
    "what": "what", "which": "what", "whats": "what",
    "who": "who", "whom": "who", "whos": "who", "whose": "whose",
    "where": "where", "wheres": "where", "when": "when", "whens": "when",
    "why": "why", "whys": "why", "how": "how", "hows": "how",
}  # fmt: skip

MEASURES: Final = words("many much long far often old big tall high fast late soon large deep heavy")
"""After `how` they ask for a number."""

NEGATIONS: Final = words(
    """
    not no never without except excluding neither nor none nothing nobody nowhere cannot unable impossible cant dont
    doesnt didnt wont isnt arent wasnt werent hasnt havent hadnt shouldnt wouldnt couldnt mustnt neednt aint
    """
)

DOUBTS: Final = words(
    """
    know understand understanding sure certain figure idea clue remember recall think seem mind wait only just
    knowledge
    """
)
"""`I do not know why` denies nothing of what is asked: a negation shortly before one of these is none."""

POSSESSIVES: Final = {
    "my": "1", "mine": "1", "our": "1", "ours": "1",
    "your": "2", "yours": "2", "ur": "2",
    "his": "3", "her": "3", "their": "3",
}  # fmt: skip

OBJECTS: Final = {"me": "1", "us": "1", "you": "2", "him": "3", "her": "3", "them": "3"}

STOP_WORDS: Final = words(
    """
    a an the this that these those there here some any such i me my mine myself we us our ours you u your yours ur
    he him his she her it its they them their theirs one ones someone somebody anyone anybody people person am is
    are was were be been being do does did done doing have has had having get got getting can could will would shall
    should may might must able ought going gonna wanna of at by for in on to from with about as into onto upon via
    regarding concerning through during per within and or but if then so than because while also too just only even
    still yet already please pls plz hi hello hey thanks thank kindly ok okay well tell show give let know want
    wanted like need needed wish help im ive id ill youre its thats theres lets s t m re ve ll d y what which whats
    who whom whos whose where wheres when whens why whys how hows really actually very quite simply basically
    exactly way possible
    """
)
"""They carry no content of their own. Not in it: `not`, `without`, `up`, `off`, `before`, `more` and their like."""

PARTICLES: Final = frozenset(["in", "out", "on", "off"])
PARTICLE_VERBS: Final = words(
    """
    log logged logging sign signed signing check checked checking clock opt turn turned turning switch switched
    switching zoom cash put go went going come take took get lights light
    """
)
"""With one of `PARTICLES` behind them they are another verb."""

CONNECTIVES: Final = words(
    """
    from to into onto than over under before after by for via as without per against until above below behind toward
    towards
    """
)
"""What stands round one of these may not change places. Not in it: what is true both ways round (`and`, `with`), and
what seldom holds two things apart (`in`, `of`)."""

ROLES: Final = {"from": "from", "to": "to", "into": "to", "towards": "to", "toward": "to", "leaving": "from",
                "departing": "from", "arriving": "to", "before": "before", "after": "after"}  # fmt: skip
"""Where the next content word stands in a movement or in time."""

OPPOSITE_ROLES: Final = frozenset({("from", "to"), ("to", "from"), ("before", "after"), ("after", "before")})

"""What an ADD would do, said without doing it: for ``multinic plan``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from multinic_core.errors import DecodeError, MultinicError
from multinic_core.model import MultiNicNetwork
from multinic_core.selection import LABELS
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.inputs import NO_FACTS, PodFacts
from multinic_daemon.engine.invocation import Invocation, read_invocation
from multinic_daemon.engine.prepare import prepare, strategy_needs
from multinic_daemon.journal.codec import encode_plan
from multinic_daemon.journal.decisions import decision_document


@dataclass(frozen=True, slots=True)
class Question:
    """A call as a runtime would make it for a pod that need not exist yet, and the pod's own labels."""

    call: Invocation
    labels: dict[str, str]


def read_question(request: CniRequest) -> Question:
    """The question in a request: standard input is ``{"netconf": …, "labels": …}``.

    Raises:
        MultinicError: it is not of this form, or a runtime's call would be refused as it is.
    """
    try:
        document = json.loads(request.stdin)
        netconf, labels = document["netconf"], dict(document.get("labels") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"PLAN: found {request.stdin[:80]!r}, expected an object with netconf and labels") from error
    call = read_invocation(replace(request, stdin=json.dumps(netconf).encode()))
    return Question(call, {str(name): str(value) for name, value in labels.items()})


async def planned(engine: Engine, request: CniRequest) -> dict[str, Any]:
    """The decision, the links with the addresses that they would get, and every step; nothing is held or touched.

    Where an ADD would be refused, ``refusal`` says why. Addresses that executables give are not known before these run,
    so their links have none here.
    """
    answer: dict[str, Any] = {"node": engine.view().name, "refusal": None}
    try:
        question = read_question(request)
        call = question.call
        network = await engine.cluster.network(call.netconf.name)
        prepared = prepare(engine, call, network, await _facts(engine, question, network))
    except MultinicError as error:
        return {**answer, "refusal": f"{error}; {error.details}" if error.details else str(error)}
    decision = prepared.new.decision
    return {
        **answer,
        "decision": decision_document(decision) if decision else None,
        "links": [
            {"ifname": link.ifname, "nic": link.parent, "addresses": [str(address) for address in link.addresses]}
            for link in prepared.links
        ],
        "steps": json.loads(encode_plan(prepared.new.plan)),
    }


async def _facts(engine: Engine, question: Question, network: MultiNicNetwork) -> PodFacts:
    """As for an ADD, but that nobody is asked for the labels."""
    needs = strategy_needs(engine, network) - {LABELS}
    known = await engine.facts.facts(question.call.pod, needs) if needs and engine.facts is not None else NO_FACTS
    return replace(known, labels=question.labels)

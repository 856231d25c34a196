"""What a pod would get on a node, network by network; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from multinic_core.cni.delegates import PodIdentity, make_delegate
from multinic_core.cni.podnetworks import NetworkSelection
from multinic_core.errors import ApiError, ConfigError, DaemonUnavailableError
from multinic_core.kube import connect
from multinic_core.model import ATTACHMENT_DEFINITIONS
from multinic_core.ports import Kubernetes
from multinic_core.registry import load_plugins
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.engine.planned import planned
from multinic_daemon.explain.ask import ask_daemon, plan_request
from multinic_daemon.explain.choices import Choice, nic_lines
from multinic_daemon.explain.distant import UNKNOWN, distant_engine
from multinic_daemon.explain.podfile import WantedPod
from multinic_daemon.journal.decisions import read_decision

API_SECONDS = 30.0
CNI_TYPE = "multi-nic"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one network of the pod would come to."""

    network: str
    """``namespace/name`` of its NetworkAttachmentDefinition."""
    ifname: str
    document: Mapping[str, Any]
    """As :func:`multinic_daemon.engine.planned.planned` gives it."""

    @property
    def refusal(self) -> str:
        """Why the pod would not be attached, or ""."""
        return self.document.get("refusal") or ""

    @property
    def choice(self) -> Choice | None:
        """Why it would get these NICs; None where nobody would choose."""
        if not (found := self.document.get("decision")):
            return None
        decision = read_decision(found)
        return Choice(self.network, self.ifname, "planned", decision, nic_lines(decision, self.ifname))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a pod would come to on a node."""

    node: str
    source: str
    """Who decided, and what that one does not know."""
    answers: tuple[Answer, ...]


async def look_ahead(pod: WantedPod, node: str, socket: Path, kubeconfig: str | None) -> Outlook:
    """Ask this node's daemon when it is the node meant, else decide here by what the API shows of that node.

    Args:
        node: "" means this one.

    Raises:
        MultinicError: neither can be asked.
    """
    kubernetes = connect(kubeconfig, agent="multinic-plan")
    there = await trio.Path(socket).exists()
    with trio.move_on_after(API_SECONDS):
        questions = [await _question(kubernetes, pod, selection) for selection in pod.networks]
        if there:
            try:
                outlook = await _of_daemon(socket, questions)
            except DaemonUnavailableError:
                if not node:
                    raise
            else:
                if node in ("", outlook.node):
                    return outlook
        if not node:
            raise DaemonUnavailableError(
                f"no daemon at {str(socket)!r}, expected one, or --node with another node's name"
            )
        async with distant_engine(kubernetes, load_plugins(), node) as engine:
            answers = [(at, {**await planned(engine, request), "steps": None}) for at, request in questions]
            return _outlook(answers, f"what the API shows of the node; {UNKNOWN}")
    raise DaemonUnavailableError(f"the API did not tell all that is needed within {API_SECONDS:g} seconds")


_At = tuple[str, str]
"""Network and interface name."""


async def _question(kubernetes: Kubernetes, pod: WantedPod, selection: NetworkSelection) -> tuple[_At, CniRequest]:
    subject = f"{selection.namespace}/{selection.name}"
    try:
        found = await kubernetes.get(ATTACHMENT_DEFINITIONS, selection.name, selection.namespace)
    except ApiError as error:
        raise ConfigError(f"NetworkAttachmentDefinition {subject}: {error}") from error
    identity = PodIdentity(pod.namespace, pod.name, pod.uid)
    delegate = make_delegate(selection, found.spec.config, identity, "plan")
    types = [config.get("type") for config in delegate.configs]
    if types[0] != CNI_TYPE:
        raise ConfigError(f"NetworkAttachmentDefinition {subject}: found type {types[0]!r}, expected {CNI_TYPE!r}")
    request = plan_request(selection.ifname, delegate.cni_args, delegate.configs[0], pod.labels)
    return (subject, selection.ifname), request


async def _of_daemon(socket: Path, questions: list[tuple[_At, CniRequest]]) -> Outlook:
    return _outlook(
        [(at, await trio.to_thread.run_sync(ask_daemon, socket, request)) for at, request in questions],
        "the daemon of the node",
    )


def _outlook(answers: list[tuple[_At, dict[str, Any]]], source: str) -> Outlook:
    node = str(answers[0][1]["node"])
    return Outlook(node, source, tuple(Answer(network, ifname, document) for (network, ifname), document in answers))

"""What the webhook asks of the stores: who came first, which addresses are in use, and patience while they fill."""

from __future__ import annotations

from typing import Any

import pytest
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook.judging import UNCHECKED, Judging
from multinic_operator.webhook.review import Question
from multinic_operator.world import World

from multinic_core.errors import ConfigError
from multinic_core.model import IPPOOLS, NETWORKS, MultiNicNetwork


def judging(cluster: Any) -> Judging:
    world = World.watch(cluster.kube, cluster.registry, now=cluster.now)
    return Judging(world, Watch(world))


def new(make_network: Any, name: str, **spec: Any) -> Question:
    body = make_network(name, **spec)
    body["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    return Question(MultiNicNetwork.model_validate(body), None)


async def test_what_is_stored_is_older_than_what_is_not(cluster: Any, make_network: Any) -> None:
    """Whatever the clock and the names say, a new network does not take the subnet of one that is there."""
    cluster.network("zebra")
    with pytest.raises(ConfigError, match="of network 'zebra'; choose another subnet"):
        judging(cluster).judge(new(make_network, "ant"))
    assert judging(cluster).judge(new(make_network, "ant", subnet="172.16.0.0/16")) == []


async def test_while_the_stores_fill_everything_is_let_through(cluster: Any, make_network: Any) -> None:
    """With a warning, as half a view may wrong a network."""
    cluster.network("zebra")
    with cluster.kube.stale():
        assert judging(cluster).judge(new(make_network, "ant")) == [UNCHECKED]


async def test_an_edit_is_judged_by_the_addresses_in_use(cluster: Any, make_network: Any, autojump_clock: Any) -> None:
    """Refused while a pool shows one, in the operator's words; allowed when it is free."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    await cluster.settle()
    old = await cluster.kube.get(NETWORKS, "net")
    spec = old.spec.model_copy(update={"subnet": "172.16.0.0/16"})
    edit = Question(old.model_copy(update={"spec": spec}), old)
    assert judging(cluster).judge(edit) == []
    held = [{"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}]
    await cluster.kube.patch(IPPOOLS, "net-192.168.0.0-24", {"spec": {"allocations": held}})
    with pytest.raises(ConfigError) as caught:
        judging(cluster).judge(edit)
    await cluster.edit(subnet="172.16.0.0/16")
    await cluster.settle()
    assert (await cluster.status()).message == f"Failed to create net: {caught.value}"

"""A running operator and SR-IOV networks: what it makes for the SR-IOV operator, keeps, and takes away."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from multinic_operator.dependents.manifests import APPLIED
from multinic_plugin_sriov.kinds import NAMESPACE, NODE_STATES, POLICIES
from multinic_plugin_sriov.kinds import NETWORKS as SRIOV_NETWORKS

from multinic_core.errors import ApiError
from multinic_core.model import EVENTS, IPPOOLS, NAMESPACES, NETWORKS

LABEL = {"multi-nic-cni-generated": "true"}
POLICY, HOLDER = "SriovNetworkNodePolicy net", "SriovNetwork net-net"


async def test_a_network_has_policy_holder_and_definition(foreign: Any, autojump_clock: Any) -> None:
    """All three carry the label and the network as their owner; the definition asks for the resource."""
    foreign.two_nodes()
    foreign.network(vlan="100", minTxRate="50", trust="on", numVfs="4")
    await foreign.cluster.settle()
    assert set(foreign.objects()) == {POLICY, HOLDER}
    assert foreign.spec(POLICY) == {
        "resourceName": "net",
        "nodeSelector": {"feature.node.kubernetes.io/network-sriov.capable": "true"},
        "numVfs": 4,
        "nicSelector": {"rootDevices": ["0000:3b:00.0", "0000:5e:00.0"]},
    }
    assert foreign.spec(HOLDER) == {"resourceName": "net", "vlan": 100, "trust": "on", "minTxRate": 50}
    network = await foreign.cluster.kube.get(NETWORKS, "net")
    for item in foreign.objects().values():
        assert item["metadata"]["namespace"] == NAMESPACE
        assert item["metadata"]["labels"] == LABEL
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["kind"]) == (network.metadata.uid, True, "MultiNicNetwork")
    definition = foreign.definition()
    assert definition.metadata.annotations == {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/net"}
    assert definition.spec["plugin"] == {
        "cniVersion": "0.3.0",
        "type": "sriov",
        "vlan": 100,
        "trust": "on",
        "min_tx_rate": 50,
    }
    assert await foreign.condition() == ("True", "Configured", "")


async def test_a_second_operator_writes_nothing(foreign: Any, autojump_clock: Any) -> None:
    """What one operator left is what the next one wants, with what an API server puts in."""
    foreign.two_nodes()
    foreign.network(vlan="100")
    await foreign.cluster.settle()
    defaults = {"spec": {"deviceType": "netdevice", "priority": 99, "isRdma": False}}
    await foreign.cluster.kube.patch(POLICIES, "net", defaults, namespace=NAMESPACE)
    await foreign.cluster.kube.patch(
        SRIOV_NETWORKS, "net-net", {"metadata": {"finalizers": ["x"]}}, namespace=NAMESPACE
    )
    written = foreign.cluster.kube.count()
    await foreign.cluster.settle()
    assert foreign.cluster.kube.count() == written


async def test_an_edit_reaches_the_objects(foreign: Any, autojump_clock: Any) -> None:
    """Changed arguments are patched in, those taken away go, and what others put in stays."""
    foreign.two_nodes()
    foreign.network(vlan="100", mtu="9000", maxTxRate="10")
    async with foreign.cluster.running():
        others = {"spec": {"deviceType": "netdevice"}, "metadata": {"annotations": {"team": "blue"}}}
        await foreign.cluster.kube.patch(POLICIES, "net", others, namespace=NAMESPACE)
        await foreign.edit(vlan="200", mtu=None, maxTxRate=None, isRdma="true")
        await foreign.cluster.quiet()
        assert foreign.spec(HOLDER) == {"resourceName": "net", "vlan": 200}
        spec = foreign.spec(POLICY)
        assert (spec.get("mtu"), spec["isRdma"], spec["deviceType"]) == (None, True, "netdevice")
        assert foreign.objects()[POLICY]["metadata"]["annotations"]["team"] == "blue"
        assert foreign.definition().spec["plugin"]["vlan"] == 200
        assert json.loads(foreign.objects()[HOLDER]["metadata"]["annotations"][APPLIED]) == {
            "spec": foreign.spec(HOLDER)
        }


async def test_what_others_change_or_delete_is_restored(foreign: Any, autojump_clock: Any) -> None:
    """A dependent is kept as wanted by watch."""
    foreign.two_nodes()
    foreign.network(numVfs="2")
    async with foreign.cluster.running():
        before = foreign.spec(POLICY)
        spoiled = {"spec": {"numVfs": 7, "nicSelector": {"rootDevices": []}}}
        await foreign.cluster.kube.patch(POLICIES, "net", spoiled, namespace=NAMESPACE)
        await foreign.cluster.kube.delete(SRIOV_NETWORKS, "net-net", NAMESPACE)
        await foreign.cluster.quiet()
        assert foreign.spec(POLICY) == before
        assert foreign.spec(HOLDER) == {"resourceName": "net"}


async def test_nodes_that_come_and_change_are_selected(foreign: Any, autojump_clock: Any) -> None:
    """The policy follows the nodes; where an address is another NIC on a node, policies by node take over."""
    foreign.two_nodes()
    foreign.network()
    async with foreign.cluster.running():
        foreign.cluster.node("node-3", {"ens7": "10.0.1.3/24"})
        await foreign.cluster.quiet()
        assert "no NIC that can have VFs on node-3 (ens7)" in (await foreign.condition())[2]
        foreign.state("node-3", {"ens7": "0000:af:00.0"})
        await foreign.cluster.quiet()
        assert foreign.spec(POLICY)["nicSelector"]["rootDevices"] == ["0000:3b:00.0", "0000:5e:00.0", "0000:af:00.0"]
        assert await foreign.condition() == ("True", "Configured", "")
        foreign.cluster.node("node-4", {"ens8": "10.0.1.4/24"})
        foreign.state("node-4", {"ens8": "0000:b0:00.0", "storage": "0000:5e:00.0"})
        await foreign.cluster.quiet()
        selected = {
            next(iter(item["spec"]["nodeSelector"].values())): item["spec"]["nicSelector"]["rootDevices"]
            for name, item in foreign.objects().items()
            if name.startswith("SriovNetworkNodePolicy")
        }
        assert selected == {
            "true": ["0000:3b:00.0", "0000:af:00.0", "0000:b0:00.0"],
            "node-1": ["0000:5e:00.0"],
            "node-2": ["0000:5e:00.0"],
        }
        interfaces = [{"name": "ens8", "pciAddress": "0000:b0:00.0"}]
        await foreign.cluster.kube.patch(
            NODE_STATES, "node-4", {"status": {"interfaces": interfaces}}, namespace=NAMESPACE, subresource="status"
        )
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {POLICY, HOLDER}


async def test_a_named_resource_takes_the_policy_away(foreign: Any, autojump_clock: Any) -> None:
    """When VFs of somebody else are named, our policy goes and the holder follows; and back."""
    foreign.two_nodes()
    foreign.network()
    async with foreign.cluster.running():
        await foreign.edit(resourceName="theirs")
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {HOLDER}
        assert foreign.spec(HOLDER) == {"resourceName": "theirs"}
        await foreign.edit(resourceName=None)
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {POLICY, HOLDER}


async def test_without_the_sriov_operator_a_network_waits(foreign: Any, autojump_clock: Any) -> None:
    """The status names the kind and the way out, nothing is offered or retried with writes; installed, it goes on."""
    foreign.cluster.kube.uninstall(POLICIES, SRIOV_NETWORKS, NODE_STATES)
    foreign.cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    foreign.network()
    async with foreign.cluster.running():
        status, reason, message = await foreign.condition()
        assert (status, reason) == ("False", "Waiting")
        assert (
            "does not serve SriovNetworkNodeState (sriovnetwork.openshift.io); install the SR-IOV operator" in message
        )
        assert (await foreign.cluster.status()).config_status == "WaitForConfig"
        assert (await foreign.cluster.status()).message == message
        assert foreign.definition() is None
        written = foreign.cluster.kube.count()
        await foreign.cluster.quiet(300)
        assert foreign.cluster.kube.count() == written
        foreign.cluster.kube.install(POLICIES, SRIOV_NETWORKS, NODE_STATES)
        await foreign.cluster.quiet()
        assert "no NIC of this network can have VFs" in (await foreign.condition())[2]
        foreign.state("node-1", {"eth1": "0000:3b:00.0"})
        await foreign.cluster.quiet()
        assert await foreign.condition() == ("True", "Configured", "")
        assert set(foreign.objects()) == {POLICY, HOLDER}
        assert foreign.definition() is not None
    events = [e for e in await foreign.cluster.kube.list(EVENTS) if e.reason == "Waiting"]
    assert len(events) == 2


async def test_kinds_that_go_are_waited_for_again(foreign: Any, autojump_clock: Any) -> None:
    """When the SR-IOV operator is removed the definition stays for running pods, and the status tells."""
    foreign.two_nodes()
    foreign.network(resourceName="theirs")
    async with foreign.cluster.running():
        foreign.cluster.kube.uninstall(POLICIES, SRIOV_NETWORKS, NODE_STATES)
        await foreign.cluster.quiet()
        assert (await foreign.condition())[:2] == ("False", "Waiting")
        assert "does not serve SriovNetwork (" in (await foreign.condition())[2]
        assert foreign.definition() is not None
        foreign.cluster.kube.install(POLICIES, SRIOV_NETWORKS, NODE_STATES)
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {HOLDER}


async def test_without_the_namespace_a_network_waits(foreign: Any, autojump_clock: Any) -> None:
    """Kinds alone are not the SR-IOV operator."""
    foreign.two_nodes()
    await foreign.cluster.kube.delete(NAMESPACES, NAMESPACE)
    foreign.state("node-1", {"eth1": "0000:3b:00.0"})
    foreign.network()
    async with foreign.cluster.running():
        status, reason, message = await foreign.condition()
        assert (status, reason) == ("False", "Waiting")
        assert f"namespace {NAMESPACE!r} for SriovNetworkNodePolicy net does not exist" in message
        foreign.cluster.namespace(NAMESPACE)
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {POLICY, HOLDER}


@pytest.mark.parametrize(
    ("labels", "owner", "words"),
    [
        pytest.param({}, None, "is there without label multi-nic-cni-generated=true", id="no label"),
        pytest.param({"multi-nic-cni-generated": "false"}, None, "is there without label", id="another label"),
        pytest.param(LABEL, ("MultiNicNetwork", "other"), "belongs to MultiNicNetwork 'other'", id="another network"),
        pytest.param(LABEL, ("Deployment", "net"), "belongs to Deployment 'net'", id="another controller"),
    ],
)
async def test_an_object_of_somebody_else_is_refused_and_left(
    foreign: Any, autojump_clock: Any, labels: Any, owner: Any, words: str
) -> None:
    """The object is named and not touched, also when the network goes; when it is away the network proceeds."""
    foreign.two_nodes()
    metadata: dict[str, Any] = {"name": "net-net", "namespace": NAMESPACE, "labels": labels}
    if owner:
        reference = {"apiVersion": "v1", "kind": owner[0], "name": owner[1], "uid": "u", "controller": True}
        metadata["ownerReferences"] = [reference]
    (before,) = foreign.cluster.kube.seed(SRIOV_NETWORKS, {"metadata": metadata, "spec": {"resourceName": "theirs"}})
    foreign.network()
    async with foreign.cluster.running():
        status, reason, message = await foreign.condition()
        assert (status, reason) == ("False", "Incomplete")
        assert f"SriovNetwork {NAMESPACE}/net-net: is there" in message
        assert words in message
        assert foreign.definition() is None
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.quiet()
        assert await foreign.cluster.kube.list(NETWORKS) == []
        assert await foreign.cluster.kube.list(SRIOV_NETWORKS) == [before]
        foreign.network()
        await foreign.cluster.quiet()
        await foreign.cluster.kube.delete(SRIOV_NETWORKS, "net-net", NAMESPACE)
        await foreign.cluster.quiet()
        assert await foreign.condition() == ("True", "Configured", "")
        assert foreign.spec(HOLDER) == {"resourceName": "net"}


def originals(foreign: Any) -> None:
    """What the original has made for network net."""
    for resource, name, spec in (
        (POLICIES, "net", {"resourceName": "net", "numVfs": 1, "nicSelector": {"rootDevices": ["0000:3b:00.0"]}}),
        (SRIOV_NETWORKS, "net-net", {"resourceName": "net", "networkNamespace": ""}),
    ):
        metadata = {"name": name, "namespace": NAMESPACE, "labels": LABEL}
        foreign.cluster.kube.seed(resource, {"metadata": metadata, "spec": spec})


async def test_the_originals_objects_are_taken_over(foreign: Any, autojump_clock: Any) -> None:
    """They get an owner and the addresses that the original left out, in place."""
    foreign.two_nodes()
    originals(foreign)
    uid = foreign.objects()[POLICY]["metadata"]["uid"]
    foreign.network()
    await foreign.cluster.settle()
    policy = foreign.objects()[POLICY]
    assert policy["metadata"]["uid"] == uid
    assert policy["spec"]["nicSelector"]["rootDevices"] == ["0000:3b:00.0", "0000:5e:00.0"]
    assert [o["kind"] for o in policy["metadata"]["ownerReferences"]] == ["MultiNicNetwork"]


async def test_the_originals_objects_go_with_their_network(foreign: Any, autojump_clock: Any) -> None:
    """Also those that never got an owner; and a policy that is not wanted goes while the network stays."""
    foreign.two_nodes()
    originals(foreign)
    foreign.network(resourceName="theirs")
    async with foreign.cluster.running():
        assert set(foreign.objects()) == {HOLDER}
        originals_label = {"metadata": {"ownerReferences": None}}
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.kube.patch(SRIOV_NETWORKS, "net-net", originals_label, namespace=NAMESPACE)
        await foreign.cluster.quiet()
    assert foreign.objects() == {}
    assert await foreign.cluster.kube.list(NETWORKS) == []


async def test_deletion_waits_for_what_others_hold(foreign: Any, autojump_clock: Any) -> None:
    """The network goes after its dependents; what holds one is told by condition and Event, once."""
    foreign.two_nodes()
    foreign.network()
    async with foreign.cluster.running():
        held = {"metadata": {"finalizers": ["netattdef.finalizers.sriovnetwork.openshift.io"]}}
        await foreign.cluster.kube.patch(SRIOV_NETWORKS, "net-net", held, namespace=NAMESPACE)
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {HOLDER}
        status, reason, message = await foreign.condition("Deleting")
        assert (status, reason) == ("True", "DependentsRemain")
        assert f"SriovNetwork {NAMESPACE}/net-net, held by ['netattdef.finalizers" in message
        written = foreign.cluster.kube.count()
        await foreign.cluster.quiet(300)
        assert foreign.cluster.kube.count() == written
        free = {"metadata": {"finalizers": None}}
        await foreign.cluster.kube.patch(SRIOV_NETWORKS, "net-net", free, namespace=NAMESPACE)
        await foreign.cluster.quiet()
    assert await foreign.cluster.kube.list(NETWORKS) == []
    assert len([e for e in await foreign.cluster.kube.list(EVENTS) if e.reason == "DependentsRemain"]) == 1


async def test_vfs_in_use_are_not_taken_from_pods(foreign: Any, autojump_clock: Any) -> None:
    """While pods hold addresses of a network that is to go, its policy stays, as it keeps their VFs."""
    foreign.two_nodes()
    foreign.network()
    async with foreign.cluster.running():
        pool = next(iter(foreign.cluster.pools()))
        row = {"pod": "p", "namespace": "default", "index": 1, "address": "192.168.0.1"}
        await foreign.cluster.kube.patch(IPPOOLS, pool, {"spec": {"allocations": [row]}})
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.quiet(60)
        assert set(foreign.objects()) == {POLICY, HOLDER}
        await foreign.cluster.kube.patch(IPPOOLS, pool, {"spec": {"allocations": []}})
        await foreign.cluster.quiet()
    assert foreign.objects() == {}


async def test_a_network_goes_after_the_kinds_went(foreign: Any, autojump_clock: Any) -> None:
    """Without the SR-IOV operator's kinds there is nothing to clean up."""
    foreign.two_nodes()
    foreign.network()
    async with foreign.cluster.running():
        foreign.cluster.kube.uninstall(POLICIES, SRIOV_NETWORKS, NODE_STATES)
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.quiet()
    assert await foreign.cluster.kube.list(NETWORKS) == []


async def test_another_plugin_takes_the_objects_away(foreign: Any, autojump_clock: Any) -> None:
    """A network that becomes ipvlan while no operator runs has no SR-IOV objects left when one does."""
    foreign.two_nodes()
    foreign.network()
    await foreign.cluster.settle()
    await foreign.cluster.edit(plugin={"type": "ipvlan", "args": None})
    await foreign.cluster.settle()
    assert foreign.objects() == {}
    assert foreign.definition().spec["plugin"]["type"] == "ipvlan"
    assert foreign.definition().metadata.annotations is None


async def test_objects_are_taken_away_also_when_they_are_read_late(foreign: Any, autojump_clock: Any) -> None:
    """An operator whose watch of the SR-IOV operator's kinds comes up slowly prunes them all the same."""
    foreign.two_nodes()
    originals(foreign)
    foreign.cluster.network()  # ipvlan by now
    operator = foreign.cluster.operator()
    async with trio.open_nursery() as nursery:
        with foreign.cluster.kube.stale():
            nursery.start_soon(operator.work)
            await foreign.cluster.quiet()
            assert len(await foreign.cluster.kube.list(POLICIES)) == 1
        await foreign.cluster.quiet()
        nursery.cancel_scope.cancel()
    assert foreign.objects() == {}


async def test_who_was_faster_is_read_again(foreign: Any, autojump_clock: Any) -> None:
    """A change or a deletion by others between look and write is no failure: the object is looked at anew."""
    foreign.two_nodes()
    foreign.network(vlan="1")
    async with foreign.cluster.running():
        for number, status in enumerate((409, 404), 2):
            lost = ApiError("sriovnetworks net-net", status=status, api_reason="Conflict")
            foreign.cluster.kube.fail(lost, verb="patch", resource=SRIOV_NETWORKS)
            await foreign.edit(vlan=str(number))
            await foreign.cluster.quiet()
            assert foreign.spec(HOLDER)["vlan"] == number
    assert [e for e in await foreign.cluster.kube.list(EVENTS) if e.type == "Warning"] == []


async def test_managed_vfs_ask_nothing_of_the_cluster(foreign: Any, autojump_clock: Any) -> None:
    """With manageVfs no SR-IOV operator is needed and none of its objects is made."""
    foreign.cluster.kube.uninstall(POLICIES, SRIOV_NETWORKS, NODE_STATES)
    foreign.cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    foreign.network(manageVfs="true", numVfs="4", vlan="7")
    await foreign.cluster.settle()
    assert await foreign.condition() == ("True", "Configured", "")
    plugin = {"cniVersion": "0.3.0", "type": "sriov", "manageVfs": True, "numVfs": 4, "vlan": 7}
    assert foreign.definition().spec["plugin"] == plugin
    assert foreign.definition().metadata.annotations is None


async def test_what_the_sriov_operator_refuses_is_told(foreign: Any, autojump_clock: Any) -> None:
    """A refusal by its webhook stands in the status in its words, and is tried again."""
    foreign.two_nodes()
    refusal = ApiError("numVfs(99) in CR net exceed the maximum allowed value(8)", status=403, api_reason="Forbidden")
    foreign.cluster.kube.fail(refusal, verb="create", resource=POLICIES, times=2)
    foreign.network(numVfs="99")
    async with foreign.cluster.running():
        await foreign.cluster.quiet()
        assert set(foreign.objects()) == {POLICY, HOLDER}
    told = [e.message for e in await foreign.cluster.kube.list(EVENTS) if e.reason == "ApiFailure"]
    assert [message for message in told if "exceed the maximum" in message]


async def test_a_lack_of_rights_is_told(foreign: Any, autojump_clock: Any) -> None:
    """An operator that may not read the SR-IOV operator's kinds says so in the status."""
    foreign.two_nodes()
    denied = ApiError("sriovnetworknodestates is forbidden", status=403, api_reason="Forbidden")
    foreign.cluster.kube.fail(denied, verb="list", resource=NODE_STATES, times=10**6)
    foreign.network()
    foreign.cluster.network("plain", subnet="172.16.0.0/16")
    async with foreign.cluster.running():
        assert "sriovnetworknodestates is forbidden" in (await foreign.condition())[2]
        assert (await foreign.condition(name="plain"))[0] == "True"
        await foreign.cluster.kube.delete(NETWORKS, "plain")
        await foreign.cluster.quiet()
        assert [n.name for n in await foreign.cluster.kube.list(NETWORKS)] == ["net"]


async def test_networks_do_not_share_a_resource_by_accident(foreign: Any, autojump_clock: Any) -> None:
    """Names that differ in hyphens alone would be one resource: the second network is refused."""
    foreign.two_nodes()
    foreign.network("a-b")
    async with foreign.cluster.running():
        foreign.cluster.network(
            "ab", subnet="172.16.0.0/16", plugin={"cniVersion": "0.3.0", "type": "sriov", "args": {}}
        )
        await foreign.cluster.quiet()
        message = (await foreign.condition(name="ab"))[2]
        assert f"SriovNetworkNodePolicy {NAMESPACE}/a-b gives that name to its VFs" in message
        assert (await foreign.condition(name="a-b"))[0] == "True"


def state(foreign: Any) -> Any:
    """The SR-IOV objects and the definition, without what differs from run to run."""
    shown = {name: (item["spec"], item["metadata"]["labels"]) for name, item in foreign.objects().items()}
    definition = foreign.definition()
    return shown, definition and (definition.spec, definition.metadata.annotations)


async def test_interrupted_anywhere_the_end_is_the_same(foreign_maker: Any, autojump_clock: Any) -> None:
    """For every N, with the operator's Nth write lost: the same objects, and none after removal."""

    async def run(fail_at: int) -> tuple[Any, Any, int]:
        foreign = foreign_maker()
        kube = foreign.cluster.kube
        losing = Losing(kube, fail_at)
        foreign.two_nodes()
        foreign.network(vlan="5")
        await losing.during(foreign.cluster.settle)
        first = state(foreign)
        await foreign.edit(vlan="6", resourceName="theirs")
        await losing.during(foreign.cluster.settle)
        second = state(foreign)
        await kube.delete(NETWORKS, "net")
        await losing.during(foreign.cluster.settle)
        assert foreign.objects() == {}
        assert await kube.list(NETWORKS) == []
        return first, second, losing.attempts

    first, second, writes = await run(0)
    assert set(first[0]) == {POLICY, HOLDER}
    assert set(second[0]) == {HOLDER}
    assert writes >= 15
    for number in range(1, writes + 1):
        assert (await run(number))[:2] == (first, second), f"write {number} lost"


@pytest.fixture
def broken(foreign: Any) -> Any:
    """A cluster in which the API of the SR-IOV operator's kinds answers with 503 to everything from now on."""

    def now() -> None:
        for resource in (POLICIES, SRIOV_NETWORKS):
            foreign.cluster.kube.fail(ApiError("down", status=503), resource=resource, times=10**9)

    return now


async def test_a_broken_api_of_others_stops_no_network_without_dependents(
    foreign: Any, broken: Any, autojump_clock: Any
) -> None:
    """After a start of the operator such a network is offered, and it goes again."""
    foreign.two_nodes()
    foreign.cluster.network("plain", plugin={"cniVersion": "0.3.0", "type": "ipvlan"}, subnet="10.200.0.0/16")
    foreign.network("net")
    broken()
    async with foreign.cluster.running():
        assert foreign.definition("plain") is not None
        assert (await foreign.condition(name="plain"))[0] == "True"
        assert foreign.definition("net") is None
        await foreign.cluster.kube.delete(NETWORKS, "plain")
        await foreign.cluster.quiet(30)
        assert [network.name for network in await foreign.cluster.kube.list(NETWORKS)] == ["net"]


async def test_what_a_former_plugin_left_goes_when_its_api_answers_again(foreign: Any, autojump_clock: Any) -> None:
    """The network that has another plugin since the operator stopped is offered meanwhile."""
    foreign.two_nodes()
    foreign.network("net", resourceName="theirs")
    await foreign.cluster.settle()
    assert set(foreign.objects()) == {HOLDER}
    await foreign.cluster.kube.patch(
        NETWORKS, "net", {"spec": {"plugin": {"type": "ipvlan", "args": {"resourceName": None}}}}
    )
    foreign.cluster.kube.fail(ApiError("down", status=503), verb="list", resource=SRIOV_NETWORKS, times=2)
    async with foreign.cluster.running():
        await foreign.cluster.quiet(60)
        assert foreign.definition().spec["plugin"]["type"] == "ipvlan"
        assert foreign.objects() == {}


async def test_a_network_whose_dependents_are_known_waits_for_the_api_of_others(
    foreign: Any, broken: Any, autojump_clock: Any
) -> None:
    """They are not left behind."""
    foreign.two_nodes()
    foreign.network("net")
    async with foreign.cluster.running():
        broken()
        await foreign.cluster.kube.delete(NETWORKS, "net")
        await foreign.cluster.quiet(30)
        assert [network.name for network in await foreign.cluster.kube.list(NETWORKS)] == ["net"]
        assert set(foreign.objects()) == {POLICY, HOLDER}


class Losing:
    """Has one of the writes lost on their way to the API."""

    def __init__(self, kube: Any, fail_at: int) -> None:
        self.attempts = 0
        self._armed = False
        enter = kube._enter

        async def counted(verb: str, resource: Any, name: str = "") -> None:
            if self._armed and verb in ("create", "patch", "update", "delete"):
                self.attempts += 1
                if self.attempts == fail_at:
                    raise ApiError("no answer", status=0)
            await enter(verb, resource, name)

        kube._enter = counted

    async def during(self, work: Any) -> None:
        self._armed = True
        await work()
        self._armed = False

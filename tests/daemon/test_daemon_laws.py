"""Laws that hold after any sequence of calls, refusals, vanished pods and restarts."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from multinic_daemon.recovery import recover
from multinic_daemon.testing import Rig, links, refuse

from multinic_core.errors import ContainerGoneError, KernelError, PoolExhaustedError

CONTAINERS = st.sampled_from([f"c{number}" for number in range(8)])
IFNAMES = st.sampled_from(["net1", "net2"])
USABLE = 6
"""Addresses of a /29."""


class AttachingPods(RuleBasedStateMachine):
    """One node, two NICs with a pool of six addresses each, some containers with two interfaces."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="multinic-laws-"))
        self.rig = Rig(self.folder, nics=0)
        self.rig.view = Rig(self.folder / "other", nics=2).view
        for number in (1, 2):
            self.rig.add_pool("net-a", f"eth{number}", f"10.{number}.0.0/29", f"10.{number}.0.0/18")
        self.answers: dict[tuple[str, str], object] = {}

    def call(self, command: str, container: str, ifname: str = "net1", **fields: object) -> object:
        async def main() -> object:
            return await self.rig.call(command, container, ifname=ifname, **fields)

        return trio.run(main)

    @rule(container=CONTAINERS, ifname=IFNAMES)
    def add(self, container: str, ifname: str) -> None:
        try:
            answer = self.call("ADD", container, ifname)
        except PoolExhaustedError:
            assert USABLE in self.rig.held().values()
        else:
            assert self.answers.setdefault((container, ifname), answer) == answer

    @rule(container=CONTAINERS, step=st.sampled_from(["link net1-0", "link net1-1"]), undo=st.booleans())
    def add_refused_by_the_kernel(self, container: str, step: str, undo: bool) -> None:
        self.rig.kernel.before_step, self.rig.kernel.undo = refuse(step), undo
        # Asked again for what is attached, the engine answers without making links.
        with suppress(KernelError, PoolExhaustedError):
            answer = self.call("ADD", container)
            assert self.answers[container, "net1"] == answer
        self.rig.kernel.before_step = refuse("nothing")

    @rule(container=CONTAINERS, ifname=IFNAMES, netns=st.sampled_from([None, "", "/nowhere"]))
    def delete(self, container: str, ifname: str, netns: str | None) -> None:
        self.call("DEL", container, ifname, netns=netns)
        self.answers.pop((container, ifname), None)

    @rule(container=CONTAINERS)
    def delete_refused_by_the_kernel(self, container: str) -> None:
        self.rig.kernel.before_step = refuse("remove")
        with suppress(KernelError):
            self.call("DEL", container)
        self.rig.kernel.before_step = refuse("nothing")
        self.answers.pop((container, "net1"), None)

    @rule(container=CONTAINERS)
    def namespace_vanishes(self, container: str) -> None:
        shutil.rmtree(self.rig.folder / "netns" / container, ignore_errors=True)
        with suppress(ContainerGoneError, PoolExhaustedError):
            self.call("ADD", container, netns=str(self.rig.folder / "netns" / container))
        for key in [key for key in self.answers if key[0] == container]:
            self.call("DEL", *key)
            del self.answers[key]

    @rule(kept=st.sets(CONTAINERS))
    def collect(self, kept: set[str]) -> None:
        valid = [{"containerID": container, "ifname": "net1"} for container in sorted(kept)]
        self.call("GC", "", "", netns="", **{"cni.dev/valid-attachments": valid})
        self.answers = {key: value for key, value in self.answers.items() if key[0] in kept and key[1] == "net1"}
        assert {record.key.container_id for record in self.records} <= kept

    @rule()
    def restart(self) -> None:
        self.rig.restart()
        assert trio.run(recover, self.rig.engine) == 0
        assert self.rig.journal.unfinished() == []

    @property
    def records(self):  # type: ignore[no-untyped-def]
        return self.rig.journal.of_network("multi-nic", "net-a")

    @invariant()
    def no_address_is_given_twice(self) -> None:
        given = [each.address for record in self.records for each in self.rig.journal.allocations(record)]
        assert len(given) == len(set(given)) == sum(self.rig.held().values())

    @invariant()
    def answered_attachments_are_ready_with_their_links(self) -> None:
        ready = {(r.key.container_id, r.key.ifname) for r in self.records if r.state == "ready"}
        assert set(self.answers) == ready
        for container, ifname in ready:
            assert {f"{ifname}-0", f"{ifname}-1"} <= set(self.rig.pod_links(container))

    @invariant()
    def every_link_has_its_row(self) -> None:
        groups = {record.group for record in self.records}
        folder = self.rig.folder / "netns"
        for netns in folder.iterdir() if folder.is_dir() else ():
            assert {content["group"] for content in links(netns).values()} <= groups

    def teardown(self) -> None:
        self.rig.journal.close()
        shutil.rmtree(self.folder)


AttachingPods.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestAttachingPods = AttachingPods.TestCase

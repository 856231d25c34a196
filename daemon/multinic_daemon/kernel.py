"""The kernel as the engine sees it: make the links of a plan, remove those of a group, compare.

:mod:`multinic_daemon.apply` is the real one; :class:`multinic_daemon.testing.FakeKernel` is one on a folder. All calls
block, so the engine runs them in worker threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from multinic_core.plan import Plan


class MadeLink(Protocol):
    """One link that was made in a pod."""

    @property
    def ifname(self) -> str: ...

    @property
    def mac_address(self) -> str: ...

    @property
    def mtu(self) -> int:
        """Bytes."""
        ...


class PodKernel(Protocol):
    """Links inside the network namespaces of pods."""

    def apply_plan(self, plan: Plan, netns: str, group: int) -> Sequence[MadeLink]:
        """Make everything in the plan, all or nothing, each link with ``IFLA_GROUP`` set to ``group``.

        Returns:
            One entry per CreateLink, in the plan's order.

        Raises:
            ContainerGoneError: there is no such network namespace.
            ConfigError: a link name is taken.
            KernelError: the kernel refused.
        """
        ...

    def remove_links(self, netns: str, group: int) -> int:
        """Remove the links of this group; how many there were. A namespace that is gone, or "", has none.

        Raises:
            KernelError: the kernel refused; the links may still be there.
        """
        ...

    def differences(self, plan: Plan, netns: str) -> list[str]:
        """What of the plan is not so in the kernel, one sentence each."""
        ...

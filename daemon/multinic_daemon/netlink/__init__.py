"""Speaking rtnetlink: conversations with the kernel, in this network namespace or in another one.

A :class:`Conversation` is one blocking AF_NETLINK socket. Many requests go out in one ``sendmsg`` and each answer is
attributed to the request it belongs to, because what costs is the conversation, not the object. The messages are
packed with :mod:`struct` (:mod:`.wire`, :mod:`.requests`, :mod:`.observed`): sixteen link requests take 0.15 ms so,
against 1.9 ms with pyroute2's message classes, which is more than half of what the kernel itself needs for the links.
pyroute2 knows the attributes of every kind of link, so :mod:`.kinds` asks it about kinds that we do not list; this
package is its only importer in the product.

Nothing here decides anything and nothing here is asynchronous, except for :mod:`.events`.
"""

from multinic_daemon.netlink.conversation import Conversation, Refusal, Request
from multinic_daemon.netlink.netns import NetnsFile, open_netns, open_socket
from multinic_daemon.netlink.observed import Address, Link, Route, Rule

__all__ = [
    "Address",
    "Conversation",
    "Link",
    "NetnsFile",
    "Refusal",
    "Request",
    "Route",
    "Rule",
    "open_netns",
    "open_socket",
]

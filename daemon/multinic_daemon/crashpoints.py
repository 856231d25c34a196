"""Named instants at which a test kills this process the hard way. A test hook; without the variable it does nothing.

``MULTINIC_CRASH_AT=NAME`` makes the process send itself SIGKILL on reaching the point NAME, so no handler,
``finally`` or buffer gets a chance. ``NAMES`` is the registry: each point lies between two steps whose order the
promises rest on, the part before the dot says which operation it belongs to, and a test fails when a point of it is
tested nowhere.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "MULTINIC_CRASH_AT"

NAMES: dict[str, str] = {
    # ADD
    "add.decided": "NICs and addresses are chosen, nothing is written",
    "add.journaled": "the row is pending, the kernel untouched",
    "apply.created": "links exist in the pod, down and without addresses; the row is pending",
    "devices.marked": "devices carry the attachment's mark and are down, on the node",
    "devices.configured": "VFs have the pod's settings, the devices are on the node",
    "devices.moved": "devices are in the pod, down and without its addresses",
    "add.applied": "links are as planned, the row is still pending",
    "add.ready": "the row is ready, the runtime has no answer",
    "addresses.ready": "an ADD of multi-nic-ipam has its row, the runtime has no answer",
    # devices go back, on DEL, GC, undo and recovery
    "devices.returned": "devices are on the node under any name, VFs as the pod had them",
    "devices.restored": "devices are as they were and carry the mark, the row is still there",
    # VLAN links of the node under pod links
    "vlan.made": "a VLAN link is made, no pod link is on it; the row is pending",
    "vlan.left": "no pod link is on a VLAN link any more, it is still there; the row says deleting",
    "vlan.removed": "the VLAN link is gone, its last row says deleting",
    # ADD, as far as executables and actions of plugins have a part in it
    "outside.addressed": "IPAM executables have given addresses, the row only says that they were asked",
    "outside.planned": "the row has the plan with these addresses",
    "outside.acted": "an action is done, the row is pending",
    "outside.plugged": "main plugin executables have made links, the row is pending",
    # DEL, GC, undo and recovery, as far as they have
    "outside.unplugged": "main plugin executables have removed their links, all else is there",
    "outside.taken_back": "links are gone and actions are taken back, the row says deleting",
    "outside.freed": "IPAM executables have freed their addresses, the row says deleting",
    # an ADD that failed is taken back
    "undo.marked": "its row says deleting, what links it made are there",
    "undo.removed": "its links are gone, its row and addresses are still there",
    "undo.released": "all is gone, the runtime has no answer",
    # an ADD first removes what an earlier one under its name has left
    "replace.marked": "the old row says deleting, its links are there",
    "replace.removed": "the old links are gone, the old addresses are held",
    "replace.released": "the old attachment is gone, the new one not begun",
    # what could not be removed at once is tried again
    "sweep.marked": "a row left over says deleting, its links are there",
    "sweep.removed": "its links are gone, its addresses are held",
    "sweep.released": "it is gone",
    # DEL
    "del.marked": "the row says deleting, the links are still there",
    "del.removed": "links gone, addresses still held",
    "del.released": "all gone, the runtime has no answer",
    # GC
    "gc.marked": "the first row to go says deleting, the others are as they were",
    "gc.removed": "the first links are gone, their addresses still held",
    "gc.released": "the first attachment is gone, others are on their way",
    "gc.done": "all that had to go is gone, the runtime has no answer",
    # start
    "recovery.forgotten": "a row of another boot is gone, others are still there",
    "recovery.marked": "recovery has found an unfinished row, its links are still there",
    "recovery.removed": "recovery has removed the links of a row, the row is still there",
    "recovery.released": "recovery has finished one row, others are still there",
    "tombstone.honoured": "the DEL of a tombstone is done, the tombstone is still there",
    # a journal that knows nothing takes over what there is
    "journal.aside": "a refused journal is kept aside, a new one not begun",
    "adoption.surveyed": "kernel and mirror have been read, the journal is empty",
    "adoption.written": "what was found is written, the transaction not committed",
    "adoption.held": "what was found is held, nobody was told",
    # what was taken over goes, by DEL or by proof
    "takenover.unlinked": "the links that another generation made are gone, the row is as it was",
    "takenover.marked": "the row says deleting",
    "takenover.removed": "no link is left, the addresses are held",
    "takenover.released": "the addresses are free, the runtime has no answer",
    "proof.marked": "a row proven dead says deleting",
    "proof.removed": "no link of it is left, its addresses are held",
    "proof.released": "its addresses are free",
    # the mirror
    "mirror.differs": "a pool is known to differ from the journal, nothing is written",
    "mirror.written": "a pool is written, nobody remembers it",
}
"""Name to the state of things at that instant."""


def reached(name: str) -> None:
    """Die here if the test asks for it."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)

"""Host routes of this node: what the networks ask for, and the kernel's tables brought there."""

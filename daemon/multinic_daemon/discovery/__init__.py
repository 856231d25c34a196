"""The NICs of this node, followed as they change, and published as its HostInterface."""

"""Pools of this node's addresses: read or computed, and mirrored in IPPool objects."""

"""The cluster half of multinic: decides indexes and blocks, writes CIDRs, pools, attachment definitions and statuses.

Each module holds one idea. Pure ones turn observed objects into desired ones (``validation``, ``blocks``, ``status``,
``routes``); the others read local stores and move the API server toward what the pure ones say. ``serve`` wires
them together. Every reconcile may be repeated, interrupted and reordered.
"""

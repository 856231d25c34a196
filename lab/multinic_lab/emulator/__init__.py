"""The emulated PC: a QEMU machine with SR-IOV NICs on two NUMA nodes, for what no machine at hand may have."""

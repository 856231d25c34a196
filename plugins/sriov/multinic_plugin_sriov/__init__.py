"""SR-IOV: pods get virtual functions of a NIC, natively."""

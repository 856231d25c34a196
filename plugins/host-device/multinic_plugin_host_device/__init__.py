"""host-device and mellanox: pods get whole NICs and return them as they were."""

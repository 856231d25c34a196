"""Links in pods, on the kernel: made, compared, found again and removed."""

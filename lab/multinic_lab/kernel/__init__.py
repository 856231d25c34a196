"""The lab kernel: a User Mode Linux guest for what this machine's kernel lacks, or its user may not do."""

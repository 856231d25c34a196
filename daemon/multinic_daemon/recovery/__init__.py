"""What a crash, a lost journal or another system left: finished, found again, or taken over."""

"""How this process lays out its memory."""

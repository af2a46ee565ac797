"""Everything that can be asked: one interface, one adapter for each protocol."""
